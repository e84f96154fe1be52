"""Embeddings, losses by output, observables and the declarations of the system."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.stats import chi2, norm

import jaxscale as js
from jaxscale.keys import root_key
from jaxscale.superposition import _losses as losses
from jaxscale.superposition._student import Problem, Task, Teacher, embedded
from jaxscale.training import INIT_STREAM

S = js.superposition
BASE = dict(n_features=48, latent_size=12, frequency_exponent=1.2)


@eqx.filter_jit
def initial(system, key):
    return system.init(jr.fold_in(key, INIT_STREAM))


def start(system, seed=0):
    with jax.enable_x64(system.dtype == "float64"):
        return initial(js.training.cast(system, system.dtype), root_key(seed))


def test_random_directions_are_unit_and_do_not_depend_on_padding():
    one = start(S.TeacherStudent(**BASE)).student.directions
    wide = S.TeacherStudent(**BASE).padded_for({"latent_size": [20]})
    padded = start(wide).student.directions
    np.testing.assert_allclose(np.sum(np.asarray(one) ** 2, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(padded[:, :12], one, rtol=1e-6)
    assert np.all(np.asarray(padded)[:, 12:] == 0)
    assert np.std(np.asarray(one)) == pytest.approx(12**-0.5, rel=0.01)


def test_products_by_lists_are_the_dense_ones_of_accelerators(monkeypatch):
    rng = np.random.default_rng(0)
    rows, image = (jnp.asarray(rng.normal(size=n), jnp.float32) for n in ((9, 4), (6, 4)))
    value = rng.normal(size=(6, 3)) * [1.0, 1.0, 0.0]  # the last place is not used
    index = jnp.asarray(rng.integers(9, size=(6, 3)), jnp.int32)

    def both(rows, value):
        out, back = jax.vjp(lambda r, v: embedded(r, index, v), rows, value)
        return out, *back(image)

    listed = both(rows, jnp.float32(value))
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *a, cpu, default: default(*a))
    for one, other in zip(listed, both(rows, jnp.float32(value)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    x = np.zeros((6, 9))
    np.add.at(x, (np.arange(6)[:, None], np.asarray(index)), value)
    np.testing.assert_allclose(listed[0], x @ rows, atol=1e-5)
    np.testing.assert_allclose(listed[1], x.T @ image, atol=1e-5)


def test_gaussian_rows_are_the_draw_of_the_unit_ones():
    """Their squared lengths are chi-square over K."""
    unit, drawn = (
        np.asarray(start(S.TeacherStudent(**BASE, embedding=e)).student.directions, float)
        for e in (S.RandomUnit(), S.RandomGaussian())
    )
    square = np.sum(drawn**2, axis=1)
    np.testing.assert_allclose(drawn / np.sqrt(square)[:, None], unit, atol=1e-6)
    low, high = chi2.ppf([0.5e-3, 1 - 0.5e-3], drawn.size)
    assert low < 12 * square.sum() < high
    assert not low < 12 * square.sum() * 1.5 < high  # power


def test_biases_start_at_independent_normal_numbers():
    """`sum b^2` is chi-square; a bias depends on its output alone; no other draw moves."""
    zero, wide, short = (
        start(S.TeacherStudent(**BASE | {"n_features": n}, decoder=S.Relu(bias_scale=scale)))
        for n, scale in [(48, 0.0), (48, 0.5), (24, 0.5)]
    )
    np.testing.assert_array_equal(zero.student.bias, np.zeros(48))
    np.testing.assert_array_equal(zero.student.matrix, wide.student.matrix)
    np.testing.assert_array_equal(zero.student.directions, wide.student.directions)
    np.testing.assert_array_equal(short.student.bias, wide.student.bias[:24])
    square = float(np.sum(np.asarray(wide.student.bias) ** 2))
    low, high = chi2.ppf([0.5e-3, 1 - 0.5e-3], 48)
    assert low < square / 0.5**2 < high
    assert not low < square / 0.25**2 < high  # power


@pytest.mark.parametrize(("n", "k"), [(48, 12), (40, 30), (200, 10), (16, 16)])
def test_tight_frames_are_tight_and_unit(n, k):
    system = S.TeacherStudent(
        n_features=n, latent_size=k, frequency_exponent=1.2, embedding=S.TightFrame(),
        dtype="float64",
    )  # fmt: skip
    w = np.asarray(start(system.padded_for({"latent_size": [k + 2]})).student.embedding)[:k]
    np.testing.assert_allclose(np.sum(w**2, axis=0), 1, rtol=1e-12)
    np.testing.assert_allclose(w @ w.T, n / k * np.eye(k), atol=1e-6 * n / k)


@pytest.mark.slow
def test_pretraining_lowers_the_loss_of_the_autoencoder():
    few, many = (
        S.TeacherStudent(
            **BASE, embedding=S.Pretrained(n_steps=n, batch_size=64), inputs=S.Bernoulli()
        )
        for n in (1, 400)
    )
    totals = []
    for system in (few, many):
        system = js.training.cast(system, "float32")
        state = start(system)
        student = losses.Student(None, jnp.zeros((48,), jnp.float32), state.student.directions)
        ones = jnp.ones((48,), jnp.float32)
        problem = problem_of(system.inputs, ones, ones, S.Relu())
        task = task_of(problem, state.task.source, root_key(5))
        split = losses.sampled_split(student, task, problem, 2000)
        totals.append(float(jnp.sum(split.signal + split.interference)))
    assert totals[1] < 0.6 * totals[0]


LINEAR = dict(decoder=S.Linear(), gradient=S.Population())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("embedding", "parts"),
    [(S.Joint(), LINEAR), (S.Tied(start=S.TightFrame()), LINEAR), (S.Tied(), {})],
    ids=["joint, population", "tied, population", "tied, batches"],
)
def test_trained_embeddings_move_and_learn(embedding, parts):
    parts = dict(embedding=embedding, n_steps=200, record=[0, 200]) | parts
    system = S.TeacherStudent(**BASE | parts)
    first, state = start(system), js.train(system, root_key(0))
    assert float(jnp.max(jnp.abs(state.student.directions - first.student.directions))) > 1e-3
    assert (state.student.matrix is None) == isinstance(embedding, S.Tied)
    observe = eqx.filter_jit(system.observe)
    assert observe(state)["loss"] < 0.9 * observe(first)["loss"]


def problem_of(inputs, probability, targets, decoder):
    return Problem(inputs, probability, Teacher(targets, jnp.ones_like(targets)), decoder)


def task_of(problem, source, key):
    return Task(problem.probability, problem.teacher, source, None, None, {}, key)


def student_of(seed, n=9, k=4):
    rng = np.random.default_rng(seed)
    rows, matrix, bias = (
        rng.standard_normal((n, k)),
        rng.standard_normal((k, k)),
        rng.normal(size=n),
    )
    return losses.Student(jnp.asarray(matrix), jnp.asarray(0.3 * bias), jnp.asarray(rows))


@pytest.mark.parametrize("inputs", [S.OneHot(), S.Bernoulli(mean_active=1.7)], ids=repr)
def test_linear_losses_are_quadratic_forms_of_the_second_moments(x64, inputs):
    student, n = student_of(0), 9
    target = np.arange(1, n + 1.0) ** -0.5

    @jax.jit
    def exact(student, share, target):
        p = inputs.probability(share)
        problem = problem_of(inputs, p, target, S.Linear())
        return losses.exact_split(student, problem), inputs.moments(p)

    split, (scale, mean) = exact(student, np.arange(1, n + 1.0) ** -1.1 / 3, target)
    sigma = np.diag(scale) + np.outer(mean, mean)
    rows = np.asarray(student.directions)
    missing = rows @ np.asarray(student.matrix) @ rows.T - np.diag(target)
    expected = 0.5 * np.einsum("ij,jk,ik->i", missing, sigma, missing)
    np.testing.assert_allclose(split.signal + split.interference, expected, rtol=1e-12)


CASES = {
    "linear, independent": (S.Linear(), S.Bernoulli(mean_active=1.7)),
    "linear, one-hot": (S.Linear(), S.OneHot(amplitude=S.Fixed())),
    "relu, one-hot": (S.Relu(), S.OneHot()),
    "relu, symmetric": (S.Relu(), S.OneHot(amplitude=S.Uniform(low=-1.0, high=1.0))),
}


@pytest.mark.parametrize("name", CASES)
def test_exact_losses_by_output_are_the_means_over_samples(x64, name):
    decoder, inputs = CASES[name]
    share = np.arange(1, 10.0) ** -1.1
    share /= share.sum()
    places = 1 if isinstance(inputs, S.OneHot) else inputs.n_listed(share)
    inputs = js.training.cast(inputs, "float64")
    student, n = student_of(1), 9
    if isinstance(decoder, S.Linear):
        student = losses.Student(student.matrix, jnp.zeros(n), student.directions)

    def problem_at(share):
        return problem_of(inputs, inputs.probability(share), jnp.asarray(share) ** 0.3, decoder)

    split = jax.jit(lambda share: losses.exact_split(student, problem_at(share)))(share)

    @jax.jit
    def block(i):
        problem = problem_at(jnp.asarray(share))
        source = inputs.source(problem.probability, places)
        task = task_of(problem, source, jr.fold_in(root_key(0), i))
        return losses.sampled_split(student, task, problem, 2000)

    blocks = [block(i) for i in range(24)]
    limit = norm.isf(0.5e-3 / (2 * n)) * 1.4  # 23 degrees of freedom
    for part in ("signal", "interference"):
        samples = np.stack([np.asarray(getattr(b, part)) for b in blocks])
        error = samples.std(0, ddof=1) / np.sqrt(24)
        z = (samples.mean(0) - np.asarray(getattr(split, part))) / np.maximum(error, 1e-12)
        assert np.all(np.abs(z) <= limit), (part, z)


def test_blocks_of_columns_add_up(x64, monkeypatch):
    student, inputs = student_of(2), js.training.cast(S.OneHot(), "float64")

    def exact():
        @jax.jit
        def split(student):
            problem = problem_of(inputs, jnp.full(9, 1 / 9), jnp.ones(9), S.Relu())
            return losses.exact_split(student, problem)

        return split(student)

    at_once = exact()
    monkeypatch.setattr(losses, "BLOCK_FLOATS", 36)
    in_blocks = exact()
    np.testing.assert_allclose(in_blocks.interference, at_once.interference, rtol=1e-12)


def test_dead_outputs_and_strengths(x64):
    n = 9
    bias = jnp.asarray([0.0, -2.0, -1.9, *[0.0] * 6])
    inputs = S.OneHot(amplitude=S.Uniform(low=0.0, high=2.0))

    @jax.jit
    def observed(bias):
        student = losses.Student(jnp.eye(n), bias, None)
        problem = problem_of(inputs, jnp.full(n, 1 / n), jnp.full(n, 2.0), S.Relu())
        dead = S.Relu().dead(inputs.amplitude, student.own_slopes(), bias)
        return dead, losses.feature_strength(student, problem)

    dead, strength = map(np.asarray, observed(bias))
    assert np.flatnonzero(dead).tolist() == [1]
    assert losses.feature_groups(n) == [1, 2, 4, 8]
    np.testing.assert_allclose(strength[[0, 2, 3]], 0.5, rtol=1e-12)
    assert strength[1] < 1e-3


@pytest.fixture(scope="module", params=[S.RandomUnit(), S.TightFrame()], ids=repr)
def drawn(request):
    system = S.TeacherStudent(
        n_features=256, latent_size=32, frequency_exponent=1.0, embedding=request.param,
        dtype="float64",
    )  # fmt: skip
    state = start(system)
    return system, np.asarray(state.student.embedding), float(state.task.rates["matrix"])


def test_the_default_rate_is_half_the_limit(drawn):
    _, w, rate = drawn
    p = np.arange(1, 257.0) ** -1.0
    second = (w * p / p.sum() * 4 / 3) @ w.T
    largest = np.linalg.eigvalsh(w @ w.T)[-1] * np.linalg.eigvalsh(second)[-1]
    assert rate == pytest.approx(1 / largest, rel=1e-9)


@pytest.mark.parametrize("importance", [S.InTarget(), S.InLoss()], ids=repr)
def test_the_limit_of_a_readout_is_that_of_its_inputs(drawn, importance):
    """V W x has the second moments of W x alone, times the largest weight, as its Hessian."""
    system, w, _ = drawn
    p = np.arange(1, 257.0) ** -1.0
    largest = np.linalg.eigvalsh((w * p / p.sum() * 4 / 3) @ w.T)[-1]
    untied = js.replace(system, "embedding", S.Untied(start=system.embedding))
    untied = js.replace(js.replace(untied, "importance", importance), "importance_exponent", 0.4)
    assert float(start(untied).task.rates["readout"]) == pytest.approx(1 / largest, rel=1e-9)
    assert 0.75 < untied.estimated_limit() * largest / 2 < 1.15
    matrix = js.replace(untied, "embedding", S.Untied(start=S.Given(matrix=w)))
    assert matrix.estimated_limit() == pytest.approx(2 / largest, rel=1e-9)


@pytest.mark.parametrize("inputs", [S.OneHot(), S.Bernoulli()], ids=repr)
@pytest.mark.parametrize("a", [0.0, 0.5, 1.3])
@pytest.mark.parametrize("importance", [S.InTarget(), S.InLoss()], ids=repr)
def test_the_estimated_limit_is_near_the_one_of_a_drawn_embedding(drawn, inputs, a, importance):
    system, w, _ = drawn
    changes = {"inputs": inputs, "frequency_exponent": a, "importance": importance}
    for path, value in {**changes, "importance_exponent": 0.1}.items():
        system = js.replace(system, path, value)
    rank = np.arange(1, 257.0)
    p = np.asarray(inputs.probability(rank**-a / np.sum(rank**-a)))
    scale, mean = (np.asarray(v) for v in inputs.moments(p))
    weight = rank**-0.2 if isinstance(importance, S.InLoss) else np.ones(256)
    second = (w * scale) @ w.T + np.outer(w @ mean, w @ mean)
    exact = 2 / (np.linalg.eigvalsh((w * weight) @ w.T)[-1] * np.linalg.eigvalsh(second)[-1])
    assert 0.75 < system.estimated_limit() / exact < 1.15


@pytest.mark.slow
def test_a_grid_over_latent_sizes_is_one_program_and_equals_single_runs():
    system = S.TeacherStudent(**BASE, n_steps=20, record=[0, 20], dtype="float64", n_evaluation=64,
                              inputs=S.Bernoulli())  # fmt: skip
    grid = js.Grid(system, {"latent_size": [6, 12], "frequency_exponent": [0.0, 1.5]}, seeds=2)
    plan = js.plan(grid, max_programs=1)
    assert len(plan.buckets) == 1
    runs = js.run(plan, progress=False)
    alone, key = js.select(runs, latent_size=6, frequency_exponent=1.5, seed=1)
    with jax.enable_x64(True):
        single = eqx.filter_jit(lambda s, k: s.simulate(k))(alone, key)
    np.testing.assert_allclose(runs["loss"].values[0, 1, 1], single["loss"], rtol=1e-10)


def test_systems_survive_being_written(tmp_path):
    system = S.TeacherStudent(
        n_features=4, embedding=S.Given(matrix=np.eye(2, 4)), decoder=S.Linear(),
        inputs=S.Bernoulli(probabilities=[0.4, 0.3, 0.2, 0.1], amplitude=S.Fixed(value=2.0)),
        schedule=js.Constant(), n_steps=3,
    )  # fmt: skip
    js.run(js.Grid(system), store=tmp_path / "runs.zarr", progress=False)
    opened = js.open_store(tmp_path / "runs.zarr")
    again, _ = js.select(opened, seed=0)
    np.testing.assert_array_equal(again.embedding.matrix, np.eye(2, 4))
    assert again.decoder == S.Linear()
    assert again.inputs.probabilities[1] == 0.3


BAD = {
    "`latent_size` must be given": dict(n_features=4, frequency_exponent=1.0),
    "`latent_size` must be at most n_features": dict(
        n_features=4, latent_size=5, frequency_exponent=1.0
    ),
    "`latent_size` must be n_features": dict(
        n_features=4, latent_size=3, frequency_exponent=1.0, embedding=S.Identity()
    ),
    "`frequency_exponent` must be given": dict(n_features=4, latent_size=2),
    "`frequency_exponent` must be left out": dict(
        n_features=2, latent_size=2, frequency_exponent=1.0,
        inputs=S.Bernoulli(probabilities=[0.5, 0.5]),
    ),
    "`probabilities` must have n_features = 4": dict(
        n_features=4, latent_size=2, inputs=S.Bernoulli(probabilities=[0.5, 0.5])
    ),
    "`gradient` must be FreshBatches": dict(
        n_features=4, latent_size=2, frequency_exponent=1.0, gradient=S.Population(),
        inputs=S.Bernoulli(),
    ),
    "`mean_active` times": dict(
        n_features=4, latent_size=2, frequency_exponent=3.0, inputs=S.Bernoulli(mean_active=2.0)
    ),
    "`matrix` must have shape": dict(
        n_features=4, frequency_exponent=1.0, embedding=S.Given(matrix=np.eye(2))
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", BAD)
def test_bad_input_is_named(text):
    with pytest.raises(ValueError, match=text):
        S.TeacherStudent(**BAD[text])


BELONGS = dict(n_features=4, latent_size=2, frequency_exponent=1.0)
BAD_RATES = {
    "`embedding_learning_rate` must be left out": dict(embedding_learning_rate=0.1),
    "`bias_learning_rate` must be left out": dict(
        bias_learning_rate=0.1, decoder=S.Relu(bias=False)
    ),
    "`bias_rate_factor` must be left out with": dict(
        bias_rate_factor=0.1, decoder=S.Relu(bias=False)
    ),
    "`bias_rate_factor` must be left out where": dict(bias_rate_factor=0.1, bias_learning_rate=1.0),
    "`learning_rate` must be given": dict(optimizer=js.Adam()),
    "`initial` must not be Zeros": dict(initial=S.Zeros()),
    "`initial` must not be Zeros.. with Relu": dict(initial=S.Zeros(), embedding=S.Untied()),
}


@pytest.mark.parametrize("text", BAD_RATES)
def test_contradictions_are_named(text):
    with pytest.raises(ValueError, match=text):
        S.TeacherStudent(**BELONGS, **BAD_RATES[text])


@pytest.mark.slow
def test_lists_of_traced_systems_are_asked_for():
    """Lists of length 1 would silently drop every second active feature."""
    system = S.TeacherStudent(**BASE, inputs=S.Bernoulli(mean_active=2.0), n_steps=1)

    def loss(system, exponent):
        swept = js.replace(system, "frequency_exponent", exponent)
        return js.training.cast(swept, "float32").simulate(root_key(0))["loss"][0]

    with pytest.raises(ValueError, match="`active` of TeacherStudent has no padded length"):
        jax.jit(lambda a: loss(system, a))(jnp.asarray(1.2))
    wide = system.padded_for({"frequency_exponent": [0.0, 2.0], "inputs.mean_active": [1.0, 0.5]})
    assert wide.padded("active") >= system.inputs.n_listed(np.full(48, 1 / 48))
    # the pair (2.0, 2.0) would be refused, and is not asked for
    runs = js.run(js.Grid(system, {"frequency_exponent": [0.5, 1.2]}), progress=False)
    alone = js.run(js.Grid(system), progress=False)
    np.testing.assert_allclose(runs["loss"][1, 0], alone["loss"][0], rtol=1e-5)


@pytest.mark.parametrize(
    "axes",
    [
        {"frequency_exponent": js.geomspace(1.1, 2.0, 20), "inputs.mean_active": [0.5, 1.0]},
        {"learning_rate": js.geomspace(1e-3, 1e-1, 40)},
    ],
    ids=["sizes", "rates"],
)
def test_plans_of_many_runs_ask_the_system_a_bounded_number_of_times(axes, monkeypatch):
    """Places and limits are numbers of NumPy: no JAX program runs for a plan."""
    system = S.TeacherStudent(**BASE, inputs=S.Bernoulli(), learning_rate=0.01, n_steps=1)
    monkeypatch.setattr(jnp, "cumsum", None)  # what drawing would need
    plan = js.plan(js.Grid(system, axes, seeds=250))
    assert plan.n_runs == 10_000


def test_bad_parts_are_named():
    with pytest.raises(ValueError, match="`micro_batch` must divide batch_size = 8, got 3"):
        S.FreshBatches(batch_size=8, micro_batch=3)
    with pytest.raises(ValueError, match="`bias` must be true or false, got 1"):
        S.Relu(bias=1)
    with pytest.raises(ValueError, match="`bias_scale` must be 0 without a bias, got 2"):
        S.Relu(bias=False, bias_scale=2.0)
    with pytest.raises(ValueError, match="`matrix` must have its largest entry"):
        S.Given(matrix=np.zeros((2, 4)))
    with pytest.raises(ValueError, match="`matrix` must be an array of real numbers"):
        S.Given(matrix=np.ones((2, 4)) * 1j)
