#!/usr/bin/env python3
"""Does a cluster of processes give every conformance case exactly, and the embedded engine's join report?

One scheduler and two executors of two cores each (`backsight cluster up`), seven partitions a plan, so that tasks hold
several partitions and shards hold single row groups. Some spines go as an Arrow file or as a SELECT, in order and with
exact reasons. The cases' registries become projects of one registry that the
scheduler owns; the client folder has only a `feature_store.yaml`. Needs a Python with Feast and pyarrow; `.ci/run` has
one.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from feast.protos.feast.core.Registry_pb2 import Registry

ROOT = Path(__file__).resolve().parents[2]
CASES = sorted(path for path in (ROOT / "tests/conformance").iterdir() if path.is_dir())
BACKSIGHT = os.environ["BACKSIGHT"]
# Every case, and every second one once more with its spine cut into row groups of their own.
SHARD_BYTES = {"whole": "4GiB", "shards": "1"}


def as_project(case: Path, name: str) -> Registry:
    """The case's registry as project `name`, with absolute source paths."""
    registry = Registry.FromString((case / "registry.pb").read_bytes())
    for project in registry.projects:
        project.spec.name = name
    for source in registry.data_sources:
        source.project = name
    sources = list(registry.data_sources)
    for view in registry.feature_views:
        view.spec.project = name
        sources.append(view.spec.batch_source)
    for kind in (registry.entities, registry.feature_services, registry.on_demand_feature_views, registry.saved_datasets):
        for entry in kind:
            entry.spec.project = name
    for source in sources:
        if source.HasField("file_options") and "://" not in source.file_options.uri:
            source.file_options.uri = str(case / source.file_options.uri)
    del registry.project_metadata[:]
    return registry


def merged(names: dict[str, Path]) -> bytes:
    whole = Registry()
    for name, case in names.items():
        whole.MergeFrom(as_project(case, name))
    return whole.SerializeToString()


def spine_of(case: Path, kind: str, work: Path) -> list[str]:
    """The options that name the case's spine, as it is, as an Arrow file, or as a SELECT."""
    parquet = case / "spine.parquet"
    in_order = ["--preserve-order", "--reasons", "exact"]
    if kind == "arrow":
        path = work / f"{case.name}.feather"
        pyarrow.feather.write_feather(pq.read_table(parquet), str(path))
        return ["--spine", str(path), *in_order]
    if kind == "select":
        return ["--spine-sql", f"SELECT * FROM '{parquet}'", "--reasons", "exact"]
    return ["--spine", str(parquet)]


def check_order(case: Path, output: Path) -> None:
    spine = pq.read_table(case / "spine.parquet")
    parts = [pq.read_table(part) for part in sorted(output.glob("part-*.parquet"))]
    rows = pa.concat_tables(parts).select(spine.column_names)
    if not rows.cast(spine.schema).equals(spine):
        raise AssertionError("the rows are not in the spine's order")


def retrieve(case: Path, folder: Path, output: Path, spine: list[str], more: list[str]) -> dict:
    request = json.loads((case / "request.json").read_text())
    what = (
        ["--feature-service", request["feature_service"]]
        if request.get("feature_service")
        else ["--features", ",".join(request["features"])]
    )
    flags = [f"--{name.replace('_', '-')}" for name in ("full_feature_names", "filter_by_created_timestamp") if request[name]]
    command = [BACKSIGHT, "-c", str(folder), *more, "--output-format", "json", "retrieve", *what, *flags]
    command += [*spine, "--output", str(output)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if run.returncode != 0:
        raise AssertionError(f"exit {run.returncode}: {run.stdout}{run.stderr}")
    return json.loads(run.stdout)["manifest"]


def check(case: Path, output: Path) -> None:
    compare = [sys.executable, str(ROOT / "tests/conformance/check_case.py"), str(case), str(output)]
    run = subprocess.run(compare, capture_output=True, text=True)
    if run.returncode != 0:
        raise AssertionError(run.stdout + run.stderr)


def main() -> int:
    failures, runs = [], 0
    with tempfile.TemporaryDirectory(prefix="backsight-conformance-") as work_text:
        work = Path(work_text)
        names = {case.name.replace("-", "_"): case for case in CASES}
        repo = work / "repo"
        repo.mkdir()
        (repo / "registry.pb").write_bytes(merged(names))
        yaml = "project: {project}\nprovider: local\nregistry: {registry}\n"
        (repo / "feature_store.yaml").write_text(yaml.format(project="cluster", registry="registry.pb"))
        for name in names:
            client = work / "clients" / name
            client.mkdir(parents=True)
            (client / "feature_store.yaml").write_text(yaml.format(project=name, registry=repo / "registry.pb"))
        for mode, shard_bytes in SHARD_BYTES.items():
            up = [BACKSIGHT, "-c", str(repo), "cluster", "up", "--executors", "2", "--vcores", "2", "--bind", "127.0.0.1:0"]
            up += ["--work-dir", str(work / f"cluster-{mode}"), "--scheduler-arg=--partitions=7", f"--scheduler-arg=--shard-bytes={shard_bytes}"]
            log = open(work / f"cluster-{mode}.log", "w")
            with subprocess.Popen(up, stdout=subprocess.PIPE, stderr=log, text=True) as cluster:
                try:
                    url = cluster.stdout.readline().split()[-1]
                    for number, (name, case) in enumerate(names.items()):
                        kind = ["parquet", "arrow", "parquet", "select"][number % 4] if mode == "shards" else "parquet"
                        runs += 1
                        client = work / "clients" / name
                        try:
                            ours = work / mode / name
                            spine = spine_of(case, kind, work)
                            by_cluster = retrieve(case, client, ours, spine, ["--scheduler", url])
                            check(case, ours)
                            if kind == "arrow":
                                check_order(case, ours)
                            embedded = retrieve(case, client, work / f"{mode}-embedded" / name, spine, [])
                            if by_cluster["report"] != embedded["report"]:
                                raise AssertionError("the join reports differ")
                            if by_cluster["engine"]["engine"] != "ballista":
                                raise AssertionError(f"it ran on {by_cluster['engine']}")
                        except (AssertionError, subprocess.TimeoutExpired, KeyError) as failure:
                            failures.append(f"{case.name} ({mode}): {failure}")
                finally:
                    cluster.send_signal(signal.SIGTERM)
                    cluster.wait(60)
            log.close()
            if failures:
                print((work / f"cluster-{mode}.log").read_text()[-4000:])
                break
    for failure in failures:
        print(failure)
    print(f"conformance, cluster of processes: {len(CASES)} cases, {runs} runs, {len(failures)} failed")
    return 1 if failures or len(CASES) != 52 else 0


if __name__ == "__main__":
    sys.exit(main())
