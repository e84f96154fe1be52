"""What the tests of `test_gpu.py` cover, and that they run in one process."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from kinds import KINDS
from systems import SYSTEMS

from jaxscale._registry import shipped_classes, written_name
from jaxscale.fields import Configurable, field_names


def classes_in(value):
    """Written names of an object and of its parts."""
    if not isinstance(value, Configurable):
        return set()
    parts = (classes_in(getattr(value, name)) for name in field_names(type(value)))
    return {written_name(type(value))}.union(*parts)


def test_every_part_that_a_system_may_have_is_in_some_system():
    parts = {name for name in shipped_classes() if not name.startswith("analysis.")}
    assert set().union(*map(classes_in, (SYSTEMS | KINDS).values())) == parts


def test_tests_of_the_device_ask_for_no_workers(pytestconfig):
    """Before pytest-xdist reads their number: of two hooks, the later in the list is first."""
    option = SimpleNamespace(markexpr="gpu and not slow", numprocesses=2)
    hooks = pytestconfig.pluginmanager.hook.pytest_cmdline_main.get_hookimpls()
    names = [hook.plugin_name for hook in hooks]
    ours = next(i for i, hook in enumerate(hooks) if hasattr(hook.plugin, "needs_a_device"))
    assert "xdist" in names[:ours]
    hooks[ours].function(SimpleNamespace(option=option))
    assert option.numprocesses == 0
    option.markexpr, option.numprocesses = "not gpu", 2
    hooks[ours].function(SimpleNamespace(option=option))
    assert option.numprocesses == 2


@pytest.mark.slow  # the same, seen from outside
def test_tests_of_the_device_start_no_workers():
    file = Path(__file__).with_name("test_gpu.py")
    command = [sys.executable, "-m", "pytest", str(file), "-m", "gpu", "-k", "every_device"]
    done = subprocess.run([*command, "-p", "no:cacheprovider"], capture_output=True, text=True)
    assert "workers" not in done.stdout
    assert done.returncode == 0, done.stdout
