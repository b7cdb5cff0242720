"""Calling a verb through the installed entry point's ``main``, in this process; and something to predict."""

import sys

import pytest
from PIL import Image

from pixelwise.cli.main import main
from tests.conftest import draw_shapes


@pytest.fixture
def pixelwise(monkeypatch, capsys):
    """Call a verb; gives (exit code, stdout, stderr)."""

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pixelwise", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def photos(tmp_path):
    """Five pictures in two sub-folders, of three sizes."""
    folder = tmp_path / "photos"
    for number, size in enumerate([(64, 80), (64, 80), (50, 33), (120, 160), (64, 80)]):
        target = folder / ("a" if number < 3 else "b/c") / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_shapes(number, size)[0]).save(target)
    return folder
