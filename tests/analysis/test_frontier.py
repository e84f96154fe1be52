"""The frontier of known surfaces, its intervals on noisy ones, and simulations against theory."""

import copy
import pickle

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats
import xarray

import jaxscale as js
from jaxscale.paths import set_leaves
from jaxscale.training import INIT_STREAM

SIZE, TIME, SCALE = 0.6, 0.4, 3.0  # L = floor + N^-0.6 + 3 T^-0.4
COMPUTE = np.geomspace(1e4, 1e6, 9)
NAMES = {"size": "n_parameters", "time": "step"}
EXPONENTS = {
    "n_parameters": TIME / (SIZE + TIME),
    "step": SIZE / (SIZE + TIME),
    "loss": -SIZE * TIME / (SIZE + TIME),
}


def surface(ratio=2**0.5, floor=0.0, n_seeds=None, spread=0.05, step_ratio=1.5, rng=0):
    """Losses on a grid of sizes `ratio` apart; with seeds, factors per size and seed of mean 1."""
    n = np.exp(np.arange(np.log(8), np.log(8e3), np.log(ratio)))
    t = np.exp(np.arange(0, np.log(1e6), np.log(step_ratio)))
    values = floor + n[:, None] ** -SIZE + SCALE * t**-TIME
    dims = ("n_parameters", "step")
    if n_seeds is not None:
        noise = np.random.default_rng(rng).normal(size=(n_seeds, len(n), 1))
        values = values * np.exp(spread * noise - spread**2 / 2)
        dims = ("seed", *dims)
    return xarray.DataArray(values, dims=dims, coords={"n_parameters": n, "step": t})


def exact(compute=COMPUTE, floor=0.0):
    """N* and L* where both derivatives at fixed N T balance: a N^-a = 3 b T^-b."""
    size = (SIZE / (TIME * SCALE) * compute**TIME) ** (1 / (SIZE + TIME))
    return size, floor + size**-SIZE + SCALE * (compute / size) ** -TIME


def test_a_sum_of_two_powers_has_the_exponents_of_the_closed_form():
    result = js.frontier(surface(), COMPUTE, **NAMES)
    size, loss = exact()
    np.testing.assert_allclose(result.n_parameters, size, rtol=0.005)
    np.testing.assert_allclose(result.loss, loss, rtol=2e-4)
    np.testing.assert_allclose(result.n_parameters * result.step, COMPUTE)
    for name, expected in EXPONENTS.items():
        assert result.exponent[name].value == pytest.approx(expected, abs=1e-3)
        assert result.exponent[name].window == pytest.approx((1e4, 1e6))
    one = result.exponent["n_parameters"]
    np.testing.assert_allclose(one.prefactor * COMPUTE**one.value, size, rtol=0.005)


@pytest.mark.parametrize(
    ("ratio", "in_size", "in_loss"),
    [(1.25, 0.002, 3e-5), (2**0.5, 0.004, 1.2e-4), (2.0, 0.016, 1.2e-3), (4.0, 0.07, 0.009)],
)
def test_the_accuracy_is_as_documented(ratio, in_size, in_loss):
    compute = np.geomspace(1e4, 1e6, 41)
    size, loss = exact(compute, floor=0.05)
    added = {1.25: (0.0, 0.0), 2.0: (1.5e-3, 6e-5), 4.0: (0.014, 6e-4)}
    for step_ratio, (more_size, more_loss) in added.items():
        grid = surface(ratio, floor=0.05, step_ratio=step_ratio)
        result = js.frontier(grid, compute, **NAMES)
        off = (
            np.abs(np.log(result.n_parameters / size)).max(),
            np.abs(np.log(result.loss / loss)).max(),
        )
        assert off[0] < 1.1 * in_size + more_size
        assert off[1] < 1.1 * in_loss + more_loss
        if not more_size:
            assert off[0] > in_size / 2
            assert off[1] > in_loss / 2


def test_a_curve_without_seeds_has_no_interval():
    result = js.frontier(surface(), COMPUTE, **NAMES)
    assert (result.method, result.n_seeds) == ("deterministic", None)
    for name, one in result.exponent.items():
        assert np.isnan(result.interval[name]).all()
        assert np.isnan(one.interval).all()
        assert np.isfinite(one.value)
        assert one.n_seeds is None


def test_without_noise_seeds_change_nothing():
    alone = js.frontier(surface(), COMPUTE, **NAMES)
    result = js.frontier(surface(n_seeds=6, spread=0.0), COMPUTE, **NAMES)
    assert (result.method, result.n_seeds) == ("student-t", 6)
    np.testing.assert_allclose(result.n_parameters, alone.n_parameters, rtol=1e-9)
    np.testing.assert_allclose(result.interval["loss"], [alone.loss] * 2, rtol=1e-9)
    for name, one in result.exponent.items():
        np.testing.assert_allclose(one.per_seed, alone.exponent[name].value, rtol=1e-7)


def test_few_seeds_give_a_range_and_one_seed_no_interval():
    result = js.frontier(surface(n_seeds=3, spread=0.01), COMPUTE, **NAMES)
    assert result.method == "range"
    one = result.exponent["loss"]
    assert one.interval == (one.per_seed.min(), one.per_seed.max())
    single = js.frontier(surface(n_seeds=1), COMPUTE, **NAMES)
    assert (single.method, single.n_seeds) == ("range", 1)
    assert np.isnan(single.interval["loss"]).all()
    assert np.isnan(single.exponent["loss"].interval).all()
    assert np.isfinite(single.loss).any()


def test_the_noisy_exponents_hold_the_true_ones_and_refuse_others():
    result = js.frontier(
        surface(n_seeds=24, spread=0.02), COMPUTE, **NAMES, neighbours=2, level=0.999
    )
    for name, one in result.exponent.items():
        assert one.interval[0] < EXPONENTS[name] < one.interval[1]
        wrong = EXPONENTS[name] * 1.15  # alpha, beta = 0.6, 0.5 would have 0.455 for 0.4
        assert not one.interval[0] < wrong < one.interval[1]
    assert (result.interval["loss"][0] < result.loss).all()


@pytest.mark.slow
def test_the_intervals_cover_as_often_as_they_say():
    n_sets, level, compute = 150, 0.95, COMPUTE[::2]
    loss = exact(compute)[1]
    truth = {**EXPONENTS, "point": np.log(loss[2])}
    covered, with_interval = dict.fromkeys(truth, 0), 0
    for i in range(n_sets):
        runs = surface(n_seeds=8, rng=i).sel(n_parameters=slice(None, 600))  # optima: up to 125
        result = js.frontier(runs, compute, **NAMES, neighbours=2, level=level)
        ends = {k: e.interval for k, e in result.exponent.items()}
        ends["point"] = tuple(np.log(result.interval["loss"][:, 2]))
        if np.isnan([*ends.values()]).any():
            continue
        with_interval += 1
        for name, (low, high) in ends.items():
            covered[name] += low <= truth[name] <= high
    assert with_interval > 0.8 * n_sets
    # four comparisons, both tails of the count at 1e-3 / 8; the interval is asymptotic: 0.9 to 0.98
    low, high = (
        scipy.stats.binom.ppf(q, with_interval, p) for q, p in ((1.2e-4, 0.9), (1 - 1.2e-4, 0.98))
    )
    assert all(low <= n <= high for n in covered.values()), covered


def test_an_optimum_at_an_edge_is_missing():
    few = surface().isel(n_parameters=slice(None, 8))  # 8 to 90
    size, _ = exact()
    result = js.frontier(few, COMPUTE, **NAMES)
    last = float(few["n_parameters"][-2])
    np.testing.assert_array_equal(np.isnan(result.loss), size > last * 2**0.25)
    assert np.isnan(result.interval["n_parameters"][:, -1]).all()
    assert all(np.isnan(e.value) and np.isnan(e.interval).all() for e in result.exponent.values())
    short = js.frontier(surface().sel(step=slice(None, 300)), COMPUTE, **NAMES)
    assert np.isnan(short.loss[-1])


def test_missing_losses_near_the_optimum_leave_none_and_elsewhere_do_not_matter():
    complete = surface(n_seeds=6, spread=0.01)
    reference = js.frontier(complete, COMPUTE, **NAMES)
    sizes = np.asarray(complete["n_parameters"])
    near = int(np.argmin(np.abs(np.log(sizes / reference.n_parameters[4]))))
    runs = complete.copy()
    runs[2, near, :] = np.inf
    runs[3, -1, :] = np.nan
    result = js.frontier(runs, COMPUTE, **NAMES)
    assert np.isnan(result.loss[4])
    assert np.isnan(result.interval["loss"][:, 4]).all()
    np.testing.assert_allclose(result.loss[[0, -1]], reference.loss[[0, -1]])
    np.testing.assert_allclose(
        result.interval["n_parameters"][:, 0], reference.interval["n_parameters"][:, 0]
    )
    gap = complete.where(np.abs(np.log(complete["step"] / reference.step[4])) > 1.0)
    lost = np.isnan(js.frontier(gap, COMPUTE, **NAMES).loss)
    assert lost[4]
    assert not lost.all()


def test_an_optimum_that_hangs_on_one_seed_has_no_interval():
    runs = surface(n_seeds=6, spread=0.0).isel(n_parameters=slice(4, 13))
    reference = js.frontier(runs, COMPUTE, **NAMES)
    near = int(
        np.argmin(np.abs(np.log(np.asarray(runs["n_parameters"]) / reference.n_parameters[4])))
    )
    runs[0, near] *= 0.9  # without this seed the best size is the same, within its neighbours
    runs[1, near + 1] *= 0.9
    runs[0, near + 1] *= 1.25
    runs[0, near - 1] *= 0.9
    result = js.frontier(runs, COMPUTE, **NAMES)
    lost = np.isnan(result.interval["n_parameters"]).any(axis=0)
    assert (result.method, result.n_seeds) == ("student-t", 6)
    assert np.isfinite(result.loss[4])
    assert lost[4]
    assert np.isnan(result.exponent["n_parameters"].per_seed).all()


def test_time_zero_and_the_order_of_dimensions_do_not_matter():
    losses = surface(n_seeds=6, spread=0.01)
    start = losses.isel(step=0).assign_coords(step=0.0) * np.nan
    longer = xarray.concat([start, losses], "step").transpose("step", "n_parameters", "seed")
    one, other = (js.frontier(x, COMPUTE, **NAMES) for x in (losses, longer))
    np.testing.assert_allclose(one.n_parameters, other.n_parameters)
    np.testing.assert_allclose(one.interval["step"], other.interval["step"])


def test_optima_are_attributes_by_the_names_of_their_dimensions():
    result = js.frontier(surface(), COMPUTE, **NAMES)
    for one in (result, copy.copy(result), pickle.loads(pickle.dumps(result))):
        assert one.names == ("n_parameters", "step")
        np.testing.assert_array_equal(one.n_parameters, result.best["n_parameters"])
        np.testing.assert_array_equal(one.step, COMPUTE / result.n_parameters)
        assert list(one.interval) == list(one.exponent) == ["loss", "n_parameters", "step"]
    with pytest.raises(AttributeError, match="n_features"):
        _ = result.n_features
    with pytest.raises(KeyError, match="n_features"):
        _ = result.interval["n_features"]


def test_the_names_size_and_time_are_deprecated():
    result = js.frontier(surface(), COMPUTE, **NAMES)
    restored = pickle.loads(pickle.dumps(result))
    for old, dim in NAMES.items():
        with pytest.warns(DeprecationWarning, match=f"`Frontier.{old}` .* `Frontier.{dim}`"):
            np.testing.assert_array_equal(getattr(result, old), result.best[dim])
        with pytest.warns(DeprecationWarning, match=f"'{old}'.*'{dim}'"):
            np.testing.assert_array_equal(restored.interval[old], result.interval[dim])
        with pytest.warns(DeprecationWarning, match=dim):
            assert result.exponent[old] is result.exponent[dim]


def test_a_dimension_may_be_called_time():
    result = js.frontier(surface().rename(step="time"), COMPUTE, size="n_parameters", time="time")
    np.testing.assert_array_equal(result.time, result.best["time"])
    np.testing.assert_array_equal(result.interval["time"][0], result.interval["time"][1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"compute": [1e4, -1.0]}, "`compute` must be positive"),
        ({"compute": [1e4, np.inf]}, r"`compute` must be positive and finite, got inf in row 1"),
        ({"compute": [1e4, 1e4]}, "`compute` must have at least 2 different values"),
        ({"size": "width"}, "`loss` must have the dimensions 'width', 'step'"),
        ({"time": "n_parameters"}, "`loss` must have the dimensions"),
        ({"level": 1.0}, "`level` must lie between 0 and 1"),
        ({"neighbours": 0}, "`neighbours` must be at least 1, got 0"),
        ({"loss": surface() - 0.02}, "`loss` must be positive"),
        ({"loss": surface().expand_dims(skill_exponent=[0.3, 0.6])}, "`loss` must have the dim"),
        ({"loss": surface().drop_vars("step")}, "`time` must be a dimension with numbers"),
        ({"loss": surface().isel(step=slice(None, None, -1))}, "`step` must be positive and incr"),
        ({"loss": surface().isel(n_parameters=[3, 4])}, "`n_parameters` must have at least 3"),
    ],
)
def test_bad_input_is_refused(change, message):
    given = {"loss": surface(), "compute": COMPUTE, **NAMES, **change}
    with pytest.raises(ValueError, match=message):
        js.frontier(given.pop("loss"), given.pop("compute"), **given)


# ----------------------------------------------------------------- systems


def _emergence(rate):
    """Frontiers of simulation and theory over tau = eta T at a step size of `rate`."""
    n_steps = round(200 / rate)
    record = sorted({0, *np.geomspace(4 / rate, n_steps, 30).round().astype(int).tolist()})
    system = js.emergence.MultilinearSkills(
        n_skills=50, skill_exponent=0.6, learning_rate=rate, n_steps=n_steps, record=record,
        dtype="float64",
    )  # fmt: skip
    grid = js.Grid(system, axes={"n_parameters": [2, 3, 4, 5, 6, 7, 8, 10, 12]})
    runs = js.run(grid, progress=False)["loss"].isel(seed=0, drop=True)
    theory = js.predict(grid)["loss"]
    compute = np.geomspace(60, 600, 6)
    both = (x.assign_coords(step=x["step"] * rate) for x in (runs, theory))
    return [js.frontier(x, compute, **NAMES) for x in both]


@pytest.mark.slow
def test_emergence_approaches_its_frontier_in_first_order_of_the_step_size():
    gaps = []
    for rate in (0.4, 0.2):
        simulated, theory = _emergence(rate)
        gaps.append(
            np.log([simulated.n_parameters / theory.n_parameters, simulated.loss / theory.loss])
        )
        assert simulated.exponent["n_parameters"].value == pytest.approx(
            theory.exponent["n_parameters"].value, abs=0.005 * rate
        )
    assert np.abs(gaps[0]).max() < 0.01
    np.testing.assert_allclose(gaps[0] / gaps[1], 2.0, rtol=0.05)
    # the asymptotic law at N + 1/2 = 3 to 7; 50 skills have 8 % more weight each than all of them
    with jax.enable_x64(True):
        law = js.emergence.theory.optimal_allocation(theory.compute, skill_exponent=0.6)
    np.testing.assert_allclose(
        (theory.n_parameters + 0.5) / np.asarray(law.n_parameters), 1.0, atol=0.15
    )


@pytest.mark.slow
def test_superposition_follows_the_frontier_of_a_linear_bottleneck():
    """At one learning rate for all K: a wider bottleneck has a lower floor and is slower."""
    s = js.superposition
    sizes, n_seeds, n_steps = [4, 6, 8, 11, 16, 23, 32], 8, 250
    record = sorted({0, *np.geomspace(2, n_steps, 16).round().astype(int).tolist()})
    exponents = {"frequency_exponent": 1.1, "importance_exponent": 0.0}
    system = s.TeacherStudent(
        n_features=64, latent_size=max(sizes), decoder=s.Linear(), initial=s.Zeros(),
        gradient=s.Population(), learning_rate=0.05, n_steps=n_steps, record=record,
        dtype="float64", **exponents,
    )  # fmt: skip
    runs = js.run(js.Grid(system, axes={"latent_size": sizes}, seeds=n_seeds), progress=False)

    @jax.jit
    def theory(latent_size, key, rate):
        drawn = set_leaves(system, {"latent_size": latent_size})
        state = drawn.init(jr.fold_in(key, INIT_STREAM))  # rows beyond K are zero
        steps = jnp.asarray(record, "float64")
        return s.theory.bottleneck_loss(
            steps, state.student.embedding, learning_rate=rate, discrete=True, **exponents
        )

    def expected(rate):
        curves = runs["loss"].copy()
        with jax.enable_x64(True):
            for k in sizes:
                for i in range(n_seeds):
                    key = js.select(runs, latent_size=k, seed=i)[1]
                    at = {"latent_size": k, "seed": i}
                    curves.loc[at] = np.asarray(theory(jnp.int32(k), key, jnp.float64(rate)))
        return js.frontier(curves, compute, size="latent_size", time="step")

    compute = np.geomspace(64, 512, 6)
    result = js.frontier(runs["loss"], compute, size="latent_size", time="step")
    exact = expected(0.05)
    for name in ("loss", "latent_size", "step"):
        np.testing.assert_allclose(getattr(result, name), getattr(exact, name), rtol=1e-9)
        np.testing.assert_allclose(result.interval[name], exact.interval[name], rtol=1e-7)
    assert 0.3 < exact.exponent["latent_size"].value < 0.6
    assert exact.exponent["latent_size"].interval[0] > 0.3
    slower = expected(0.04)  # a fifth slower is as if there were a fifth less compute
    low, high = result.interval["latent_size"]
    assert ((slower.latent_size < low) | (slower.latent_size > high)).any()
    assert (slower.loss > result.loss * 1.002).all()


SPARSE = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.0}


def _sparse_grid(sizes, samples, seeds=1):
    system = js.sparse.RandomFeatureRegression(n_features=64, n_samples=128, **SPARSE)
    return js.Grid(system, axes={"n_features": sizes, "n_samples": samples}, seeds=seeds)


def _sparse_law(compute):
    with jax.enable_x64(True):
        return js.sparse.theory.optimal_allocation(compute, **SPARSE)


@pytest.mark.slow
def test_the_closed_form_of_sparse_regression_lies_on_the_frontier_of_its_losses():
    compute = np.geomspace(1e5, 3e5, 3)
    sizes = [round(128 * 2 ** (i / 4)) for i in range(7)]
    losses = js.predict(_sparse_grid(sizes, [256, 512, 1024, 2048]))["loss"]
    result = js.frontier(losses, compute, size="n_features", time="n_samples")
    law = _sparse_law(compute)
    np.testing.assert_allclose(result.n_features, np.asarray(law.n_features), rtol=0.03)
    np.testing.assert_allclose(result.loss, np.asarray(law.loss), rtol=2e-3)
    assert result.exponent["n_features"].value == pytest.approx(
        1 / 3, abs=0.04
    )  # 3 % over a factor 3
    assert result.exponent["loss"].value == pytest.approx(-1 / 3, abs=0.01)


@pytest.mark.slow
def test_sparse_regression_has_the_frontier_of_its_equivalent():
    grid = _sparse_grid([34, 48, 68, 96, 136], [16, 24, 36, 54, 80, 120, 150], seeds=40)
    dims = {"size": "n_features", "time": "n_samples"}
    compute = np.geomspace(2500, 5000, 4)
    result = js.frontier(js.run(grid, progress=False)["loss"], compute, **dims, level=0.999)
    theory = js.frontier(js.predict(grid)["loss"], compute, **dims)
    low, high = result.interval["loss"]
    assert np.all((low < 1.06 * theory.loss) & (theory.loss < 1.06 * high))  # `loss` is 6 % off
    low, high = result.interval["n_features"]
    assert np.all((low < 1.1 * theory.n_features) & (theory.n_features < 1.1 * high))
    for name in ("n_features", "loss"):
        low, high = result.exponent[name].interval
        assert low < theory.exponent[name].value < high
    assert not low < -0.5 < high  # dense inputs
