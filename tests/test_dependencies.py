"""What the code needs from inside other packages: nothing but the names listed here.

A new version may take such a name away, or change what it does, without notice. The list says what
each is for; if one goes, the test that fails names the package and its version. These tests import
nothing of jaxscale, so that they run where `import jaxscale` fails.
"""

import ast
import functools
import importlib
import importlib.metadata
import sys
from pathlib import Path

import jax
import jax.monitoring
import pytest
from checks import COMPILED

ROOT = Path(__file__).parents[1]
# modules whose documentation promises nothing, and those of others that only experts are shown
INNER = (
    "equinox.internal", "jax.core", "jax.experimental", "jax.extend", "jax.interpreters",
    "jax.lib", "lineax.internal", "xarray.core", "zarr.core",
)  # fmt: skip
NEEDED = {
    "jax.core.Tracer": "the only way to ask whether a number is traced",
    "jax.experimental.compilation_cache.compilation_cache.reset_cache": "a cache that is named "
    "after JAX has compiled",
    "jax.experimental.topologies.get_topology_desc": "programs for devices that are not there",
    "jax.extend.random.threefry_2x32": "random words by counter; jax.random hides the counter",
    # the four names of xarray's guide to new backends
    "xarray.core.indexing.CopyOnWriteArray": "assigning to results that are read when used",
    "xarray.core.indexing.ExplicitIndexer": "type of an index into results that are read when used",
    "xarray.core.indexing.IndexingSupport.OUTER": "indexing results that are read when used",
    "xarray.core.indexing.LazilyIndexedArray": "results that are read when used",
    "xarray.core.indexing.explicit_indexing_adapter": "indexing results that are read when used",
}


def is_inner(name):
    parts = name.split(".")[1:]
    private = any(p.startswith("_") and not p.startswith("__") for p in parts)
    return private or any(name == inner or name.startswith(f"{inner}.") for inner in INNER)


def is_ours(module):
    root = module.partition(".")[0]
    own = (ROOT / root, ROOT / "tests" / "common" / root)
    return root in sys.stdlib_module_names or root == "jaxscale" or any(p.exists() for p in own)


def names_used(nodes):
    """Dotted names of other packages that a file imports or reads, and private attributes."""
    imported = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            modules = [(alias.name, alias.asname) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules = [(f"{node.module}.{a.name}", a.asname or a.name) for a in node.names]
        else:
            continue
        for module, name in modules:
            if not is_ours(module):
                root = module.partition(".")[0]
                imported[name or root] = module if name else root
                yield module
    for node in nodes:
        if isinstance(node, ast.Attribute):
            attributes, inside = [node.attr], node.value
            while isinstance(inside, ast.Attribute):
                attributes.append(inside.attr)
                inside = inside.value
            if isinstance(inside, ast.Name) and inside.id in imported:
                yield ".".join([imported[inside.id], *reversed(attributes)])


def strings(nodes):
    """Dotted names in strings, as in `monkeypatch.setattr("jax.core.Tracer", ...)`."""
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if all(part.isidentifier() for part in node.value.split(".")):
                yield node.value


@functools.cache
def inner_names():
    """Inner names in use, and a file that uses each."""
    files = [f for d in ("jaxscale", "tests", "benchmarks", "examples", "notebooks")
             for f in sorted((ROOT / d).rglob("*.py"))]  # fmt: skip
    used = {}
    for file in files:
        if file != Path(__file__):
            nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
            for name in (*names_used(nodes), *strings(nodes)):
                if is_inner(name) and not is_ours(name):
                    used.setdefault(name, file.relative_to(ROOT))
    return used


def test_nothing_else_inside_a_dependency_is_used():
    unlisted = {
        name: str(file) for name, file in inner_names().items()
        if not any(f"{needed}.".startswith(f"{name}.") for needed in NEEDED)
    }  # fmt: skip
    assert not unlisted, "use the public interface, or list the name with its reason"


def test_the_list_is_needed():
    assert set(NEEDED) <= set(inner_names())


@pytest.mark.parametrize("name", NEEDED)
def test_it_is_still_there(name):
    parts = name.split(".")
    for n in range(len(parts) - 1, 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:n]))
            break
        except ModuleNotFoundError:
            continue
    try:
        functools.reduce(getattr, parts[n:], value)
    except AttributeError:
        package = f"{parts[0]} {importlib.metadata.version(parts[0])}"
        user = inner_names().get(name)
        pytest.fail(f"{package} no longer has `{name}`, used by {user}: {NEEDED[name]}")


def test_a_compilation_is_still_an_event_of_the_same_name():
    heard = []

    def listen(event, *_, **__):
        heard.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        jax.jit(lambda x: x * 3)(2)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert COMPILED in heard, f"jax {jax.__version__} calls it otherwise: {heard}"


def test_the_scan_sees_every_way_to_a_name():
    tree = ast.parse(
        "import jax._src as s\nimport jax.interpreters.xla\nfrom jax import core\n"
        "from xarray.core import indexing\ns.a.b\njax._src.c\ncore.d\nindexing.Lazy\n"
        "mock('zarr.core.e')\nimport numpy as np\nnp.linalg.norm\n"
    )
    nodes = list(ast.walk(tree))
    names = {n for n in (*names_used(nodes), *strings(nodes)) if is_inner(n)}
    assert names == {
        "jax._src", "jax._src.a", "jax._src.a.b", "jax.interpreters.xla", "jax._src.c", "jax.core",
        "jax.core.d", "xarray.core.indexing", "xarray.core.indexing.Lazy", "zarr.core.e",
    }  # fmt: skip
