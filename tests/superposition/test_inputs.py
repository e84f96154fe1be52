"""Samples of sparse features: probabilities, pairs, amplitudes, independence of padding."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import jaxscale as js
from jaxscale import fields
from jaxscale.keys import root_key
from jaxscale.spectra import power_law_shares
from jaxscale.superposition import TeacherStudent
from jaxscale.superposition._data import Bernoulli, OneHot
from jaxscale.superposition._outputs import Fixed, Uniform

N, SAMPLES = 12, 40_000
INPUTS = {
    "one-hot": OneHot(amplitude=Uniform()),
    "bernoulli": Bernoulli(mean_active=1.9, amplitude=Uniform(low=0.0, high=1.0)),
    "symmetric": Bernoulli(amplitude=Uniform(low=-1.0, high=1.0)),
    "table": Bernoulli(probabilities=np.full(N, 0.3), amplitude=Fixed(value=2.0)),
}


def shares(inputs):
    rank = np.arange(1.0, N + 1) ** -1.3
    return rank / rank.sum() if inputs.probabilities is None else np.asarray(inputs.probabilities)


@eqx.filter_jit
def dense(inputs, samples, source):
    return inputs.draw(root_key(1), samples, source, "float32").dense(N)


def drawn(inputs, extra=0):
    p = np.asarray(inputs.probability(jnp.asarray(shares(inputs), jnp.float32)))
    one = isinstance(inputs, OneHot)
    places = extra + (1 if one else inputs.n_listed(shares(inputs)))
    source = inputs.source(jnp.asarray(p, jnp.float32), places)
    return p.astype(float), np.asarray(dense(inputs, jnp.arange(SAMPLES), source), float)


@pytest.mark.parametrize(
    "name",
    INPUTS,
)
def test_second_moments_are_exact(name):
    inputs = INPUTS[name]
    p, x = drawn(inputs)
    scale, mean = (np.asarray(v, float) for v in inputs.moments(jnp.asarray(p, jnp.float32)))
    expected = np.diag(scale) + np.outer(mean, mean)
    products = x[:, :, None] * x[:, None, :]
    error = products.std(axis=0) / np.sqrt(SAMPLES)
    limit = norm.isf(0.5e-3 / N**2)
    off = np.abs(products.mean(axis=0) - expected)
    assert np.all(off <= limit * error + 1e-6), (off / np.maximum(error, 1e-9)).max()
    count = (x != 0).mean(axis=0)
    assert np.all(np.abs(count - p) <= limit * np.sqrt(p / SAMPLES))
    # power: probabilities off by a tenth would be seen
    assert np.any(np.abs(1.1 * p - count) > limit * np.sqrt(p / SAMPLES))


def test_one_hot_is_exactly_one():
    _, x = drawn(INPUTS["one-hot"])
    assert np.all((x != 0).sum(axis=1) == 1)


def test_more_places_change_no_sample():
    inputs = INPUTS["bernoulli"]
    np.testing.assert_array_equal(drawn(inputs)[1], drawn(inputs, extra=5)[1])


def test_a_sample_depends_on_its_number_only():
    inputs = INPUTS["bernoulli"]
    p = jnp.asarray(shares(inputs), jnp.float32) * 1.9
    source = inputs.source(p, inputs.n_listed(shares(inputs)))
    few = dense(inputs, jnp.asarray([7, 100]), source)
    np.testing.assert_array_equal(few, np.asarray(drawn(inputs)[1], np.float32)[[7, 100]])


def test_rare_features_of_a_long_spectrum_are_drawn():
    """The second half of 4096 features at a = 1.1 holds 5 % of the events."""
    n = 4096
    weight = np.arange(1.0, n + 1) ** -1.1
    p = jnp.asarray(weight / weight.sum(), jnp.float32)
    inputs = OneHot()
    index = np.asarray(
        inputs.draw(root_key(0), jnp.arange(SAMPLES), inputs.source(p, 1), "float32").index
    )
    expected = float(p[n // 2 :].sum())
    assert abs((index >= n // 2).mean() - expected) < 4 * np.sqrt(expected / SAMPLES)


def test_bad_probabilities_are_named():
    with pytest.raises(ValueError, match="`probabilities` must be less than 1"):
        Bernoulli(probabilities=[0.5, 1.0])
    with pytest.raises(ValueError, match="`probabilities` must sum to 1"):
        OneHot(probabilities=[0.5, 0.4])
    with pytest.raises(ValueError, match="`mean_active` times the largest share"):
        Bernoulli(mean_active=4.0).n_listed(np.array([0.5, 0.5]))


def test_tables_and_leaves_trace():
    inputs = Bernoulli(mean_active=1.0)

    def mean(active):
        import jaxscale as js

        p = js.replace(inputs, "mean_active", active).probability(jnp.full((4,), 0.25))
        return jnp.sum(p)

    assert float(jax.jit(mean)(jnp.asarray(0.5))) == pytest.approx(0.5)


class _Half(js.superposition.AbstractInputs):
    """A user's inputs: in a share of the samples all even features are active, else none."""

    amplitude: Fixed = fields.part(Fixed, Fixed(value=1.0))
    probabilities: None = None
    share: fields.Real = fields.real(0.5, above=0.0, below=1.0)

    def probability(self, shares):
        return jnp.where(jnp.arange(len(shares)) % 2 == 0, self.share, 0.0)

    def source(self, probability, n_listed):
        return js.superposition.Source(probability, jnp.ones(n_listed, probability.dtype))

    def draw(self, key, samples, source, dtype):
        n = source.counts.shape[0]
        drawn = jax.vmap(lambda i: jax.random.uniform(jax.random.fold_in(key, i)))(samples)
        active = (drawn < source.survival[0])[:, None] & (source.survival > 0)
        index = jnp.broadcast_to(jnp.arange(n), active.shape)
        return js.superposition.Samples(index, active.astype(dtype))

    def moments(self, probability):
        mean = probability * 1.0
        return 0 * mean, jnp.sqrt(mean)

    def active_share(self, probability):
        return probability / jnp.max(probability)


class _Few(_Half):
    """Lists that grow with a field that is swept."""

    def n_listed(self, shares):
        return round(4 * float(self.share))


def test_lists_of_inputs_of_a_user_hold_every_swept_run():
    system = js.superposition.TeacherStudent(
        n_features=4, latent_size=2, frequency_exponent=1.0, inputs=_Few()
    )
    assert system.padded("active") == 2
    swept = {"inputs.share": [0.2, 0.9], "frequency_exponent": [1.0, 1.0]}
    assert system.padded_for(swept).padded("active") == 4


@pytest.mark.slow
def test_inputs_of_a_user_are_drawn_and_list_every_feature():
    system = js.superposition.TeacherStudent(
        n_features=4, latent_size=2, frequency_exponent=1.0, inputs=_Half(), n_steps=3,
        learning_rate=0.1, gradient=js.superposition.FreshBatches(batch_size=8),
    )  # fmt: skip
    assert system.padded("active") == 4
    runs = js.run(js.Grid(system, {"inputs.share": [0.2, 0.8]}, seeds=2))
    assert (runs.status == 0).all()
    assert np.isfinite(runs.loss).all()


def test_places_are_counted_once_per_setting(monkeypatch):
    counted, n_listed = [], Bernoulli.n_listed
    columns = {"frequency_exponent": np.array([1.5, 2.0]), "inputs.mean_active": np.full(2, 0.73)}
    inputs = Bernoulli(mean_active=0.73)
    wanted = max(inputs.n_listed(power_law_shares(a, 30)) for a in (1.1, 1.5, 2.0))

    def noted(inputs, shares):
        counted.append(inputs)
        return n_listed(inputs, shares)

    monkeypatch.setattr(Bernoulli, "n_listed", noted)
    for _ in range(3):
        system = TeacherStudent(n_features=30, latent_size=4, frequency_exponent=1.1, inputs=inputs)
        assert system.lengths_for(columns)["active"] == wanted
    assert len(counted) == 1 + 3  # the system's own, and those of the sweep
    tables = [np.full(30, p) for p in (0.01, 0.3)]
    few, many = (
        TeacherStudent(n_features=30, latent_size=4, inputs=Bernoulli(probabilities=table))
        for table in tables
    )
    assert few.padded("active") == n_listed(few.inputs, tables[0])
    assert many.padded("active") == n_listed(many.inputs, tables[1])
