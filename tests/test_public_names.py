"""The public surface is a committed list: a name comes, goes or moves only on purpose.

`python tests/test_public_names.py` writes the list anew.
"""

import ast
import importlib
from pathlib import Path

import jaxscale

ROOT = Path(jaxscale.__file__).parent
LIST = Path(__file__).with_name("public_names.txt")


def is_public(path):
    return not any(part.startswith("_") and part != "__init__.py" for part in path.parts)


def names_of(path):
    """Names that a package exports as `X as X`, or that a public module defines."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names if alias.asname == alias.name)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign) and path.name != "__init__.py":
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def public_names(root=ROOT):
    """Every public name, as `jaxscale.package.name`."""
    names = set()
    for path in root.rglob("*.py"):
        inner = path.relative_to(root)
        if is_public(inner) and inner.parts[0] != "cli":
            module = ".".join(["jaxscale", *inner.with_suffix("").parts]).removesuffix(".__init__")
            names |= {f"{module}.{name}" for name in names_of(path) if not name.startswith("_")}
    return sorted(names)


def test_the_public_names_are_those_of_the_list():
    listed, actual = LIST.read_text().split(), public_names()
    assert not set(actual) - set(listed), "new public names: write the list anew if they are meant"
    assert not set(listed) - set(actual), "public names are gone: keep a deprecated alias"


def test_every_public_name_can_be_had():
    for name in LIST.read_text().split():
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_a_new_name_is_noticed(tmp_path):
    """Power: what a package exports or a public module defines counts, private modules do not."""
    (tmp_path / "__init__.py").write_text("from jaxscale._a import f as f, g\n")
    (tmp_path / "fields.py").write_text("X = 1\n_y = 2\n\n\ndef real(): ...\n")
    (tmp_path / "_a.py").write_text("def f(): ...\n")
    assert public_names(tmp_path) == ["jaxscale.f", "jaxscale.fields.X", "jaxscale.fields.real"]


if __name__ == "__main__":
    LIST.write_text("\n".join(public_names()) + "\n")
