"""Optimizers and schedules against plain optax loops and closed forms."""

import functools
import json
import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import TypeCheckError

import jaxscale as js


def clipped_momentum(learning_rate, clip, decay):
    """A user's chain, kept by name."""
    return optax.chain(
        optax.clip_by_global_norm(clip), optax.trace(decay), optax.scale(-learning_rate)
    )


CASES = {
    "sgd": (js.Sgd(), lambda lr: optax.sgd(lr)),
    "momentum": (js.Sgd(momentum=0.9), lambda lr: optax.sgd(lr, momentum=0.9)),
    "adam": (js.Adam(b1=0.8), lambda lr: optax.adam(lr, b1=0.8)),
    "adam-l2": (
        js.Adam(weight_decay=0.1),
        lambda lr: optax.chain(optax.add_decayed_weights(0.1), optax.adam(lr)),
    ),
    "decoupled decay": (
        js.AdamW(weight_decay=0.1, eps=1e-6),
        lambda lr: optax.adamw(lr, weight_decay=0.1, eps=1e-6, mask={"w": True, "b": False}),
    ),
    "optax-sgd": (js.Optax("sgd"), lambda lr: optax.sgd(lr)),
    "adamw": (
        js.Optax(optax.adamw, weight_decay=0.1),
        lambda lr: optax.adamw(lr, weight_decay=0.1),
    ),
    "lion": (js.Optax("lion", b1=0.7), lambda lr: optax.lion(lr, b1=0.7)),
    "user": (
        js.Optax(clipped_momentum, clip=0.5, decay=0.9),
        lambda lr: clipped_momentum(lr, 0.5, 0.9),
    ),
}


def _gradient(x):
    return {"w": 2.0 * x["w"] - 1.0, "b": jnp.sin(x["b"])}


def test_rows_decay_towards_a_length():
    """A zero gradient leaves the decay alone; rows of padding stay zero, and vectors still."""
    optimizer, rate = js.AdamW(weight_decay=0.5, row_length=2.0), jnp.asarray(0.2)
    start = {"w": jnp.asarray([[3.0, 4.0], [0.0, 0.0]]), "b": jnp.asarray([3.0, 4.0])}
    zero = jax.tree.map(jnp.zeros_like, start)
    params, _ = optimizer.update(start, zero, optimizer.init(start), rate, jnp.asarray(0.5))
    expected = [[3 - 0.05 * 3 * (1 - 2 / 5), 4 - 0.05 * 4 * (1 - 2 / 5)], [0, 0]]
    np.testing.assert_allclose(params["w"], expected, rtol=1e-6)
    np.testing.assert_array_equal(params["b"], start["b"])


@pytest.mark.parametrize("name", CASES)
def test_update_equals_the_plain_optax_loop(name):
    ours, plain = CASES[name]
    start = {"w": jnp.asarray([[1.0, -2.0, 3.0]], jnp.float32), "b": jnp.asarray(0.5, jnp.float32)}
    rate, one = jnp.asarray(0.05, jnp.float32), jnp.ones((), jnp.float32)

    @jax.jit
    def run_ours(rate):
        params, state = start, ours.init(start)
        for _ in range(20):
            params, state = ours.update(params, _gradient(params), state, rate, one)
        return params

    with jax.numpy_dtype_promotion("standard"):
        transform = plain(0.05)

        @jax.jit
        def step(params, state):
            updates, state = transform.update(_gradient(params), state, params)
            return optax.apply_updates(params, updates), state

        params, state = start, transform.init(start)
        for _ in range(20):
            params, state = step(params, state)
    for mine, theirs in zip(jax.tree.leaves(run_ours(rate)), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=1e-6)
    assert not np.allclose(run_ours(2 * rate)["w"], params["w"], rtol=1e-3)


@pytest.mark.slow
def test_hyperparameters_are_swept_in_one_program():
    system = js.emergence.ParityNetwork(
        width=4, n_steps=5, batch_size=8, n_evaluation=8, init_scale=0.5, record=[5],
        optimizer=js.Optax("adamw", weight_decay=0.0),
    )  # fmt: skip
    grid = js.Grid(system, axes={"optimizer.hyperparameters.weight_decay": [0.0, 0.5, 5.0]})
    plan = js.plan(grid)
    assert plan.n_programs == 1
    loss = js.run(plan, progress=False)["loss"].values.ravel()
    assert len(np.unique(loss)) == 3


WARM_UP = js.WarmUp(n_warm_up=30, then=js.Cosine(final_ratio=0.05))
SCHEDULES = [js.Constant(), js.StepDecay(ratio=0.5, every=30), js.TwoDrops(), js.Cosine(), WARM_UP]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_effective_steps_are_the_running_sum_of_the_factor(schedule):
    factor = np.asarray(schedule.factor(jnp.arange(100), 100))
    effective = np.asarray(schedule.effective_steps((0, 1, 50, 100), 100))
    expected = [factor[:n].sum() for n in (0, 1, 50, 100)]
    np.testing.assert_allclose(effective, expected, rtol=1e-5)
    back = schedule.steps_to_reach(jnp.asarray(effective), 100)
    np.testing.assert_allclose(back, [0, 1, 50, 100], rtol=1e-5)


def test_a_transformation_is_no_factory():
    with pytest.raises((ValueError, TypeCheckError), match=r"(?s)factory.*GradientTransformation"):
        js.Optax(optax.sgd(0.1))


def test_what_a_schedule_that_ends_at_zero_leaves_is_never_reached():
    schedule = js.WarmUp(n_warm_up=10, then=js.Cosine())
    assert np.isinf(schedule.steps_to_reach(jnp.asarray([50.0]), 50)).all()
    assert np.isfinite(js.Cosine(final_ratio=0.1).steps_to_reach(jnp.asarray([50.0]), 50)).all()


def test_schedule_values():
    step = jnp.asarray([0, 29, 30, 69, 70, 85, 99])
    np.testing.assert_allclose(
        js.StepDecay(ratio=0.5, every=30).factor(step, 100), [1, 1, 0.5, 0.25, 0.25, 0.25, 0.125]
    )
    np.testing.assert_allclose(
        js.TwoDrops().factor(step, 100), [1, 1, 1, 1, 0.3, 0.1, 0.1], rtol=1e-6
    )
    assert float(js.Cosine(final_ratio=0.2).factor(jnp.asarray(50), 100)) == pytest.approx(0.6)
    cosine = 0.05 + 0.95 * (1 + np.cos(np.pi * (np.arange(30, 101) - 30) / 70)) / 2
    rising = np.append(np.arange(1, 30) / 30, cosine)  # of steps 1, 2, ..., 100
    np.testing.assert_allclose(WARM_UP.factor(jnp.arange(100), 100), rising, rtol=1e-5)
    drops = js.WarmUp(n_warm_up=20, then=js.TwoDrops())  # at 70 and 85 % of the other 80 steps
    expected = [0.05, 1, 1, 1, 0.3, 0.1, 0.1]
    step = jnp.asarray([0, 19, 30, 74, 75, 87, 99])
    np.testing.assert_allclose(drops.factor(step, 100), expected, rtol=1e-6)
    brief = js.WarmUp(n_warm_up=200, then=js.Cosine()).factor(jnp.arange(100), 100)
    np.testing.assert_allclose(brief, np.arange(1, 101) / 200, rtol=1e-6)  # never gets to `then`


@pytest.mark.parametrize("n_steps", [10, 45, 999])
def test_theory_in_float64_drops_where_runs_in_float32_do(n_steps):
    steps = np.arange(n_steps)
    with jax.enable_x64(True):
        double = np.asarray(js.TwoDrops().factor(jnp.asarray(steps), n_steps))
    single = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), js.TwoDrops())
    np.testing.assert_allclose(single.factor(jnp.asarray(steps), n_steps), double, rtol=1e-6)
    first = int(np.round(np.float32(0.7) * np.float32(n_steps)))
    assert double[first - 1 : first + 1].tolist() == [1.0, 0.3]


def test_schedules_take_a_step_as_a_number_and_refuse_what_cannot_be():
    for schedule in (js.Constant(), js.StepDecay(), js.TwoDrops(), js.Cosine(), WARM_UP):
        assert float(schedule.factor(5, 100)) == float(schedule.factor(jnp.asarray(5), 100))
    with pytest.raises(ValueError, match=r"`first_at` must be at most `last_at`, 0\.5, got 0\.9"):
        js.TwoDrops(first_at=0.9, last_at=0.5)
    with pytest.raises(ValueError, match=r"`steps` must lie in 0 \.\. 100, got 500"):
        js.Cosine().effective_steps((10, 500), 100)


def test_steps_to_reach_have_a_slope_in_both_modes():
    schedule = js.WarmUp(n_warm_up=10, then=js.Cosine())

    def reached(effective):
        return schedule.steps_to_reach(effective, 100)

    at = jnp.asarray([5.0, 20.0])
    forward, backward = jax.jacfwd(reached)(at), jax.jacrev(reached)(at)
    assert np.isfinite(forward).all()
    np.testing.assert_allclose(backward, forward, rtol=1e-6)


def test_a_schedule_multiplies_the_learning_rate():
    fast = js.emergence.MultilinearSkills(n_skills=3, n_steps=60, learning_rate=0.02, record=[60])
    slow = js.emergence.MultilinearSkills(
        n_skills=3, n_steps=60, learning_rate=0.04, record=[60],
        schedule=js.StepDecay(ratio=0.5, every=20),
    )  # fmt: skip
    losses = []
    for system in (fast, slow):
        theory = eqx.filter_jit(system.predict)()
        run = eqx.filter_jit(system.simulate)(jax.random.key(0))
        np.testing.assert_allclose(run["skill_strength"], theory["skill_strength"], rtol=0.02)
        losses.append(theory["loss"])
    assert not np.allclose(*losses, rtol=1e-3)


@pytest.mark.parametrize("name", ["rmsprop", "adafactor"])
def test_what_lies_behind_the_rate_of_a_factory_sees_the_schedule(name):
    """As optax's own schedules: momentum of updates, and decay that the rate does not scale."""
    schedule, start = js.StepDecay(ratio=0.1, every=5), {"w": jnp.asarray([1.0, -2.0, 3.0])}
    given = {"rmsprop": {"momentum": 0.9}, "adafactor": {"momentum": 0.9}}[name]
    optimizer = js.Optax(name, given)

    def rate(step):
        return 0.05 * schedule.factor(step, 20)

    theirs = getattr(optax, name)(learning_rate=rate, **given)

    def trained(init, update):
        params, state = start, init(start)
        for step in range(20):
            params, state = update(jnp.asarray(step), params, state)
        return params["w"]

    def our_step(step, params, state):
        factor = jnp.asarray(schedule.factor(step, 20), jnp.float32)
        return optimizer.update(params, params, state, jnp.float32(0.05), factor)

    def their_step(step, params, state):
        updates, state = theirs.update(params, state, params)
        return optax.apply_updates(params, updates), state

    with jax.numpy_dtype_promotion("standard"):
        expected = trained(theirs.init, jax.jit(their_step))
        np.testing.assert_allclose(trained(optimizer.init, jax.jit(our_step)), expected, rtol=1e-5)


@pytest.mark.parametrize("optimizer", [js.Adam(), js.AdamW()], ids=repr)
def test_parameters_without_a_gradient_do_not_spoil_the_slope(optimizer):
    params, gradient = {"w": jnp.ones((2, 2))}, {"w": jnp.asarray([[1.0, 0.0], [0.0, 0.0]])}

    def moved(scale):
        scaled = jax.tree.map(lambda g: scale * g, gradient)
        state = optimizer.init(params)
        return optimizer.update(params, scaled, state, jnp.float32(0.1), jnp.ones(()))[0]["w"]

    for slope in (jax.jacfwd(moved), jax.jacrev(moved)):
        assert np.isfinite(slope(jnp.float32(2.0))).all()


def wrapped(function):
    """A user's decorator that takes over the name."""

    @functools.wraps(function)
    def call(**numbers):
        return function(**numbers)

    return call


def test_a_factory_is_found_under_its_name():
    assert js.Optax(optax.adamw).factory == "adamw"
    with pytest.raises(ValueError, match=r"`factory` must be what its name stands for"):
        js.Optax(wrapped(of_named_parameters), decay=0.1)
    with pytest.raises(ValueError, match=r"`factory` 'lbfgs' must make .* of gradients alone"):
        js.Optax("lbfgs")
    with pytest.raises(ValueError, match=r"`nesterov` must be a number, got True: write 1 or 0"):
        js.Optax("sgd", momentum=0.9, nesterov=True)
    with pytest.raises(ValueError, match=r"`momentum` must be given once"):
        js.Optax("sgd", {"momentum": 0.1}, momentum=0.5)


def decayed_if_positive(learning_rate, weight_decay, momentum):
    """A user's factory that branches on one of its numbers."""
    chain = [optax.trace(momentum), optax.scale(-learning_rate)]
    return optax.chain(*([optax.add_decayed_weights(weight_decay)] * (weight_decay > 0)), *chain)


def scaled_if_large(learning_rate, clip):
    """A user's factory that branches on the learning rate."""
    return optax.sgd(learning_rate) if learning_rate < 1 else optax.clip(clip)


def of_named_parameters(learning_rate, decay):
    """A user's factory for parameters of certain names alone."""
    mask = {"embedding": True, "readout": False}
    return optax.adamw(learning_rate, weight_decay=decay, mask=mask)


def _branching(weight_decay, momentum=0.9):
    return js.Optax(decayed_if_positive, weight_decay=weight_decay, momentum=momentum)


NETWORK = js.emergence.ParityNetwork(
    width=4, n_steps=5, batch_size=8, n_evaluation=8, init_scale=0.5, record=[5]
)


def test_numbers_that_a_factory_branches_on_stay_python_numbers():
    optimizer = _branching(0.5)
    assert len(jax.tree.leaves(optimizer)) == 1  # the momentum
    assert "'momentum': array(0.9), 'weight_decay': 0.5" in repr(optimizer)
    start = {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}

    @jax.jit
    def step(optimizer, rate):
        state = optimizer.init(start)
        return optimizer.update(start, start, state, rate, jnp.ones(()))[0]

    leaves, static = eqx.partition(optimizer, eqx.is_array_like)
    moved = step(eqx.combine(leaves, static), jnp.asarray(0.1))
    np.testing.assert_allclose(moved["b"], 1 - 0.1 * 1.5, rtol=1e-6)
    system = js.replace(NETWORK, "optimizer", optimizer)
    other = js.replace(system, "optimizer.hyperparameters.weight_decay", 0.0)
    grid = js.Grid(other, {"optimizer.hyperparameters.momentum": [0.0, 0.9]})
    again = js.Grid.from_dict(json.loads(json.dumps(grid.to_dict())))
    assert again.to_dict() == grid.to_dict()
    assert pickle.loads(pickle.dumps(again.system)).optimizer == again.system.optimizer


@pytest.mark.slow
def test_numbers_that_a_factory_branches_on_are_swept_as_objects():
    system = js.replace(NETWORK, "optimizer", _branching(0.0))
    path = "optimizer.hyperparameters.weight_decay"
    with pytest.raises(ValueError, match=r"branches on 'weight_decay'.*Sweep 'optimizer' over one"):
        js.Grid(system, {path: [0.0, 0.1]})
    optimizers = [_branching(decay) for decay in (0.0, 50.0)]
    momentum = "optimizer.hyperparameters.momentum"
    with pytest.raises(ValueError, match=r"`factory` .* must not branch on `learning_rate`"):
        js.Optax(scaled_if_large, clip=1.0)
    assert js.plan(js.Grid(system, {momentum: [0.0, 0.5, 0.9]})).n_programs == 1
    with pytest.warns(UserWarning, match="1 of 2 runs ended badly"):
        runs = js.run(js.Grid(system, {"optimizer": optimizers}), progress=False)
    assert len(np.unique(runs["loss"].values)) == 2


def test_a_factory_that_refuses_other_parameters_keeps_its_leaves():
    optimizer = js.Optax(of_named_parameters, decay=0.1)
    assert len(jax.tree.leaves(optimizer)) == 1


@pytest.mark.parametrize("then", [js.LinearDecay(), js.Cosine(final_ratio=0.1)])
def test_decay_ends_where_it_ends(then):
    """A record after the last step is beyond the length that `then` sees."""
    schedule = js.WarmUp(n_warm_up=10, then=then)
    last, beyond = np.asarray(schedule.factor(jnp.asarray([99, 100]), 100))
    np.testing.assert_allclose([last, beyond], float(then.final_ratio), atol=1e-6)
    assert beyond >= 0
