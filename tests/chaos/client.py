"""What does a user see of a cluster? The command line, run with deadlines, and jobs as its JSON shows them.

The services and the store are looked at elsewhere; here is only what `docs/cli.md` promises: exit codes, JSON, words.
"""
import json
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

from dataset import Wrong, check
from processes import spawn

COMMAND_SECONDS_MAX = 90
ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    command: tuple
    code: int
    out: str
    err: str
    seconds: float

    def json(self):
        return json.loads(self.out)

    def expect(self, *codes):
        if self.code not in codes:
            raise Wrong(f"`{' '.join(self.command)}` ended with {self.code}, expected {codes}:\n{self.out[-1500:]}\n{self.err[-2500:]}")
        return self


class Running:
    """A command that has been started."""

    def __init__(self, command, environment):
        self.command = tuple(str(part) for part in command)
        self._out, self._err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self.began = time.monotonic()
        self.process = spawn(self.command, environment, self._out, self._err)

    def is_alive(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def wait(self, seconds=COMMAND_SECONDS_MAX):
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            raise Wrong(f"`{' '.join(self.command)}` hangs: it has not ended in {seconds:g} s:\n{self._text(self._err)}") from None
        return Outcome(self.command, code, self._text(self._out), self._text(self._err), time.monotonic() - self.began)

    @staticmethod
    def _text(file):
        file.seek(0)
        return file.read().decode(errors="replace")


class Client:
    """Somebody with the command, a repo and the address of a scheduler."""

    def __init__(self, world, url, namespace=None, project=None):
        self.world, self.url, self.namespace, self.project = world, url, namespace, project

    def of_project(self, project):
        return Client(self.world, self.url, self.namespace, project)

    def start(self, *arguments):
        prefix = self.namespace.prefix() if self.namespace else []
        command = [*prefix, self.world.backsight, "-c", self.world.repo_of(self.project), "--scheduler", self.url, "--no-progress", *arguments]
        return Running(command, self.world.environment())

    def run(self, *arguments, seconds=COMMAND_SECONDS_MAX):
        return self.start(*arguments).wait(seconds)

    def submit(self, output, spine="spine", id=None, priority=None):
        """Queues a retrieval and returns its job's id."""
        more = ["--request-id", id] if id else []
        more += ["--priority", str(priority)] if priority is not None else []
        arguments = [*self.world.retrieve(spine, output), "--detach", "--output-format", "json", *more]
        job = self.run(*arguments).expect(0).json()["job"]
        check(not id or job["id"] == id, f"the job's id is {job['id']}, the request's {id}")
        return job["id"]

    def job(self, id):
        """The job as `jobs show` has it."""
        return self.run("jobs", "show", id, "--output-format", "json").expect(0).json()

    def jobs(self, limit=10_000):
        return self.run("jobs", "list", "--all", "--limit", str(limit), "--output-format", "json").expect(0).json()["jobs"]

    def until(self, id, condition, seconds, what):
        """Polls a job until a condition on it holds. A job that ends before is wrong."""
        deadline = time.monotonic() + seconds
        while True:
            job = self.job(id)
            if condition(job):
                return job
            if job["state"] in ENDED:
                raise Wrong(f"job {id} {job['state']} before {what}:\n{story(job)}")
            if time.monotonic() > deadline:
                raise Wrong(f"job {id} is {job['state']}, not within {seconds:g} s {what}:\n{story(job)}")
            time.sleep(0.05)

    def finish(self, id, seconds):
        """Waits until a job has ended, in whatever way, and returns it."""
        return self.until(id, lambda job: job["state"] in ENDED, seconds, "has ended")

    def exit_code(self, id):
        """What `jobs watch` makes of a job that has ended."""
        return self.run("jobs", "watch", id, seconds=30)

    def succeed(self, id, seconds):
        """The job must succeed in time."""
        job = self.finish(id, seconds)
        check(job["state"] == "succeeded", f"job {id} {job['state']}:\n{story(job)}")
        return job

    def cancel(self, id, seconds=60):
        return self.run("jobs", "cancel", id, "--output-format", "json", seconds=seconds)


def story(job):
    """A job's failure and history, for a message."""
    lines = [f"  {entry['at']} {entry['what']}" for entry in job.get("history", [])[-25:]]
    shards = [f"{shard['number']}:{shard['state']}x{shard['attempts']}" for shard in job.get("shards", [])]
    failure = json.dumps(job["failure"]) if job.get("failure") else "none"
    return f"  failure: {failure}\n  shards: {' '.join(shards) or 'none'}\n" + "\n".join(lines)


def shards_in(job, state):
    return sum(shard["state"] == state for shard in job["shards"])


def retries(job):
    """Attempts beyond the first, over all shards."""
    return sum(max(0, shard["attempts"] - 1) for shard in job["shards"])


