#!/usr/bin/env python3
"""Can the scenarios be tried, and do they fail when they must, without the real cluster? A stand-in for the binary.

    FAKE_REAL=target/debug/backsight run.py --backsight tests/chaos/fake_backsight.py [--only NAME]

It keeps the contract of the command line for `scheduler`, `executor`, `jobs` and `retrieve` with a scheduler, and hands
all else to the real binary, as its executors do with a whole job (so there is one "shard" that counts, and it is the
executor who commits). `FAKE_BUG` names a bug to show that it is found: `forget` (a restart loses jobs), `deaf` (SIGTERM
is ignored), `leak` (work dirs grow), `double` (a file too many), `burn` (work goes on after a cancel), `trust` (a lost
executor's job is called a success), `code` (every failure is a bug of ours).
"""
import ctypes
import hashlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

REAL, BUG = os.environ.get("FAKE_REAL", "backsight"), os.environ.get("FAKE_BUG", "")
ENDED = ("succeeded", "failed", "cancelled")
PARTITIONS = 8
ATTEMPTS_MAX = 4
LOCK = threading.RLock()


def option(name, default=None):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def die_with_us():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def ask(url, path, body=None):
    data = json.dumps(body).encode() if body is not None else None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url + path, data=data), timeout=10) as answer:
        return json.loads(answer.read())


def ask_patiently(path, body=None, seconds=20):
    url, deadline = option("--scheduler"), time.monotonic() + seconds
    while True:
        try:
            return ask(url, path, body)
        except urllib.error.HTTPError as error:
            failure = json.loads(error.read())
            fail(failure["exit_status"], failure["message"])
        except OSError as error:
            if time.monotonic() > deadline:
                fail(6, f"the scheduler cannot be reached: {error}")
            time.sleep(0.2)


def fail(code, message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(code)


class Pages(http.server.BaseHTTPRequestHandler):
    """JSON in, JSON out; `answers` holds the paths."""

    protocol_version = "HTTP/1.0"
    answers = {}

    def log_message(self, *_):
        pass

    def do_GET(self):
        length = int(self.headers.get("content-length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        if self.path in ("/healthz", "/readyz", "/metrics"):
            status, answer = 200, {}
        else:
            try:
                status, answer = 200, self.answers[self.path](body)
            except KeyError:
                status, answer = 404, {"exit_status": 4, "message": f"there is no {body}"}
            except OSError as error:
                status, answer = 507, {"exit_status": 10, "message": f"no space in state or spool: {error}"}
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_POST = do_GET


def serve(bind, answers):
    host, port = bind.rsplit(":", 1)
    http.server.ThreadingHTTPServer.daemon_threads = True
    http.server.ThreadingHTTPServer.allow_reuse_address = True
    server = http.server.ThreadingHTTPServer((host, int(port)), type("Own", (Pages,), {"answers": answers}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"{host}:{server.server_port}"


class Scheduler:
    """Jobs in a file; each goes whole to an executor."""

    def __init__(self):
        self.file = Path(option("--state").removeprefix("sqlite://")).with_suffix(".json")
        self.spool = Path(option("--spool"))
        self.timeout = float(option("--executor-timeout", "10s").rstrip("s"))
        self.heard = {}
        self.jobs = json.loads(self.file.read_text()) if self.file.exists() and BUG != "forget" else {}
        for job in self.jobs.values():
            if job["state"] == "planning":
                self.plan(job)

    def save(self):
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(self.jobs))
        new.rename(self.file)

    def submit(self, body):
        with LOCK:
            if body["id"] not in self.jobs:
                shards = [{"number": n, "state": "pending", "attempts": 0} for n in range(PARTITIONS if body["is_big"] else 1)]
                job = dict(body, state="planning" if body["is_big"] else "queued", shards=shards, failure=None, manifest=None, history=[], who=None, not_before=0)
                self.jobs[body["id"]] = job
                try:
                    self.save()
                except OSError:
                    del self.jobs[body["id"]]
                    raise
                if job["state"] == "planning":
                    self.plan(job)
            return self.jobs[body["id"]]

    def plan(self, job):
        """Big jobs are looked at first; this reads the footers."""

        def look():
            subprocess.run([REAL, "-c", option("-c"), *job["arguments"], "--explain"], capture_output=True, preexec_fn=die_with_us)
            with LOCK:
                if job["state"] == "planning":
                    job["state"] = "queued"

        threading.Thread(target=look, daemon=True).start()

    def spine(self, body):
        data = bytes.fromhex(body["hex"])
        path = self.spool / f"{hashlib.sha256(data).hexdigest()}.parquet"
        if not path.exists():
            new = path.with_suffix(".new")
            new.write_bytes(data)
            new.rename(path)
        return {"uri": str(path)}

    def cancel(self, body):
        with LOCK:
            job = self.jobs[body["id"]]
            if job["state"] not in ENDED:
                job["state"] = "abandoning" if job["who"] else "cancelled"
                self.save()
            return job

    def poll(self, body):
        """An executor says what it does and gets more to do."""
        with LOCK:
            now, name = time.time(), body["name"]
            self.heard[name] = now
            stop = [id for id in body["running"] if self.jobs.get(id, {}).get("state") not in ("running",)]
            for id in body["running"]:
                if id in self.jobs and id not in stop:
                    self.jobs[id]["who"] = name
            self.expire(now)
            task = None
            if body["free"]:
                ready = [j for j in self.jobs.values() if j["state"] == "queued" and j["not_before"] < now]
                if ready:
                    task = max(ready, key=lambda job: job["priority"])
                    task.update(state="running", who=name)
                    for shard in task["shards"]:
                        if shard["state"] != "done":
                            # Some are done at once, so that there is something to keep over a restart.
                            shard.update(attempts=shard["attempts"] + 1, state="done" if shard["number"] < 2 and len(task["shards"]) > 1 else "running")
                    self.save()
            return {"stop": stop, "task": task}

    def expire(self, now):
        for job in self.jobs.values():
            if job["state"] in ("running", "abandoning") and now - self.heard.setdefault(job["who"], now) > self.timeout:
                if BUG == "trust":
                    job.update(state="succeeded")
                else:
                    self.requeue(job)

    @staticmethod
    def requeue(job):
        if job["state"] == "abandoning":
            job.update(state="cancelled", who=None)
            return
        job.update(state="queued", who=None, not_before=time.time() + 0.5)
        for shard in job["shards"]:
            if shard["state"] == "running":
                shard["state"] = "pending"

    def report(self, body):
        with LOCK:
            job = self.jobs.get(body["id"])
            if job is None or job["state"] in ENDED:
                return {}
            failure = body.get("failure")
            if failure is None:
                job.update(state="succeeded", manifest=body["manifest"])
                for shard in job["shards"]:
                    shard["state"] = "done"
            elif job["state"] == "abandoning":
                job.update(state="cancelled")
            elif is_worth_a_retry(failure, body["is_lost"]) and job["shards"][-1]["attempts"] < ATTEMPTS_MAX:
                self.requeue(job)
            else:
                job.update(state="failed", failure=dict(failure, exit_status=1) if BUG == "code" else failure)
            self.save()
            return {}


def is_worth_a_retry(failure, is_lost):
    if failure["code"] == "unreachable":
        return True
    # A command that is ended, or that meets the one of a lost executor.
    return is_lost and failure["exit_status"] in (9, 7) and "holds a dataset" not in failure["message"]


def scheduler():
    own = Scheduler()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if BUG == "deaf" else lambda *_: os._exit(0))
    job = lambda body: own.jobs[body["id"]]  # noqa: E731
    jobs = lambda body: {"jobs": list(own.jobs.values())}  # noqa: E731
    address = serve(option("--bind"), {"/submit": own.submit, "/spine": own.spine, "/cancel": own.cancel, "/poll": own.poll, "/report": own.report, "/job": job, "/jobs": jobs})
    print(f"ready http://{address}", flush=True)
    while True:
        time.sleep(1)


class Task:
    """One job in the real binary."""

    def __init__(self, job, work):
        self.id, self.shuffle = job["id"], work / f"shuffle-{job['id']}"
        self.process, self.failure, self.is_told = None, None, False
        # What is called conflict while a lost executor's command still lives is not the user's conflict.
        self.is_lost = job["shards"][-1]["attempts"] > 1
        try:
            self.shuffle.write_bytes(os.urandom(1 << 20))
        except OSError as error:
            self.failure = {"code": "limit", "exit_status": 10, "message": str(error)}
            return
        command = [REAL, "-c", option("-c"), *job["arguments"], "--request-id", job["id"], "--partitions", str(PARTITIONS), "--output-format", "json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=die_with_us)

    def is_done(self):
        return self.process is None or self.process.poll() is not None

    def result(self):
        if BUG != "leak":
            self.shuffle.unlink(missing_ok=True)
        if self.process is None:
            return {"id": self.id, "failure": self.failure, "is_lost": False}
        out, err = self.process.communicate()
        if self.process.returncode == 0:
            return {"id": self.id, "manifest": json.loads(out)["manifest"]}
        try:
            failure = json.loads(err)["error"]
        except ValueError:
            failure = {"code": "bug", "exit_status": 1, "message": f"ended with {self.process.returncode}: {err!r}"}
        return {"id": self.id, "failure": failure, "is_lost": self.is_lost}


def executor():
    work, name, tasks, ending = Path(option("--work-dir")), f"{os.getpid()}", [], threading.Event()
    work.mkdir(parents=True, exist_ok=True)
    for old in work.glob("shuffle-*"):
        old.unlink()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if BUG == "deaf" else lambda *_: ending.set())
    address, health = serve(option("--bind"), {}), serve(option("--health-bind"), {})
    print(f"ready {address} health http://{health}", flush=True)
    reports = []
    while not (ending.is_set() and not tasks and not reports):
        for task in [task for task in tasks if task.is_done()]:
            tasks.remove(task)
            reports.append(task.result())
        try:
            while reports:
                ask(option("--scheduler"), "/report", reports[0])
                reports.pop(0)
            free = len(tasks) < 2 and not ending.is_set()
            answer = ask(option("--scheduler"), "/poll", {"name": name, "running": [task.id for task in tasks], "free": free})
            for task in tasks:
                if task.id in answer["stop"] and task.process and not task.is_told and BUG != "burn":
                    # Once: the second one would end it without clearing up.
                    task.is_told = True
                    task.process.send_signal(signal.SIGTERM)
            if answer["task"]:
                tasks.append(Task(answer["task"], work))
        except OSError:
            pass
        time.sleep(0.1)


def retrieve():
    arguments = sys.argv[sys.argv.index("retrieve") :]
    for name in ("--request-id", "--priority", "--output-format"):
        if name in arguments:
            del arguments[arguments.index(name) : arguments.index(name) + 2]
    if "--detach" in arguments:
        arguments.remove("--detach")
    place = arguments.index("--spine") + 1
    if not arguments[place].startswith("s3://"):
        arguments[place] = ask_patiently("/spine", {"hex": Path(arguments[place]).read_bytes().hex()})["uri"]
    id = option("--request-id") or f"job-{time.time_ns()}"
    is_big = not Path(option("--spine")).match("*small*") and "/small/" not in option("--spine")
    job = ask_patiently("/submit", {"id": id, "arguments": arguments, "priority": int(option("--priority", 0)), "output": option("--output"), "is_big": is_big})
    if "--detach" in sys.argv:
        print(json.dumps({"job": job}))
        return 0
    signal.signal(signal.SIGINT, lambda *_: ask_patiently("/cancel", {"id": id}))
    job = follow(id)
    return show(job) if job["state"] != "succeeded" else print(json.dumps({"manifest": job["manifest"]})) or 0


def follow(id):
    while (job := ask_patiently("/job", {"id": id}, 60))["state"] not in ENDED:
        time.sleep(0.1)
    return job


def show(job):
    """The exit code of a job's outcome."""
    if job["state"] == "succeeded":
        return 0
    if job["state"] == "cancelled":
        fail(7, "cancelled")
    fail(job["failure"]["exit_status"], job["failure"]["message"])


def jobs():
    verb = sys.argv[sys.argv.index("jobs") + 1]
    if verb == "list":
        print(json.dumps(ask_patiently("/jobs")))
        return 0
    id = sys.argv[sys.argv.index("jobs") + 2]
    if verb == "watch":
        return show(follow(id))
    job = ask_patiently("/job" if verb == "show" else "/cancel", {"id": id})
    if verb == "cancel" and "--no-wait" not in sys.argv:
        job = follow(id)
        if BUG == "double":
            Path(job["output"]).mkdir(exist_ok=True)
            (Path(job["output"]) / "part-stray.parquet").write_bytes(b"x")
    print(json.dumps(job))
    return 0


def main():
    for name in ("scheduler", "executor"):
        if name in sys.argv:
            return globals()[name]()
    if "--scheduler" in sys.argv:
        return retrieve() if "retrieve" in sys.argv else jobs()
    os.execv(REAL, [REAL, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
