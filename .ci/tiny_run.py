"""Train a few steps on a few generated streets: a real bundle and data for the check without torch."""

import sys
from pathlib import Path

import pixelwise as pw
from pixelwise.data.synthetic import street_dataset, write_street

work = Path(sys.argv[1])
write_street(work / "data", street_dataset(8, size=(96, 128), splits=["train"] * 6 + ["val"] * 2))
pw.train(work / "data", out=work / "run", size="64x48", batch=2, max_steps=4)
