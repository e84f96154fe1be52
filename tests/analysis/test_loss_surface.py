"""The loss surface of language models: recovery, outliers, intervals, allocation."""

import json

import numpy as np
import pandas
import pytest
from jaxtyping import TypeCheckError
from scipy import optimize

import jaxscale as js
from jaxscale._theories import theory_named

TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}


def _runs(n=150, sigma=0.01, seed=0):
    rng = np.random.default_rng(seed)
    n_parameters = 10 ** rng.uniform(7.5, 10.2, n)
    n_tokens = n_parameters * 10 ** rng.uniform(0, 2.3, n)
    loss = np.asarray(js.forms.chinchilla(n_parameters, n_tokens, **TRUTH))
    return n_parameters, n_tokens, loss * np.exp(sigma * rng.standard_normal(n))


@pytest.fixture(scope="module")
def fitted():
    """150 runs with 1 % scatter, 100 resamples."""
    return js.fit_loss_surface(*_runs(), bootstrap=100)


def test_known_numbers_are_recovered_with_their_intervals(fitted):
    assert fitted.converged
    assert fitted.n_runs == 150
    assert fitted.n_converged_starts > 0.9 * fitted.n_starts
    assert 0.008 < fitted.rms < 0.012
    for name, (low, high) in fitted.interval(0.998).items():
        truth = {**TRUTH, "a": 0.37 / 0.72, "b": 0.35 / 0.72}[name]
        assert low < truth < high, name
    assert fitted.allocation["a"] + fitted.allocation["b"] == pytest.approx(1.0)
    assert fitted.bootstrap["alpha"].shape == (100,)


@pytest.mark.slow
def test_the_optimum_is_that_of_another_minimiser():
    n, d, loss = _runs()
    fitted = js.fit_loss_surface(n, d, loss, bootstrap=40, delta=1e-3)

    def objective(p):
        e, a, b, alpha, beta = p
        terms = np.stack([a - alpha * np.log(n), b - beta * np.log(d), np.full_like(n, e)])
        r = np.abs(np.logaddexp.reduce(terms) - np.log(loss))
        return np.sum(np.where(r <= 1e-3, r**2 / 2, 1e-3 * (r - 5e-4)))

    v = fitted.values
    start = [np.log(v["E"]), np.log(v["A"]), np.log(v["B"]), v["alpha"], v["beta"]]
    assert objective(start) == pytest.approx(fitted.objective, rel=1e-6)
    rng = np.random.default_rng(1)
    for _ in range(5):
        other = optimize.minimize(objective, start + 0.1 * rng.standard_normal(5),
                                  method="Nelder-Mead", options={"maxiter": 4000})  # fmt: skip
        assert other.fun > fitted.objective * (1 - 1e-6)


@pytest.mark.slow
def test_outliers_hardly_matter(fitted):
    n, d, loss = _runs()
    spoiled = loss.copy()
    spoiled[:5] *= 1.5
    moved = js.fit_loss_surface(n, d, spoiled, bootstrap=0)
    square = js.fit_loss_surface(n, d, spoiled, bootstrap=0, delta=10.0)
    change = {k: abs(np.log(v / fitted.values[k])) for k, v in moved.values.items()}
    harm = {k: abs(np.log(v / fitted.values[k])) for k, v in square.values.items()}
    assert change["E"] < 0.02
    assert harm["E"] > 3 * change["E"]


def test_the_best_allocation_is_the_minimum_along_a_compute(fitted):
    flop = np.asarray([1e19, 1e21, 1e23])
    best = fitted.optimal_allocation(flop)
    np.testing.assert_allclose(6 * best["n_parameters"] * best["n_tokens"], flop, rtol=1e-12)
    for i, c in enumerate(flop):
        n = best["n_parameters"][i] * np.geomspace(0.5, 2, 41)
        assert np.argmin(fitted.loss(n, c / 6 / n)) == 20
    slope = np.diff(np.log(best["n_parameters"])) / np.diff(np.log(flop))
    np.testing.assert_allclose(slope, fitted.allocation["a"], rtol=1e-9)


def _closed_form(values, flop):
    """N* of the Chinchilla form."""
    a, b, alpha, beta = (values[name] for name in ("A", "B", "alpha", "beta"))
    scale = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    return scale * (flop / 6) ** (beta / (alpha + beta))


def test_the_interval_of_an_allocation_is_that_of_the_resampled_surfaces(fitted):
    flop = np.asarray([1e19, 1e23])
    best, ends = fitted.optimal_allocation(flop), fitted.allocation_interval(flop, 0.9)
    np.testing.assert_allclose(best["n_parameters"], _closed_form(fitted.values, flop), rtol=1e-9)
    for i, c in enumerate(flop):
        expected = fitted.fit.drawn.ends(_closed_form(fitted.bootstrap, c), 0.9)
        np.testing.assert_allclose([end[i] for end in ends["n_parameters"]], expected, rtol=1e-9)
        truth = _closed_form(TRUTH, c)
        low, high = fitted.allocation_interval(c, 0.998)["n_parameters"]
        assert low < truth < high
    for bad in (0.0, -1e20, np.inf):
        with pytest.raises(ValueError, match="`flop` must be positive and finite, got"):
            fitted.allocation_interval(np.asarray([1e20, bad]))


def test_plain_data_and_text(fitted, tmp_path):
    fitted.to_json(tmp_path / "surface.json", [1e21])
    with pytest.raises(ValueError, match=r"`path` .*nowhere.* lies in a folder that does not"):
        fitted.to_json(tmp_path / "nowhere" / "surface.json")
    assert not (tmp_path / "nowhere").exists()
    plain = json.loads((tmp_path / "surface.json").read_text())
    (best,) = plain["optimal_allocation"]
    assert best["n_tokens"] == pytest.approx(float(fitted.optimal_allocation(1e21)["n_tokens"]))
    assert best["interval_95"]["loss"][0] < best["loss"] < best["interval_95"]["loss"][1]
    assert plain["values"]["E"] == pytest.approx(fitted.values["E"])
    assert set(plain["interval_95"]) == {"E", "A", "B", "alpha", "beta", "a", "b"}
    assert "alpha = " in str(fitted)
    bare = js.fit_loss_surface(*_runs(20), bootstrap=0, delta=0.1)
    assert "alpha = " in str(bare)
    (one,) = bare.to_dict([1e21])["optimal_allocation"]
    assert one["interval_95"] is None
    assert bare.to_dict(1e21)["optimal_allocation"] == [one]
    with pytest.raises(ValueError, match="`bootstrap`"):
        bare.interval()


def test_bad_input():
    n, d, loss = _runs(20)
    for bad in (loss * -1, np.where(np.arange(20) > 4, np.nan, loss)):
        with pytest.raises(ValueError, match="`loss`"):
            js.fit_loss_surface(n, d, bad)
    with pytest.raises((ValueError, TypeCheckError), match="loss"):
        js.fit_loss_surface(n, d, loss[:9])
    for name, columns in {
        "n_parameters": (1 + 0 * n, d, loss), "n_tokens": (n, 1 + 0 * d, loss),
        "loss": (n, d, 1 + 0 * loss),
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=f"`{name}` must have several values, got 1 for"):
            js.fit_loss_surface(*columns)
    with pytest.raises(ValueError, match="at least 6"):
        js.fit_loss_surface(n[:5], d[:5], loss[:5])
    with pytest.raises(ValueError, match="`n_tokens`"):
        js.fit_loss_surface(n, 0 * d, loss)
    with pytest.raises(ValueError, match="`bootstrap`"):
        js.fit_loss_surface(n, d, loss, bootstrap=-1)
    with pytest.raises(ValueError, match="`delta`"):
        js.fit_loss_surface(n, d, loss, delta=0.0)
    table = pandas.DataFrame({"n_parameters": n, "n_tokens": d, "loss": loss, "run": np.arange(20)})
    with pytest.raises(ValueError, match="`bootstrap` must be given with `resample`, got resamp"):
        js.fit_loss_surface(table, bootstrap=0, resample="run")


def test_the_second_name_of_the_form_is_deprecated():
    message = r"`js.analysis.loss_surface` is deprecated, use `js.forms.chinchilla`"
    with pytest.warns(DeprecationWarning, match=message) as caught:
        assert js.analysis.loss_surface is js.forms.chinchilla
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="`loss_surface` is deprecated, use `chinchilla`"):
        assert theory_named("loss_surface") is js.forms.chinchilla
    with pytest.raises(AttributeError, match="no attribute 'calibrat'; did you mean `calibrate`"):
        _ = js.analysis.calibrat
