#!/usr/bin/env python3
"""Does a cluster survive what can happen to it? Runs the scenarios and prints what became of each.

    .ci/seaweedfs.py --weed WEED -- PYTHON tests/chaos/run.py [--ci] [--only NAME]... [--seed N] [--keep]

`--only executor-killed-in-map-stage --seed 7 --keep` repeats one with its faults and keeps all logs; see README.md.
"""
import argparse
import faulthandler
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import scenarios  # noqa: E402, F401  (registers them)
from dataset import Wrong  # noqa: E402
from s3client import S3  # noqa: E402
from scenario import SCENARIOS, Lab, Skip  # noqa: E402

SETTLE_SECONDS_MAX = 90


class Deadline(Exception):
    """A scenario has taken longer than it may."""


def on_alarm(_signal, _frame):
    raise Deadline


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backsight", default=os.environ.get("BACKSIGHT"), help="the binary [BACKSIGHT]")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="only this scenario; may be repeated")
    parser.add_argument("--tag", action="append", default=[], help="only scenarios with this tag: s3, local, net, embedded")
    parser.add_argument("--ci", action="store_true", help="only what runs before every merge")
    parser.add_argument("--seed", type=int, default=1, help="of the faults [1]")
    parser.add_argument("--rounds", type=int, default=1, help="all of it so often, each time with the next seed [1]")
    parser.add_argument("--budget-seconds", type=float, help="begin no scenario after this; the rest counts as skipped")
    parser.add_argument("--no-skip", action="store_true", help="a scenario that cannot be tried here is a failure")
    parser.add_argument("--keep", action="store_true", help="keep work dirs, logs and data, and say where")
    parser.add_argument("--list", action="store_true", help="name all scenarios and end")
    return parser.parse_args()


def chosen(asked):
    unknown = set(asked.only) - set(SCENARIOS)
    if unknown:
        sys.exit(f"no scenario {', '.join(sorted(unknown))}; `--list` names all")
    found = [scenario for scenario in SCENARIOS.values() if not asked.only or scenario.name in asked.only]
    found = [scenario for scenario in found if not asked.tag or scenario.tags & set(asked.tag)]
    return [scenario for scenario in found if "ci" in scenario.tags or not asked.ci]


def run_one(lab, scenario, seed):
    """(passed | failed | skipped, what there is to say)."""
    lab.begin(seed)
    signal.alarm(scenario.seconds_max)
    outcome, text = "failed", ""
    try:
        try:
            text = scenario.run(lab)
        finally:
            # A fault that stays would be blamed on the next one.
            lab.heal()
        signal.alarm(SETTLE_SECONDS_MAX)
        lab.settle()
        lab.end_own()
        outcome = "passed"
    except Skip as reason:
        outcome, text = "skipped", str(reason)
    except Deadline:
        text = f"hangs: not done within its deadline ({scenario.seconds_max} s, {SETTLE_SECONDS_MAX} s to settle)\n" + traceback.format_exc(limit=-6)
    except Wrong as reason:
        text = str(reason)
    except Exception:
        text = "the harness failed:\n" + traceback.format_exc()
    finally:
        signal.alarm(0)
    if outcome == "failed":
        text = f"{text}\n{lab.tail()}"
        lab.drop_shared()
    lab.end_own(kill=True)
    return outcome, text


def end(lab):
    """The shared clusters end in good order, too."""
    signal.alarm(SETTLE_SECONDS_MAX)
    try:
        lab.end()
        return None
    except (Wrong, Deadline) as reason:
        return f"{reason or 'hangs'}\n{lab.tail()}"
    finally:
        signal.alarm(0)


def run(asked, lab, todo):
    began, counts, failed = time.monotonic(), {"passed": 0, "failed": 0, "skipped": 0}, []
    for number in range(asked.rounds):
        for scenario in todo:
            seed, at = asked.seed + number, time.monotonic()
            if asked.budget_seconds and at - began > asked.budget_seconds:
                outcome, text = "skipped", "the time is used up"
            else:
                outcome, text = run_one(lab, scenario, seed)
            if outcome == "skipped" and asked.no_skip:
                outcome, text = "failed", f"must not be skipped: {text}"
            counts[outcome] += 1
            first, _, rest = text.partition("\n")
            notes = " ".join(lab.notes)
            print(f"{outcome:8} {scenario.name:52} seed {seed:<4} {time.monotonic() - at:6.1f} s  {first}  {notes}", flush=True)
            if outcome == "skipped":
                print(f"!!!!!!!! SKIPPED, nothing was proved: {scenario.question}", flush=True)
            if outcome == "failed":
                failed.append(f"--only {scenario.name} --seed {seed}")
                print(f"{scenario.question}\n{rest}\n", flush=True)
    problem = end(lab)
    if problem:
        counts["failed"] += 1
        failed.append("(the end of the shared clusters)")
        print(f"failed   the end of the shared clusters: {problem}", flush=True)
    for line in failed:
        print(f"again: run.py {line} --keep")
    print(f"chaos took {time.monotonic() - began:.0f} s")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped", flush=True)
    return 1 if counts["failed"] or not counts["passed"] else 0


def main():
    asked = arguments()
    todo = chosen(asked)
    if asked.list:
        for scenario in todo:
            print(f"{scenario.name:52} {' '.join(sorted(scenario.tags)):18} {scenario.seconds_max:4} s  {scenario.question}")
        return 0
    if not asked.backsight or not Path(asked.backsight).is_file():
        sys.exit("name the binary with --backsight or BACKSIGHT")
    faulthandler.enable()
    signal.signal(signal.SIGALRM, on_alarm)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="backsight-chaos-"))
    lab = Lab(folder, Path(asked.backsight).resolve(), S3.of_environment())
    try:
        return run(asked, lab, todo)
    finally:
        if asked.keep:
            print(f"kept: {folder}", file=sys.stderr)
        lab.remove(asked.keep)


if __name__ == "__main__":
    sys.exit(main())
