"""What several tests do: compare results, count compilations, interrupt a run."""

import contextlib
import hashlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import jax
import numpy as np
from scipy.stats import t as student_t

from jaxscale.sweep._execute import Session

COMPILED = "/jax/core/compile/backend_compile_duration"


def assert_close(actual, expected, tolerance=1e-5, *, rtol=0.0, atol=None):
    """Floats agree within a part of the largest value of their variable, the rest exactly.

    With `atol`, every value must agree within `atol + rtol |expected|` instead.
    """
    assert set(actual) == set(expected)
    for name in expected:
        if hasattr(actual[name], "dims"):
            assert actual[name].dims == expected[name].dims, name
        one, two = np.asarray(actual[name]), np.asarray(expected[name])
        assert one.shape == two.shape, name
        if two.dtype.kind != "f":
            np.testing.assert_array_equal(one, two, err_msg=name)
            continue
        finite = np.isfinite(two)
        np.testing.assert_array_equal(one[~finite], two[~finite], err_msg=name)
        within = tolerance * np.abs(two[finite]).max(initial=1e-3) if atol is None else atol
        np.testing.assert_allclose(one[finite], two[finite], rtol=rtol, atol=within, err_msg=name)


def largest_z(n_seeds, n_comparisons):
    """The |z| of a mean over seeds that chance exceeds in one of 1,000 such sets of comparisons."""
    return student_t.isf(1e-3 / n_comparisons / 2, n_seeds - 1)


@contextlib.contextmanager
def compilations(*, traces=False):
    """The programs that XLA is asked for in the block; with `traces`, every step towards one."""
    events = []

    def listen(event, duration, **_):
        if event == COMPILED or (traces and "compile" in event):
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield events
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def count_chunks(monkeypatch, stop_after=None):
    """Where every chunk was computed, in order; Ctrl-C comes after `stop_after` of them."""
    chunks, computed = Session.chunks, []

    def counted(self, progress):
        for where, answer in chunks(self, progress):
            if len(computed) == stop_after:
                raise KeyboardInterrupt
            computed.append(where)
            yield where, answer

    monkeypatch.setattr(Session, "chunks", counted)
    return computed


def files_under(folder):
    """Digest of every file and name of every folder, except the locks next to a store."""
    digests = {}
    for path in sorted(Path(folder).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not (name.startswith(".") and ".lock" in name):
            content = path.read_bytes() if path.is_file() else b"folder"
            digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def spawned(n_workers):
    """A pool whose workers start afresh, as executors must."""
    return ProcessPoolExecutor(n_workers, mp_context=multiprocessing.get_context("spawn"))
