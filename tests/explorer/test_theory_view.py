"""The theory view without a browser: its widgets are set, and its callbacks run, by hand."""

import queue
from urllib.parse import parse_qsl

import numpy as np
import pytest

import jaxscale as js

pytest.importorskip("bokeh")

from bokeh.document import Document
from bokeh.events import ButtonClick

from jaxscale.explorer import _theory_view
from jaxscale.explorer._curve_figure import Shown
from jaxscale.explorer._curves import curves_of
from jaxscale.explorer._export import export
from jaxscale.explorer._knobs import knob_of
from jaxscale.explorer._page import Page
from jaxscale.explorer._theory_request import compiled, slider_of
from jaxscale.explorer._theory_state import ChosenSystem
from jaxscale.explorer._theory_view import TheoryView

SYSTEM = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
NETWORK = js.emergence.ParityNetwork(n_bits=12, n_skills=2, skill_size=4)
SECONDS = 60


class Opened:
    """A page that shows the theory of a system."""

    def __init__(self, system, given=()):
        self.calls, self.rests = queue.Queue(), []
        document = Document()
        document.add_next_tick_callback = self.calls.put
        document.add_timeout_callback = lambda call, milliseconds: self.rests.append(call)
        document.remove_timeout_callback = self.rests.remove
        self.page = Page(document, dict(given), "theory")
        self.errors = []
        say = self.page.say_error
        self.page.say_error = lambda error: (self.errors.append(str(error)), say(error))
        self.view = TheoryView(self.page, system)
        self.wait()

    def wait(self):
        """Run what threads hand over, until nothing is under way."""
        while self.view._builder.is_busy or self.view._newest.is_busy:
            self.calls.get(timeout=SECONDS)()
        self.rests.clear()
        self.view._remember()

    def widget(self, name):
        return [m for m in self.page.document.models if m.name == name][-1]

    def set(self, name, value):
        self.widget(name).value = value
        self.wait()

    @property
    def address(self):
        return dict(parse_qsl(self.page._address.text))


def test_curves_and_python_leave_out_what_is_no_system():
    opened = Opened(SYSTEM, {"x": "initial_strength"})
    for value in opened.view.figures["loss"]._shown.x:
        js.replace(SYSTEM, "initial_strength", value)
    names = {}
    exec(opened.view._python().partition("figure =")[0], names)
    assert names["theory"].sizes["initial_strength"] == 47  # of 48: the last is the target


def test_what_does_not_depend_on_x_is_listed_a_row_for_each_curve():
    system = js.sparse.RandomFeatureRegression(
        n_samples=64, spectrum_exponent=1.0, sparsity_exponent=2.0, features=js.sparse.Identity(),
        solver=js.sparse.GradientDescent(learning_rate=0.5, record=[0, 1, 10]),
    )  # fmt: skip
    values = {"loss": np.array([3.0, 2.0, 1.0]), "n_seen": np.array(13.7), "rank": np.array(np.nan)}
    curves = curves_of(system, "step", None, values, {})
    assert {shown.name: shown.is_constant for shown in curves} == {
        "loss": False, "n_seen": True, "rank": True
    }  # fmt: skip
    view = Opened(SYSTEM).view
    view.chosen.system = system
    view._list_constants(curves[1:])
    assert "<td>n_seen</td><td class=n>13.7</td>" in view._constants.text
    assert "<td>rank</td><td class=n>no value</td>" in view._constants.text
    lines = np.array([[1.0, 1.0], [0.5, 0.5]])
    view._list_constants([Shown("loss", np.ones(2), lines, lines > 0, ("group 1", "group 2"))])
    assert "<td>loss group 1</td><td class=n>1</td>" in view._constants.text
    assert "<td>loss group 2</td><td class=n>0.5</td>" in view._constants.text


def test_a_refused_value_gives_way_to_the_last_good_one():
    opened = Opened(SYSTEM)
    place = opened.widget("learning_rate").value
    for text in ("-1", "0,1"):
        opened.set("learning_rate =", text)
        assert opened.widget("learning_rate =").value == "0.1"
        assert opened.widget("learning_rate").value == place
    opened.set("initial_strength", 240)  # as large as the target
    assert opened.widget("initial_strength =").value == "0.01"
    opened.set("n_steps", "1.5")
    assert opened.widget("n_steps").value == "20"
    assert len(opened.errors) == 4
    opened.set("learning_rate =", "0.2")
    assert opened.address["set.learning_rate"] == "0.2"


def test_of_two_structures_in_a_row_the_newer_is_drawn():
    opened = Opened(SYSTEM)
    drawn, draw = [], opened.view._draw
    opened.view._draw = lambda result: (drawn.append(opened.view.system.n_skills), draw(result))
    opened.view._restructured("n_skills", "4")
    opened.view._restructured("n_skills", "3")
    opened.wait()
    assert drawn == [3]


def test_a_logarithmic_slider_does_not_go_down_to_zero():
    base = js.streaming.StreamingRegression(noise=0.1)
    knob = slider_of(base, js.replace(base, "noise", 0), "noise")
    assert knob == knob_of(base, "noise")
    assert knob.position(0) == 0


def test_fields_that_bound_each_other_are_restored_together_and_losses_are_said():
    given = {"set.initial_strength": "2.0", "set.target_scale": "5.0"}
    opened = Opened(SYSTEM, given)
    assert opened.errors == []
    assert float(opened.view.system.initial_strength) == 2
    assert opened.view._try("n_skills", "4")
    assert float(opened.view.system.initial_strength) == 2
    other = Opened(SYSTEM, {"set.initial_strength": "2.0", "set.learning_rate": "0.3"})
    assert "initial_strength = 2.0 was dropped" in other.page.status.text
    assert other.address == {"x": "step", "set.learning_rate": "0.3"}


def test_cleared_slopes_stay_cleared():
    opened = Opened(SYSTEM)
    opened.set("reference slopes", "")
    assert opened.address["slopes"] == "none"
    again = Opened(SYSTEM, opened.address)
    assert again.widget("reference slopes").value == ""
    assert again.view.slopes == ""


def test_parts_and_shapes_that_bound_each_other_are_restored_in_any_order():
    reached, again = ChosenSystem(NETWORK), ChosenSystem(NETWORK)
    for path, text in (("n_bits", "16"), ("skill_size", "2"), ("n_bits", "6")):
        reached.set(path, text)
    assert list(reached.address()) == ["set.n_bits", "set.skill_size"]
    assert again.restore(reached.address()) == []
    assert again.system == reached.system
    errors = again.restore({"set.n_skills": "5", "set.n_bits": "8", "set.optimizer": "No"})
    assert len(errors) == 2  # 8 bits are too few for 5 skills
    assert (again.system.n_bits, again.system.n_skills) == (8, 2)
    overlapping = js.replace(NETWORK, "skills", js.emergence.RandomSkills())
    again = ChosenSystem(js.replace(overlapping, "n_bits", 6))
    assert again.restore({"set.skills": "DisjointSkills", "set.n_bits": "8"}) == []
    assert (again.system.skills, again.system.n_bits) == (js.emergence.DisjointSkills(), 8)


def test_refused_slopes_are_said_and_give_way_to_the_last_good_ones():
    opened = Opened(SYSTEM, {"slopes": "abc"})
    assert "`slopes` must be a number, got &#x27;abc&#x27;" in opened.page.status.text
    assert "slopes" not in opened.address
    opened.set("reference slopes", "-0.5, -1")
    assert opened.page.status.text == ""
    opened.set("reference slopes", "-0.5; -1")
    assert "must be a number" in opened.page.status.text
    assert opened.widget("reference slopes").value == opened.address["slopes"] == "-0.5, -1"


def test_a_class_of_a_function_is_named_in_the_python_and_given_to_files():
    class Local(js.emergence.MultilinearSkills):
        pass

    opened = Opened(Local(n_skills=3, n_steps=20))
    code = opened.view._python()
    assert "# Local is defined in a function" in code
    content = (
        export("csv", code.partition("figure =")[0], opened.view._own)[2].decode().splitlines()
    )
    assert content[0].startswith("step,")
    assert len(content) > 20


def test_what_goes_wrong_before_a_file_is_made_is_said():
    opened = Opened(SYSTEM)
    del opened.view.chosen.system
    button = opened.widget("CSV")
    button._trigger_event(ButtonClick(button))
    assert "AttributeError" in opened.page.status.text


def test_a_closed_form_that_does_not_depend_on_x_is_one():
    opened = Opened(NETWORK, {"x": "init_scale"})
    assert not opened.view.figures
    assert "Independent of init_scale" in opened.view._constants.text
    assert opened.page.status.text == ""


def test_a_refusal_that_was_mended_is_not_said_again():
    opened = Opened(js.emergence.ParityTransformer(n_steps=300))  # no figures
    drawn = opened.page.status.text
    opened.set("n_steps", "1.5")
    assert "must be a whole number" in opened.page.status.text
    opened.set("n_steps", "301")
    assert opened.page.status.text == drawn


@pytest.fixture
def fails(monkeypatch):
    """A structure of more than ten skills does not compile."""

    def build(start):
        if start[1].n_skills > 10:
            raise MemoryError("too large")
        return compiled(start)

    monkeypatch.setattr(_theory_view, "compiled", build)


def test_a_structure_that_does_not_compile_gives_way_to_what_is_drawn(fails):
    opened = Opened(SYSTEM)
    opened.set("learning_rate =", "0.2")
    opened.set("reference slopes", "-2")
    address = opened.address
    opened.set("n_skills", "11")
    assert "MemoryError: too large" in opened.page.status.text
    assert opened.view.system.n_skills == 3
    assert opened.widget("n_skills").value == "3"
    assert opened.widget("learning_rate =").value == "0.2"
    assert opened.address == address
    opened.view._failed(MemoryError("too large"))
    opened.set("n_skills", "11")  # before that is drawn
    assert opened.view.system.n_skills == 3
    opened.set("n_skills", "4")
    assert opened.page.status.text == ""
    assert opened.address == {**address, "set.n_skills": "4"}


def test_an_address_that_does_not_compile_gives_way_to_the_system_itself(fails):
    opened = Opened(SYSTEM, {"set.n_skills": "11", "x": "learning_rate"})
    assert "MemoryError: too large" in opened.page.status.text
    assert opened.view.figures
    assert opened.address == {"x": "step"}
    other = Opened(js.replace(SYSTEM, "n_skills", 11))
    assert other.errors == ["too large"]
    assert not other.view.figures
