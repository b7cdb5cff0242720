"""Training: plan, loop, checkpoints, run folders, export to a bundle. Importing this needs no torch."""
