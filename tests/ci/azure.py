#!/usr/bin/env python3
"""Registry, sources, spines and datasets on Azure Blob Storage, as Microsoft's emulator Azurite has it.

Runs the tests of storage, of commits and of conformance on it, which skip themselves elsewhere, then the built command as
users meet it: concurrent writers of one registry, a retrieval in the process and on executors, a shared access signature.
"""
import base64
import datetime
import hashlib
import hmac
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / ".ci"))
from packages import from_npm  # noqa: E402

BACKSIGHT = os.environ["BACKSIGHT"]
AZURITE = "azurite@3.37.0"
ACCOUNT = "devstoreaccount1"
# The emulator's, known to everybody.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
CONTAINER = "backsight"
READY_SECONDS_MAX = 90
WRITERS = 8
API = "2021-08-06"


def sign(text):
    return base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()


def request(port, method, path, query, body=b"", headers=None):
    """The answer to a request signed with the account's key; `None` when nobody answers."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    own = {"x-ms-date": now, "x-ms-version": API, **(headers or {})}
    lines = "".join(f"{name}:{own[name]}\n" for name in sorted(own))
    resource = f"/{ACCOUNT}/{ACCOUNT}{path}" + "".join(f"\n{name}:{query[name]}" for name in sorted(query))
    length = str(len(body)) if body else ""
    text = f"{method}\n\n\n{length}\n\n\n\n\n\n\n\n\n{lines}{resource}"
    own["authorization"] = f"SharedKey {ACCOUNT}:{sign(text)}"
    url = f"http://127.0.0.1:{port}/{ACCOUNT}{path}?{urllib.parse.urlencode(query)}"
    asked = urllib.request.Request(url, data=body or None, headers=own, method=method)
    if body:
        asked.add_header("content-type", "")
    try:
        # No proxy may stand between us and the loopback interface.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None


def names(port, prefix):
    status, text = request(port, "GET", f"/{CONTAINER}", {"restype": "container", "comp": "list", "prefix": prefix})
    assert status == 200, text
    return re.findall(r"<Name>([^<]*)</Name>", text)


def signature():
    """A shared access signature for reading, writing and listing in the account, for an hour."""
    end = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    fields = {"sv": API, "ss": "b", "srt": "sco", "sp": "rwdlac", "se": end, "spr": "https,http"}
    text = f"{ACCOUNT}\n{fields['sp']}\n{fields['ss']}\n{fields['srt']}\n\n{end}\n\n{fields['spr']}\n{API}\n\n"
    return urllib.parse.urlencode({**fields, "sig": sign(text)})


def start(folder):
    program, environment = from_npm(AZURITE, "azurite-blob")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    command += ["--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"]
    log = open(folder / "azurite.log", "wb")
    server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline and server.poll() is None:
        answer = request(port, "PUT", f"/{CONTAINER}", {"restype": "container"})
        if answer and answer[0] in (201, 409):
            return server, port
        time.sleep(0.3)
    print((folder / "azurite.log").read_text(errors="replace")[-3000:], file=sys.stderr)
    sys.exit(f"Azurite accepted no signed request in {READY_SECONDS_MAX} s")


def rust_tests(environment):
    """The tests that need an Azure; they must be there and must not have skipped themselves."""
    command = ["cargo", "test", "--workspace", "--locked", "--no-fail-fast", "--"]
    command += ["--nocapture", "on_azure", "for_azure", "commits::"]
    run = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    ran = len(re.findall(r"^test .*(?:on_azure|for_azure)", run.stdout, re.M))
    cases = "conformance, Azure in the test process: 52 cases" in run.stdout
    if run.returncode != 0 or "SKIPPED" in run.stdout + run.stderr or ran < 16 or not cases:
        print(run.stdout[-6000:], run.stderr[-3000:])
        sys.exit(f"the tests on Azure ended with {run.returncode}; {ran} of them ran")
    print(f"{ran} tests of Azure alone, commits, and 52 cases of conformance")


class User:
    """Runs the command as somebody who has these variables set."""

    def __init__(self, work, variables):
        keep = ("PATH", "HOME", "TMPDIR")
        inherited = {name: os.environ[name] for name in keep if name in os.environ}
        self.work, self.environment = work, {**inherited, **variables}

    def start(self, *arguments, **more):
        command = [BACKSIGHT, *map(str, arguments)]
        return subprocess.Popen(command, cwd=self.work, env=self.environment, text=True, **more)

    def run(self, *arguments, status=0):
        process = self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, err = process.communicate(timeout=180)
        assert process.returncode == status, f"{arguments}: exit {process.returncode}\n{out}\n{err}"
        return out, err


def writers(user):
    """Many processes write one registry, each its project: all of them are in it afterwards."""
    registry = f"az://{CONTAINER}/writers/registry.pb"
    for number in range(WRITERS):
        repo = user.work / f"p{number}"
        repo.mkdir()
        (repo / "feature_store.yaml").write_text(f"project: p{number}\nregistry: {registry}\n")
        (repo / "e.yaml").write_text(f"kind: Entity\nname: e{number}\njoin_keys: [k]\n")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    running = [user.start("-c", f"p{number}", "apply", "--yes", **pipes) for number in range(WRITERS)]
    for process in running:
        _, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
    out, _ = user.run("-c", "p0", "projects", "list", "--output-format", "json")
    assert len(json.loads(out)["projects"]) == WRITERS, out
    print(f"{WRITERS} concurrent writers of one registry, no update lost")


def retrievals(user, port, signed):
    """The sample repo with everything on Azure: in the process, on executors, and with a signature only."""
    user.run("init", "taxi")
    taxi = user.work / "taxi"
    for file in ("driver_stats.parquet", "spine.parquet"):
        headers = {"x-ms-blob-type": "BlockBlob"}
        status, text = request(port, "PUT", f"/{CONTAINER}/data/{file}", {}, (taxi / "data" / file).read_bytes(), headers)
        assert status == 201, text
    base = f"abfss://{CONTAINER}@{ACCOUNT}.dfs.core.windows.net"
    definitions = (taxi / "features.yaml").read_text()
    local = json.dumps(str(taxi / "data/driver_stats.parquet"))
    assert local in definitions, definitions
    (taxi / "features.yaml").write_text(definitions.replace(local, f"{base}/data/driver_stats.parquet"))
    # The address that Feast's own store of registries on Azure wants.
    path = f"https://{ACCOUNT}.blob.core.windows.net/{CONTAINER}/taxi/registry.pb"
    yaml = f"project: taxi\nprovider: azure\nregistry: {{path: '{path}', registry_store_type: AzureRegistryStore}}\n"
    for place in ("feature_store.yaml", "client/feature_store.yaml"):
        (taxi / place).write_text(yaml)
    user.run("-c", "taxi", "apply", "--yes")
    user.run("-c", "taxi", "plan", "--detailed-exitcode")

    def rows(who, output, *more):
        command = [*more, "-c", "taxi/client", "retrieve", "--feature-service", "model_v2", "--output-format", "json"]
        out, _ = who.run(*command, "--spine", f"{base}/data/spine.parquet", "--output", output)
        manifest = json.loads(out)["manifest"]
        found = (manifest["rows"], manifest["report"]["views"][0]["matched"])
        assert found == (20, 18), found
        return manifest

    def retrieve(who, output, *more):
        manifest = rows(who, f"abfs://{CONTAINER}/{output}", *more)
        there = names(port, f"{output}/")
        assert f"{output}/_SUCCESS" in there and f"{output}/_backsight/manifest.json" in there, there
        assert not any("intent" in name or "claim" in name for name in there), there
        return manifest

    retrieve(user, "embedded")
    # Registry, source and spine. Azurite refuses a batch under a signature, which is how the client deletes, so the
    # dataset is written elsewhere.
    rows(signed, str(user.work / "signed"))
    shown, _ = signed.run("-c", "taxi", "config", "show")
    assert "AZURE_STORAGE_SAS_TOKEN" in shown and "sig=" not in shown, shown
    log = open(user.work / "cluster.log", "w")
    up = ("-c", "taxi", "cluster", "up", "--executors", "2", "--vcores", "1", "--bind", "127.0.0.1:0")
    cluster = user.start(*up, stdout=subprocess.PIPE, stderr=log)
    try:
        url = cluster.stdout.readline().split()[-1]
        manifest = retrieve(user, "cluster", "--scheduler", url)
        assert manifest["engine"]["engine"] == "ballista", manifest["engine"]
    except BaseException:
        print((user.work / "cluster.log").read_text()[-4000:])
        raise
    finally:
        cluster.send_signal(signal.SIGTERM)
        cluster.wait(60)
    print("a retrieval in the process, on two executors, and with a shared access signature")


def main():
    with tempfile.TemporaryDirectory(prefix="backsight-azure-") as folder:
        work = Path(folder)
        server, port = start(work)
        try:
            endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
            connection = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint};"
            variables = {"AZURE_STORAGE_CONNECTION_STRING": connection}
            user = User(work, variables)
            writers(user)
            signed = {
                "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                "AZURE_STORAGE_SAS_TOKEN": signature(),
                "AZURE_STORAGE_SERVICE_ENDPOINT": endpoint,
            }
            retrievals(user, port, User(work, signed))
            rust_tests({**os.environ, **variables, "BACKSIGHT_TEST_AZURE_CONTAINER": CONTAINER})
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
