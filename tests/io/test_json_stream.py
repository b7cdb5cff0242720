"""JSON record by record gives what json gives, and refuses what json refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixelwise.errors import DataError
from pixelwise.io.json_stream import read_members

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected a JSON object"),
        ("[]", "expected a JSON object"),
        ("{", "expecting a name in quotes at line 1, column 2"),
        ('{"a": 1', "expecting ','"),
        ('{"a": 1,}', "expecting a name"),
        ('{"a" 1}', "expecting ':'"),
        ('{"list": [1, 2', "expecting ','"),
        ('{"list": [1,\n2 3]}', "line 2, column 3"),
        ('{"list": {}}', "'list' should be a list"),
        ('{"a": 1} x', "something follows the end"),
        ('{"a": ' + "1" * 5000 + "}", "not valid JSON"),
        ('{"a": ' + "[" * 100000 + "}", "nested too deeply"),
    ],
)
def test_bad_text(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        list(read_members(path, ["list"]))
    assert str(path) in str(caught.value) and reason in str(caught.value)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.text(), VALUES, max_size=4), st.lists(VALUES, max_size=4), st.sampled_from([None, 1])
)
def test_as_json(tmp_path: Path, members: dict[str, Any], items: list[Any], indent: int | None) -> None:
    members.pop("list", None)
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**members, "list": items}, indent=indent), encoding="utf-8")
    found = list(read_members(path, ["list"]))
    assert found == [*members.items(), *(("list", item) for item in items)]
