"""The Python of the theory view draws the curves of the page."""

import numpy as np
import pytest

import jaxscale as js
from jaxscale.explorer._closed_forms import ClosedForms
from jaxscale.explorer._curves import curves_of
from jaxscale.explorer._theory_code import theory_code

pytest.importorskip("bokeh")


def test_it_draws_the_skills_and_the_slopes_of_the_page():
    system = js.emergence.MultilinearSkills(n_skills=60, n_steps=200)
    names = {}
    exec(theory_code(system, "step", None, "xy", [-0.5]), names)
    forms = ClosedForms(system)
    shown = {c.name: c for c in curves_of(system, "step", None, *forms.with_claims({}))}
    skills = names["theory"].skill_strength
    assert [f"skill {k}" for k in skills.skill.values] == list(shown["skill_strength"].labels)
    np.testing.assert_allclose(
        skills.squeeze().transpose("skill", ...), shown["skill_strength"].lines, rtol=1e-6
    )
    (loss,) = [a for a in names["figure"].axes if a.get_ylabel().startswith("loss")]
    x, reference = loss.lines[-1].get_data()
    assert np.diff(np.log(reference)) / np.diff(np.log(x)) == pytest.approx(-0.5)
