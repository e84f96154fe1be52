"""Parabolas of isoFLOP curves: their minima, the bias that they have, and their intervals."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pandas
import pytest
from scipy.stats import binom, linregress, t as student

import jaxscale as js
from jaxscale.analysis import isoflop, isoflop_bias
from jaxscale.analysis._isoflop_groups import grouped_by

ALPHA, BETA, E, A, B = 0.34, 0.28, 1.69, 406.4, 410.7
FLOP = np.geomspace(1e19, 1e21, 5)


def _best(flop):
    scale = (ALPHA * A / (BETA * B)) ** (1 / (ALPHA + BETA))
    return scale * (flop / 6) ** (BETA / (ALPHA + BETA))


WIDTH = float(np.log(16))


def _runs(sigma=0.0, n=8, width=WIDTH, drift=0.0, seed=0):
    """Runs evenly around the best size of every compute; `drift` moves their middle with ln C."""
    rng, tables = np.random.default_rng(seed), []
    for c in FLOP:
        middle = np.log(_best(c)) + drift * np.log(c / FLOP[2])
        size = np.exp(middle + np.linspace(-width / 2, width / 2, n))
        tokens = c / 6 / size
        loss = E + A * size**-ALPHA + B * tokens**-BETA
        loss = loss * np.exp(sigma * rng.standard_normal(n))
        tables.append(pandas.DataFrame({"n_parameters": size, "n_tokens": tokens, "loss": loss}))
    return pandas.concat(tables)


@pytest.mark.parametrize(("alpha", "beta"), [(0.34, 0.28), (0.3, 0.6), (0.5, 0.5)])
def test_the_bias_is_that_of_a_parabola_through_a_dense_curve(alpha, beta):
    for width in (0.5, 3.0, 6.0):
        for offset in (0.0, 0.7):
            u = offset + width * ((np.arange(20_001) + 0.5) / 20_001 - 0.5)
            c2, c1, _ = np.polyfit(u, np.exp(-alpha * u) / alpha + np.exp(beta * u) / beta, 2)
            bias = float(isoflop_bias(alpha=alpha, beta=beta, width=width, offset=offset))
            assert bias == pytest.approx(-c1 / 2 / c2, abs=1e-7)
    narrow = isoflop_bias(alpha=alpha, beta=beta, width=0.1)
    np.testing.assert_allclose(narrow, (alpha - beta) * 0.1**2 / 40, rtol=1e-3, atol=1e-12)
    near = isoflop_bias(alpha=alpha, beta=beta, width=0.003, offset=0.003)
    expected = (beta - alpha) * 0.003**2 * (1 / 2 - 1 / 40)
    np.testing.assert_allclose(near, expected, rtol=0.02, atol=5e-9)
    assert np.isnan(isoflop_bias(alpha=alpha, beta=np.asarray([-1.0, 0.0]), width=1.0)).all()


def test_parabolas_are_those_of_least_squares_in_the_logarithm_of_the_size():
    runs = _runs(0.003)
    fitted = isoflop(runs, bootstrap=0)
    for k, (_, own) in enumerate(runs.groupby(np.repeat(np.arange(5), 8))):
        expected = np.polyfit(np.log(own["n_parameters"]), own["loss"], 2)
        np.testing.assert_allclose(fitted.parabolas[k], expected, rtol=1e-8)
        lowest = np.polyval(expected, np.log(fitted.groups["n_parameters"][k]))
        assert fitted.groups["loss"][k] == pytest.approx(lowest, rel=1e-9)


def test_minima_have_the_bias_that_is_stated_and_their_exponent_has_none():
    wide, n = np.log(64), 400
    fitted = isoflop(_runs(n=n, width=wide), bootstrap=0)
    shift = np.log(fitted.groups["n_parameters"] / _best(FLOP))
    # n points with both ends are as wide as an even density over n / (n - 1) of the window
    expected = float(isoflop_bias(alpha=ALPHA, beta=BETA, width=wide * n / (n - 1)))
    assert abs(expected) > 0.02
    np.testing.assert_allclose(shift, expected, rtol=2e-3)
    assert fitted.a == pytest.approx(BETA / (ALPHA + BETA), abs=1e-6)
    np.testing.assert_allclose(fitted.groups["offset"], -shift, rtol=1e-6)
    np.testing.assert_allclose(fitted.groups["width"], wide)
    drifting = isoflop(_runs(n=n, width=wide, drift=0.2), bootstrap=0)
    assert abs(drifting.a - BETA / (ALPHA + BETA)) > 1e-4  # power: windows that drift


@pytest.fixture(scope="module")
def noisy():
    return isoflop(_runs(0.003))


def test_groups_are_those_of_the_computes(noisy):
    np.testing.assert_allclose(noisy.groups["flop"], FLOP)
    assert noisy.groups["n_runs"].tolist() == [8] * 5
    by_number = isoflop(_runs(0.003), n_groups=5)
    pandas.testing.assert_frame_equal(by_number.groups, noisy.groups)
    nominal = _runs(0.003).assign(budget=np.repeat(FLOP, 8)).drop(columns="n_tokens")
    by_column = isoflop(nominal, flop="budget")
    np.testing.assert_allclose(by_column.groups["n_parameters"], noisy.groups["n_parameters"])
    assert len(isoflop(_runs(0.003), n_groups=2).groups) == 2
    twice = isoflop(_runs(0.003), flop_per_parameter_token=12.0)
    np.testing.assert_allclose(twice.groups["flop"], 2 * FLOP)
    np.testing.assert_allclose(twice.groups["n_tokens"], noisy.groups["n_tokens"])


def _spans(fitted):
    """Largest over smallest C of every group, by the runs themselves."""
    runs = fitted.runs.assign(flop=6 * fitted.runs["n_parameters"] * fitted.runs["n_tokens"])
    by_group = runs["flop"].groupby(fitted.group)
    return (by_group.max() / by_group.min()).to_numpy()


def test_groups_do_not_chain_neighbours():
    file = Path(__file__).parents[2] / "examples" / "chinchilla_runs.csv"
    columns = {"n_parameters": "params", "n_tokens": "tokens"}
    published = isoflop(file, columns=columns, bootstrap=0)
    spans = _spans(published)
    assert len(published.runs) == len(published.group) == 245
    assert spans.max() <= 1.25 * (1 + 1e-5)
    assert published.groups["n_runs"].sum() == 245
    assert published.groups["n_runs"].max() < 30
    # neighbours that could be one group are none only where a cut separates them
    assert np.all(np.diff(published.groups["flop"]) > 0)
    even = _runs(0.0).assign(n_tokens=np.geomspace(1e9, 1e11, 40), n_parameters=1e8)
    even["n_parameters"] *= np.tile(np.linspace(1, 1.01, 8), 5)
    with pytest.raises(ValueError, match=r"must hold a group of 4 runs .* of 40 runs"):
        isoflop(even, bootstrap=0)  # neighbours are 12 % apart, the ends a hundredfold
    wide = isoflop(_runs(0.003).assign(C=np.repeat(FLOP, 8) * np.tile([0.9, 1.1], 20)), flop="C")
    assert wide.groups["n_runs"].tolist() == [8] * 5  # scatter of 22 % is one compute


def test_groups_by_number_scatter_least():
    scattered = _runs(0.003).assign(C=np.repeat(FLOP, 8) * np.tile([0.8, 1.2], 20))
    assert isoflop(scattered, flop="C", n_groups=5).groups["n_runs"].tolist() == [8] * 5
    alone = scattered.assign(C=scattered["C"].to_numpy() * np.r_[1e-3, np.ones(39)])
    by_number = isoflop(alone, flop="C", n_groups=6, bootstrap=0)
    assert by_number.groups["n_runs"].tolist() == [1, 7, 8, 8, 8, 8]
    assert (by_number.n_without, by_number.n_runs_without) == (1, 1)
    assert "1 of 6 groups have no minimum (1 run)" in str(by_number)


def test_rows_without_a_loss_are_counted_and_other_variables_repeat_none(noisy):
    runs = _runs(0.003).reset_index(drop=True)
    runs.loc[3, "loss"], runs.loc[20, "n_parameters"] = np.nan, np.inf
    fitted = isoflop(runs)
    assert (fitted.n_left_out, noisy.n_left_out) == (2, 0)
    assert fitted.groups["n_runs"].tolist() == [7, 8, 7, 8, 8]
    assert str(fitted).endswith("; 2 rows left out")
    own = _runs(0.003).assign(group="a", flop=1.0, budget=np.repeat(FLOP, 8))
    named = isoflop(own, flop="budget")
    assert (set(named.runs["group"]), set(named.runs["flop"])) == ({"a"}, {1.0})
    assert named.group.tolist() == np.repeat(range(5), 8).tolist()
    dataset = _runs(0.003).reset_index(drop=True).to_xarray()
    dataset["errors"] = (("index", "group"), np.zeros((40, 3)))
    pandas.testing.assert_frame_equal(isoflop(dataset).groups, noisy.groups)


def test_the_power_law_is_that_of_the_minima(noisy):
    low, high = noisy.interval
    assert low < noisy.a < high
    assert low < BETA / (ALPHA + BETA) < high
    at = noisy.allocate(FLOP)
    np.testing.assert_allclose(6 * at.best["n_parameters"] * at.best["n_tokens"], FLOP)
    slope, height = np.polyfit(np.log(FLOP), np.log(noisy.groups["n_parameters"]), 1)
    np.testing.assert_allclose(np.log(at.best["n_parameters"]), slope * np.log(FLOP) + height)
    for name, values in at.best.items():
        assert np.all((at.interval[name][0] < values) & (values < at.interval[name][1]))
    far = noisy.allocate(1e24)
    assert float(far.decades_outside) == pytest.approx(3.0)
    assert np.all(at.decades_outside == 0)  # the ends themselves, which rounding moves
    assert set(at.table()) >= {"flop", "n_parameters_low", "n_tokens_high"}
    assert f"C^{noisy.a:.3f}" in str(noisy.table())
    assert all(column.number for column in noisy.table().columns)


def test_sizes_and_tokens_outside_of_the_runs_count_too():
    fitted = isoflop(_runs(width=0.4), bootstrap=0)
    middle, end = _best(FLOP[2]), _best(FLOP[4]) * np.exp(0.2)
    steep = dataclasses.replace(fitted, a=3.0, prefactor=middle / FLOP[2] ** 3)
    expected = np.log10(middle / end * 10**1.5)
    far = steep.allocate(FLOP[2] * 10**0.5)
    assert float(far.decades_outside) == pytest.approx(expected, abs=1e-3)


def test_intervals_cover_the_minimum_that_many_runs_would_have():
    size = np.log(isoflop(_runs(0.0), bootstrap=0).groups["n_parameters"].to_numpy())
    exponent, covered, short = BETA / (ALPHA + BETA), [], []
    for seed in range(100):
        fitted = isoflop(_runs(0.003, seed=seed), bootstrap=200)
        ends = [np.log(fitted.groups[f"n_parameters_{end}"].to_numpy()) for end in ("low", "high")]
        inside = (ends[0] < size) & (size < ends[1])
        covered.append([*inside, fitted.interval[0] < exponent < fitted.interval[1]])
        short.append(ends[0] + 0.4 * (ends[1] - ends[0]) < size)
    share = np.mean(covered, axis=0)
    assert np.all(share >= binom.ppf(1e-3 / 6, 100, 0.93) / 100)  # what is said for small groups
    assert np.all(share <= 1.0)
    assert np.mean(short) < 0.8  # power


def test_without_refits_the_interval_is_of_the_minima_about_their_line(noisy):
    fitted = isoflop(_runs(0.003), bootstrap=0)
    x, y = np.log(fitted.groups["flop"]), np.log(fitted.groups["n_parameters"])
    line = linregress(x, y)
    half = line.stderr * student.ppf(0.975, len(x) - 2)
    np.testing.assert_allclose(fitted.interval, (line.slope - half, line.slope + half))
    assert (fitted.by_scatter, noisy.by_scatter) == (True, False)
    low, high = fitted.interval
    assert f"C^{fitted.a:.3f} ({low:.3f} to {high:.3f}, by the scatter of 5 minima)," in str(fitted)
    assert "scatter" not in str(noisy)
    wild = isoflop(_runs(0.06, seed=1), bootstrap=100)  # most refits have no minimum
    assert np.isnan(wild.groups["n_parameters_low"]).any()
    assert (wild.by_scatter, np.isfinite(wild.interval).all()) == (True, True)
    two = isoflop(_runs(0.003)[:16], bootstrap=0)
    assert (np.isnan(two.interval).all(), two.by_scatter) == (True, False)


def test_the_interval_by_scatter_covers():
    exponent = isoflop(_runs(0.0), bootstrap=0).a
    fits = [isoflop(_runs(0.003, seed=seed), bootstrap=0) for seed in range(100)]
    share = np.mean([f.interval[0] < exponent < f.interval[1] for f in fits])
    assert binom.ppf(5e-4, 100, 0.95) <= 100 * share <= binom.ppf(1 - 5e-4, 100, 0.95)
    narrow = np.mean([abs(f.a - exponent) < 0.1 * (f.interval[1] - f.a) for f in fits])
    assert narrow < 0.5  # power


def test_a_group_without_a_minimum_inside_its_runs_is_counted():
    runs = _runs(0.0)
    flop = 6 * runs["n_parameters"] * runs["n_tokens"]
    first = np.isclose(flop, FLOP[0])
    below = runs["n_parameters"] < 0.9 * _best(FLOP[0])
    cut = runs[~first | below]
    fitted = isoflop(cut, bootstrap=100)
    assert fitted.n_without == 1
    assert fitted.groups["n_parameters"].isna().tolist() == [True, False, False, False, False]
    assert "1 of 5 groups have no minimum (" in str(fitted)
    assert fitted.n_runs_without == fitted.groups["n_runs"][0]
    assert "–" in str(fitted.table())
    assert fitted.allocate(FLOP[0]).decades_outside == pytest.approx(np.log10(FLOP[1] / FLOP[0]))
    none = isoflop(runs[first & below], bootstrap=0)
    assert none.allocate(FLOP[0]).decades_outside == np.inf
    few = isoflop(runs[~first | (runs["n_parameters"] == runs["n_parameters"].iloc[0])])
    assert few.n_without == 1
    assert fitted.a == pytest.approx(BETA / (ALPHA + BETA), abs=1e-6)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda r: r, {"flop": "budget"}, "`flop` must be one of"),
        (lambda r: r.assign(loss=-1.0), {}, "`loss` must be positive"),
        (lambda r: r[:3], {}, "`data` must hold a group of 4 runs"),
        (lambda r: r, {"n_groups": 6}, "`n_groups` must not exceed the 5 different"),
        (lambda r: r[:0], {}, "`data` must hold a group of 4 runs .* of 0 runs"),
        (lambda r: r[:0], {"n_groups": 2}, "`n_groups` must not exceed the 0 different"),
        (lambda r: r, {"n_groups": 0}, "`n_groups`"),
        (lambda r: r, {"level": 2.0}, "`level`"),
    ],
)
def test_bad_arguments_are_named(change, options, message):
    with pytest.raises(ValueError, match=message):
        isoflop(change(_runs(0.0)), **options)


def test_every_key_of_a_fit_is_one_of_parabolas():
    one, other, same = (isoflop(_runs(0.003), bootstrap=40, key=k) for k in (1, -1, -1))
    assert np.isfinite(other.drawn).all()
    assert not np.array_equal(one.drawn, other.drawn)
    np.testing.assert_array_equal(other.drawn, same.drawn)


def test_columns_have_the_names_of_the_file():
    names = {"n_parameters": "N", "n_tokens": "D", "loss": "final"}
    fitted = isoflop(_runs(0.0).rename(columns=names), columns=names, bootstrap=0)
    assert js.analysis.isoflop(_runs(0.0), bootstrap=0).a == fitted.a
    assert np.isnan(fitted.groups["n_parameters_low"]).all()  # without refits


@pytest.mark.parametrize("n_groups", [1, 2, 3, 5])
def test_groups_have_the_least_scatter_of_all_cuts(n_groups):
    x = np.sort(0.1 * np.random.default_rng(n_groups).standard_normal(9)) + 40.0

    def scatter(cuts):
        return sum(len(own) * np.var(own) for own in np.split(x, cuts))

    best = min(itertools.combinations(range(1, 9), n_groups - 1), key=scatter)
    expected = np.searchsorted(best, np.arange(9), side="right")
    assert grouped_by(x[::-1], n_groups).tolist() == expected[::-1].tolist()


def test_runs_of_one_size_are_refused_for_that():
    runs = _runs(0.0).query("n_parameters == n_parameters.max()").head(1)
    runs = runs.loc[runs.index.repeat(5)]
    with pytest.raises(ValueError, match=r"got 1 group of 5 runs and 1 size\.$"):
        isoflop(runs, bootstrap=0)
