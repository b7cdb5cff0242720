"""The whole demo after set-up: its time, and the mean IoU on the demo's fixed test split.

python benchmarks/demo.py
"""

from __future__ import annotations

import tempfile
import time

from pixelwise.demo import demo


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = demo(f"{folder}/demo")
        seconds = time.perf_counter() - start
    print(result["table"])
    print(f"\nmean IoU {result['mean_iou']:.3f}, {seconds / 60:.1f} minutes in all")


if __name__ == "__main__":
    main()
