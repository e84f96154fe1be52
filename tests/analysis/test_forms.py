"""Forms of scaling laws: planted parameters, gradients, limits, the optimum, groups of runs."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from planted_forms import chinchilla, double, planted
from scipy import optimize

import jaxscale as js
from jaxscale.analysis._form import FORMS

forms = js.forms
SHIPPED = sorted(name for name in FORMS if hasattr(js.forms, name))
LARGE = (  # to compile
    "broken_power_law", "data_constrained", "mixture_of_experts", "precision", "sparsity",
)  # fmt: skip
N_SURFACES = int(os.environ.get("JAXSCALE_TEST_SURFACES", "10"))  # of each form
SQUARES = {"loss": js.residuals.Squared(), "bootstrap": 0}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in SHIPPED]
)
def test_planted_parameters_are_recovered_without_starts(name):
    truth, table = planted(name, N_SURFACES)
    fit = js.calibrate(getattr(forms, name), table, each="surface", **SQUARES)
    assert fit.converged.all()
    for parameter, values in truth.items():
        np.testing.assert_allclose(fit.values[parameter], values, rtol=1e-6, err_msg=parameter)


@pytest.mark.parametrize("name", SHIPPED)
def test_gradients_are_those_of_finite_differences(name):
    truth, table = planted(name, 1)
    form, values = getattr(forms, name), truth.iloc[0].to_dict()
    inputs = {n: table[n].to_numpy(float)[:40] for n in form.__form__.inputs}
    total = jax.jit(lambda values: jnp.sum(jnp.log(form(**inputs, **values))))
    gradient = jax.grad(total)
    with jax.enable_x64(True):
        slopes = gradient(values)
        for parameter, value in values.items():
            step = 1e-5 * value
            ends = [float(total({**values, parameter: value + s})) for s in (step, -step)]
            expected = (ends[0] - ends[1]) / (2 * step)
            scale = 1e-6 * abs(float(total(values)) / value)  # of rounding and of the third order
            assert float(slopes[parameter]) == pytest.approx(expected, rel=1e-5, abs=scale)


def test_exact_data_in_float32_converge():
    truth, table = planted("chinchilla", N_SURFACES)
    table["loss"] = table["loss"].astype(np.float32)
    fit = js.calibrate(forms.chinchilla, table, each="surface", bootstrap=0)
    assert fit.converged.all()
    np.testing.assert_allclose(fit.values["alpha"], truth["alpha"], rtol=1e-4)


LAW = {"E": 1.7, "A": 400.0, "B": 500.0, "alpha": 0.34, "beta": 0.28}
N, D = np.meshgrid(np.geomspace(1e7, 1e10, 7), np.geomspace(1e9, 1e12, 7))


def plain(n=N, d=D, **values):
    """The Chinchilla form in NumPy."""
    v = {**LAW, **values}
    return v["E"] + v["A"] * n ** -v["alpha"] + v["B"] * d ** -v["beta"]


def limits():
    """A form at a limit and what it is there."""
    one = {n: v for n, v in LAW.items() if n != "beta"}
    x = np.geomspace(1, 1e6, 9)
    broken = {"E": 0.1, "A": 2.0, "alpha": 0.5, "x_break": 1e3}
    ends = np.asarray([1e-9, 1e15])
    return {
        "one exponent": (
            (forms.chinchilla_one_exponent, N, D), one, plain(beta=LAW["alpha"])),
        "coupled, gamma = 1": ((forms.chinchilla_coupled, N, D), {**LAW, "gamma": 1.0}, plain()),
        "no repetition": (
            (forms.data_constrained, 1e7, D, 2 * D), {**LAW, "R_D": 15.0, "R_N": 5.0},
            plain(n=1e7)),
        "repetition is no loss": (
            (forms.data_constrained, 1e7, D, D / 3), {**LAW, "R_D": 1e9, "R_N": 1e9}, plain(n=1e7)),
        "no break": (
            (forms.broken_power_law, x), {**broken, "beta": 0.5, "width": 0.3}, 0.1 + 2 * x**-0.5),
        "far from a break": (
            (forms.broken_power_law, ends), {**broken, "beta": 1.5, "width": 0.3},
            0.1 + 2 * np.asarray([ends[0] ** -0.5, 1e3 * ends[1] ** -1.5])),
        "no zeros": (
            (forms.sparsity, N, D, 0.0), {**LAW, "F": 100.0, "gamma": 0.7}, plain(A=500.0)),
        "all experts": (
            (forms.mixture_of_experts, N, D, 0.0),
            {**LAW, "C": 0.5, "F": 10.0, "kappa": 0.2, "delta": 0.2, "gamma": 0.2},
            plain() + 0.5 + 10 * N**-0.2),
        "many bits": ((forms.precision, N, D, 200.0), {**LAW, "gamma": 2.7}, plain()),
        "much data": (
            (forms.kaplan, N, 1e40), {"N_c": 1e14, "D_c": 1e13, "alpha_N": 0.08, "alpha_D": 0.1},
            (1e14 / N) ** 0.08),
        "constant rate": (
            (forms.annealing, x, 0.0), {"E": 1.0, "A": 2.0, "C": 3.0, "alpha": 0.5},
            1 + 2 * x**-0.5),
        "large batch": ((forms.critical_batch, 1e15), {"S_min": 300.0, "B_crit": 1e3}, 300.0),
    }  # fmt: skip


LIMITS = limits()


@pytest.mark.parametrize("case", LIMITS)
def test_limits(case):
    (form, *inputs), values, expected = LIMITS[case]
    result = double(form, *inputs, **values)
    np.testing.assert_allclose(result, np.broadcast_to(expected, result.shape), rtol=1e-9)


@pytest.mark.parametrize(
    "given",
    [int, lambda n: [n], lambda n: np.asarray([n]), lambda n: pandas.Series([n])],
    ids=["int", "list", "array", "series"],
)
def test_whole_numbers_beyond_32_bits_are_what_they_are(given):
    sizes = given(5_000_000_000), given(100_000_000_000)
    expected = plain(5e9, 1e11)
    np.testing.assert_allclose(forms.chinchilla(*sizes, **LAW), expected, rtol=1e-6)


def test_repeated_data_are_those_of_the_papers_code():
    # github.com/huggingface/datablations prints these two losses for these numbers
    exponents = {"alpha": 0.3526596, "beta": 0.3526596, "R_D": 15.387756, "R_N": 5.309743}
    logs = {"E": 0.6254804, "A": 6.255414, "B": 7.3049974}
    law = {**{n: np.exp(v) for n, v in logs.items()}, **exponents}
    sizes = np.asarray([6.34e9, 8.67e9]), np.asarray([242e9, 178e9]), 25e9
    losses = double(forms.data_constrained, *sizes, **law)
    np.testing.assert_allclose(losses, [2.2256440889984477, 2.2269634075087867], rtol=1e-12)


def test_annealing_areas_are_the_double_sum():
    rates, momentum = np.random.default_rng(0).uniform(1.0, 2.0, 30), 0.9
    forward, annealed = double(forms.annealing_areas, rates, momentum=momentum)
    falls = -np.diff(rates, prepend=rates[0])
    momenta = [sum(momentum ** (i - k) * falls[k] for k in range(i + 1)) for i in range(30)]
    np.testing.assert_allclose(forward, np.cumsum(rates), rtol=1e-12)
    np.testing.assert_allclose(annealed, np.cumsum(momenta), rtol=1e-9, atol=1e-12)


def noisy_surfaces():
    """Runs with 1 % scatter; every other surface has a narrow range of N, of D, or of both."""
    rng, tables = np.random.default_rng(0), []
    for i in range(N_SURFACES):
        values, inputs = chinchilla(rng, 50)
        if i % 2:
            narrow = [("n_parameters",), ("n_tokens",), ("n_parameters", "n_tokens")][i % 3]
            for name in narrow:
                inputs[name] = np.median(inputs[name]) * 10 ** rng.uniform(-0.2, 0.2, 50)
        exact = double(forms.chinchilla, **inputs, **values)
        loss = exact * np.exp(0.01 * rng.standard_normal(50))
        tables.append(pandas.DataFrame({**inputs, "loss": loss, "surface": i}))
    return pandas.concat(tables, ignore_index=True)


def smallest_squares(table):
    """Half the sum of squares at SciPy's best optimum from 12 starts."""
    columns = table[["n_parameters", "n_tokens", "loss"]]
    log_n, log_d, target = np.log(columns.to_numpy()).T
    centre_n, centre_d = log_n.mean(), log_d.mean()

    def terms(p):  # prefactors are those in the middle of the sizes
        return p[0], *np.exp([p[1] - p[3] * (log_n - centre_n), p[2] - p[4] * (log_d - centre_d)])

    def residuals(p):
        return np.log(sum(terms(p))) - target

    def jacobian(p):
        e, a, b = terms(p)
        columns = [np.ones_like(a), a, b, -a * (log_n - centre_n), -b * (log_d - centre_d)]
        return np.stack(columns, axis=1) / (e + a + b)[:, None]

    lowest, best = table["loss"].min(), np.inf
    lower, upper = [0, -60, -60, 1e-12, 1e-12], [np.inf, 60, 60, 50, 50]
    for share in (0.1, 0.5, 0.9):
        for exponents in ((0.2, 0.2), (0.5, 0.2), (0.2, 0.5), (0.6, 0.6)):
            start = [share * lowest, *np.log([(1 - share) * lowest / 2] * 2), *exponents]
            end = optimize.least_squares(
                residuals, start, jacobian, (lower, upper), x_scale="jac", max_nfev=2000,
                ftol=1e-14, xtol=1e-14, gtol=1e-14,
            )  # fmt: skip
            best = min(best, end.cost)
    return best


@pytest.mark.filterwarnings(
    "ignore::UserWarning"
)  # a floor of 0, parameters that only matter together
@pytest.mark.slow
def test_the_optimum_is_that_of_scipy_also_where_data_constrain_little():
    table = noisy_surfaces()
    fit = js.calibrate(forms.chinchilla, table, each="surface", **SQUARES)
    other = [smallest_squares(own) for _, own in table.groupby("surface")]
    np.testing.assert_allclose(fit.objective, other, rtol=1e-6)


def test_a_call_that_lacks_a_parameter_names_the_form():
    with pytest.raises(
        TypeError, match=r"^chinchilla\(\) missing a required (keyword-only )?argument: 'E'"
    ):
        forms.chinchilla(1e9, 2e10)
