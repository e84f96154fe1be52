"""Forms of scaling laws, and the bias of isoFLOP parabolas."""

import mpmath
from mpmath import mpf

import jaxscale as js
from references._case import Axis, Case, over_points

SIZE = Axis(1e3, 1e13)
POWER = Axis(0.02, 2.0)
FACTOR = Axis(1e-2, 1e5)
FLOOR = Axis(1e-3, 10.0, (0.0,))
SURFACE = {"E": FLOOR, "A": FACTOR, "B": FACTOR, "alpha": POWER, "beta": POWER}
PLANE = {"n_parameters": SIZE, "n_tokens": SIZE}
SPARSE = Axis(0.0, 0.999, (0.5,), linear=True)


def _surface(n, d, x):
    return x["E"] + x["A"] * n ** -x["alpha"] + x["B"] * d ** -x["beta"]


def _chinchilla(n_parameters, n_tokens, **x):
    return _surface(n_parameters, n_tokens, x)


def _one_exponent(n_parameters, n_tokens, **x):
    return _surface(n_parameters, n_tokens, x | {"beta": x["alpha"]})


def _coupled(n_parameters, n_tokens, E, gamma, **x):
    return E + _surface(n_parameters, n_tokens, x | {"E": 0}) ** gamma


def _kaplan(n_parameters, n_tokens, N_c, D_c, alpha_N, alpha_D):
    return ((N_c / n_parameters) ** (alpha_N / alpha_D) + D_c / n_tokens) ** alpha_D


def _constrained(n_parameters, n_tokens, n_unique_tokens, R_D, R_N, **x):
    alpha, beta = x["alpha"], x["beta"]
    unique = min(n_tokens, n_unique_tokens)
    g = (alpha * x["A"] / (beta * x["B"])) ** (1 / (alpha + beta))
    enough = min(n_parameters, g * (g * unique) ** (beta / alpha))

    def effective(used, first, constant):
        return first * (1 - constant * mpmath.expm1(-(used / first - 1) / constant))

    n, d = effective(n_parameters, enough, R_N), effective(n_tokens, unique, R_D)
    return _surface(n, d, x)


def _sparsity(n_parameters, n_tokens, sparsity, F, gamma, **x):
    extra = F * (1 - sparsity) ** gamma * n_parameters ** -x["alpha"]
    return _surface(n_parameters, n_tokens, x) + extra


def _experts(n_parameters, n_tokens, sparsity, C, F, kappa, delta, gamma, **x):
    active = 1 - sparsity
    extra = C * active**kappa + F * active**-delta * n_parameters**-gamma
    return _surface(n_parameters, n_tokens, x) + extra


def _precision(n_parameters, n_tokens, bits, gamma, **x):
    return _surface(n_parameters * -mpmath.expm1(-bits / gamma), n_tokens, x)


def _broken(x, E, A, alpha, beta, x_break, width):
    bend = (1 + (x / x_break) ** (1 / width)) ** (-(beta - alpha) * width)
    return E + A * x**-alpha * bend


def _bias(alpha, beta, width, offset):
    with mpmath.extradps(40):
        h = width / 2
        p, q = mpmath.exp(-alpha * offset) / alpha, mpmath.exp(beta * offset) / beta

        def bessel(n, x):
            return mpmath.sqrt(mpmath.pi / (2 * x)) * mpmath.besseli(n + mpf("0.5"), x)

        slope = q * bessel(1, beta * h) - p * bessel(1, alpha * h)
        curvature = q * bessel(2, beta * h) + p * bessel(2, alpha * h)
        return offset - h * slope / (5 * curvature)


def _form(name, exact, box):
    return Case(f"forms.{name}", over_points(getattr(js.forms, name)), exact, box)


CASES = [
    _form("chinchilla", _chinchilla, {**PLANE, **SURFACE}),
    _form(
        "chinchilla_one_exponent",
        _one_exponent,
        {**PLANE, **{k: v for k, v in SURFACE.items() if k != "beta"}},
    ),
    _form("chinchilla_coupled", _coupled, {**PLANE, **SURFACE, "gamma": Axis(0.1, 3.0, (1.0,))}),
    _form(
        "kaplan",
        _kaplan,
        {
            **PLANE,
            "N_c": Axis(1e6, 1e18),
            "D_c": Axis(1e6, 1e18),
            "alpha_N": Axis(0.03, 0.5),
            "alpha_D": Axis(0.03, 0.5),
        },
    ),
    _form(
        "data_constrained",
        _constrained,
        {
            **PLANE,
            "n_unique_tokens": SIZE,
            **SURFACE,
            "R_D": Axis(0.5, 100.0),
            "R_N": Axis(0.5, 100.0),
        },
    ),
    _form(
        "sparsity",
        _sparsity,
        {**PLANE, "sparsity": SPARSE, **SURFACE, "F": FACTOR, "gamma": Axis(0.1, 2.0)},
    ),
    _form(
        "mixture_of_experts",
        _experts,
        {
            **PLANE,
            "sparsity": SPARSE,
            **SURFACE,
            "C": FACTOR,
            "F": FACTOR,
            "kappa": POWER,
            "delta": POWER,
            "gamma": POWER,
        },
    ),
    _form(
        "precision",
        _precision,
        {**PLANE, "bits": Axis(0.1, 64.0), **SURFACE, "gamma": Axis(0.5, 5.0)},
    ),
    _form(
        "power_law",
        lambda x, E, A, alpha: E + A * x**-alpha,
        {"x": Axis(1e-6, 1e13), "E": FLOOR, "A": FACTOR, "alpha": POWER},
    ),
    _form(
        "broken_power_law",
        _broken,
        {
            "x": Axis(1e-3, 1e12),
            "E": FLOOR,
            "A": FACTOR,
            "alpha": POWER,
            "beta": POWER,
            "x_break": Axis(1.0, 1e6),
            "width": Axis(0.05, 2.0),
        },
    ),
    _form(
        "annealing",
        lambda forward_area, annealing_area, E, A, alpha, C: (
            E + A * forward_area**-alpha - C * annealing_area
        ),
        {
            "forward_area": Axis(1.0, 1e6),
            "annealing_area": Axis(1e-6, 1e-3),
            "E": Axis(1.0, 10.0),
            "A": FACTOR,
            "alpha": POWER,
            "C": Axis(1e-3, 100.0),
        },
    ),
    _form(
        "critical_batch",
        lambda batch_size, S_min, B_crit: S_min * (1 + B_crit / batch_size),
        {"batch_size": SIZE, "S_min": SIZE, "B_crit": SIZE},
    ),
    Case(
        "analysis.isoflop_bias",
        js.analysis.isoflop_bias,
        _bias,
        {
            "alpha": Axis(0.02, 2.0, (0.3,)),
            "beta": Axis(0.02, 2.0, (0.3,)),
            "width": Axis(1e-3, 20.0),
            "offset": Axis(-3.0, 3.0, (0.0,), linear=True),
        },
        size=lambda alpha, beta, width, offset: abs(offset),
        relative_to="bias and offset",
        extra=({"alpha": 0.3, "beta": 0.34, "width": 1e-3, "offset": 0.0},),
        slopes=(),
    ),
]
