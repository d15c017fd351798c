#!/usr/bin/env python3
"""Runs a workload through Backsight and its peers in one go, compares the results, writes the figures down.

    benches/run_peers.py tiny --python VENV/bin/python
    benches/run_peers.py train --engines backsight,duckdb --repetitions 5

The protocol is in benches/README.md. This script needs nothing but Python; generator, peers and comparison run as
processes of `--python`, which needs duckdb, polars, pyarrow and pytz.
"""
import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# The first result is what the others are compared with; the floor re-encodes DuckDB's.
ENGINES = ["duckdb", "backsight", "polars", "floor"]
# Run when they are asked for: what they need is large, or what they take; `floor_rs` is Backsight's own `bench floor`, which
# reads folders that `bench generate` wrote.
MORE_ENGINES = ["feast", "floor_rs"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload", help="a name in benches/workloads.json")
    parser.add_argument("--engines", default=",".join(ENGINES), help=f"default: {','.join(ENGINES)}; also {', '.join(MORE_ENGINES)}")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--python", default=sys.executable, help="for generator, peers and comparison")
    parser.add_argument("--binary", type=Path, help="default: the release build")
    parser.add_argument("--data", type=Path, help="where workloads are kept; default: the user's cache folder")
    parser.add_argument("--output", type=Path, default=HERE / "runs", help="where the figures go")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--timeout", type=int, default=900, help="seconds for one run")
    asked = parser.parse_args()
    asked.engines = asked.engines.split(",")
    engines = ENGINES + MORE_ENGINES
    unknown = [engine for engine in asked.engines if engine not in engines]
    if unknown:
        parser.error(f"unknown engine `{unknown[0]}`; there are: {', '.join(engines)}")
    if "floor" in asked.engines and "duckdb" not in asked.engines:
        parser.error("the floor encodes DuckDB's result again, so it needs `duckdb` among the engines")
    if "floor_rs" in asked.engines and "backsight" not in asked.engines:
        parser.error("`floor_rs` encodes Backsight's result again, so it needs `backsight` among the engines")
    asked.engines.sort(key=engines.index)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backsight"
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    asked.data = (asked.data or cache / "bench").resolve()
    asked.binary = asked.binary or target / "release" / "backsight"
    # Not resolved: the path of a virtual environment's Python is what makes it one.
    asked.python = os.path.abspath(asked.python)
    if "backsight" in asked.engines and not asked.binary.exists():
        parser.error(f"`{asked.binary}` is missing: cargo build --release -p backsight")
    return asked


def generated(asked):
    """The workload's folder, generated unless it is there."""
    folder = asked.data / f"{asked.workload}-{asked.seed}"
    definition = folder / "workload.json"
    wanted = json.loads((HERE / "workloads.json").read_text())
    if asked.workload not in wanted or asked.workload == "_":
        names = ", ".join(name for name in wanted if name != "_")
        sys.exit(f"unknown workload `{asked.workload}`; there are: {names}")
    if definition.exists():
        found = json.loads(definition.read_text())
        if all(found[key] == value for key, value in wanted[asked.workload].items()):
            return folder, found
    shutil.rmtree(folder, ignore_errors=True)
    say(f"generating {asked.workload}")
    subprocess.run(
        [asked.python, str(HERE / "generate.py"), asked.workload, str(folder), str(asked.seed)], check=True
    )
    return folder, json.loads(definition.read_text())


def feature_repo(folder, workload):
    """A feature repo over the workload's files, as a user would write it."""
    # Beside the files: below them `bench run` would take its definitions for more of its own.
    repo = folder.with_name(f"{folder.name}.repo")
    shutil.rmtree(repo, ignore_errors=True)
    repo.mkdir()
    (repo / "feature_store.yaml").write_text(
        "project: bench\nprovider: local\nregistry: registry.pb\noffline_store: {type: duckdb}\n"
        "online_store: {type: sqlite, path: online.db}\nentity_key_serialization_version: 3\n"
    )
    documents = ["kind: Entity\nname: entity\njoin_keys: [entity_id]\nvalue_type: INT64\n"]
    for name, _, _, features, ttl_hours, _, _ in workload["views"]:
        documents.append(
            f"kind: FileSource\nname: {name}_source\npath: {folder / name}\n"
            "timestamp_field: event_timestamp\ncreated_timestamp_column: created\n"
        )
        schema = ", ".join(
            f"{{name: {name}_f{number}, dtype: {'Float32' if number % 3 else 'Float64'}}}"
            for number in range(features)
        )
        ttl = f"ttl: {ttl_hours}h\n" if ttl_hours else ""
        documents.append(
            f"kind: FeatureView\nname: {name}\nentities: [entity]\n{ttl}schema: [{schema}]\n"
            f"source: {name}_source\nonline: false\n"
        )
    views = ", ".join(view[0] for view in workload["views"])
    documents.append(f"kind: FeatureService\nname: svc\nfeatures: [{views}]\n")
    (repo / "definitions.yaml").write_text("---\n".join(documents))
    return repo


def command(asked, engine, folder, repo, output):
    if engine == "backsight":
        return [
            str(asked.binary), "-c", str(repo), "--no-progress", "retrieve", "--feature-service", "svc",
            "--spine", str(folder / "spine"), "--output", str(output),
        ]  # fmt: skip
    if engine == "floor_rs":
        return [
            str(asked.binary), "--output-format", "json", "bench", "floor", str(folder),
            "--dataset", str(result_path(folder, "backsight")),
        ]  # fmt: skip
    return [asked.python, str(HERE / f"peer_{engine}.py"), str(folder), str(output)]


def measured(command, log, timeout):
    """Runs a process to its end: exit code, wall and CPU seconds, and the most memory that it held."""
    began = time.monotonic()
    with open(log, "wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() - began > timeout:
                os.killpg(process.pid, 9)
                timeout = float("inf")
            time.sleep(0.005)
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "exit": process.returncode,
        "wall_seconds": round(time.monotonic() - began, 3),
        "user_seconds": round(usage.ru_utime, 3),
        "system_seconds": round(usage.ru_stime, 3),
        # Linux counts in KiB.
        "memory_bytes_max": usage.ru_maxrss * 1024,
    }


def clear(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def result_path(folder, engine):
    # `peer_floor.py` finds DuckDB's result by this name.
    return folder / (f"result_{engine}" if engine == "backsight" else f"result_{engine}.parquet")


def repetition(asked, folder, repo, number):
    """Every engine once, in turn, so that a slow moment of the machine meets all of them."""
    runs = []
    for engine in asked.engines:
        output = result_path(folder, engine)
        clear(output)
        log = folder / f"log_{engine}.txt"
        run = measured(command(asked, engine, folder, repo, output), log, asked.timeout)
        run.update(engine=engine, repetition=number)
        say(f"{number}  {engine:<10} {run['wall_seconds']:>8.2f} s  exit {run['exit']}")
        if run["exit"] != 0:
            tail = log.read_text(errors="replace")[-2000:]
            sys.exit(f"`{engine}` ended with {run['exit']}:\n{tail}")
        if engine == "floor_rs":
            # Its steps are processes that it has measured itself.
            floor = json.loads(log.read_text())
            run.update({key: floor[key] for key in run if key in floor}, steps=floor["steps"])
        runs.append(run)
    return runs


def compared(asked, folder):
    """Each result against the first engine's."""
    first, *others = [engine for engine in asked.engines if engine != "floor_rs"]
    found = {}
    for engine in others:
        command = [asked.python, str(HERE / "compare.py")]
        command += [str(result_path(folder, name)) for name in (first, engine)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if not done.stdout:
            sys.exit(f"the results of `{first}` and `{engine}` could not be compared")
        answer = json.loads(done.stdout)
        found.setdefault(first, {**answer["a"], "differences": []})
        found[engine] = {**answer["b"], "differences": answer["differences"]}
    return found


def medians(asked, runs):
    rows = []
    for engine in asked.engines:
        own = [run for run in runs if run["engine"] == engine]
        middle = {
            key: round(statistics.median(run[key] for run in own), 3)
            for key in ("wall_seconds", "user_seconds", "system_seconds", "memory_bytes_max")
        }
        middle["cpu_seconds"] = round(
            statistics.median(run["user_seconds"] + run["system_seconds"] for run in own), 3
        )
        walls = [run["wall_seconds"] for run in own]
        rows.append({"engine": engine, **middle, "wall_seconds_min": min(walls), "wall_seconds_max": max(walls)})
    return rows


def text_of(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def machine():
    model = next(
        (line.split(":", 1)[1].strip() for line in lines_of("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": platform.platform(),
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": memory,
        "load_before": os.getloadavg()[0],
    }


def lines_of(path):
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def versions(asked):
    found = {}
    for peer in ("duckdb", "polars", "feast"):
        if peer in asked.engines:
            found[peer] = text_of([asked.python, "-c", f"import {peer}; print({peer}.__version__)"]) or "unknown"
    if "backsight" in asked.engines:
        found["backsight"] = (text_of([str(asked.binary), "--version"]) or "").removeprefix("backsight ")
    found["commit"] = text_of(["git", "rev-parse", "--short=12", "HEAD"])
    found["changed"] = bool(text_of(["git", "status", "--porcelain"]))
    return found


def table(record):
    floors = {row["engine"]: row for row in record["medians"] if row["engine"].startswith("floor")}
    floor = floors.get("floor_rs") or floors.get("floor")
    workload, machine = record["workload"], record["machine"]
    spine_rows, entities, days = workload["spine"]
    views = ", ".join(
        f"{name}: {rows:,} rows, {features} features, ttl {f'{ttl} h' if ttl else 'none'}"
        for name, rows, _, features, ttl, _, _ in workload["views"]
    )
    lines = [
        f"# {workload['name']}, {record['date']}",
        "",
        f"Spine: {spine_rows:,} rows, {entities:,} entities, {days} days. {views}.",
        "",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, "
        f"load {machine['load_before']:.1f} before; medians of {record['repetitions']} "
        f"interleaved repetitions; "
        + ", ".join(f"{name} {value}" for name, value in record["versions"].items() if name != "changed")
        + (" (with changes)" if record["versions"]["changed"] else "")
        + ".",
        "",
        "| engine | wall s | min–max | user + system s | peak MiB | wall / floor | rows | same rows |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in record["medians"]:
        result = record["results"].get(row["engine"], {})
        differences = result.get("differences")
        same = "–" if differences is None else "yes" if not differences else "; ".join(differences)
        ratio = f"{row['wall_seconds'] / floor['wall_seconds']:.2f}" if floor else "–"
        lines.append(
            f"| {row['engine']} | {row['wall_seconds']:.2f} "
            f"| {row['wall_seconds_min']:.2f}–{row['wall_seconds_max']:.2f} | {row['cpu_seconds']:.2f} "
            f"| {row['memory_bytes_max'] / 2**20:.0f} | {ratio} | {result.get('rows', '–')} | {same} |"
        )
    return "\n".join(lines) + "\n"


def say(text):
    print(text, file=sys.stderr, flush=True)


def main():
    asked = arguments()
    folder, workload = generated(asked)
    repo = feature_repo(folder, workload)
    if "backsight" in asked.engines:
        subprocess.run([str(asked.binary), "-c", str(repo), "apply", "--yes"], check=True, stdout=sys.stderr)
    record = {
        "date": datetime.date.today().isoformat(),
        "workload": workload,
        "machine": machine(),
        "versions": versions(asked),
        "repetitions": asked.repetitions,
    }
    runs = [run for number in range(asked.repetitions) for run in repetition(asked, folder, repo, number)]
    record["results"] = compared(asked, folder)
    record["medians"] = medians(asked, runs)
    record["runs"] = runs
    asked.output.mkdir(parents=True, exist_ok=True)
    name = asked.output / f"{record['date']}-{asked.workload}"
    with tempfile.NamedTemporaryFile("w", dir=asked.output, delete=False) as draft:
        json.dump(record, draft, indent=1)
        draft.write("\n")
    os.chmod(draft.name, 0o644)
    os.replace(draft.name, f"{name}.json")
    Path(f"{name}.md").write_text(table(record))
    print(table(record))
    for engine in asked.engines:
        clear(result_path(folder, engine))
    different = [engine for engine, result in record["results"].items() if result["differences"]]
    if different:
        say(f"results differ: {', '.join(different)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
