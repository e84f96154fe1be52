"""Pages of theory under sliders, which the gallery links: one file per system.

They are made in `docs/_made/theory_pages`, as `jaxscale report --interactive` would make them, when
the package, Bokeh or this file has changed since; the site holds copies in `theory`. With
`-D theory_combinations=N` pages have no more combinations than N, and are made in seconds.
"""

import dataclasses
import hashlib
import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from sphinx.application import Sphinx

from jaxscale.explorer._sources import source_of
from jaxscale.explorer._static_page import static_page
from jaxscale.explorer._tables import COMBINATIONS, tabulated

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "jaxscale"
MADE = HERE / "_made" / "theory_pages"


@dataclasses.dataclass(frozen=True)
class TheoryPage:
    """A page: the system, the fields that move, and at how many positions."""

    system: str
    sliders: tuple[str, ...]
    n_combinations: int


PAGES = {
    "emergence": TheoryPage("MultilinearSkills", ("skill_exponent", "learning_rate"), 225),
    "sparse": TheoryPage(
        "RandomFeatureRegression", ("spectrum_exponent", "sparsity_exponent"), 100
    ),
    "superposition": TheoryPage(
        "TeacherStudent", ("frequency_exponent", "importance_exponent"), 225
    ),
    "streaming": TheoryPage("StreamingRegression", ("input_exponent", "target_exponent"), 100),
}


def source_key(most: int) -> str:
    """What pages depend on, as a hash: the package, this file, Bokeh, and most combinations."""
    templates = (PACKAGE / "explorer" / "templates").iterdir()
    paths = [Path(__file__), *PACKAGE.rglob("*.py"), *templates]
    digest = hashlib.sha256(f"{version('bokeh')} {most}".encode())
    for path in sorted(paths):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def make(names: Iterable[str] = PAGES, most: int = COMBINATIONS) -> None:
    """Make the pages that were made from other sources, or not yet."""
    MADE.mkdir(parents=True, exist_ok=True)
    key = source_key(most)
    for name in names:
        page, mark = PAGES[name], MADE / f"{name}.key"
        if mark.exists() and mark.read_text() == key:
            continue
        system = source_of(page.system).thing
        tables = tabulated(system, page.sliders, n_combinations=min(page.n_combinations, most))
        (MADE / f"{name}.html").write_text(static_page(page.system, tables), encoding="utf-8")
        mark.write_text(key)


def add(app: Sphinx, exception: Exception | None) -> None:
    """Put the pages into the site."""
    if exception is None and app.builder.format == "html":
        make(most=app.config.theory_combinations)
        folder = Path(app.outdir) / "theory"
        folder.mkdir(exist_ok=True)
        for name in PAGES:
            shutil.copyfile(MADE / f"{name}.html", folder / f"{name}.html")


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the pages when the site is built."""
    app.add_config_value("theory_combinations", COMBINATIONS, "")
    app.connect("build-finished", add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
