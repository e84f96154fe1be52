"""The newest request wins, and none waits in a queue."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxscale.explorer._newest import Newest


class Loop:
    """A document whose event loop is stepped by hand."""

    def __init__(self, destroyed=False):
        self.session_context = type("Context", (), {"destroyed": destroyed})()
        self.calls, self.arrived = [], threading.Semaphore(0)

    def add_next_tick_callback(self, call):
        self.calls.append(call)
        self.arrived.release()

    def step(self):
        assert self.arrived.acquire(timeout=20)
        self.calls.pop(0)()


def test_requests_that_newer_ones_overtake_are_never_computed():
    loop, gate, computed, shown = Loop(), threading.Event(), [], []

    def compute(request):
        gate.wait(20)
        computed.append(request)
        return request

    newest = Newest(loop, compute, shown.append, pytest.fail)
    for request in range(50):
        newest.ask(request)
    gate.set()
    loop.step()
    assert shown == [0]
    loop.step()
    assert computed == shown == [0, 49]
    assert (newest.n_computed, newest.n_dropped) == (2, 48)


def test_an_error_is_shown_and_the_next_request_is_computed():
    loop, shown, errors = Loop(), [], []
    newest = Newest(loop, lambda x: 1 / x, shown.append, errors.append)
    newest.ask(0)
    newest.ask(2)
    loop.step()
    loop.step()
    assert [type(e) for e in errors] == [ZeroDivisionError]
    assert shown == [0.5]


def test_a_page_that_was_closed_is_left_alone():
    loop = Loop(destroyed=True)
    with ThreadPoolExecutor(1) as threads:  # leaving it waits for what it hands over
        Newest(loop, lambda x: x, pytest.fail, pytest.fail, threads).ask(1)
    assert not loop.calls
