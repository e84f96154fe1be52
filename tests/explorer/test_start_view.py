"""The page of links."""

import pytest

pytest.importorskip("bokeh")

from bokeh.document import Document

from jaxscale.explorer import _start_view
from jaxscale.explorer._page import Page
from jaxscale.explorer._start_view import StartView, offered


def test_what_is_not_listed_is_counted_and_may_be_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(_start_view, "MOST_FILES", 2)
    for name in ("a.csv", "b.csv.gz", "C.CSV", "d.ndjson", "e.md"):
        (tmp_path / name).touch()
    page = Page(Document(), {}, "jaxscale")
    StartView(page, tmp_path)
    (tables,) = (text for d in page.main.children if "Tables here" in (text := d.text))
    assert tables.count("<a ") == 2
    assert "and 2 more: jaxscale explore NAME opens one" in tables
    assert str(tmp_path / "d.ndjson") in offered(tmp_path)
    assert str(tmp_path / "e.md") not in offered(tmp_path)
