"""What theory says of a system: one table, and one line where it says nothing."""

import functools

import numpy as np
import pytest

import jaxscale as js

sp = js.superposition
SPARSE = {"n_features": 16, "n_samples": 32, "spectrum_exponent": 1.0, "sparsity_exponent": 2.0}
FLAT = {"n_features": 8, "frequency_exponent": 1.5, "embedding": sp.Identity(), "n_steps": 20}
DESCENT = js.sparse.GradientDescent(learning_rate=0.5, n_steps=10)
network = functools.partial(js.emergence.ParityNetwork, n_steps=20, n_evaluation=64)
CROWDED = sp.TeacherStudent(
    n_features=8,
    latent_size=4,
    frequency_exponent=1.5,
    inputs=sp.OneHot(amplitude=sp.Fixed()),
    initial=sp.ScaledIdentity(gain=1.4),
    bias_learning_rate=1.0,
    n_steps=20,
)

# system, observable, kind, what the limits say, function
CASES = [
    (network(), "skill_strength", "calibrated", "calibrate time_scale", "skill_strength"),
    (network(), "loss", "none", "errs off the skills", ""),
    (network(optimizer=js.Adam()), "skill_strength", "none", "optimizer=Adam(", ""),
    (network(data=js.emergence.FiniteSet(n_samples=30)), "skill_strength", "calibrated",
     "calibrate shots", "data_emergence"),
    (network(regime=js.emergence.DataLimited(), optimizer=js.Adam()), "skill_strength", "none",
     "no closed form with data=Online()", ""),
    (network(regime=js.emergence.WidthLimited()), "skill_strength", "calibrated",
     "calibrate units_per_skill", "width_emergence"),
    (js.emergence.MultilinearSkills(), "loss", "exact", "gradient flow", "loss"),
    (js.sparse.RandomFeatureRegression(**SPARSE), "loss", "asymptotic", "median", "loss"),
    (js.sparse.RandomFeatureRegression(**SPARSE, features=js.sparse.Relu()), "loss", "none",
     "features=Relu()", ""),
    (js.sparse.RandomFeatureRegression(**SPARSE, solver=DESCENT), "stable", "none",
     "solver=GradientDescent: it takes features=Identity()", ""),
    (CROWDED, "loss", "none",
     "decoder=Relu(bias=True, bias_scale=0.0), embedding=RandomUnit()", ""),
    (sp.TeacherStudent(**FLAT, decoder=sp.Linear(), initial=sp.Zeros()), "loss", "exact",
     "mean over initial matrices", "sgd_loss"),
    (sp.TeacherStudent(**FLAT, inputs=sp.Bernoulli(mean_active=1.0), decoder=sp.Linear(),
                       initial=sp.Zeros()), "loss", "none", "gradient=FreshBatches", ""),
]  # fmt: skip


@pytest.mark.parametrize(("system", "observable", "kind", "limits", "function"), CASES)
def test_the_table_says_what_theory_there_is(system, observable, kind, limits, function):
    table = js.theory_of(system)
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows) == list(system.schema.observables)
    assert rows[observable][0] == kind
    above = table.note if rows[observable][1] == "as above" else ""
    assert limits in rows[observable][1] + above
    assert (f"theory.{function}" in rows[observable][2]) if function else not rows[observable][2]
    for name, o in system.schema.observables.items():
        none = o.predicted == "none"
        assert none is bool(o.no_theory) is not bool(o.limits), name
        assert none is not bool(o.functions)
        for path in o.functions:
            assert callable(functools.reduce(getattr, path.split("."), js))
        for path in o.fitted:
            assert js.paths.get(system, path) is not None


def test_a_common_reason_is_said_once_with_what_to_take():
    system = sp.TeacherStudent(n_features=8, latent_size=4, frequency_exponent=1.5)
    table = js.theory_of(system)
    assert {row[2] for row in table.rows} == {"as above"}
    assert table.note.startswith("loss, signal_loss, interference_loss, feature_strength, ")
    assert table.note.count("Relu(") == 1
    change = "take decoder=Linear(), embedding=Identity() or Given(...), gradient=Population(), "
    assert change + "initial=Zeros() or ScaledIdentity()." in table.note
    parts = {"decoder": sp.Linear(), "embedding": sp.Identity(), "gradient": sp.Population()}
    taken = sp.TeacherStudent(n_features=8, frequency_exponent=1.5, initial=sp.Zeros(), **parts)
    assert "exact" in {row[1] for row in js.theory_of(taken).rows}


def test_limits_of_no_theory_are_its_reason():
    with pytest.warns(DeprecationWarning, match="use `no_theory`"):
        old = js.Observable(("step",), "1", "mine", limits="it counts")
    assert (old.limits, old.no_theory) == ("", "it counts")


def test_only_a_system_has_a_theory():
    hint = r"`grid\.system` is the one of a Grid|Type-check error"  # beartype refuses it first
    with pytest.raises((ValueError, TypeError), match=hint):
        js.theory_of(js.Grid(CROWDED))
    with pytest.raises(
        (ValueError, TypeError), match=r"system.* got 'emergence'\.$|Type-check error"
    ):
        js.theory_of("emergence")


def test_one_line_names_the_part_without_theory():
    grid = js.Grid(CROWDED, axes={"importance_exponent": [0.0, 1.0]}, seeds=2)
    with pytest.warns(UserWarning, match=r"theory is empty: TeacherStudent.*decoder=Relu"):
        theory = js.predict(grid)
    optimizers = [js.Sgd(), js.Sgd(momentum=0.9)]
    given = js.replace(CROWDED, "learning_rate", 0.1)
    with pytest.warns(UserWarning, match=r"; no closed form with .*momentum"):
        js.predict(js.Grid(given, {"optimizer": optimizers}))
    assert not theory.data_vars
    loss = ("seed", "step"), np.ones((2, 3))
    runs = theory.assign(loss=loss, gap=(*loss, {"predicted": "none", "no_theory": "a reason"}))
    for call in (
        lambda: js.compare(runs, theory),
        lambda: js.calibrate(grid, runs, ["frequency_exponent"]),
    ):
        with pytest.raises(ValueError, match=r"^`theory`.*TeacherStudent: .*decoder=Relu") as error:
            call()
        assert "\n" not in str(error.value)
    named = js.compare(runs, runs.isel(seed=0, drop=True)[["loss"]])
    assert named.not_compared == {"gap": "a reason"}


def test_theory_of_every_structure_is_described():
    online, finite = js.emergence.Online(), js.emergence.FiniteSet(n_samples=10)
    theory = js.predict(js.Grid(network(), {"data": [online, finite]}))
    limits = [js.replace(network(), "data", d).schema.observables for d in (online, finite)]
    expected = "; ".join(o["skill_strength"].limits for o in limits)
    assert theory.skill_strength.attrs["limits"] == expected
    assert theory.skill_strength.attrs["uncalibrated"] == "time_scale, shots"


def test_theory_says_that_it_is_not_calibrated():
    grid = js.Grid(network(), {"learning_rate": [0.1, 0.2]}, seeds=2)
    theory = js.predict(grid)
    assert theory.skill_strength.attrs["uncalibrated"] == "time_scale"
    fitted = js.predict(grid.replace(system=js.replace(grid.system, "time_scale", 2.0)))
    assert "uncalibrated" not in fitted.skill_strength.attrs
    noise = np.random.default_rng(0).normal(size=(8, 1, 1, 1))
    runs = theory.expand_dims(seed=range(8)) + noise
    assert "not calibrated, fit time_scale" in str(js.compare(runs, theory))
    assert "calibrated, fit" not in str(js.compare(runs, fitted))
    with pytest.raises(ValueError, match=r"`observables`.*'loss': no closed form: a network"):
        js.calibrate(grid, runs, ["time_scale"], observables=["loss"])
