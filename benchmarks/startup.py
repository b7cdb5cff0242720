"""How long the command line takes to answer: each verb several times in a fresh process.

python benchmarks/startup.py [--repeats 7] [--model BUNDLE --image FILE]

With a model and an image also until the image is labelled: with the compiled graph in the cache, and without.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMANDS = (["--help"], ["models"], ["check", "--help"], ["train", "--help"])


def seconds(command: list[str], cache: str | None = None) -> float:
    environment = os.environ | ({"XDG_CACHE_HOME": cache} if cache else {})
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def first_masks(tool: str, model: str, image: str, repeats: int) -> dict[str, list[float]]:
    """Seconds until one image is labelled, by what is in the cache."""
    times: dict[str, list[float]] = {"warm cache": [], "empty cache": []}
    with tempfile.TemporaryDirectory() as folder:
        command = [tool, "predict", image, "--model", model, "--quiet", "--out"]
        for number in range(repeats + 1):
            for kind in times:
                cache = f"{folder}/cache" if kind == "warm cache" else f"{folder}/cache{number}"
                taken = seconds([*command, f"{folder}/{kind} {number}"], cache)
                if number:  # the first one fills the warm cache
                    times[kind].append(taken)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--model")
    parser.add_argument("--image")
    options = parser.parse_args()
    repeats = options.repeats
    tool = str(Path(sys.executable).with_name("pixelwise"))
    print("| command | median s | best s |\n|---|---|---|")
    for arguments in COMMANDS:
        times = [seconds([tool, *arguments]) for _ in range(repeats)]
        print(f"| `pixelwise {' '.join(arguments)}` | {statistics.median(times):.2f} | {min(times):.2f} |")
    if options.model and options.image:
        for kind, times in first_masks(tool, options.model, options.image, repeats).items():
            print(f"| `pixelwise predict`, {kind} | {statistics.median(times):.2f} | {min(times):.2f} |")


if __name__ == "__main__":
    main()
