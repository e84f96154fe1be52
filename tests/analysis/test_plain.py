"""Results as plain data: what becomes of arrays and of infinite numbers, and the file."""

import json

import numpy as np
import pytest

from jaxscale.analysis._plain import plain, write_json


def test_plain_data_are_json_of_the_same_numbers(tmp_path):
    value = {1: np.float32(0.5), "ends": (np.asarray([1.0, np.inf]), np.nan), "why": "α ≥ 1"}
    expected = {"1": 0.5, "ends": [[1.0, None], None], "why": "α ≥ 1"}
    assert plain(value) == expected
    write_json(plain(value), tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == expected
    assert '"why": "α ≥ 1"' in text  # as people read it
    assert text.endswith("}\n")


def test_a_number_that_is_not_json_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_json({"a": np.nan}, tmp_path / "a.json")
    assert not (tmp_path / "a.json").exists()
    with pytest.raises(ValueError, match="`path`"):
        write_json({}, tmp_path / "none" / "a.json")
