#!/usr/bin/env python3
"""Two real stores that ignore the conditions of a write are refused for a registry, and nothing is left in them.

Both answer 200 to a PUT whose `If-Match` does not hold. A registry there would lose updates without a word.
"""
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".ci"))
from packages import from_npm, from_pypi  # noqa: E402

BACKSIGHT = os.environ["BACKSIGHT"]
BUCKET = "features"
READY_SECONDS_MAX = 60
USAGE = 2


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def nanio(data, port):
    keys = ("careless", "carelesssecret")
    environment = dict(os.environ, NANIO_ACCESS_KEY=keys[0], NANIO_SECRET_KEY=keys[1])
    command = [from_pypi("nanio==0.1.7") / "nanio", "serve", "--data-dir", data, "--host", "127.0.0.1"]
    return command + ["--port", str(port), "--no-access-log"], environment, keys


def s3rver(data, port):
    program, environment = from_npm("s3rver@3.7.1", "s3rver")
    command = [program, "-d", data, "-a", "127.0.0.1", "-p", str(port), "--no-vhost-buckets"]
    # Keys that it knows by itself.
    return command, environment, ("S3RVER", "S3RVER")


def wait_for(server, port):
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        except OSError:
            time.sleep(0.2)
    return False


def check(name, prepare):
    with tempfile.TemporaryDirectory(prefix=f"backsight-{name}-") as folder:
        work = Path(folder)
        bucket = work / "data" / BUCKET
        bucket.mkdir(parents=True)
        port = free_port()
        command, environment, (key, secret) = prepare(work / "data", port)
        log = open(work / "log", "wb")
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            if not wait_for(server, port):
                print((work / "log").read_text(errors="replace")[-3000:])
                sys.exit(f"{name} did not come up")
            (work / "feature_store.yaml").write_text(f"project: p\nregistry: s3://{BUCKET}/registry.pb\n")
            (work / "e.yaml").write_text("kind: Entity\nname: e\njoin_keys: [k]\n")
            variables = {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": key,
                "AWS_SECRET_ACCESS_KEY": secret,
                "HOME": folder,
            }
            before = contents(bucket)
            apply = [BACKSIGHT, "apply", "--yes"]
            run = subprocess.run(apply, cwd=work, env=variables, capture_output=True, text=True, timeout=120)
            said = f"{name}: exit {run.returncode}\n{run.stdout}{run.stderr}"
            assert run.returncode == USAGE, said
            assert f"the store of `s3://{BUCKET}/registry.pb` cannot hold a registry safely" in run.stderr, said
            assert "hint: keep the registry on" in run.stderr, said
            assert secret not in run.stderr or key == secret, said
            after = contents(bucket)
            assert after == before, f"{name} holds {sorted(after - before)} more"
            print(f"{name}: refused: {run.stderr.strip().splitlines()[0]}")
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def contents(bucket):
    return {str(path.relative_to(bucket)) for path in bucket.rglob("*") if path.is_file()}


if __name__ == "__main__":
    check("nanio", nanio)
    check("s3rver", s3rver)
