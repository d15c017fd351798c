"""Does a cluster of the binary under test survive its faults? The scenarios of tests/chaos that run before every merge.

`.ci/run` starts it beside an S3 store, with BACKSIGHT (the binary) and a Python that has pyarrow. None may be skipped.
"""
import os
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).resolve().parent.parent / "chaos" / "run.py"
COMMAND = [sys.executable, str(RUN), "--ci", "--no-skip", "--backsight", os.environ["BACKSIGHT"]]

if __name__ == "__main__":
    sys.exit(subprocess.run(COMMAND).returncode)
