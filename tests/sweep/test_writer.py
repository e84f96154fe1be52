"""The thread that writes: one call at a time, and none outlives its context."""

import signal
import threading
import time

import pytest

from jaxscale.sweep.writer import Writer


def test_calls_follow_each_other_and_one_is_under_way():
    written, gate = [], threading.Event()

    def write(i):
        assert gate.wait(30)
        written.append(i)

    with Writer(write) as writer:
        writer.put(0)
        assert written == []  # it was not waited for
        gate.set()
        for i in range(1, 5):
            writer.put(i)
            assert written[:i] == list(range(i))
    assert written == [0, 1, 2, 3, 4]


def test_what_was_handed_over_is_written_however_often_ctrl_c_comes():
    written, started = [], threading.Event()

    def write(i):
        started.set()
        time.sleep(0.5)
        written.append(i)

    def interrupt():
        assert started.wait(30)
        time.sleep(0.1)  # the second call is handed over by now
        for _ in range(3):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.1)

    thread = threading.Thread(target=interrupt)

    def two():
        with Writer(write) as writer:
            thread.start()
            writer.put(0)
            writer.put(1)

    with pytest.raises(KeyboardInterrupt):
        two()
    assert written == [0, 1]
    thread.join()


@pytest.mark.parametrize("end", ["put", "close", "interrupted", "other error"])
def test_an_error_of_writing_is_never_lost(end):
    def write(i):
        time.sleep(0.05)
        raise ValueError(f"no space for {i}")

    def one():
        with Writer(write) as writer:
            writer.put(0)
            if end == "put":
                writer.put(1)
                pytest.fail("the error of the call before was not raised")
            if end == "interrupted":
                raise KeyboardInterrupt
            if end == "other error":
                raise RuntimeError("out of memory")

    with pytest.raises(ValueError, match="no space for") as caught:
        one()
    if end == "other error":
        assert isinstance(caught.value.__context__, RuntimeError)
