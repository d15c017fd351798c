#!/usr/bin/env python3
"""Runs a command beside a SeaweedFS server, a real S3 store, and ends the server with the command.

    .ci/seaweedfs.py --weed PATH -- COMMAND ARGUMENT...

The server listens on free ports of the loopback interface and keeps its data in a temporary folder. The command finds
it in AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION; the bucket `backsight` exists. The exit
code is the command's, or 70 when the server does not come up.

Why it is started and ended as it is:
- it is ready when it accepts a signed PUT: its health page answers before its parts can serve;
- it is ended by SIGKILL: on SIGTERM it may take minutes; acknowledged data survives;
- it leaves sockets in the system's temporary folder whatever it is told; they are removed by their port numbers.
"""
import argparse
import datetime
import hashlib
import hmac
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

REGION = "us-east-1"
ACCESS_KEY, SECRET_KEY = "admin", "adminsecret"
BUCKET = "backsight"
PORTS = 8
READY_SECONDS_MAX = 60
IDENTITIES = {
    "identities": [
        {
            "name": "admin",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        },
        {
            "name": "reader",
            "credentials": [{"accessKey": "reader", "secretKey": "readersecret"}],
            "actions": [f"Read:{BUCKET}", f"List:{BUCKET}"],
        },
    ]
}


def free_ports():
    """The first of some consecutive ports that nobody listens on."""
    for _ in range(100):
        base = random.randrange(20000, 50000)
        held = []
        try:
            for port in range(base, base + PORTS):
                probe = socket.socket()
                held.append(probe)
                probe.bind(("127.0.0.1", port))
            return base
        except OSError:
            continue
        finally:
            for probe in held:
                probe.close()
    sys.exit("no free ports were found")


def start(weed, folder, base):
    data = folder / "data"
    data.mkdir()
    config = folder / "s3.json"
    config.write_text(json.dumps(IDENTITIES))
    options = {
        "dir": data,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        # Without it a restart waits for an election that nobody else takes part in.
        "master.peers": "none",
        "master.telemetry": "false",
        "master.port": base + 1,
        "master.port.grpc": base + 2,
        "master.volumeSizeLimitMB": 1024,
        "master.volumePreallocate": "false",
        "volume.port": base + 3,
        "volume.port.grpc": base + 4,
        # Every bucket grows volumes of its own.
        "volume.max": 500,
        "volume.preStopSeconds": 0,
        "filer.port": base + 5,
        "filer.port.grpc": base + 6,
        "filer.localSocket": folder / "filer.sock",
        "s3.port": base,
        "s3.port.grpc": base + 7,
        "s3.localSocket": folder / "s3.sock",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.config": config,
    }
    command = [weed, "-logtostderr=true", "server", "-filer", "-s3"]
    command += [f"-{name}={value}" for name, value in options.items()]
    environment = dict(os.environ, GOMEMLIMIT="1GiB", WEED_MASTER_VOLUME_GROWTH_COPY_1="1")
    log = open(folder / "log", "wb")
    return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)


def signed_put(base, path, body):
    """The status of a PUT with an AWS signature, version 4; `None` when nobody answers."""
    host = f"127.0.0.1:{base}"
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/{REGION}/s3/aws4_request"
    payload = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": payload, "x-amz-date": now}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"PUT\n{path}\n\n{lines}\n{names}\n{payload}"
    to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{SECRET_KEY}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    put = urllib.request.Request(f"http://{host}{path}", data=body, headers=headers, method="PUT")
    try:
        # No proxy may stand between us and the loopback interface.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(put, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def wait_until_ready(server, base):
    deadline = time.monotonic() + READY_SECONDS_MAX
    has_bucket = False
    while time.monotonic() < deadline:
        if server.poll() is not None:
            return f"the server ended with {server.returncode}"
        has_bucket = has_bucket or signed_put(base, f"/{BUCKET}", b"") in (200, 409)
        if has_bucket and signed_put(base, f"/{BUCKET}/.ready", b"ready") == 200:
            return None
        time.sleep(0.2)
    return f"the server accepted no signed PUT in {READY_SECONDS_MAX} s"


def end(server, base):
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    for port in range(base, base + PORTS):
        for leftover in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-grpc-{port}.sock"):
            leftover.unlink(missing_ok=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weed", required=True, help="the server's program")
    parser.add_argument("command", nargs="+", help="what to run beside it, after `--`")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="backsight-s3-") as folder:
        folder, base = Path(folder), free_ports()
        server = start(asked.weed, folder, base)
        try:
            problem = wait_until_ready(server, base)
            if problem:
                print(f"SeaweedFS: {problem}; its log ends with:", file=sys.stderr)
                print((folder / "log").read_text(errors="replace")[-3000:], file=sys.stderr)
                return 70
            environment = dict(
                os.environ,
                AWS_ENDPOINT_URL=f"http://127.0.0.1:{base}",
                AWS_ACCESS_KEY_ID=ACCESS_KEY,
                AWS_SECRET_ACCESS_KEY=SECRET_KEY,
                AWS_REGION=REGION,
                BACKSIGHT_TEST_BUCKET=BUCKET,
            )
            return subprocess.run(asked.command, env=environment).returncode
        finally:
            end(server, base)


if __name__ == "__main__":
    sys.exit(main())
