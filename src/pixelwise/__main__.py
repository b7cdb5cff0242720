"""``python -m pixelwise``, which is also what ``torchrun -m pixelwise train ...`` starts."""

from pixelwise.cli.main import main

if __name__ == "__main__":
    main()
