"""Random surfaces of every form of `js.forms`, in ranges in which data constrain all parameters."""

import jax
import numpy as np
import pandas

import jaxscale as js

MIDDLE = {"n_parameters": 10**8.75, "n_tokens": 10**10.25}


def sizes(rng, n, **others):
    """Parameters and tokens of `n` runs."""
    grid = {
        "n_parameters": 10 ** rng.uniform(7, 10.5, n),
        "n_tokens": 10 ** rng.uniform(8.5, 12, n),
    }
    return {**grid, **others}


def prefactor(rng, exponent, name="n_parameters", low=0.2, high=2.0):
    """A prefactor of which the term is `low` to `high` in the middle of the sizes."""
    return rng.uniform(low, high) * MIDDLE[name] ** exponent


def chinchilla(rng, n=60):
    alpha, beta = rng.uniform(0.2, 0.6, 2)
    values = {"E": rng.uniform(1.2, 2.5), "alpha": alpha, "beta": beta}
    values |= {"A": prefactor(rng, alpha), "B": prefactor(rng, beta, "n_tokens")}
    return values, sizes(rng, n)


def chinchilla_one_exponent(rng):
    values, inputs = chinchilla(rng)
    values["B"] = prefactor(rng, values["alpha"], "n_tokens")
    del values["beta"]
    return values, inputs


def chinchilla_coupled(rng):
    values, inputs = chinchilla(rng)
    return {**values, "gamma": rng.uniform(0.4, 1.6)}, inputs


def kaplan(rng):
    p, q = rng.uniform(0.05, 0.2, 2)
    alone = rng.uniform(1.5, 5.0, 2)  # losses in the middle
    n_c, d_c = (
        MIDDLE["n_parameters"] * alone[0] ** (1 / p),
        MIDDLE["n_tokens"] * alone[1] ** (1 / q),
    )
    return {"N_c": n_c, "D_c": d_c, "alpha_N": p, "alpha_D": q}, sizes(rng, 60)


def power_law(rng):
    values = {"E": rng.uniform(0.1, 2.0), "A": rng.uniform(1, 10), "alpha": rng.uniform(0.1, 1.5)}
    return values, {"x": np.geomspace(1, 1e4, 40)}


def broken_power_law(rng):
    alpha = rng.uniform(0.1, 1.5)
    beta = alpha + rng.choice([-1, 1]) * rng.uniform(0.2, 1.0)
    beta = beta if beta > 0.1 else alpha + 0.5
    x_break = 10 ** rng.uniform(2.5, 5.5)
    values = {"E": rng.uniform(0.01, 0.2), "A": rng.uniform(0.5, 5.0) * x_break**alpha}
    values |= {"alpha": alpha, "beta": beta, "x_break": x_break, "width": rng.uniform(0.1, 0.8)}
    return values, {"x": np.geomspace(1, 1e8, 80)}


def data_constrained(rng):
    values, inputs = chinchilla(rng, 120)
    values["R_D"], values["R_N"] = rng.uniform(3, 30, 2)
    inputs["n_unique_tokens"] = inputs["n_tokens"] * 10 ** -rng.uniform(0, 2, 120)
    return values, inputs


def annealing(rng):
    values = {"E": rng.uniform(1.5, 3.0), "A": rng.uniform(0.2, 1.0), "C": rng.uniform(0.2, 1.0)}
    places, areas = np.arange(100, 2000, 100), []
    progress = np.arange(2000) / 2000
    for rate in (1 + np.cos(np.pi * progress), np.where(progress < 0.8, 2, 10 * (1 - progress))):
        both = js.forms.annealing_areas(5e-4 * rate, momentum=0.99)
        areas.append([np.asarray(area, float)[places] for area in both])
    forward, annealed = np.concatenate(areas, axis=1)
    inputs = {"forward_area": forward, "annealing_area": annealed}
    return {**values, "alpha": rng.uniform(0.3, 0.8)}, inputs


def critical_batch(rng):
    values = {"S_min": 10 ** rng.uniform(2, 5), "B_crit": 10 ** rng.uniform(2, 5)}
    return values, {"batch_size": 2.0 ** np.arange(4, 20)}


def sparsity(rng):
    values, inputs = chinchilla(rng, 100)
    values |= {"F": values["A"] * rng.uniform(0.2, 1.0), "gamma": rng.uniform(0.3, 1.5)}
    return values, {**inputs, "sparsity": rng.choice([0, 0.5, 0.75, 0.875, 0.9375], 100)}


def mixture_of_experts(rng):
    values, inputs = chinchilla(rng, 200)
    values["E"], values["alpha"] = rng.uniform(0.8, 1.5), rng.uniform(0.4, 0.7)
    values |= {"A": prefactor(rng, values["alpha"]), "C": rng.uniform(0.3, 1.0)}
    values |= {"kappa": rng.uniform(0.1, 0.5), "delta": rng.uniform(0.1, 0.5)}
    gamma = rng.uniform(0.1, 0.25)
    values |= {"gamma": gamma, "F": prefactor(rng, gamma, high=1.0)}
    inputs["n_parameters"] = 10 ** rng.uniform(7, 11.5, 200)
    return values, {**inputs, "sparsity": rng.choice([0, 0.5, 0.75, 0.875, 0.95, 0.98], 200)}


def precision(rng):
    values, inputs = chinchilla(rng, 80)
    values["gamma"] = rng.uniform(1.0, 4.0)
    return values, {**inputs, "bits": rng.choice([3.0, 4, 5, 6, 8, 12, 16], 80)}


def double(function, *args, **kwargs):
    """A result in float64."""
    with jax.enable_x64(True):
        return np.asarray(function(*args, **kwargs))


def planted(name, n_surfaces):
    """Values of random surfaces of a form, and a table of all with the column `surface`."""
    rng, values, tables = np.random.default_rng(0), [], []
    form = getattr(js.forms, name)
    for i in range(n_surfaces):
        own, inputs = globals()[name](rng)
        result = double(form, **inputs, **own)
        values.append(own)
        tables.append(pandas.DataFrame({**inputs, form.__form__.result: result, "surface": i}))
    return pandas.DataFrame(values), pandas.concat(tables, ignore_index=True)
