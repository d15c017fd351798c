"""Do the services start, die, stand still, come back and end as they are told, and what do they cost meanwhile?

A `Service` is one process with its own folder: work dir, log files of every start, address. A `Cluster` is a scheduler
and its executors. Whatever is started dies with this process, also when it is killed (the kernel sees to it). Every
wait has a deadline, and what went past it is said with the tails of the logs.
"""
import atexit
import ctypes
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from dataset import Wrong, check

READY_SECONDS_MAX = 60
END_SECONDS_MAX = 20
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1
TICKS = os.sysconf("SC_CLK_TCK")
# What each service prints on stdout when it is ready; the contract of the command line.
SCHEDULER_READY = re.compile(r"^ready (?P<url>http://\S+)$", re.M)
EXECUTOR_READY = re.compile(r"^ready (?P<address>\S+) health (?P<health>http://\S+)$", re.M)

_alive = set()


def _die_with_us():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def kill_all():
    """Ends whatever is still there."""
    for process in list(_alive):
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
    _alive.clear()


atexit.register(kill_all)


def spawn(command, environment, stdout, stderr, cwd=None):
    """Starts a process that dies with this one: with the thread that calls, to be exact, which has to outlive it."""
    process = subprocess.Popen(
        [str(part) for part in command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        start_new_session=True,
        preexec_fn=_die_with_us,
    )
    _alive.add(process)
    return process


def until(condition, seconds, what, pause=0.05):
    """Waits for a truthy answer and returns it; `Wrong` when it has not come in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise Wrong(f"not within {seconds:g} s: {what}")
        time.sleep(pause)


def disk_bytes(folder):
    """Bytes on disk below a folder, as `du` counts, without the folders themselves."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except FileNotFoundError:
                pass
    return total


def http_status(url, seconds=5):
    """The status of a GET; 0 when nobody answers."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=seconds) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


class Service:
    """One process of the cluster, over all its lives."""

    def __init__(self, name, folder, ready, namespace=None):
        self.name, self.folder, self.ready, self.namespace = name, Path(folder), ready, namespace
        self.work = self.folder / "work"
        self.process, self.match, self.lives, self.is_stopped = None, None, 0, False
        self.command, self.environment = None, None
        self.is_end_meant, self.killed_at = False, 0.0
        self.work.mkdir(parents=True, exist_ok=True)

    def start(self, command=None, environment=None):
        """Starts it, as the last time when nothing is said, and waits until it is ready."""
        check(not self.is_alive(), f"{self.name} runs already")
        self.command, self.environment = command or self.command, environment or self.environment
        self.lives, self.is_end_meant = self.lives + 1, False
        prefix = self.namespace.prefix() if self.namespace else []
        with open(self._log("out"), "wb") as out, open(self._log("err"), "wb") as err:
            self.process = spawn([*prefix, *self.command], self.environment, out, err)
        self.is_stopped = False
        self.match = until(self._is_ready, READY_SECONDS_MAX, f"{self.name} says that it is ready")
        return self

    def _is_ready(self):
        if self.process.poll() is not None:
            raise Wrong(f"{self.name} ended with {self.process.returncode} before it was ready:\n{self.tail()}")
        return self.ready.search(self._log("out").read_text(errors="replace"))

    def _log(self, stream):
        return self.folder / f"life-{self.lives}.{stream}"

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def check_alive(self):
        """Nothing may end by itself, by a panic for instance."""
        if not self.is_alive() and not self.is_end_meant:
            raise Wrong(f"{self.name} ended by itself with {self.process.returncode}:\n{self.tail()}")

    def kill(self):
        """SIGKILL: no chance to clear up."""
        self.check_alive()
        self.is_end_meant = True
        if self.is_alive():
            self.process.kill()
            self.process.wait()
            self.killed_at = time.monotonic()

    def stop(self):
        """SIGSTOP: it stands still, connections stay."""
        self.process.send_signal(signal.SIGSTOP)
        self.is_stopped = True

    def go_on(self):
        """SIGCONT."""
        if self.is_alive():
            self.process.send_signal(signal.SIGCONT)
        self.is_stopped = False

    def ask_to_end(self):
        """SIGTERM, without waiting."""
        self.is_end_meant = True
        self.process.send_signal(signal.SIGTERM)

    def wait_end(self, seconds=END_SECONDS_MAX):
        """Waits for its end and returns the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Wrong(f"{self.name} has not ended {seconds:g} s after SIGTERM:\n{self.tail()}") from None

    def end(self, seconds=END_SECONDS_MAX):
        """SIGTERM, and it must be gone in time, in good order."""
        self.check_alive()
        if not self.is_alive():
            return
        self.go_on()
        self.ask_to_end()
        code = self.wait_end(seconds)
        check(code == 0, f"{self.name} ended with {code} on SIGTERM:\n{self.tail()}")

    def rss_bytes(self):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+) kB", text, re.M)[1]) * 1024

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def disk_bytes(self):
        return disk_bytes(self.work)

    def tail(self, lines=40):
        """The ends of its logs, the newest life last."""
        texts = []
        for path in sorted(self.folder.glob("life-*.*"), key=lambda path: path.stat().st_mtime)[-4:]:
            last = path.read_text(errors="replace").splitlines()[-lines:]
            if last:
                texts.append(f"--- {self.name} {path.name}\n" + "\n".join(last))
        return "\n".join(texts)


class Cluster:
    """A scheduler and executors on one world."""

    def __init__(self, folder, world, proxy=None, network=None, options=None, executor_options=None):
        self.folder, self.world, self.proxy, self.network = Path(folder), world, proxy, network
        self.options = {"--shard-bytes": "2MiB", "--executor-timeout": "5s", **(options or {})}
        self.executor_options = {"--vcores": "2", "--drain-timeout": "60s", **(executor_options or {})}
        self.scheduler, self.executors, self.is_clean = None, {}, True
        self.state, self.spool = self.folder / "state", self.folder / "spool"

    def start(self, executors=("executor-a", "executor-b")):
        for folder in (self.state, self.spool):
            folder.mkdir(parents=True, exist_ok=True)
        self._start_scheduler()
        for name in executors:
            self.add_executor(name)
        return self

    def _start_scheduler(self):
        namespace = self.network.node("scheduler") if self.network else None
        service = Service("scheduler", self.folder / "scheduler", SCHEDULER_READY, namespace)
        host = namespace.address if namespace else "127.0.0.1"
        command = [
            self.world.backsight, "-c", self.world.repo_of(), "scheduler", "--bind", f"{host}:0",
            "--state", f"sqlite://{self.state}/jobs.db", "--spool", self.spool,
            *self._allowed(), *flat(self.options),
        ]
        self.scheduler = service.start(command, self._environment("scheduler"))
        # Every later life is found at the address of the first.
        address = self.url.removeprefix("http://")
        self.scheduler.command = [address if part == f"{host}:0" else part for part in self.scheduler.command]

    def add_executor(self, name, options=None, work=None):
        namespace = self.network.node(name) if self.network else None
        service = Service(name, self.folder / name, EXECUTOR_READY, namespace)
        if work:
            service.work = Path(work)
        host = namespace.address if namespace else "127.0.0.1"
        command = [
            self.world.backsight, "-c", self.world.repo_of(), "executor", "--scheduler", self.url,
            "--bind", f"{host}:0", "--health-bind", f"{host}:0", "--advertise-host", host, "--work-dir", service.work,
            *self._allowed(), *flat({**self.executor_options, **(options or {})}),
        ]
        self.executors[name] = service.start(command, self._environment(name))
        return service

    def _allowed(self):
        """Local folders that the services may read and write."""
        return ["--allow-dir", self.world.folder, "--allow-dir", self.spool]

    def _environment(self, via):
        return self.world.environment(self.proxy.listen(via) if self.proxy else None)

    @property
    def url(self):
        return self.scheduler.match["url"]

    def services(self):
        return [self.scheduler, *self.executors.values()]

    def __getitem__(self, name):
        return self.scheduler if name == "scheduler" else self.executors[name]

    def restore(self):
        """Brings everything back to life that a scenario left dead or standing, and waits until all are ready."""
        for service in self.services():
            if service.is_stopped:
                service.go_on()
            service.check_alive()
            if not service.is_alive():
                service.start()
        self.check_health()
        self._let_losses_be_seen()

    def _let_losses_be_seen(self):
        """An executor that was killed is missed only now: the work of the next scenario shall not pay for it."""
        killed_at = max((service.killed_at for service in self.executors.values()), default=0.0)
        noticed_at = killed_at + float(self.options["--executor-timeout"].rstrip("s")) + 1.5
        time.sleep(max(0.0, noticed_at - time.monotonic()) if killed_at else 0.0)

    def check_health(self, seconds=20):
        if self.network:
            return
        for page in ("healthz", "readyz"):
            for service in self.services():
                base = service.match["url"] if service is self.scheduler else service.match["health"]
                until(lambda: http_status(f"{base}/{page}") == 200, seconds, f"{service.name} answers 200 at /{page}")

    def check_metrics(self):
        for service in self.services():
            base = service.match["url"] if service is self.scheduler else service.match["health"]
            check(http_status(f"{base}/metrics") == 200, f"{service.name} has no /metrics")

    def work_bytes(self):
        """What the executors' work dirs hold."""
        return sum(service.disk_bytes() for service in self.executors.values())

    def readings(self):
        """Memory and disk of every living service, for the record."""
        found = {service.name: service.rss_bytes() >> 20 for service in self.services() if service.is_alive()}
        return {"rss_mib": found, "work_kib": self.work_bytes() >> 10, "spool_kib": disk_bytes(self.spool) >> 10}

    def end(self, seconds=END_SECONDS_MAX):
        """Everything must end on SIGTERM: executors first, while the scheduler still hears them."""
        for service in [*self.executors.values(), self.scheduler]:
            service.end(seconds)

    def kill(self):
        """The end of everything, in whatever state it is."""
        for service in self.services():
            if service and service.process:
                service.is_end_meant = True
                service.kill()

    def tail(self, lines=40):
        return "\n".join(service.tail(lines) for service in self.services() if service)

    def remove(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def flat(options):
    """`{"--vcores": "2"}` as arguments."""
    return [text for pair in options.items() for text in pair]
