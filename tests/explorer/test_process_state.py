"""Threads change one after the other what belongs to the whole process."""

import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxscale._warn import collected, warn_user
from jaxscale.explorer._export import export
from jaxscale.explorer._process_state import noted

PAUSE = 0.02  # seconds, in which another thread would go ahead


def test_warnings_that_two_threads_note_at_once_are_their_own():
    """Filters that one thread restores after the other has changed them would stay."""
    before, inside = (warnings.filters[:], warnings._showwarnmsg_impl), threading.Event()

    def first():
        with noted() as texts:
            inside.set()
            time.sleep(PAUSE)
            warnings.warn("first", UserWarning, stacklevel=1)
        return texts

    def second():
        inside.wait()
        with noted() as texts:
            time.sleep(2 * PAUSE)
            for _ in range(2):
                warnings.warn("second", UserWarning, stacklevel=1)
        return texts

    with ThreadPoolExecutor(2) as threads:
        texts = [done.result() for done in [threads.submit(first), threads.submit(second)]]
    assert texts == [["first"], ["second"]]
    assert (warnings.filters[:], warnings._showwarnmsg_impl) == before


def test_files_are_made_one_after_the_other():
    code = f"import time, pandas\nbusy.append(1)\ntime.sleep({PAUSE})\nn = len(busy)\nbusy.pop()\n"
    code += "table = pandas.DataFrame({'n': [n]})"
    given = {"busy": []}
    with ThreadPoolExecutor(2) as threads:
        files = list(threads.map(lambda _: export("csv", code, given), range(2)))
    assert [body for *_, body in files] == [b"index,n\n0,1\n"] * 2


def test_what_is_collected_is_not_shown_and_no_filter_changes():
    before = warnings.filters[:]
    with collected() as texts:
        warn_user("a blank line")
        assert warnings.filters == before
    assert texts == ["a blank line"]
    with pytest.warns(UserWarning, match="another"):
        warn_user("another")
