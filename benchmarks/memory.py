"""Peak memory of a training from the command line: 240x180, batch 8, decoded images cached.

python benchmarks/memory.py --data DIR [--steps 60]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pixelwise", "train", "--data", str(arguments.data), "--quiet"]
        command += ["--size", "240x180", "--batch", "8", "--max-steps", str(arguments.steps)]
        subprocess.run([*command, "--out", f"{folder}/run"], check=True, stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak memory of check, {arguments.steps} steps, export and evaluation: {peak:,.0f} MB")


if __name__ == "__main__":
    main()
