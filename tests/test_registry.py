"""Classes by the name under which files write them: ours and the user's take one path."""

import inspect
import sys
import types

import pytest

import jaxscale as js
from jaxscale import _registry as registry
from jaxscale.fields import Configurable, Real, real
from jaxscale.sweep._config import decode, encode

# as stores and sweep files of version 0.1 write them
NAMES = {
    "Adam": js.Adam,
    "Optax": js.Optax,
    "Sgd": js.Sgd,
    "Constant": js.Constant,
    "TwoDrops": js.TwoDrops,
    "emergence.ParityNetwork": js.emergence.ParityNetwork,
    "emergence.FiniteSet": js.emergence.FiniteSet,
    "emergence.DataLimited": js.emergence.DataLimited,
    "sparse.RandomFeatureRegression": js.sparse.RandomFeatureRegression,
    "sparse.Linear": js.sparse.Linear,
    "sparse.Relu": js.sparse.Relu,
    "superposition.TeacherStudent": js.superposition.TeacherStudent,
    "superposition.Linear": js.superposition.Linear,
    "superposition.Relu": js.superposition.Relu,
}
USERS = """
from jaxscale.fields import Configurable, Real, real

class Part(Configurable):
    x: Real = real(1.0)
"""


class Mine(Configurable):
    """A class of this module."""

    x: Real = real(1.0)


def module_of_a_user(name, text=USERS):
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(text, vars(module))
    return module


@pytest.fixture
def users():
    yield module_of_a_user("users_of_a_test")
    sys.modules.pop("users_of_a_test", None)
    sys.modules.pop("shop_of_a_test", None)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_stores_resolve(name):
    assert registry.class_named(name) is NAMES[name]
    assert registry.written_name(NAMES[name]) == name


@pytest.mark.parametrize("package", [js, js.emergence, js.sparse, js.streaming, js.superposition])
def test_every_public_class_is_registered_under_its_public_name(package):
    prefix = package.__name__.removeprefix("jaxscale").removeprefix(".")
    public = {n: c for n, c in vars(package).items() if inspect.isclass(c)}
    public = {n: c for n, c in public.items() if issubclass(c, Configurable)}
    assert len(public) >= 9
    for name, cls in public.items():
        assert registry.class_named(f"{prefix}.{name}".removeprefix(".")) is cls


def test_no_two_classes_of_jaxscale_share_a_name():
    classes = [Configurable]
    for cls in classes:
        classes += cls.__subclasses__()
    own = [c for c in classes[1:] if c.__module__.startswith("jaxscale")]
    assert len(own) > 50
    assert len({registry.written_name(c) for c in own}) == len(own)


def test_short_names_are_looked_up_in_the_folder_of_the_system_first():
    assert isinstance(decode({"type": "Linear"}, "sparse"), js.sparse.Linear)
    assert isinstance(decode({"type": "Linear"}, "superposition"), js.superposition.Linear)
    assert isinstance(decode({"type": "Sgd"}, "sparse"), js.Sgd)
    assert isinstance(decode({"type": "sparse.Linear"}, "superposition"), js.sparse.Linear)
    with pytest.raises(ValueError, match=r"one of .*sparse\.Linear.*, got 'Linear'"):
        decode({"type": "Linear"})


def test_classes_of_a_user(users):
    name = "users_of_a_test:Part"
    assert encode(users.Part(x=2.0)) == {"type": name, "x": 2.0}
    assert type(decode({"type": name, "x": 2.0})) is users.Part
    assert registry.class_named(f"{__name__}:Mine") is Mine
    assert name not in registry.shipped_classes()


def test_a_module_may_re_export_a_class(users):
    module_of_a_user("shop_of_a_test", "from users_of_a_test import Part as Sold")
    assert registry.class_named("shop_of_a_test:Sold") is users.Part
    assert registry.class_named("shop_of_a_test:Part") is None


def test_a_class_counts_as_long_as_its_module_is_imported(users):
    sys.modules.pop("users_of_a_test")
    with pytest.raises(ValueError, match="needs `import users_of_a_test` first"):
        decode({"type": "users_of_a_test:Part"})
    assert "users_of_a_test" not in sys.modules  # nothing was imported


def test_a_class_that_is_defined_again_replaces_the_old(users):
    old = users.Part
    exec(USERS, vars(users))
    assert registry.class_named("users_of_a_test:Part") is users.Part is not old
