"""Scores and claims on curves planted by hand, where every answer is known."""

import jax
import numpy as np
import pytest
import xarray

import jaxscale as js
from jaxscale.papers.superposition import (
    _claims as claims,
    _figures as figures,
    _scores as scores,
    _study,
)
from jaxscale.papers.superposition._scores import Slopes
from jaxscale.superposition import theory

S = js.superposition
STEPS = [0, 1, 2, 5, 10, 20, 50, 100]
A, B, SEEDS, RATE = [1.1, 2.0], [0.0, 1.0], 8, 0.05


def grid_of_runs(**more):
    system = S.TeacherStudent(
        n_features=64, frequency_exponent=1.5, inputs=S.OneHot(amplitude=S.Fixed()),
        initial=S.ScaledIdentity(gain=1.4), n_steps=100, record=STEPS,
        **({"latent_size": 8, "bias_learning_rate": 1.0} | more),
    )  # fmt: skip
    return js.Grid(system, {"frequency_exponent": A, "importance_exponent": B}, seeds=SEEDS)


def planted(loss, **more):
    """Runs whose loss is `loss(a, b, step)` with a little noise from seed to seed."""
    grid = grid_of_runs(**more)
    a, b, step = np.meshgrid(A, B, STEPS, indexing="ij")
    noise = np.exp(0.01 * np.random.default_rng(0).normal(size=(SEEDS, 1)))
    values = loss(a, b, step)[:, :, None, :] * noise
    dims = ("frequency_exponent", "importance_exponent", "seed", "step")
    coords = {"frequency_exponent": A, "importance_exponent": B, "seed": range(SEEDS),
              "step": STEPS, "group": [1, 2, 4, 8, 16, 32, 64]}  # fmt: skip
    strength = np.linspace(0, 1, len(STEPS))[:, None] * np.ones(7)
    data = {
        "loss": (dims, values),
        "step_size": (dims, np.full_like(values, RATE)),
        "feature_strength": ((*dims, "group"), np.broadcast_to(strength, (*values.shape, 7))),
    }
    from jaxscale.sweep._layout import grid_text

    return xarray.Dataset(data, coords=coords, attrs={"grid": grid_text(grid)})


def power(exponent):
    return lambda a, b, step: np.maximum(step, 0.5) ** -(exponent + 0.0 * a)


def test_slopes_and_their_controls():
    runs = planted(power(1.3))
    slopes = scores.measure_slopes(runs, (10.0, 100.0))
    assert [tuple(s.at.values()) for s in slopes] == [(1.1, 0), (1.1, 1), (2, 0), (2, 1)]
    for one in slopes:
        np.testing.assert_allclose(one.loss, 1.3, rtol=1e-10)
        lam = np.arange(1, 65.0) ** -one.at["frequency_exponent"]
        lam /= lam.sum()
        target = np.arange(1, 65.0) ** -one.at["importance_exponent"]
        steps = np.array([10, 20, 50, 100.0])
        exact = 0.5 * np.sum(lam * target**2 * (1 - RATE * lam) ** (2 * steps[:, None]), axis=1)
        slope = -np.polyfit(np.log(steps), np.log(exact), 1)[0]
        np.testing.assert_allclose(one.control, slope, rtol=1e-10)
    np.testing.assert_allclose(scores.spread(slopes, "loss"), 0, atol=1e-10)


def test_the_same_start_changes_the_control():
    runs = planted(power(1.0))
    at = {"frequency_exponent": 1.1, "importance_exponent": 0.0}
    run = runs.sel(at, drop=True)
    zero = scores.control_curve(run, at).isel(step=0)
    same = scores.control_curve(run, at, same_start=True).isel(step=0)
    np.testing.assert_allclose(same / zero, 0.4**2, rtol=1e-12)


@pytest.mark.parametrize("speed", [0.5, 4.0])
def test_the_time_to_equal_loss_is_recovered(speed):
    at = {"frequency_exponent": 1.1, "importance_exponent": 1.0}
    with jax.enable_x64(True):
        goal = theory.sequential_loss(
            100.0 * speed, **at, n_features=64, learning_rate=RATE, second_moment=1.0, discrete=True
        )
    runs = planted(lambda a, b, step: float(goal) + 0.0 * a)
    runs["loss"] = runs["loss"] * 0 + float(goal)
    ratio = scores.time_ratio(runs.sel(at, drop=True), at)
    np.testing.assert_allclose(ratio, speed, rtol=1e-3)
    runs["loss"][..., 0, -1] = np.nan
    assert np.isnan(scores.time_ratio(runs.sel(at, drop=True), at)[0])


def test_a_run_that_is_stuck_at_its_start_leaves_no_agreement_on_times():
    """Its ratio is 0, of which the logarithm is infinite; that of a fast run may be infinite."""
    at = {"frequency_exponent": 1.1, "importance_exponent": 0.0}
    with jax.enable_x64(True):
        goal = theory.sequential_loss(
            1000.0, **at, n_features=64, learning_rate=RATE, second_moment=1.0, discrete=True
        )
    runs = planted(lambda a, b, step: float(goal) + 0.0 * a).expand_dims(latent_size=[8])
    runs["loss"] = (runs["loss"] * 0 + float(goal)).copy()
    measured = [Slopes({**at, "latent_size": 8}, (1, 2), np.ones(SEEDS), np.ones(SEEDS))]

    def judged():
        return claims.small_start_claims(runs, measured)[-1]

    assert (judged().id, judged().verdict) == ("small-start-time-8", "agrees")
    runs["loss"].loc[{**at, "latent_size": 8, "seed": range(4)}] = 1e3
    assert (judged().n_seeds, judged().verdict) == (SEEDS, "inconclusive")
    assert _study._mean(np.array([1.0, 3.0, np.nan])) == "2.00"
    assert _study._mean(np.array([1.0, np.inf])) == "–"


def test_half_times():
    times = scores.half_times(planted(power(1.0)))
    assert times.dims == ("frequency_exponent", "importance_exponent", "seed", "group")
    np.testing.assert_allclose(times, 7.5)  # strength 3/7 at step 5, 4/7 at step 10


def test_the_table_of_half_times_has_a_dash_where_some_seed_did_not_pass():
    runs = planted(power(1.0)).expand_dims(latent_size=[8]).copy(deep=True)
    runs["feature_strength"].loc[{"seed": 0, "group": 64}] = 0.1
    rows = [row[2:] for row in _study.order_table(runs).rows if row[1] == "with"]
    assert rows == [("8", "8", "8", "8", "8", "8", "–")] * len(A)


def test_the_window_is_that_of_the_theory():
    at = {"frequency_exponent": 1.1, "importance_exponent": 1.0}
    opens, closes = scores.predicted_window(planted(power(1.0)), at)
    window = theory.interference_window(
        latent_size=8.0, gain=1.4, bias_learning_rate=1.0, n_features=64, **at
    )
    assert opens == 5.0
    assert closes == pytest.approx(min(float(window.closes), 100.0), rel=1e-4)


def verdicts(results):
    return {c.id: str(c.verdict) for c in results}


def interference(exponent):
    runs = planted(exponent)
    fixed = scores.measure_slopes(runs, (10.0, 100.0))
    return verdicts(claims.interference_claims(runs, fixed, fixed))


def test_planted_laws_are_judged():
    right = interference(power(1.0))
    assert {v for k, v in right.items() if k.startswith("universal")} == {"agrees"}
    wrong = interference(lambda a, b, step: np.maximum(step, 0.5) ** -(a + 2 * b - 1))
    assert wrong["universal-spread"] == "disagrees"
    assert wrong["universal-2-1"] == "disagrees"
    assert wrong["universal-2-0"] == "agrees"  # (a + 2b - 1) = 1 there


def test_without_superposition_the_exact_law_agrees_and_another_does_not():
    system = {"embedding": S.Identity(), "decoder": S.Linear(), "latent_size": 64,
              "bias_learning_rate": None}  # fmt: skip

    def exact(factor):
        def loss(a, b, step):
            lam = np.arange(1, 65.0) ** -a[..., None]
            lam = lam / lam.sum(-1, keepdims=True)
            amplitude = lam * np.arange(1, 65.0) ** (-2 * b[..., None])
            mean = (1 - RATE * lam) ** 2 + RATE**2 * (lam - lam**2) / 128
            return 0.5 * np.sum(amplitude * mean ** (factor * step[..., None]), axis=-1)

        return planted(loss, **system)

    by_id = verdicts(claims.sequential_claims(exact(1.0), (10.0, 100.0)))
    assert by_id["sequential-1.1-0"] == by_id["sequential-2-1"] == "agrees"
    by_id = verdicts(claims.sequential_claims(exact(4.0), (10.0, 100.0)))
    assert by_id["sequential-2-1"] == "disagrees"


def test_spread_and_bottleneck_claims():
    at = {"frequency_exponent": 1.0, "importance_exponent": 0.0, "latent_size": 8.0}
    rows = [Slopes(at, (1.0, 2.0), np.full(8, v), np.full(8, v)) for v in (0.4, 1.0)]
    assert verdicts(claims.spread_claims(rows, "x", "then")) == {"x-spread-8": "disagrees"}
    assert verdicts(claims.spread_claims(rows[:1], "x", "then")) == {"x-spread-8": "agrees"}
    assert [c.verdict for c in claims.bottleneck_claims(np.full((2, 8), 1e-13))] == ["agrees"]
    assert [c.verdict for c in claims.bottleneck_claims(np.full((2, 8), 1e-9))] == ["disagrees"]


def test_tails_are_judged_and_a_wrong_index_would_be_seen(monkeypatch):
    by_id = verdicts(claims.tail_claims())
    assert set(by_id.values()) == {"agrees"}
    assert len(by_id) == 10
    monkeypatch.setattr(theory, "universal_law", lambda index: 1 - index)
    assert "disagrees" in verdicts(claims.tail_claims()).values()


def test_figures_of_the_theory_are_drawn():
    figure = figures.tails_figure()
    assert len(figure.axes[0].lines) == 7


def test_runs_of_another_system_are_refused():
    runs = js.run(js.Grid(js.emergence.MultilinearSkills(n_skills=2, n_steps=3)), progress=False)
    with pytest.raises(ValueError, match="`runs` must be of TeacherStudent"):
        scores.system_of(runs)
