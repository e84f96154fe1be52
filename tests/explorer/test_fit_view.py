"""The fit view without a browser: what it keeps, and which tables it takes."""

import dataclasses
import datetime
import queue
import threading
from types import SimpleNamespace

import numpy as np
import pandas
import pytest

pytest.importorskip("bokeh")

from bokeh.document import Document

from jaxscale.explorer import _fit_view
from jaxscale.explorer._fit_view import FitView
from jaxscale.explorer._page import Page

RUNS = pandas.DataFrame({"size": np.geomspace(1e6, 1e9, 8), "loss": np.linspace(4, 2, 8)})


def opened(table, monkeypatch, **given):
    """A view whose threads hand over to `ticks`; by its address it waits for a column."""
    ticks = queue.Queue()
    monkeypatch.setattr(Document, "add_next_tick_callback", lambda self, call: ticks.put(call))
    page = Page(Document(), given or {"form": "power_law", "column.x": "none"}, "runs")
    return FitView(page, table), ticks


def refused(*_):
    raise ValueError("too few runs")


@pytest.mark.parametrize("work", ["_compared", "_held_out", "_allocations"])
def test_a_fit_outlives_what_fails_beside_it(monkeypatch, work):
    view, ticks = opened(RUNS, monkeypatch)
    file = SimpleNamespace(with_held_out=refused)
    view.fitted = SimpleNamespace(compared=refused, at=refused, file=file)
    request = (view.fitted, 1e20) if work == "_allocations" else (view.fitted,)
    getattr(view, work).ask(request)
    ticks.get(timeout=20)()
    assert view.fitted is request[0]
    assert "too few runs" in view.texts["forms"].text + view.page.status.text


def test_what_fails_of_an_earlier_fit_is_not_said(monkeypatch):
    view, ticks = opened(RUNS, monkeypatch)
    earlier, view.fitted = SimpleNamespace(compared=refused, at=refused), SimpleNamespace()
    said = view.page.status.text
    for work, request in ((view._compared, (earlier,)), (view._allocations, (earlier, 1e20))):
        work.ask(request)
        ticks.get(timeout=20)()
    assert view.page.status.text == said
    assert view.texts["forms"].text == ""


def test_fits_leave_the_threads_of_sliders_alone(monkeypatch):
    names = []
    monkeypatch.setattr(
        _fit_view, "fitted", lambda *_: names.append(threading.current_thread().name) or 1 / 0
    )
    _, ticks = opened(RUNS, monkeypatch, form="power_law")
    ticks.get(timeout=20)()
    assert [name.startswith("jaxscale-explore-long") for name in names] == [True]


@pytest.mark.parametrize(
    "values", [[["a"]] * 8, [{"a": 1}] * 8, [datetime.datetime(2024, 1, d + 1) for d in range(8)]]
)
def test_columns_of_lists_objects_and_dates_are_not_offered(monkeypatch, values):
    view, _ = opened(RUNS.assign(other=values), monkeypatch)
    assert view.columns == ["size", "loss"]
    assert view._controls.groups == {}


def test_columns_of_one_name_are_refused(monkeypatch):
    table = RUNS.set_axis([0, "loss"], axis="columns").assign(**{"0": 1.0})
    with pytest.raises(ValueError, match="must name each column once, got '0' twice"):
        opened(table, monkeypatch)


def test_what_a_fit_refuses_is_said_for_its_request_alone(monkeypatch):
    monkeypatch.setattr(_fit_view, "fitted", refused)
    view, ticks = opened(RUNS, monkeypatch, form="power_law")
    ticks.get(timeout=20)()
    assert "too few runs" in view.page.status.text
    view.refresh()
    view._set(dataclasses.replace(view.request, columns={}))
    said = view.page.status.text
    assert "choose the column" in said
    ticks.get(timeout=20)()
    assert view.page.status.text == said


@pytest.mark.parametrize(("refits", "taken"), [("²", ""), ("20", "20")])
def test_refits_of_an_address_are_a_number(monkeypatch, refits, taken):
    view, _ = opened(RUNS, monkeypatch, refits=refits, **{"column.x": "none"})
    assert view.request.bootstrap == taken
