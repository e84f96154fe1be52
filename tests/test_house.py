"""The plan of the package (which rooms import which, no circles, none by name) and its names."""

import ast
import re
import textwrap
from pathlib import Path

import pytest

import jaxscale

ROOT = Path(jaxscale.__file__).parent
REPOSITORY = Path(__file__).resolve().parents[1]
MODELS = ("emergence", "sparse", "streaming", "superposition")
ABOVE_MODELS = ("analysis", "cli", "papers", "report", "sweep", "_theories")
DYNAMIC = {"import_module", "__import__", "exec_module", "run_module", "run_path"}
# sweep files and `jaxscale fit --import` name a module of the user's
IMPORTS_BY_NAME = {("jaxscale.sweep._config", "import_module")}

VAGUE = {"found", "known", "left", "here", "there", "kept", "told", "whole", "beside"}
# of the package: how many points a fit leaves out, the mask of the coordinates that are seen
EXCEPTIONS = {"jaxscale": {"n_left_out", "seen"}}


def read_package(root):
    """Syntax tree of every module of the package in `root`, by dotted name."""
    trees = {}
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        trees[name] = ast.parse(path.read_text())
    return trees


def imports(trees):
    """Modules of the package that each of its modules imports, at any depth of its code.

    `from package import name` is an import of `package.name` where that is a module. Imports for
    type checkers count, and so do those inside functions.
    """
    edges = {}
    for module, tree in trees.items():
        names = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{module} has a relative import"
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    names.add(inner if inner in trees else node.module)
        edges[module] = names & set(trees)
    return edges


def circles(edges):
    """Sets of modules that reach one another."""
    reached = {module: _reach(edges, module) for module in edges}
    return {
        frozenset({module, *(other for other in targets if module in reached[other])})
        for module, targets in reached.items()
        if module in targets
    }


def _reach(edges, start):
    reached, waiting = set(), [start]
    while waiting:
        new = edges[waiting.pop()] - reached
        reached |= new
        waiting += new
    return reached


def dynamic_imports(trees):
    """(module, name) of every use of a function that imports by name."""
    uses = set()
    for module, tree in trees.items():
        for node in ast.walk(tree):
            names = {getattr(node, "id", None), getattr(node, "attr", None)}
            if isinstance(node, ast.alias):
                names = {node.name}
            elif isinstance(node, ast.Constant):  # getattr(importlib, "import_module")
                names = {node.value} if isinstance(node.value, str) else set()
            uses |= {(module, name) for name in names & DYNAMIC}
    return uses


def rooms(edges, room):
    """(module, import) of every import that leaves `jaxscale.<room>` for a room above models."""
    above = tuple(f"jaxscale.{name}" for name in ABOVE_MODELS)
    return {
        (module, target)
        for module, targets in edges.items()
        for target in targets
        if _lies_in(module, f"jaxscale.{room}") and any(_lies_in(target, a) for a in above)
    }


def _lies_in(module, package):
    return module == package or module.startswith(f"{package}.")


def vague_names(tree):
    """Names bound in a module that do not say what they hold; names of tests are sentences.

    `left` is a side where `right` is bound as well.
    """
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(getattr(node, "id", None) or node.attr)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
        elif hasattr(node, "name") and not (node.name or "").startswith("test_"):
            names.add(node.name or "")  # functions, classes, `except ... as`, patterns
    sides = {"left"} if "right" in names else set()
    vague = {name for name in names if VAGUE & set(name.lower().split("_"))}
    return (vague | names & {"seen"}) - sides  # `n_seen`, `seen_columns` describe columns


@pytest.fixture(scope="module")
def trees():
    return read_package(ROOT)


@pytest.fixture(scope="module")
def edges(trees):
    return imports(trees)


@pytest.mark.parametrize("model", MODELS)
def test_models_import_nothing_above_them(edges, model):
    assert f"jaxscale.{model}._system" in edges
    assert "jaxscale._system" in edges[f"jaxscale.{model}._system"]  # the reading sees imports
    assert not rooms(edges, model)


def test_models_do_not_import_one_another(edges):
    for model in MODELS:
        own = [
            targets for module, targets in edges.items() if _lies_in(module, f"jaxscale.{model}")
        ]
        others = [f"jaxscale.{other}" for other in MODELS if other != model]
        assert not [t for targets in own for t in targets if any(_lies_in(t, o) for o in others)]


@pytest.mark.parametrize("room", ["analysis", "report", "sweep"])
def test_the_tools_import_no_model_and_no_paper(edges, room):
    assert any(_lies_in(module, f"jaxscale.{room}") for module in edges)
    faults = {
        (module, target)
        for module, targets in edges.items()
        for target in targets
        if _lies_in(module, f"jaxscale.{room}")
        and any(_lies_in(target, f"jaxscale.{other}") for other in (*MODELS, "papers"))
    }
    assert not faults


def test_the_package_does_not_pay_for_the_papers(edges):
    assert not [t for t in _reach(edges, "jaxscale") if _lies_in(t, "jaxscale.papers")]


def test_there_are_no_circles(edges):
    assert not circles(edges)


def test_nothing_is_imported_by_name(trees):
    assert dynamic_imports(trees) == IMPORTS_BY_NAME


@pytest.mark.parametrize("folder", ["jaxscale", "tests", "benchmarks", "examples", "notebooks"])
def test_names_say_what_they_hold(folder):
    paths = list((REPOSITORY / folder).rglob("*.py"))
    assert paths
    names = {str(path): vague_names(ast.parse(path.read_text())) for path in paths}
    allowed = EXCEPTIONS.get(folder, set())
    assert not {path: vague - allowed for path, vague in names.items() if vague - allowed}


SMALL = {
    "__init__.py": "from jaxscale import sparse as sparse",
    "_system.py": "",
    "sparse/__init__.py": "from jaxscale.sparse._system import System as System",
    "sparse/_system.py": """
        from typing import TYPE_CHECKING

        from jaxscale._system import AbstractSystem

        if TYPE_CHECKING:
            from jaxscale.sparse import parts

        def judge():
            from jaxscale.report._page import write_page
    """,
    "sparse/parts.py": "import jaxscale.sparse._system",
    "report/__init__.py": "",
    "report/_page.py": "import importlib; importlib.import_module('jaxscale.sparse')",
    "sweep.py": "from importlib import import_module as load",
    "cli.py": "getattr(importlib, 'import_module')('x'); __import__('y')",
}


def test_every_fault_is_detected(tmp_path):
    """Power: a package with every fault fails every check."""
    for name, text in SMALL.items():
        path = tmp_path / "jaxscale" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    trees = read_package(tmp_path / "jaxscale")
    edges = imports(trees)
    assert rooms(edges, "sparse") == {("jaxscale.sparse._system", "jaxscale.report._page")}
    assert circles(edges) == {frozenset({"jaxscale.sparse._system", "jaxscale.sparse.parts"})}
    assert dynamic_imports(trees) == {
        ("jaxscale.report._page", "import_module"),
        ("jaxscale.sweep", "import_module"),
        ("jaxscale.cli", "import_module"),
        ("jaxscale.cli", "__import__"),
    }


def test_every_vague_name_is_detected():
    text = """
        from os import path as found_path
        left, right = sides()
        def told(here, *, kept=1, **whole): self.known = [there for there in here]
        class Beside: left_out: int = 0
        for seen, n_seen in pairs: pass
        def test_what_is_found(result): found(whole=result.left)
        try: pass
        except OSError as known_error: pass
    """
    assert vague_names(ast.parse(textwrap.dedent(text))) == {
        "found_path", "told", "here", "kept", "whole", "known", "there", "Beside", "left_out",
        "seen", "known_error",
    }  # fmt: skip


@pytest.mark.slow  # it collects all tests
def test_every_slow_case_is_a_test():
    """The names of functions; at a case that pytest cannot find, CI's leg `compiling` fails."""
    listed = (REPOSITORY / "tests" / "slow_cases.txt").read_text().splitlines()
    assert listed == sorted(set(listed))
    functions = {tuple(case.partition("[")[0].split("::")) for case in listed}
    texts = {file: (REPOSITORY / file).read_text() for file, _ in functions}
    gone = [f for f in functions if not re.search(rf"^def {f[1]}\(", texts[f[0]], re.M)]
    assert not gone, "renamed or deleted tests"


def test_browser_tests_are_where_ci_looks_for_them():
    tests = REPOSITORY / "tests"
    marked = {p for p in tests.rglob("test_*.py") if "mark.browser" in p.read_text()}
    run = {*tests.glob("explorer/test_*_browser.py"), tests / "report" / "test_browser.py"}
    assert marked - {Path(__file__)} == run
