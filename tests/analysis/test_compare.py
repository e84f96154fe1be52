"""`compare`: right theories pass, planted biases fail, and what is left out is counted."""

import json
import math

import numpy as np
import pytest
import xarray
from scipy.stats import t

from jaxscale._status import Status
from jaxscale.analysis import compare

STEPS = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 256])
ATTRS = {"units": "", "long_name": "", "predicted": "exact", "limits": ""}


def theory(width=(8, 16, 32)):
    w = np.asarray(width, float)
    y = (1 + STEPS) ** -0.5 + 1 / w[:, None]
    return xarray.Dataset(
        {"loss": (("width", "step"), y, ATTRS)}, {"width": np.asarray(width), "step": STEPS}
    )


def simulated(n_seeds=16, noise=0.1, seed=0, bias=0.0):
    """Runs of the theory: Gaussian noise of relative size `noise`; step 0 is the same for all."""
    truth = theory()["loss"]
    draw = np.random.default_rng(seed).normal(size=(3, n_seeds, len(STEPS)))
    draw[..., 0] = 0.0
    y = truth.values[:, None] * (1 + noise * (draw + bias * (STEPS > 0)))
    return xarray.Dataset(
        {
            "loss": (("width", "seed", "step"), y, ATTRS),
            "train_loss": (("width", "seed"), y[..., -1], ATTRS | {"predicted": "none"}),
            "status": (("width", "seed"), np.zeros((3, n_seeds), np.int32)),
        },
        {"width": [8, 16, 32], "seed": np.arange(n_seeds), "step": STEPS},
    )


def test_a_right_theory_passes_and_a_biased_one_fails():
    right = compare(simulated(), theory())
    assert right.passed
    assert right.n_comparisons == 27
    assert right.quantile == pytest.approx(t.ppf(1 - 1e-3 / 27 / 2, 15))
    wrong = compare(simulated(bias=12 / math.sqrt(16)), theory())
    assert not wrong.passed
    assert wrong.rows[0].max_z > wrong.quantile


@pytest.mark.parametrize(("truth", "passes"), [(0.5, True), (0.01, False)])
def test_one_point_of_flags_is_compared_as_a_share(truth, passes):
    flags = xarray.Dataset({"reached": ("seed", np.arange(32) % 2 == 0)})
    result = compare(flags, xarray.Dataset({"reached": ((), truth)}))
    assert result.n_comparisons == 1
    assert result.passed == passes


def test_a_bias_at_one_point_is_found_and_located():
    runs = simulated()
    runs["loss"][1, :, 5] += 0.5
    result = compare(runs, theory())
    assert not result.passed
    assert result.rows[0].at == {"width": 16, "step": 16}


def test_z_is_the_mean_difference_in_standard_errors():
    runs, truth = simulated(n_seeds=5).isel(width=[0], step=[3]), theory().isel(width=[0], step=[3])
    y = runs["loss"].values.ravel()
    row = compare(runs, truth).rows[0]
    mean, expected = y.mean(), truth["loss"].item()
    assert row.max_z == pytest.approx((mean - expected) / (y.std(ddof=1) / math.sqrt(5)))
    assert row.max_error == pytest.approx(abs(mean / expected - 1))
    assert row.rms_error == pytest.approx(row.max_error)


@pytest.mark.slow
def test_a_right_theory_is_refused_about_as_often_as_alpha_says():
    passed = [compare(simulated(8, seed=s), theory(), alpha=0.2).passed for s in range(100)]
    assert 0.7 < np.mean(passed) < 0.95


def test_labels_may_differ_by_rounding():
    rates = np.array([0.1, 0.3, 0.2])
    runs = simulated().assign_coords(width=rates)
    rounded = theory().assign_coords(width=rates.astype(np.float32).astype(float))
    expected = compare(runs, theory().assign_coords(width=rates), allowance={"loss": 0.01})
    allowance = {"loss": 0.01 + 0 * rounded["loss"].isel(width=[2, 0, 1])}
    assert compare(runs, rounded.isel(width=[1, 0, 2]), allowance=allowance).rows == expected.rows
    other = compare(runs, theory().assign_coords(width=rates * [1, 1, 1.001]))
    assert other.rows[0].n_no_theory == len(STEPS)


def test_theory_is_matched_by_coordinates():
    shuffled = theory((32, 8, 16)).isel(step=slice(None, None, -1))
    assert compare(simulated(), shuffled).rows == compare(simulated(), theory()).rows
    assert not compare(simulated(), theory().assign_coords(width=[32, 16, 8])).passed
    with pytest.raises(ValueError, match="`theory` of loss must share values of width with runs"):
        compare(simulated(), theory((1, 2, 3)))


@pytest.mark.parametrize(
    ("runs", "other", "words"),
    [
        (
            simulated(),
            theory().sel(width=16),
            "at width = 16 alone, runs are at 8, 16, 32: give",
        ),
        (simulated().sel(width=8), theory().sel(width=16), "width = 16 alone, runs are at 8: "),
        (simulated(), theory((8, 16)).drop_vars("width"), "3 values of width as runs.*got 2"),
    ],
    ids=["one of several values", "another value", "lengths"],
)
def test_theory_of_other_values_is_no_theory_of_all(runs, other, words):
    with pytest.raises(ValueError, match=f"`theory` of loss .*{words}"):
        compare(runs, other)


def test_theory_of_one_value_or_of_any_is_compared():
    one = compare(simulated().sel(width=[16]), theory().sel(width=16)).rows[0]
    assert one.max_z == compare(simulated().sel(width=16), theory().sel(width=16)).rows[0].max_z
    flat = theory().isel(width=0, drop=True)
    assert compare(simulated(), flat).n_comparisons == 27
    unlabelled = theory().drop_vars("width")
    assert compare(simulated(), unlabelled).rows == compare(simulated(), theory()).rows


def test_points_without_theory_are_counted():
    truth = theory().isel(width=[0, 1])
    truth["loss"][0, 4:6] = [np.nan, np.inf]
    row = compare(simulated(), truth).rows[0]
    assert (row.n_compared, row.n_no_theory, row.n_deterministic) == (16, 12, 2)


def test_equal_seeds_have_a_relative_error_and_no_z_score():
    truth = theory()
    truth["loss"][:, 0] *= 1.25
    result = compare(simulated(), truth)
    row = result.rows[0]
    assert (row.n_deterministic, row.n_compared) == (3, 27)
    assert row.deterministic_error == pytest.approx(0.2)
    assert result.passed
    assert "3 points are equal for all seeds" in str(result)


def test_seeds_that_differ_by_rounding_count_as_equal():
    runs = simulated(noise=1e-7)
    runs["loss"] = runs["loss"].astype(np.float32)
    assert compare(runs, theory()).rows[0].n_deterministic == 30
    assert compare(simulated(noise=1e-7), theory(), resolution=0).rows[0].n_compared == 27


def nearly_equal(difference, noise=0.1):
    """Runs whose seeds agree to 1e-9 at one point, `difference` max |theory| off the theory."""
    runs, truth = simulated(noise=noise), theory()["loss"]
    draw = 1e-9 * np.linspace(-1, 1, 16)
    runs["loss"][1, :, 5] = truth.values[1, 5] + difference * float(truth.max()) + draw
    return runs


def test_a_point_the_seeds_cannot_resolve_is_counted_and_does_not_fail():
    result = compare(nearly_equal(0.9e-4), theory())
    row = result.rows[0]
    assert result.passed
    assert (row.n_unresolved, row.n_compared, row.n_deterministic) == (1, 26, 3)
    assert result.to_dict()["rows"][0]["n_unresolved"] == 1
    assert "1 points are unresolved" in str(result)
    assert "26 z-scores, none of train_loss, 1 points unresolved" in result.verdict


def test_an_unresolved_point_enters_the_errors_and_gives_no_verdict():
    result, truth = compare(nearly_equal(0.9e-4, noise=0.0), theory()), theory()["loss"]
    row = result.rows[0]
    assert (row.n_unresolved, row.n_deterministic, result.passed) == (1, 29, False)
    expected = 0.9e-4 * float(truth.max() / truth[1, 5])
    assert row.max_error == pytest.approx(expected)
    assert row.rms_error == pytest.approx(expected / math.sqrt(30))


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_difference_above_the_resolution_fails_however_small_the_spread(sign):
    result = compare(nearly_equal(sign * 1.1e-4), theory())
    assert (result.rows[0].n_unresolved, result.passed) == (0, False)
    assert result.rows[0].at == {"width": 16, "step": 16}


def test_resolution_zero_compares_every_point():
    result = compare(nearly_equal(0.9e-4), theory(), resolution=0)
    assert (result.rows[0].n_unresolved, result.n_comparisons, result.passed) == (0, 27, False)


def test_the_allowance_is_taken_off_before_the_resolution():
    runs, floor = nearly_equal(1.5e-4), 1e-4 * float(theory()["loss"].max())
    assert compare(runs, theory(), allowance={"loss": 0.7 * floor}).rows[0].n_unresolved == 1
    assert not compare(runs, theory(), allowance={"loss": 0.3 * floor}).passed


def test_a_wholly_deterministic_observable_is_not_passed():
    result = compare(simulated(noise=0.0), theory())
    assert not result.passed
    assert math.isnan(result.quantile)
    assert "no verdict: no point has a z-score" in str(result)


@pytest.mark.parametrize("code", [Status.nonfinite, Status.diverged])
def test_failed_runs_are_masked_and_counted(code):
    runs = simulated()
    runs["loss"][0, 3] = 1e6
    assert compare(runs, theory()).rows[0].max_error > 1e4
    runs["status"][0, 3] = int(code)
    result = compare(runs, theory())
    assert result.rows[0].max_error < 0.2
    assert result.passed
    assert result.n_failed == 1
    assert "1 failed or missing runs" in str(result)
    assert ", 1 run masked, " in result.verdict


def test_runs_that_did_not_converge_are_kept():
    runs = simulated()
    plain = compare(runs, theory())
    runs["status"][0, 3] = int(Status.not_converged)
    assert compare(runs, theory()) == plain


def test_points_with_fewer_seeds_have_their_own_quantile():
    runs = simulated()
    runs["status"][0, 9:] = int(Status.nonfinite)
    result = compare(runs, theory())
    row = result.rows[0]
    fewer, all_seeds = t.ppf(1 - 1e-3 / 27 / 2, [8, 15])
    own = fewer if row.at["width"] == runs.width[0] else all_seeds
    assert row.quantile == pytest.approx(own)
    assert result.quantile == pytest.approx(fewer)
    assert f"9 to 16 seeds, |z| <= {fewer:.2f}" in result.verdict


@pytest.mark.parametrize("n_good", [1, 2, 3, 7])
def test_a_wrong_theory_does_not_pass_where_few_runs_are_left(n_good):
    """With 2 seeds the quantile is in the thousands, whatever the theory says."""
    runs, wrong = simulated(), theory()
    wrong["loss"] = wrong["loss"] * 1.5
    assert not compare(runs, wrong).passed
    runs["status"][:, n_good:] = int(Status.diverged)
    result = compare(runs, wrong)
    assert not result.passed
    row = result.rows[0]
    assert row.n_few_seeds + row.n_deterministic == 30
    few = f"{row.n_few_seeds} points with fewer than 8 seeds"
    assert result.verdict == f"no verdict: no point has a z-score, {few}"
    assert f"no z-score at {few}" in str(result)
    runs["status"][0] = int(Status.ok)  # elsewhere there are enough
    assert compare(runs, wrong).verdict.startswith("failed: 9 z-scores")


def test_points_with_fewer_than_two_seeds_have_no_z_score():
    runs = simulated()
    runs["status"][0, 1:] = int(Status.diverged)
    runs["status"][1] = int(Status.diverged)
    result = compare(runs, theory())
    row = result.rows[0]
    assert (row.n_compared, row.n_few_seeds, row.n_no_theory) == (9, 20, 0)
    assert "9 z-scores, none of train_loss, 20 points without one, " in result.verdict


@pytest.mark.parametrize("drop", [False, True])
def test_one_seed_has_errors_and_no_verdict(drop):
    runs = simulated().isel(seed=0, drop=True) if drop else simulated().isel(seed=[0])
    result = compare(runs, theory())
    assert (result.n_seeds, result.n_comparisons, result.passed) == (1, 0, False)
    assert result.rows[0].n_few_seeds == 30
    assert result.rows[0].n_deterministic == 0
    assert 0.05 < result.rows[0].rms_error < 0.2
    assert "no verdict: it takes 8 seeds, there are 1" in str(result)


@pytest.mark.parametrize("kind", ["number", "array", "DataArray"])
def test_an_allowance_forgives_what_it_bounds_and_no_more(kind):
    runs, truth = simulated(), theory()
    runs["loss"] = runs["loss"] + 0.3
    assert not compare(runs, truth).passed

    def bound(size):
        array = xarray.full_like(truth["loss"], size)
        forms = {"number": size, "array": array.values, "DataArray": array[::-1]}
        return {"loss": forms[kind]}

    assert compare(runs, truth, allowance=bound(0.3)).passed
    assert not compare(runs, truth, allowance=bound(0.1)).passed


def test_an_unknown_allowance_is_refused():
    with pytest.raises(ValueError, match=r"`allowance` must be one of .*did you mean `loss`"):
        compare(simulated(), theory(), allowance={"los": 0.1})


def test_a_point_without_allowance_is_compared_without_one():
    runs, truth = simulated(), theory()
    runs["loss"][2] += 0.3
    allowance = {"loss": xarray.full_like(truth["loss"], 0.3).sel(width=[8, 16])}
    result = compare(runs, truth, allowance=allowance)
    assert (result.n_comparisons, result.passed) == (27, False)


def test_an_allowance_keeps_the_sign_and_never_turns_it():
    runs = simulated(noise=0.01, bias=-1.0)
    plain = compare(runs, theory()).rows[0].max_z
    some = compare(runs, theory(), allowance={"loss": 0.002}).rows[0].max_z
    assert plain < some < 0
    assert compare(runs, theory(), allowance={"loss": 10.0}).rows[0].max_z == 0


def test_what_was_not_compared_says_why():
    runs = simulated()
    runs["gap"] = (("width", "seed"), np.ones((3, 16)), ATTRS | {"predicted": "asymptotic"})
    truth = theory().assign(entropy=0.0)
    result = compare(runs, truth)
    assert result.not_compared == {
        "train_loss": "no closed form",
        "gap": "the closed form (asymptotic) is not in theory",
        "entropy": "not in runs",
    }
    assert "not compared: train_loss, no closed form" in str(result)


def test_zero_theory_has_a_z_score_and_no_relative_error():
    runs = simulated()
    runs["loss"] = runs["loss"] - theory()["loss"].values[:, None]
    row = compare(runs, theory() * 0).rows[0]
    assert row.passed
    assert row.n_compared == 27
    assert math.isnan(row.max_error)


def test_theory_below_rounding_has_no_relative_error():
    runs, truth = simulated(), theory()
    truth["loss"][0, 4] = 1e-250
    assert compare(runs, truth).rows[0].max_error < 0.2
    truth["loss"][0, 4] = 1e-3
    assert compare(runs, truth).rows[0].max_error > 100


def test_plain_data_is_json():
    for runs in (simulated(), simulated().isel(seed=[0])):
        result = compare(runs, theory())
        table = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert table["passed"] is result.passed
        assert table["rows"][0]["observable"] == "loss"
        assert table["rows"][0]["n_compared"] == result.n_comparisons


def test_it_prints_a_table():
    shown = str(compare(simulated(), theory()))
    assert "loss" in shown
    assert "passed: 27 z-scores, none of train_loss, 16 seeds" in shown


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"alpha": 0.0}, "`alpha`.*0.0"),
        ({"alpha": 1.0}, "`alpha`.*1.0"),
        ({"resolution": -1e-3}, "`resolution`.*-0.001"),
        ({"resolution": 1.0}, "`resolution`.*1.0"),
        ({"resolution": math.nan}, "`resolution`.*nan"),
        ({"theory": None}, r"`theory` must be given: js.compare\(runs, js.predict\(grid\)\)"),
        ({"theory": theory().rename(loss="risk")}, "`theory`.*risk"),
        ({"theory": theory().expand_dims(seed=[0])}, "`theory`.*seed"),
        ({"theory": theory().expand_dims(depth=[1])}, "`theory`.*depth"),
        ({"allowance": {"risk": 1.0}}, "`allowance`.*risk"),
        ({"allowance": {"loss": -1.0}}, "`allowance`.*-1"),
        ({"allowance": {"loss": np.nan}}, "`allowance`.*nan"),
        ({"allowance": {"loss": np.ones(7)}}, "`allowance`.*broadcast"),
    ],
)
def test_bad_arguments_are_named(change, name):
    arguments = {"runs": simulated(), "theory": theory()} | change
    with pytest.raises(ValueError, match=name):
        compare(**arguments)


@pytest.mark.parametrize("n_seeds", [3, 7])
def test_few_seeds_have_scores_but_no_verdict(n_seeds):
    result = compare(simulated(n_seeds=n_seeds), theory())
    assert result.n_comparisons > 0
    assert not result.passed
    assert f"no verdict: it takes 8 seeds, there are {n_seeds}" in str(result)
    assert compare(simulated(n_seeds=8), theory()).passed


def test_what_is_no_dataset_is_refused():
    data = xarray.DataArray(np.ones((8, 3)), dims=("seed", "step"), name="loss")
    with pytest.raises(ValueError, match="`runs` must be a Dataset, got DataArray"):
        compare(data, data.to_dataset())
    with pytest.raises(ValueError, match="`theory` must be a Dataset, got DataArray"):
        compare(data.to_dataset(), data)


def test_values_that_theory_lacks_are_counted_in_every_verdict():
    short = theory((8, 32))
    result = compare(simulated(), short)
    assert result.not_in_theory == {"width": [16]}
    assert ", without theory of 1 value of width, 16 seeds" in result.verdict
    assert "not compared: width 16, not in theory" in str(result)
    assert "are 4, without theory of 1 value of width" in compare(simulated(4), short).verdict
    assert compare(simulated(), theory()).not_in_theory == {}
