"""Compiled programs on disk: found by the next process, shared by two, and never in the way."""

import json
import os
import subprocess
import sys

import jax
import pytest

import jaxscale as js
from jaxscale._compilation import _prune

SCRIPT = """
import json, os, sys
sys.modules["filelock"] = None  # JAX bounds its folder only with it, which users need not have

import jax
import xarray
import jaxscale as js

other = os.fork() if sys.argv[2:] == ["two"] else 0  # JAX has not started
js.use_all_cores(2)
folder = js.keep_compiled(sys.argv[1])
events = []
jax.monitoring.register_event_listener(lambda event, **_: events.append(event.rpartition("/")[2]))
system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
loss = js.run(js.Grid(system, {"learning_rate": [0.1, 0.2]}, seeds=2))["loss"].values.tolist()
status = os.waitpid(other, 0)[1] if other else 0  # both write to one pipe: one after the other
print(json.dumps([str(folder), events.count("cache_hits"), loss]), flush=True)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def processes(folder, *two):
    """What each of the processes says in its last line; and their errors."""
    own = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), *two],
        env={**own, "JAX_ENABLE_COMPILATION_CACHE": "true"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture
def no_folder():
    configured = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", configured)


@pytest.fixture
def switched_off():
    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", True)


def test_two_processes_at_once_and_the_next_one_loads(tmp_path):
    first, _ = processes(tmp_path / "a", "two")
    ((folder, hits, loss),), errors = processes(tmp_path / "a")
    assert len(first) == 2
    assert folder == str(tmp_path / "a")
    assert hits > 0
    assert all(loss == one[2] for one in first)
    assert "Error" not in errors
    assert "filelock" not in errors


def test_what_was_used_longest_ago_goes_first(tmp_path):
    for age, name in enumerate(("new", "old", "older")):
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    _prune(tmp_path, 250)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "old"]


def test_a_home_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch, no_folder):
    (tmp_path / "file").touch()
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "file"))
    with pytest.warns(UserWarning, match="compiled programs are not kept on disk"):
        assert js.keep_compiled() is None
    assert jax.config.jax_compilation_cache_dir is None


def test_a_folder_that_is_no_path():
    with pytest.raises(ValueError, match="`folder` must be a path"):
        js.keep_compiled("")


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"`folder` must be a folder, got the file '.*file'"):
        js.keep_compiled(tmp_path / "file")


def test_devices_that_are_asked_for_too_late():
    with pytest.raises(ValueError, match=r"cannot become 7: JAX has started with 2 .* Call use_al"):
        js.use_all_cores(7 + 0 * len(jax.devices()))


@pytest.mark.parametrize("max_bytes", [0, -1, True])
def test_bytes_that_are_no_number(tmp_path, max_bytes):
    with pytest.raises(ValueError, match="`max_bytes` must be a positive integer"):
        js.keep_compiled(tmp_path, max_bytes=max_bytes)


def test_the_switch_of_jax_is_respected(tmp_path, switched_off):
    assert js.keep_compiled(tmp_path / "a") is None
    assert not (tmp_path / "a").exists()


def test_tests_run_without_the_cache_of_pytest(pytestconfig):
    plugins = pytestconfig.pluginmanager.get_plugins()
    conftest = next(p for p in plugins if hasattr(p, "FAST_COMPILATION"))
    bare = pytest.Config.fromdictargs({}, ["-p", "no:cacheprovider"])
    assert not hasattr(bare, "cache")
    assert conftest.compiled_folder(bare) is None


def test_processes_that_tests_start_share_their_programs():
    assert os.environ.get("JAX_COMPILATION_CACHE_DIR") == jax.config.jax_compilation_cache_dir
