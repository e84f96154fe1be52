"""Texts state no number that another place counts or measures."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_descriptions_of_presets_name_no_durations():
    presets = sorted((ROOT / "jaxscale/papers").glob("*/presets/*.toml"))
    assert presets
    for path in presets:
        description = str(tomllib.loads(path.read_text()).get("description", ""))
        assert not re.search(r"\b(hours?|minutes?|cores?)\b", description), path.name


def test_the_index_counts_the_notebooks():
    words = "One Two Three Four Five Six Seven Eight Nine Ten".split()
    count = len(list((ROOT / "notebooks").glob("[0-9]*.ipynb")))
    assert f"{words[count - 1]} notebooks" in (ROOT / "docs/index.md").read_text()
