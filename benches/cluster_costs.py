#!/usr/bin/env python3
"""What two executors cost beside one process, and what ten rows cost, on the workloads of benches/workloads.json.

    benches/cluster_costs.py train tinyspine --python VENV/bin/python

For each workload: `retrieve` in one process, then by `cluster up --executors 2 --vcores 1` on this machine, each one twice and
the better one taken (the first one warms up); then a spine of ten rows by the cluster, median of three. The bounds are those
that the cluster must keep: twice the time of one process plus two seconds, and two seconds for ten rows. A table goes to
standard output and, with every single run, to `runs/<date>-cluster-costs.json`.
"""

import argparse
import datetime
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

from run_peers import HERE, ROOT, feature_repo, generated

EXECUTORS = 2
TEN_ROWS_SECONDS_MAX = 2.0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="+", metavar="workload", help="names in benches/workloads.json")
    parser.add_argument("--python", default=sys.executable, help="one with pyarrow, for generator and spines")
    parser.add_argument("--binary", type=Path, help="default: the release build")
    parser.add_argument("--data", type=Path, help="where workloads are kept; default: the user's cache folder")
    parser.add_argument("--output", type=Path, default=HERE / "runs", help="where the figures go")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "backsight"
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    asked.data = (asked.data or cache / "bench").resolve()
    asked.binary = asked.binary or target / "release" / "backsight"
    asked.python = os.path.abspath(asked.python)
    return asked


def ten_rows(asked, spine, scratch):
    """The first ten rows of a spine."""
    ten = scratch / "ten.parquet"
    script = (
        "import sys, pathlib, pyarrow.parquet as pq\n"
        "first = min(pathlib.Path(sys.argv[1]).glob('*.parquet'))\n"
        "pq.write_table(pq.ParquetFile(first).read_row_group(0).slice(0, 10), sys.argv[2])\n"
    )
    subprocess.run([asked.python, "-c", script, spine, ten], check=True)
    return ten


class Cluster:
    """A scheduler and executors over a feature repo, as processes of this machine."""

    def __init__(self, binary, repo, scratch):
        work = scratch / "work"
        shutil.rmtree(work, ignore_errors=True)
        self.log = open(scratch / "cluster.log", "wb")
        self.process = subprocess.Popen(
            [binary, "-c", repo, "cluster", "up", "--executors", str(EXECUTORS), "--vcores", "1", "--work-dir", work],
            stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip
        self.url = self.process.stdout.readline().split()[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()


def seconds(asked, repo, scheduler, spine, output):
    """Wall time of one retrieval."""
    shutil.rmtree(output, ignore_errors=True)
    where = ["--scheduler", scheduler] if scheduler else []
    command = [asked.binary, "-c", repo, "--no-progress", *where, "retrieve", "--feature-service", "svc"]
    began = time.monotonic()
    done = subprocess.run([*command, "--spine", spine, "--output", output], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{repo}: exit code {done.returncode}: {done.stderr}")
    return round(time.monotonic() - began, 2)


def measured(asked, workload, scratch):
    asked_here = SimpleNamespace(**{**vars(asked), "workload": workload})
    folder, definition = generated(asked_here)
    repo = feature_repo(folder, definition)
    subprocess.run([asked.binary, "-c", repo, "apply", "--yes"], check=True, stdout=subprocess.DEVNULL)
    whole = folder / "spine"
    ten = ten_rows(asked, whole, scratch)
    with Cluster(asked.binary, repo, scratch) as cluster:
        one = [seconds(asked, repo, None, whole, scratch / "one") for _ in range(2)]
        two = [seconds(asked, repo, cluster.url, whole, scratch / "two") for _ in range(2)]
        rows = [seconds(asked, repo, cluster.url, ten, scratch / "ten") for _ in range(3)]
    bound = round(2 * min(one) + 2, 2)
    return {
        "workload": workload,
        "one_process": one,
        "two_executors": two,
        "bound": bound,
        "kept": min(two) <= bound,
        "ten_rows": rows,
        "ten_rows_kept": statistics.median(rows) <= TEN_ROWS_SECONDS_MAX,
    }


def main():
    asked = arguments()
    records = []
    print("| workload | one process | two executors | bound | kept | 10 rows | within 2 s |")
    print("|---|---:|---:|---:|---|---:|---|")
    with tempfile.TemporaryDirectory(prefix="backsight-costs-") as scratch:
        for workload in asked.workloads:
            record = measured(asked, workload, Path(scratch))
            records.append(record)
            print(
                f"| {workload} | {min(record['one_process'])} | {min(record['two_executors'])} | {record['bound']} | "
                f"{'yes' if record['kept'] else '**no**'} | {statistics.median(record['ten_rows'])} | "
                f"{'yes' if record['ten_rows_kept'] else '**no**'} |",
                flush=True,
            )
    today = datetime.date.today().isoformat()
    path = asked.output / f"{today}-cluster-costs.json"
    path.write_text(json.dumps({"date": today, "executors": EXECUTORS, "runs": records}, indent=1) + "\n")
    print(f"\n{path}")


if __name__ == "__main__":
    main()
