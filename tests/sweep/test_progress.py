"""Chunks, progress and remaining time follow the clock, which these tests turn by hand."""

import functools
import itertools
import json
import os
import threading
import weakref
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import zarr
from systems import ONLINE as SMALL

import jaxscale as js
from jaxscale.sweep import (
    _bucket as bucket,
    _execute as execute,
    _progress as progress,
    _timings as timings,
)
from jaxscale.sweep._bucket import recut
from jaxscale.sweep._compute import Task, compute
from jaxscale.sweep._layout import CHECKSUM, checksum
from jaxscale.sweep._plan import START_SECONDS
from jaxscale.sweep._program import Program
from jaxscale.sweep._progress import Progress

UNUSABLE = ("NaN", "Infinity", "0", "1e999", "1" + "0" * 400, "null", "[1, 2]")
GRID = js.Grid(SMALL, {"learning_rate": [0.1, 0.2]}, seeds=12)


@pytest.fixture
def planned(monkeypatch):
    """Twelve groups of two runs in one chunk."""
    monkeypatch.setattr(bucket, "cached_group", lambda *_: 2)
    monkeypatch.setattr("jax.local_device_count", lambda: 1)
    plan = js.plan(GRID)
    (only,) = plan.buckets
    assert (only.group, only.n_chunks, only.per_call) == (2, 1, 16)
    return plan


def slow(seconds):
    """`compute` by a clock on which every call of a program takes so long."""
    return functools.partial(compute, clock=functools.partial(next, itertools.count(0.0, seconds)))


def test_calls_are_as_long_as_the_clock_allows(planned):
    root, calls = np.zeros(2, np.uint32), []
    task = Task(planned.buckets[0].only(0), root, planned.options)
    lasts = iter([0.0, 0.1, 0.2, 0.3, 0.3, 1.3, 1.3, 1.4])  # the third call is slow
    clock = functools.partial(next, lasts)
    compute(task, advanced=lambda *call: calls.append(call[0]), clock=clock)
    assert calls == [2, 10, 12]
    part = slow(1.0)(task, most_seconds=0.5)
    assert len(part.values["loss"]) == 2
    at_once = compute(task, clock=lambda: 0.0)
    for begun in (part, at_once):  # a part, or more than all, for the chunk became shorter
        joined = compute(task, begun=begun)
        for name, values in at_once.values.items():
            np.testing.assert_array_equal(joined.values[name], values)


@pytest.mark.parametrize(
    ("seconds", "most", "in_memory", "chunk"),
    [
        (0.01, None, 1e6, 24),
        (0.8, None, 1e6, 24),
        (1.0, None, 1e6, 8),
        (2.4, None, 1e6, 4),
        (100.0, None, 1e6, 2),
        (1, 5, 1e6, 4),
        (1.0, None, 6, 6),  # as many runs as the host has memory for
    ],
)
def test_chunks_are_cut_by_measured_time(planned, monkeypatch, seconds, most, in_memory, chunk):
    (only,) = planned.buckets
    run_bytes = 2 * bucket.HOST_COPIES * only.result_bytes
    monkeypatch.setattr(bucket, "host_memory", lambda: in_memory * run_bytes)
    cut = recut(only, seconds / only.group_seconds, most)
    assert cut.chunk == chunk
    assert (cut.group, cut.per_call) == (only.group, only.per_call)  # the same program


def test_a_new_store_is_cut_by_the_time_of_its_first_runs(planned, monkeypatch, tmp_path):
    reference = js.run(planned)
    with monkeypatch.context() as patch:
        patch.setattr(execute, "compute", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):  # in a session that finishes nothing
            js.run(planned, store=tmp_path / "a.zarr")
    with monkeypatch.context() as patch:
        patch.setattr(execute, "compute", slow(1.0))
        runs = js.run(planned, store=tmp_path / "a.zarr")
    (cut,) = json.loads(runs.attrs["plan"])["buckets"]
    assert (cut["chunks"], cut["runs_per_chunk"]) == (3, 8)
    assert len(json.loads(runs.attrs["sessions"])) == 2
    assert runs.equals(reference)


@pytest.mark.parametrize(
    ("seconds", "device", "cut"),
    [(12.0, None, (5, 10)), (0.9, None, (1, 48)), (12.0, "1 x H100 (cuda)", (1, 48))],
)
def test_an_extension_is_cut_by_the_time_of_the_stored_runs(
    planned, monkeypatch, tmp_path, seconds, device, cut
):
    path = tmp_path / "a.zarr"
    reference = js.run(planned, store=path)
    (session,) = json.loads(reference.attrs["sessions"])
    session |= {"wall_seconds": seconds + 30.0, "compile_seconds": 30.0}
    session["device"] = device or session["device"]
    root = zarr.open_group(path, mode="r+")
    attributes = {**root.attrs, "sessions": json.dumps([session])}
    root.attrs.put(attributes | {CHECKSUM: checksum(attributes)})
    larger = js.run(GRID.replace(seeds=36), store=path)
    assert larger.sel(seed=slice(0, 11)).equals(reference)
    old, new = json.loads(larger.attrs["plan"])["buckets"]
    assert (old["chunks"], old["runs_per_chunk"]) == (1, 24)
    assert (new["chunks"], new["runs_per_chunk"]) == cut


def test_remaining_time_follows_the_clock(planned):
    now = [0.0]
    (only,) = planned.buckets
    shown = Progress([only, only], [24, 24], clock=lambda: now[0])
    assert shown.seconds_remaining is None
    shown.compile()
    now[0] = 30.0
    assert str(shown) == "0 of 48 runs (0%) after 30.0 s, compiling"
    shown.advance(0, 4, 1.0)  # compilation apart
    assert shown.seconds_remaining == pytest.approx(11.0)
    now[0] = 32.0
    assert shown.seconds_remaining == pytest.approx(9.0)
    shown.advance(0, 4, 1.0)
    assert shown.seconds_remaining == pytest.approx(40 * 3 / 8)  # with what came between
    assert str(shown) == "8 of 48 runs (17%) after 32.0 s, about 15.0 s remaining"
    shown.advance(0, 400, 0.0)  # padding is no run
    shown.advance(1, 24, 0.0)
    assert (shown.done, shown.seconds_remaining) == (48, 0.0)


@pytest.mark.parametrize(("show", "lines"), [(None, 1), (False, 0)])
def test_a_line_where_there_is_no_terminal(planned, monkeypatch, capsys, show, lines):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    printed = threading.Event()

    def spy(*arguments, print=print, **streams):
        print(*arguments, **streams)
        printed.set()

    monkeypatch.setattr("builtins.print", spy)
    with Progress(planned.buckets, [24]).shown(show):
        assert printed.wait(5.0 if lines else 0.0) == bool(lines)
    assert capsys.readouterr().err.count("0 of 24 runs (0%)") >= lines


def test_plans_follow_what_was_timed(planned, monkeypatch, tmp_path):
    grid = GRID.replace(seeds=2)
    monkeypatch.setattr(timings, "compiled_folder", lambda: None)
    first = js.plan(grid)
    timings.keep_time(SMALL, 1.0, 3.0)  # nothing is kept: --no-cache
    assert not js.plan(grid).is_calibrated
    assert "no such run was timed" in str(first)
    monkeypatch.setattr(timings, "compiled_folder", lambda: tmp_path)
    (bucket,) = first.buckets
    estimated = bucket.seconds / first.n_runs
    timings.keep_time(SMALL, 100 * estimated, 2000 * estimated)
    assert not js.plan(grid).is_calibrated  # such large runs say nothing of these
    timings.keep_time(SMALL, estimated, 7 * estimated)
    timings.keep_time(SMALL, 1.1 * estimated, 5.5 * estimated)  # in its place
    with timings.untimed():  # other threads compute, too
        timings.keep_time(SMALL, estimated, 99 * estimated)
    again = js.plan(grid)
    assert again.seconds == pytest.approx(START_SECONDS + 5 * bucket.seconds)
    assert again.buckets[0].chunk == first.buckets[0].chunk
    assert "no such run" not in str(again)
    other = js.replace(SMALL, "schedule", js.LinearDecay())
    assert not js.plan(js.Grid(other, seeds=2)).is_calibrated  # a part of another kind
    (file,) = tmp_path.iterdir()
    name = timings._name(SMALL)
    for content in ("[half", "[]", "null", *(f'{{"{name}": [[1, {x}]]}}' for x in UNUSABLE)):
        file.write_text(content)
        assert not js.plan(grid).is_calibrated


def test_plans_of_untimed_runs_follow_the_speed_of_the_cores(planned, monkeypatch, tmp_path):
    seconds = [0.5]

    def timed():
        return seconds[-1]

    monkeypatch.setattr(timings, "_product_seconds", timed)
    monkeypatch.setattr(timings, "compiled_folder", lambda: None)
    (bucket,) = planned.buckets
    first, other = js.plan(planned.grid).seconds, js.plan(planned.grid, target="h200").seconds
    monkeypatch.setattr(timings, "compiled_folder", lambda: tmp_path)
    assert js.plan(planned.grid).seconds == first  # timed again, and put into the folder
    seconds.append(1.0)
    assert js.plan(planned.grid).seconds == first
    monkeypatch.setattr(timings, "compiled_folder", lambda: None)
    twice = js.plan(planned.grid).seconds
    assert twice - START_SECONDS == pytest.approx(2 * (first - START_SECONDS))
    assert first != START_SECONDS + bucket.seconds
    assert js.plan(planned.grid, target="h200").seconds == other  # other devices than these


def test_the_time_of_products_is_the_shortest_of_the_processor_for_each_device(monkeypatch):
    ticks = [0.0, 9.0, *np.ravel([(t, t + 4.0) for t in range(timings.N_TIMES - 1)]), 50.0, 52.0]
    monkeypatch.setattr(timings.time, "process_time", iter(ticks).__next__)
    monkeypatch.setattr(timings.jax, "local_devices", lambda: [None, None])
    monkeypatch.setattr(timings, "_products", lambda matrices: matrices)
    assert timings._product_seconds.__wrapped__() == 1.0  # 2 s of two devices


def test_products_are_computed_as_often_as_is_said(monkeypatch):
    half = np.broadcast_to(0.5 * np.eye(timings.SIZE, dtype=np.float32), (8,) + (timings.SIZE,) * 2)
    monkeypatch.setattr(timings, "N_PRODUCTS", 5)
    products = timings._products.__wrapped__(jnp.asarray(half))
    np.testing.assert_allclose(products, 0.5**5 * half, rtol=1e-6)


@pytest.mark.parametrize("step", ["mkdir", "replace"])
def test_times_that_cannot_be_kept_are_not_missed(monkeypatch, tmp_path, step):
    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(timings, "compiled_folder", lambda: tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(*{"mkdir": (os, "mkdir"), "replace": (Path, "replace")}[step], refuse)
        timings.keep_time(SMALL, 1.0, 3.0)
    assert not list(tmp_path.iterdir())


def test_parts_of_a_chunk_hold_no_more_than_their_own_results(planned, monkeypatch):
    parts, call = [], Program.__call__

    def watched(*arguments):
        parts.append(call(*arguments))
        return parts[-1]

    monkeypatch.setattr(Program, "__call__", watched)
    js.run(planned)
    assert len(parts) > 1
    assert all(value.base is None for part in parts for value in part.values())


def test_no_answer_is_held_while_the_next_is_computed(monkeypatch):
    answers, alive = [], []

    def watched(*arguments, **named):
        alive.append(sum(answer() is not None for answer in answers))
        answer = compute(*arguments, **named)
        answers.append(weakref.ref(answer))
        return answer

    monkeypatch.setattr(execute, "compute", watched)
    js.run(js.plan(GRID.replace(seeds=3), max_runs_per_chunk=2))
    assert alive == [0, 1, 0, 0]  # the first chunk goes on where the pilot ended


def test_a_session_keeps_its_times(planned, monkeypatch, tmp_path):
    monkeypatch.setattr(timings, "compiled_folder", lambda: tmp_path)
    monkeypatch.setattr(execute, "compute", slow(1.0))
    monkeypatch.setattr(progress, "SHORTEST_TIME", 0.0)
    js.run(planned)
    ((estimated, measured),) = timings.read_times()[timings._name(SMALL)]
    assert estimated == pytest.approx(planned.buckets[0].seconds / planned.n_runs)
    assert measured > 0
