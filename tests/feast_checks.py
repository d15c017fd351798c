"""What the scripts share that bring in real Feast: they end with 0 where it is missing, and count what they check.

Import it first: a Python without Feast says so and goes no further.
"""
import argparse
import sys
import tempfile
import warnings
from pathlib import Path

try:
    import feast
    import pandas  # noqa: F401
except ImportError as missing:
    print(f"SKIPPED: {missing}: this Python has no Feast, so nothing was checked", file=sys.stderr)
    sys.exit(0)

warnings.simplefilter("ignore")

checks = 0


def check(condition, claim):
    global checks
    checks += 1
    if not condition:
        sys.exit(f"FAILED: {claim}")
    print(f"  ok: {claim}")


def run_with(option, default, words, run, page):
    """Reads one option of the command line and runs the checks in a folder that is gone afterwards."""
    parser = argparse.ArgumentParser(description=page, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(option, dest="given", default=default, help=words)
    given = parser.parse_args().given
    print(f"Feast {feast.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), given)
    print(f"{checks} checks passed")
