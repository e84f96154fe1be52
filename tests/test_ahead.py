"""Programs for absent devices, and what is counted in them, without the plugins that compile."""

import importlib.util
import json
import signal
import subprocess
import types

import jax
import numpy as np
import pytest

import jaxscale as js
from benchmarks import ahead
from benchmarks.hlo import Count, Program, hbm_bytes
from jaxscale.sweep import _ahead
from jaxscale.sweep._bucket import uncut_bucket
from jaxscale.sweep._program import compiled_bytes

GRID = js.Grid(js.emergence.MultilinearSkills(n_skills=3, n_steps=4, record=[0, 2, 4]), seeds=2)
BUCKET = uncut_bucket(GRID, np.arange(2))


@pytest.mark.parametrize(
    ("target", "says"),
    [("v5e", "jaxscale[tpu]"), ("h200", "jaxscale[cuda12]"), ("h20", "did you mean `h200`")],
)
def test_without_a_compiler_the_error_says_what_to_install(target, says, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="`target`") as raised:
        _ahead.compiled_for(BUCKET, target)
    assert says in str(raised.value)


def test_a_program_is_compiled_for_one_device_and_counted(monkeypatch):
    """The CPU stands for the device that is absent."""
    topology = types.SimpleNamespace(devices=jax.local_devices())
    monkeypatch.setattr(_ahead, "_topology", lambda target: topology)
    compiled = _ahead.compiled_for(BUCKET, "v5e")
    assert compiled_bytes(compiled) > 0
    step = Program(compiled.as_text()).step()
    assert step is not None
    assert step.kernels > 0
    assert step.bytes > 0


@pytest.mark.parametrize("target", ["v5e", "h200"])
def test_with_its_plugin_a_program_is_compiled(target):
    pytest.importorskip("libtpu" if target == "v5e" else "jax_cuda12_plugin")
    assert compiled_bytes(_ahead.compiled_for(BUCKET, target)) > 0


HLO = """HloModule jit_call

FunctionNames
1 "trajectory"
2 "System.step"

FileLocations
1 {file_name_id=1 function_name_id=1 line=1}
2 {file_name_id=1 function_name_id=2 line=2}

StackFrames
1 {file_location_id=1 parent_frame_id=1}
2 {file_location_id=2 parent_frame_id=2}
3 {file_location_id=1 parent_frame_id=3}

%updated (p0: f32[8,4], p1: f32[1,4], p2: f32[8,4]) -> f32[8,4] {
  %p0 = f32[8,4]{1,0} parameter(0)
  %p1 = f32[1,4]{1,0} parameter(1)
  %p2 = f32[8,4]{1,0} parameter(2)
  %c = s32[] constant(0)
  %row = f32[1,4]{1,0} dynamic-slice(%p2, %c, %c), dynamic_slice_sizes={1,4}
  %sum = f32[1,4]{1,0} add(%p1, %row)
  ROOT %write = f32[8,4]{1,0} dynamic-update-slice(%p0, %sum, %c, %c)
}

%inner (q: (f32[8,4])) -> (f32[8,4]) {
  %q = (f32[8,4]{1,0}) parameter(0)
  %e = f32[8,4]{1,0} get-tuple-element(%q), index=0
  %n = f32[8,4]{1,0} negate(%e)
  ROOT %r = (f32[8,4]{1,0}) tuple(%n)
}

%body (s: (f32[8,4], f32[1,4])) -> (f32[8,4], f32[1,4]) {
  %s = (f32[8,4]{1,0}, /*index=1*/f32[1,4]{1,0:T(8,128)S(1)}) parameter(0)
  %a = f32[8,4]{1,0} get-tuple-element(%s), index=0
  %b = f32[1,4]{1,0:T(8,128)S(1)} get-tuple-element(%s), index=1
  %f = f32[8,4]{1,0} fusion(%a, %b, %a), kind=kLoop, calls=%updated, metadata={stack_frame_id=3}
  %t = (f32[8,4]{1,0}) tuple(%f)
  %w = (f32[8,4]{1,0}) while(%t), condition=%c, body=%inner, backend_config={"known_trip_count":{"n":"3"}}
  %g = f32[8,4]{1,0} get-tuple-element(%w), index=0
  ROOT %o = (f32[8,4]{1,0}, f32[1,4]{1,0:T(8,128)S(1)}) tuple(%g, %b)
}

ENTRY %main (x: f32[8,4], y: f32[1,4]) -> f32[8,4] {
  %x = f32[8,4]{1,0} parameter(0)
  %y = f32[1,4]{1,0} parameter(1)
  %z = f32[1,4]{1,0:T(8,128)S(1)} copy(%y)
  %i = (f32[8,4]{1,0}, f32[1,4]{1,0:T(8,128)S(1)}) tuple(%x, %z)
  %l = (f32[8,4]{1,0}, f32[1,4]{1,0:T(8,128)S(1)}) while(%i), condition=%c, body=%body
  ROOT %k = f32[8,4]{1,0} get-tuple-element(%l), index=0
}
"""  # noqa: E501


def test_kernels_and_traffic_of_a_step_are_counted():
    """A row is written in place and another read, 16 bytes each; a loop inside runs three times."""
    program = Program(HLO)
    step = Count(1, 16 + 16) + Count(1, 128 + 128).times(3)
    assert program.step() == step
    assert program.count(program.entry) == Count(1, 16) + step  # the copy to the chip reads a row
    assert Program(HLO.replace("stack_frame_id=3", "stack_frame_id=1")).step() is None


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("f32[10,3]{1,0}", 120),
        ("(f64[2]{0}, pred[3]{0}, s32[])", 23),
        ("f32[10,3]{1,0:T(8,128)}", 4 * 16 * 128),
        ("f32[10,3]{0,1:T(8,128)}", 4 * 8 * 128),  # the last axis in memory is the first
        ("bf16[5]{0:T(1024)(128)(2,1)}", 2 * 1024),
        ("f32[10,3]{1,0:T(8,128)S(1)}", 0),  # on the chip
    ],
)
def test_bytes_of_a_type(printed, expected):
    assert hbm_bytes(printed) == expected


COMPILED = {"runs_per_group": 2, "planned_bytes": 2e6, "kernels": 3, "traffic_bytes": 1e6,
            "of": "run-step", "compile_seconds": 9.0}  # fmt: skip


def test_a_plan_below_the_compiled_memory_fails(tmp_path, monkeypatch):
    rows = iter([{"compiled_bytes": 1e6}, {"compiled_bytes": 3e6}])
    monkeypatch.setattr(ahead, "in_a_process", lambda *_: COMPILED | next(rows))
    options = ["--target", "v5e", "--out", str(tmp_path), "--only"]
    with pytest.raises(SystemExit) as ended:
        ahead.main([*options, "least norm"])
    assert ended.value.code == 0
    with pytest.raises(SystemExit, match=r"beyond the plan.* v5e, ridge$"):
        ahead.main([*options, "ridge"])
    (path,) = tmp_path.glob("*.json")
    assert list(json.loads(path.read_text())["programs"]) == ["ridge", "least norm"]
    _, shown = ahead.parts(tmp_path)
    assert "| ridge | 2 | 2 | **3** | 3 | 1 | run-step | 9 |" in shown


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (-signal.SIGXCPU, "", "not compiled in 9 s"),
        (1, "Traceback\nValueError: no", "ValueError: no"),
    ],
)
def test_a_compilation_that_does_not_end_is_recorded(status, error, says, monkeypatch):
    ended = subprocess.CompletedProcess([], status, "", error)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    assert ahead.in_a_process("ridge", "v5e", 9)["failed"].startswith(says)
