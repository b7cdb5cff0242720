"""How long the command line takes to answer: each verb several times in a fresh process.

python benchmarks/startup.py [--repeats 7]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = (["--help"], ["models"], ["check", "--help"], ["train", "--help"])


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    tool = str(Path(sys.executable).with_name("pixelwise"))
    print("| command | median s | best s |\n|---|---|---|")
    for arguments in COMMANDS:
        times = [seconds([tool, *arguments]) for _ in range(repeats)]
        print(f"| `pixelwise {' '.join(arguments)}` | {statistics.median(times):.2f} | {min(times):.2f} |")


if __name__ == "__main__":
    main()
