"""What several tests do: compare results, count compilations, interrupt a run."""

import contextlib

import jax
import numpy as np


def assert_close(actual, expected, tolerance=1e-5):
    """Floats agree within a part of the largest value of their variable, the rest exactly."""
    assert set(actual) == set(expected)
    for name in expected:
        one, two = np.asarray(actual[name]), np.asarray(expected[name])
        assert one.shape == two.shape, name
        if two.dtype.kind != "f":
            np.testing.assert_array_equal(one, two, err_msg=name)
            continue
        finite = np.isfinite(two)
        np.testing.assert_array_equal(one[~finite], two[~finite], err_msg=name)
        scale = np.abs(two[finite]).max(initial=1e-3)
        np.testing.assert_allclose(
            one[finite], two[finite], rtol=0.0, atol=tolerance * scale, err_msg=name
        )


@contextlib.contextmanager
def compilations():
    """The programs that XLA is asked for in the block."""
    events = []

    def listen(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield events
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
