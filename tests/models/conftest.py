"""The network of a test class, built once for all its tests."""

from __future__ import annotations

import pytest

from pixelwise.models.network import SegmentationNetwork


@pytest.fixture(scope="class")
def network(request: pytest.FixtureRequest) -> SegmentationNetwork:
    """What ``build`` of the test class makes."""
    return request.cls().build()
