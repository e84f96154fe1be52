"""Noise of runs and of evaluations: planted ones are recovered, and intervals cover them."""

import numpy as np
import pandas
import pytest
import xarray
from scipy.stats import binom, chi2, f

import jaxscale as js
from jaxscale.analysis import noise_components
from jaxscale.analysis._variances import MeanSquare, between_groups, total, within_groups

N_SETS = 4000
BALANCED = [[3] * 4] * 5  # evaluations of every run of every place
UNBALANCED = [[2, 2], [1, 5, 1, 3, 8], [3], [10, 1, 1], [1, 1, 2, 4]]
ONE_PLACE = [[2] * 6]


def _codes(design):
    """Run and place of every evaluation."""
    sizes = [n for place in design for n in place]
    places = np.repeat(np.arange(len(design)), [len(place) for place in design])
    run = np.repeat(np.arange(len(sizes)), sizes)
    return run, places[run]


def _values(design, between, within, n_sets=N_SETS, seed=0):
    """Data sets below one another, places with means of their own."""
    run, place = _codes(design)
    rng = np.random.default_rng(seed)
    noise = between * rng.standard_normal((n_sets, run.max() + 1))[:, run]
    return 3.0 - 0.2 * place + noise + within * rng.standard_normal((n_sets, len(run)))


def _table(design, between, within, seed=0):
    run, place = _codes(design)
    loss = np.exp(_values(design, between, within, 1, seed)[0])
    first = np.unique(place, return_index=True)[1]
    return pandas.DataFrame({"width": 2.0**place, "seed": run - run[first][place], "loss": loss})


def _covered(own, truth):
    return np.mean((own.low <= truth) & (truth <= own.high))


@pytest.mark.parametrize("design", [BALANCED, UNBALANCED, ONE_PLACE])
@pytest.mark.parametrize("between", [0.01, 0.03, 0.1])
def test_planted_components_are_recovered_and_covered(design, between):
    codes, values = _codes(design), _values(design, between, 0.03)
    runs, evaluations = between_groups(values, *codes), within_groups(values, codes[0])
    estimates = {
        between**2: runs.difference(evaluations, 0.95),
        0.03**2: evaluations.interval(0.95),
        between**2 + 0.03**2: total(runs, evaluations, 0.95),
    }
    for truth, own in estimates.items():
        assert 0.92 < _covered(own, truth) < 0.98
    unbiased = (runs.value - evaluations.value) / runs.n_evaluations  # not cut off at 0
    for truth, own in ((between**2, unbiased), (0.03**2, evaluations.value)):
        assert abs(own.mean() - truth) < 4 * own.std() / np.sqrt(N_SETS)
    low, high = estimates[0.03**2].low, estimates[0.03**2].high
    assert np.all(low < evaluations.value) & np.all(evaluations.value < high)


def test_wrong_formulas_do_not_cover():
    """Power: the variance of the means of runs, and values that are taken for runs."""
    codes, values = _codes(BALANCED), _values(BALANCED, 0.03, 0.03)
    runs = between_groups(values, *codes)
    of_means = MeanSquare(
        runs.value / runs.n_evaluations, runs.df
    )  # with a third of the evaluations'
    assert _covered(of_means.interval(0.95), 0.03**2) < 0.92
    values_alone = within_groups(values, codes[1])  # of every value from the mean of its place
    assert _covered(values_alone.interval(0.95), 2 * 0.03**2) < 0.92
    plain = MeanSquare(runs.value, runs.df, 1.0)  # not divided by how many evaluations
    assert _covered(plain.difference(within_groups(values, codes[0]), 0.95), 0.03**2) < 0.92


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_an_end_of_a_difference_is_zero_just_where_an_f_test_says_so(level):
    of = MeanSquare(np.asarray(2.0), 12)
    for tail, own in ((1 + level, "low"), (1 - level, "high")):
        border = f.ppf(tail / 2, 5, 12)
        ms = of.value * border * np.asarray([0.99, 1.0, 1.01])
        ends = getattr(MeanSquare(ms, 5, 3.0).difference(of, level), own)
        assert ends[0] == 0
        np.testing.assert_allclose(ends[1], 0, atol=1e-7)
        assert ends[2] > 1e-4


def test_without_noise_between_runs_the_interval_begins_at_zero():
    codes, values = _codes(BALANCED), _values(BALANCED, 0.0, 0.03)
    own = between_groups(values, *codes).difference(within_groups(values, codes[0]), 0.95)
    share = np.mean(own.low == 0)  # where the F test sees nothing, at half of 1 - level
    assert binom.ppf(1e-3, N_SETS, 0.975) <= share * N_SETS <= binom.ppf(1 - 1e-3, N_SETS, 0.975)
    assert 0.4 < np.mean(own.variance == 0) < 0.6
    parts = noise_components(_table(BALANCED, 0.0, 0.03, 1), inputs="width", run="seed")
    assert parts.between.variance == parts.between.low == 0 < parts.between.high < 0.03**2
    assert parts.total.variance < parts.within.variance
    assert "the runs scatter no more than their evaluations explain" in parts.reason


def test_a_table_gives_the_numbers_of_its_groups():
    table = _table(UNBALANCED, 0.04, 0.02)
    parts = noise_components(table.sample(frac=1, random_state=0), inputs=["width"], run="seed")
    run, place = _codes(UNBALANCED)
    logs = np.log(table["loss"].to_numpy())
    assert (parts.n_values, parts.n_runs, parts.n_locations) == (45, 15, 5)
    assert (parts.df_between, parts.df_within) == (10, 30)
    means = np.asarray([logs[run == r].mean() for r in range(15)])
    within = sum(np.sum((logs[run == r] - means[r]) ** 2) for r in range(15)) / 30
    assert parts.within.variance == pytest.approx(within)
    assert parts.within.low == pytest.approx(30 * within / chi2.isf(0.025, 30))
    assert parts.within.high == pytest.approx(30 * within / chi2.ppf(0.025, 30))
    own = np.asarray([place[run == r][0] for r in range(15)])
    squares = sum(np.sum((means[own == p] - means[own == p].mean()) ** 2) for p in range(5)) / 10
    counts = np.bincount(run)
    inverse = sum(np.sum(1 / counts[own == p]) * (1 - 1 / np.sum(own == p)) for p in range(5)) / 10
    assert parts.between.variance == pytest.approx(squares - inverse * within)
    both = parts.between.variance + parts.within.variance
    assert parts.total.variance == pytest.approx(both)
    assert parts.reason == ""
    low, high = parts.between.standard_deviation_interval
    assert low < parts.between.standard_deviation < high
    text = " ".join(str(parts).split())
    assert "45 values of 15 runs at 5 locations" in text
    assert f"evaluations of a run {within**0.5:.3g}" in text


def test_one_evaluation_of_every_run_gives_the_total():
    table = _table([[1] * 5] * 4, 0.04, 0.03)
    parts = noise_components(table, inputs="width", run="seed")
    scatter = np.log(table["loss"]).groupby(table["width"]).var(ddof=1).mean()
    assert parts.total.variance == pytest.approx(scatter)
    assert parts.total.low == pytest.approx(16 * scatter / chi2.isf(0.025, 16))
    assert np.isnan([parts.between.variance, parts.within.high]).all()
    assert "evaluated once" in parts.reason
    assert "–" in str(parts)
    runs = xarray.DataArray(table["loss"].to_numpy().reshape(4, 5), name="loss",
                            coords={"width": [1, 2, 4, 8], "seed": range(5)})  # fmt: skip
    again = noise_components(runs, inputs="width", run="seed")
    assert again.total.variance == pytest.approx(scatter)


def test_one_run_at_every_place_gives_the_noise_of_evaluations():
    parts = noise_components(_table([[4], [3]], 0.04, 0.03), inputs="width", run="seed")
    assert parts.df_within == 5
    assert parts.within.variance > 0
    assert np.isnan([parts.between.variance, parts.total.low]).all()
    assert "no two runs have the same inputs" in parts.reason


def test_inputs_are_equal_up_to_rounding_and_may_be_text():
    table = _table(BALANCED, 0.04, 0.03)
    expected = noise_components(table, inputs="width", run="seed")
    rounded = table.assign(width=table["width"] * (1 + 1e-12 * np.arange(len(table))))
    assert noise_components(rounded, inputs="width", run="seed") == expected
    text = table.assign(width=[f"size {w}" for w in table["width"]], set="a", zero=0)
    named = noise_components(
        text.rename(columns={"loss": "nats"}), inputs=["width", "set", "zero"], run="seed",
        columns={"loss": "nats"},
    )  # fmt: skip
    assert named == expected


def test_values_may_have_both_signs_and_rows_without_one_are_counted():
    table = _table(BALANCED, 0.04, 0.03)
    logs = table.assign(loss=np.log(table["loss"]) - 3.0)
    assert (logs["loss"] < 0).any()
    scaled = noise_components(logs, inputs="width", run="seed", residual=js.residuals.Scaled())
    plain = noise_components(table, inputs="width", run="seed")
    assert scaled.between.variance == pytest.approx(plain.between.variance)
    assert (scaled.value, plain.value) == ("loss", "ln loss")
    table.loc[3, "loss"], table.loc[7, "seed"] = -1.0, np.nan
    with pytest.warns(UserWarning, match="1 row with loss that is not positive"):
        parts = noise_components(table, inputs="width", run="seed")
    assert (parts.n_left_out, parts.n_values) == (2, 58)
    assert "2 rows left out" in " ".join(str(parts).split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": "depth"}, "no column 'depth'"),
        ({"run": "run"}, "no column 'run'"),
        ({"value": "error"}, "no column 'error'"),
        ({"inputs": ["width", "seed"]}, "`inputs` must not hold the runs .* got 'seed'"),
        ({"level": 95}, "`level` must lie between 0 and 1"),
        ({"inputs": ["width", "index"]}, "two evaluations of a run, got 60 values at as many"),
        ({"value": "name"}, "`name` must be a column of numbers"),
    ],
)
def test_bad_arguments_are_named(options, message):
    table = _table(BALANCED, 0.04, 0.03)
    table = table.assign(index=np.arange(len(table)), name="a")
    with pytest.raises(ValueError, match=message):
        noise_components(table, **{"inputs": "width", "run": "seed", **options})


def test_runs_are_told_apart_by_numbers_that_differ_little():
    """Times in seconds differ by less than what counts as rounding of an input."""
    table = _table(BALANCED, 0.1, 0.05)
    named = table.assign(seed=1_700_000_000 + table.seed)
    tables = (table, named, named.astype({"seed": float}))  # as they are beside a blank one
    few, *many = (noise_components(t, inputs="width", run="seed") for t in tables)
    assert [few, few] == many


def test_old_names_are_those_of_today_and_say_so():
    parts = noise_components(_table(BALANCED, 0.04, 0.03), inputs="width", run="seed")
    for owner, old, new in (
        (parts, "n_places", "n_locations"),
        (parts, "freedom_between", "df_between"),
        (parts, "freedom_within", "df_within"),
        (parts.within, "deviation", "standard_deviation"),
        (parts.within, "deviation_interval", "standard_deviation_interval"),
    ):
        with pytest.warns(DeprecationWarning, match=f"`{old}` is deprecated, use `{new}`"):
            assert getattr(owner, old) == getattr(owner, new)
    with pytest.warns(DeprecationWarning, match="`places` is deprecated, use `starts`"):
        assert js.forms.exponent(0.1, 1.0).places({}, 3).tolist() == pytest.approx(
            [0.1, 0.1**0.5, 1]
        )


def test_the_table_shows_ends_where_there_are_some():
    parts = noise_components(_table(BALANCED, 0.03, 0.01), inputs="width", run="seed")
    low, high = parts.within.standard_deviation_interval
    assert f"{low:.3g} to {high:.3g}" in str(parts)
    alone = noise_components(_table([[3]] * 4, 0.03, 0.01), inputs="width", run="seed")
    assert str(alone).count(" to ") == 1


def test_a_table_without_a_complete_row_is_refused():
    blank = _table(BALANCED, 0.03, 0.01).assign(loss=np.nan)
    with pytest.raises(ValueError, match=r"`data` must hold two runs .* got 0 values at as many"):
        noise_components(blank, inputs="width", run="seed")
