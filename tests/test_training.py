"""The trajectory: records, status codes, the state that survives, and the x64 flag."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array, Float

import jaxscale as js
from jaxscale.fields import Real, dtype_field, real, record_field, static_int
from jaxscale.keys import root_key
from jaxscale.training import log_spaced_steps


class Walk(js.AbstractTrainedSystem):
    """x += rate per step, times `growth`; the loss is x. Turns to NaN at `nan_at`."""

    rate: Real = real(1.0)
    growth: Real = real(1.0)
    nan_at: Real = real(1e9)
    n_steps: int = static_int(10)
    record: tuple[int, ...] | None = record_field()
    dtype: str = dtype_field("float32")

    @property
    def schema(self) -> js.Schema:
        steps = np.asarray(self.record_steps)
        return js.Schema({"loss": js.Observable(("step",), "", "position")}, {"step": steps})

    def init(self, key: Any) -> Float[Array, "2"]:
        return jnp.asarray([1.0, 0.0], self.dtype)

    def step(self, state: Float[Array, "2"], key: Any) -> Float[Array, "2"]:
        x, t = self.growth * state[0] + self.rate, state[1] + 1
        return jnp.stack([jnp.where(t > self.nan_at, jnp.nan, x), t])

    def observe(self, state: Float[Array, "2"]) -> dict[str, Array]:
        return {"loss": state[0]}

    def predict(self) -> dict[str, Array]:
        return {}

    def work(self) -> js.Work:
        return js.Work(2.0 * self.n_steps, 2.0, 2.0, self.n_steps)


def test_every_recorded_step_is_the_state_after_that_many_steps():
    out = Walk(n_steps=10, record=[0, 1, 4, 10]).simulate(jr.key(0))
    np.testing.assert_array_equal(out["loss"], [1.0, 2.0, 5.0, 11.0])
    assert int(out["status"]) == js.Status.ok


def test_a_record_may_leave_out_the_start():
    out = Walk(n_steps=10, record=[3, 7]).simulate(jr.key(0))
    np.testing.assert_array_equal(out["loss"], [4.0, 8.0])


def test_training_goes_to_the_end_whatever_is_recorded():
    for record in ([3, 7], [0], [10]):
        assert float(js.train(Walk(n_steps=10, record=record), jr.key(0))[1]) == 10.0
    out = Walk(n_steps=10, record=[0, 2], nan_at=5.0).simulate(jr.key(0))
    np.testing.assert_array_equal(out["loss"], [1.0, 3.0])
    assert int(out["status"]) == js.Status.nonfinite


def test_nan_masks_what_follows_and_keeps_the_last_good_state():
    system = Walk(n_steps=10, record=[0, 2, 4, 6, 10], nan_at=5.0)
    out = system.simulate(jr.key(0))
    np.testing.assert_array_equal(out["loss"], [1.0, 3.0, 5.0, np.nan, np.nan])
    assert int(out["status"]) == js.Status.nonfinite
    np.testing.assert_array_equal(js.train(system, jr.key(0)), [5.0, 4.0])


class Accompanied(Walk):
    """A walk whose state counts its steps by a number of its own, which no run depends on."""

    def must_be_finite(self, state: Float[Array, "2"]) -> Any:
        return state[1]

    def observe(self, state: Float[Array, "2"]) -> dict[str, Array]:
        return {"loss": state[1], "companion": state[0]}


def test_a_state_is_healthy_where_what_must_be_finite_is():
    system = Accompanied(n_steps=4, record=[0, 2, 4], nan_at=3.0)
    out = system.simulate(jr.key(0))
    assert int(out["status"]) == js.Status.ok
    np.testing.assert_array_equal(out["companion"], [1.0, 3.0, np.nan])
    np.testing.assert_array_equal(out["loss"], [0.0, 2.0, 4.0])


def test_divergence_is_a_thousand_times_the_start_even_without_a_record_there():
    for record in ([0, 5, 9, 12], [5, 9, 12]):
        out = Walk(n_steps=12, record=record, rate=0.0, growth=2.0).simulate(jr.key(0))
        assert int(out["status"]) == js.Status.diverged
        np.testing.assert_array_equal(out["loss"][-3:], [32.0, 512.0, np.nan])


def test_a_bad_run_does_not_touch_its_neighbours():
    system = Walk(n_steps=10, record=[0, 10])
    with pytest.warns(UserWarning, match=r"badly \(1 diverged; every one at growth = 9\)"):
        bad = js.run(js.Grid(system, axes={"growth": [1.0, 9.0, 1.5, 1.1]}), progress=False)
    good = js.run(js.Grid(system, axes={"growth": [1.0, 1.2, 1.5, 1.1]}), progress=False)
    assert bad["status"].values.ravel().tolist() == [0, 2, 0, 0]
    keep = [0, 2, 3]
    np.testing.assert_array_equal(bad["loss"].values[keep], good["loss"].values[keep])


def test_results_do_not_follow_the_x64_flag():
    system = js.emergence.ParityNetwork(
        width=4, n_steps=20, batch_size=8, n_evaluation=16, optimizer=js.Adam(), record=[0, 20]
    )
    outs = []
    for flag in (False, True):
        with jax.enable_x64(flag):
            outs.append(jax.tree.map(np.asarray, eqx.filter_jit(system.simulate)(jr.key(1))))
    for name, value in outs[0].items():
        assert value.dtype == outs[1][name].dtype
        np.testing.assert_array_equal(value, outs[1][name])


def test_simulate_is_forward_differentiable():
    def final(rate):
        return js.replace(Walk(n_steps=10, record=[10]), "rate", rate).simulate(jr.key(0))["loss"][
            0
        ]

    assert float(jax.jacfwd(final)(jnp.asarray(0.5, jnp.float32))) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("n_steps", "n_records"), [(1, 60), (10, 3), (1000, 1), (12000, 60), (10**9, 60)]
)
def test_log_spaced_steps(n_steps, n_records):
    steps = log_spaced_steps(n_steps, n_records)
    assert steps[0] == 0
    assert steps[-1] == n_steps
    assert np.all(np.diff(steps) > 0)
    assert len(steps) <= n_records + 1


def test_log_spaced_steps_refuse_nonsense():
    with pytest.raises(ValueError, match="`n_steps`"):
        log_spaced_steps(0)
    with pytest.raises(ValueError, match="`n_records`"):
        log_spaced_steps(10, 0)


def test_a_system_may_be_traced_in_both_precisions():
    """JAX remembers a NumPy array that was traced into a loop with the dtype of that trace."""
    system = js.emergence.MultilinearSkills(n_skills=3, n_steps=5)
    double = js.replace(system, "dtype", "float64")
    losses = {}
    for _ in range(2):
        for each in (system, double):
            with jax.enable_x64(each.dtype == "float64"):
                loss = jax.jit(lambda k, each=each: each.simulate(k)["loss"])(root_key(0))
                losses.setdefault(each.dtype, []).append(np.asarray(loss))
            np.testing.assert_allclose(js.predict(js.Grid(each)).loss[0], loss[0], rtol=1e-6)
    assert all(np.array_equal(*pair) for pair in losses.values())
