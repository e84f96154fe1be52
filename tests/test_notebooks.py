"""The notebooks: text pairs in sync, outputs present, small and clean, a figure at the end."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
pytestmark = pytest.mark.slow  # not about the package
NAMES = (
    "01_emergence",
    "02_sparse_regression",
    "03_superposition",
    "04_sweeps_at_scale",
    "05_fitting_theory",
    "06_streaming",
)
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
LARGEST = 300_000  # bytes of a notebook with its outputs
MACHINE = re.compile(r"/(tmp|work|home|opt|root|usr|var|Users)\b|[A-Z]:\\\\")

each = pytest.mark.parametrize("name", NAMES)


def percent_cells(text: str) -> list[tuple[str, str]]:
    """Kind and source of every cell of a text in the percent format."""
    cells = []
    for part in re.split(r"(?m)^# %%", text)[1:]:
        head, _, body = part.partition("\n")
        if head.strip() == "[markdown]":
            lines = [re.sub(r"^# ?", "", line) for line in body.strip("\n").split("\n")]
            cells.append(("markdown", "\n".join(lines)))
        else:
            cells.append(("code", body.strip("\n")))
    return cells


def notebook(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.ipynb").read_text())


def joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def outputs(name: str) -> list[dict[str, Any]]:
    return [o for cell in notebook(name)["cells"] for o in cell.get("outputs", ())]


def test_all_notebooks_are_known_and_listed():
    for suffix in ("ipynb", "py"):
        names = {path.stem for path in FOLDER.glob(f"[0-9]*.{suffix}")}
        assert names == set(NAMES)
    listed = (FOLDER / "README.md").read_text()
    assert all(f"({name}.ipynb)" in listed for name in NAMES)


@each
def test_pair_is_in_sync(name):
    text = percent_cells((FOLDER / f"{name}.py").read_text())
    cells = [(c["cell_type"], joined(c["source"])) for c in notebook(name)["cells"]]
    assert cells == text, f"run `python notebooks/run.py {name}`"


def test_a_changed_text_is_not_in_sync():
    text = (FOLDER / f"{NAMES[0]}.py").read_text()
    changed = percent_cells(text.replace("import jaxscale as js", "import jaxscale"))
    assert changed != percent_cells(text)


@each
def test_executed_in_order_without_errors_or_warnings(name):
    code = [c for c in notebook(name)["cells"] if c["cell_type"] == "code"]
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1))
    assert {o["output_type"] for o in outputs(name)} <= {"stream", "display_data"}
    assert all(o["name"] == "stdout" for o in outputs(name) if o["output_type"] == "stream")


@each
def test_numbers_are_printed_and_the_last_cell_is_the_figure(name):
    assert any(o["output_type"] == "stream" for o in outputs(name))
    last = notebook(name)["cells"][-1]
    images = [o for o in outputs(name) if "image/png" in o.get("data", {})]
    assert last["cell_type"] == "code"
    assert len(images) == 1
    assert images[0] in last["outputs"]


@each
def test_small(name):
    assert (FOLDER / f"{name}.ipynb").stat().st_size < LARGEST


@each
def test_no_path_of_a_machine(name):
    shown = notebook(name)
    for cell in shown["cells"]:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop("image/png", None)  # base64 may spell anything
    for text in (json.dumps(shown), (FOLDER / f"{name}.py").read_text()):
        assert not MACHINE.search(text), MACHINE.search(text)


@each
def test_metadata_is_that_of_any_python(name):
    content = notebook(name)
    assert content["metadata"] == METADATA
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert [c["id"] for c in content["cells"]] == [
        f"cell-{i}" for i in range(len(content["cells"]))
    ]
    assert not any(c["metadata"] for c in content["cells"])
    assert not any(o.get("metadata") for o in outputs(name))


@each
def test_uses_the_public_names_alone(name):
    code = "\n".join(source for kind, source in percent_cells((FOLDER / f"{name}.py").read_text())
                     if kind == "code")  # fmt: skip
    assert "import jaxscale as js" in code
    assert not re.search(r"from jaxscale|import jaxscale\.|\bjs\.(\w+\.)*_", code)
