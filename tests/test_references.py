"""`citation`: valid BibTeX of exactly what was used."""

import importlib
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import jaxscale as js
from jaxscale._references import library

ROOT = Path(__file__).parent.parent
KEY = re.compile(r"^@\w+\{([^,\s]+),", re.M)
FIELD = re.compile(r"^  (\w+) = \{(.*)\},?$")
SMALL = js.emergence.MultilinearSkills(n_skills=3, n_steps=5)
EMERGENCE, SPARSE, SUPERPOSITION = "nam2024emergence", "sous2026asymmetric", "chen2026superposition"
AUTHORS = {  # as the papers have them
    EMERGENCE: ["Nam", "Fonseca", "Lee", "Mingard", "Louis"],
    SPARSE: ["Sous", "Winer"],
    SUPERPOSITION: ["Chen", "Chen", "Liu", "Gore"],
    "michaud2023quantization": ["Michaud", "Liu", "Girit", "Tegmark"],
    "kingma2015adam": ["Kingma", "Ba"],
    "loshchilov2019decoupled": ["Loshchilov", "Hutter"],
    "hoffmann2022": ["Hoffmann", "others"],
    "besiroglu2024": ["Besiroglu", "Erdil", "Barnett", "You"],
    "paquette2024phases": ["Paquette", "Paquette", "Xiao", "Pennington"],
    "maloney2022solvable": ["Maloney", "Roberts", "Sully"],
    "ferbach2025dana": ["Ferbach", "Everett", "Gidel", "Paquette", "Paquette"],
    "defazio2024road": ["Defazio", "others"],
}
IDENTIFIERS = {
    EMERGENCE: "2404.17563",
    SPARSE: "2605.23591",
    SUPERPOSITION: "2602.01045",
    "michaud2023quantization": "2303.13506",
    "kingma2015adam": "1412.6980",
    "loshchilov2019decoupled": "1711.05101",
    "hoffmann2022": "2203.15556",
    "besiroglu2024": "2404.10102",
    "paquette2024phases": "2405.15074",
    "maloney2022solvable": "2210.16859",
    "ferbach2025dana": "2505.16098",
    "defazio2024road": "2405.15682",
}


class Own(js.emergence.MultilinearSkills):
    """A user's system with a paper of its own."""

    REFERENCES = ("@article{me,\n  title = {Mine},\n  author = {Me}}",)


def keys(*objects):
    return KEY.findall(js.citation(*objects))


def parsed(entry):
    """Kind, key and fields of an entry, one field per line."""
    first, *lines, last = entry.splitlines()
    kind, key = re.fullmatch(r"@(\w+)\{([\w:-]+),", first).groups()
    assert last == "}"
    assert all(line.endswith(",") for line in lines[:-1])
    assert not lines[-1].endswith(",")
    fields = dict(FIELD.fullmatch(line).groups() for line in lines)
    assert len(fields) == len(lines)
    return kind, key, fields


def test_the_library_is_valid_bibtex():
    text = (ROOT / "jaxscale" / "references.bib").read_text()
    entries = text.strip().split("\n\n")
    parsed_entries = [parsed(entry) for entry in entries]
    assert [key for _, key, _ in parsed_entries] == list(library())
    assert list(library().values()) == entries
    for kind, key, fields in parsed_entries:
        assert kind in {"software", "misc", "article", "inproceedings"}
        assert {"title", "author", "year"} <= set(fields)
        assert all(v.count("{") == v.count("}") for v in fields.values())
        assert "booktitle" in fields or kind != "inproceedings"
        if key != "jaxscale":
            names = [a.partition(",")[0] for a in fields["author"].split(" and ")]
            assert names == AUTHORS[key]
            assert fields["eprint"] == IDENTIFIERS[key]
            assert fields["archiveprefix"] == "arXiv"


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"version = {{{project['version']}}}" in library()["jaxscale"]


def test_every_declared_key_exists():
    declared = set()
    for info in pkgutil.walk_packages(js.__path__, "jaxscale."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        owners = [module, *(v for v in vars(module).values() if inspect.isclass(v))]
        for owner in owners:
            declared.update(vars(owner).get("REFERENCES", ()))
    assert {EMERGENCE, SPARSE, SUPERPOSITION} <= declared
    assert {key for key in declared if not key.startswith("@")} <= set(library())


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ([], []),
        ([SMALL], [EMERGENCE]),
        ([SMALL, SMALL, js.emergence], [EMERGENCE]),
        ([js.emergence.ParityNetwork], [EMERGENCE, "michaud2023quantization"]),
        ([js.emergence.ParityNetwork(n_steps=5)], [EMERGENCE, "michaud2023quantization"]),
        ([js.Adam(), js.Sgd()], ["kingma2015adam"]),
        ([js.sparse.theory], [SPARSE]),
        ([js.sparse.theory.loss, js.emergence.theory.loss], [SPARSE, EMERGENCE]),
        ([js.superposition.theory.Laplace()], [SUPERPOSITION]),
        ([js.Grid(SMALL, {"learning_rate": [0.1, 0.2]})], [EMERGENCE]),
        ([js.plan(js.Grid(SMALL))], [EMERGENCE]),
        ([js.Grid, js.geomspace, js.spectra], []),
        ([Own(n_skills=2), js.emergence.theory], [EMERGENCE, "me"]),
    ],
)
def test_exactly_what_was_used(objects, expected):
    assert keys(*objects) == ["jaxscale", *expected]


def test_objects_on_axes_and_in_parts_count():
    network = js.emergence.ParityNetwork(n_steps=5, width=4)
    grid = js.Grid(network, {"optimizer": [js.Sgd(), js.Adam()]})
    assert keys(grid)[-1] == "kingma2015adam"
    assert keys(js.replace(network, "optimizer", js.Adam())) == keys(grid)


@pytest.mark.slow
def test_results_know_their_system():
    grid = js.Grid(SMALL, {"learning_rate": [0.1, 0.2]})
    runs, theory = js.run(grid), js.predict(grid)
    fit = js.calibrate(grid, runs, free=["skill_exponent"])
    for result in (runs, theory, fit):
        assert keys(result) == ["jaxscale", EMERGENCE]


@pytest.mark.parametrize("value", [3, None, "emergence", np.mean, np, {}, [SMALL], object()])
def test_what_has_no_reference_is_refused(value):
    with pytest.raises(ValueError, match=r"`objects` must be .* got ") as error:
        js.citation(SMALL, value)
    assert repr(value) in str(error.value)


def test_a_dataset_of_unknown_origin_is_refused():
    import xarray

    with pytest.raises(ValueError, match="attribute `grid`"):
        js.citation(xarray.Dataset())


def declaring(reference):
    return type("Other", (Own,), {"REFERENCES": reference, "__module__": __name__})


def test_references_of_ones_own():
    assert keys(declaring(("kingma2015adam",))(n_skills=2))[-1] == "kingma2015adam"
    one_line = "@misc{short, title = {T}, author = {A}}"
    assert js.citation(declaring(one_line)(n_skills=2)).endswith(one_line)
    for bad in (("nobody2020",), ("@article{open, title = {T}",), (3,)):
        with pytest.raises(ValueError, match="`REFERENCES` must hold BibTeX") as error:
            js.citation(declaring(bad)(n_skills=2))
        assert repr(bad[0]) in str(error.value)
    with pytest.raises(ValueError, match="one entry 'me', got two"):
        js.citation(declaring(("@article{me, title = {Other}}",))(n_skills=2))
