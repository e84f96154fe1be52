"""The examples in docstrings print what they show, and every public theory function has one."""

import ast
import doctest
import importlib
import inspect
import io
import pkgutil

import jax
import numpy as np
import pytest

import jaxscale as js

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
COSTLY = {  # compiled for seconds; shown in the README, tested in their own files
    "emergence.theory.data_loss",
    "emergence.theory.expected_skill",
    "sparse.theory.optimal_allocation",
    "streaming.theory.loss",
    "streaming.theory.mean_optimizer_loss",
    "streaming.theory.optimal_allocation",
    "streaming.theory.spectrum_nodes",
}
RECORDS = {
    "Allocation", "AllocationLaws", "Coordinates", "Edges", "Equivalent", "Exponents", "LossTerms",
    "Nodes", "SkillMoments", "Window",
}  # fmt: skip


def docstrings(module):
    """Name, line and docstring of everything that a module with examples defines.

    Read from the source: the type checkers wrap functions, and `doctest` then passes them over.
    """
    source = inspect.getsource(module)
    tree = ast.parse(source if ">>>" in source else "")
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            name = getattr(node, "name", "")
            yield f"{module.__name__}.{name}".rstrip("."), getattr(node, "lineno", 1), text


def modules():
    all_names = (i.name for i in pkgutil.walk_packages(js.__path__, "jaxscale."))
    names = [name for name in all_names if not name.endswith("__main__")]
    return [importlib.import_module(name) for name in ["jaxscale", *names]]


def examples():
    parser = doctest.DocTestParser()
    for module in modules():
        for name, line, text in docstrings(module):
            if ">>>" in text:
                yield parser.get_doctest(text.replace("```", ""), {}, name, module.__file__, line)


EXAMPLES = list(examples())
HOMES = sorted({e.name.rpartition(".")[0] for e in EXAMPLES})


@pytest.mark.parametrize("home", HOMES, ids=lambda name: name.removeprefix("jaxscale."))
def test_they_print_what_they_show(home, tmp_path, monkeypatch):
    """Module by module, for examples of one module share compiled programs."""
    monkeypatch.chdir(tmp_path)
    report, runner = io.StringIO(), doctest.DocTestRunner(optionflags=FLAGS)
    for example in (e for e in EXAMPLES if e.name.rpartition(".")[0] == home):
        example.globs = {**vars(importlib.import_module(home)), "js": js, "np": np, "jax": jax}
        runner.run(example, out=report.write)
    assert runner.tries
    assert not runner.failures, report.getvalue()


@pytest.mark.parametrize("system", ["emergence", "sparse", "superposition", "streaming"])
def test_every_public_theory_function_has_an_example(system):
    theory = getattr(js, system).theory
    shown = {e.name.rpartition(".")[2] for e in EXAMPLES if f".{system}." in e.name}
    routines = {n: v for n, v in vars(theory).items() if inspect.isroutine(v)}
    public = {n for n, v in routines.items() if not v.__doc__.startswith("Deprecated:")}
    costly = {n.rpartition(".")[2] for n in COSTLY if n.startswith(f"{system}.")}
    assert costly <= public
    assert public - costly <= shown, sorted(public - costly - shown)


@pytest.mark.parametrize(
    "name", ["Grid", "plan", "run", "predict", "open_store", "select", "replace", "train",
             "compare", "geomspace", "citation", "Claim"]
)  # fmt: skip
def test_every_tool_has_an_example(name):
    assert ">>>" in inspect.getdoc(getattr(js, name))
