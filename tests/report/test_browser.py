"""The page in a browser: nothing is wider than the window, on a phone, a tablet and a desktop."""

import re
import shutil
import subprocess

import pytest

from jaxscale._table import Table
from jaxscale.analysis._claim import Claim
from jaxscale.report._figures import new_figure
from jaxscale.report._page import Section, write_page
from jaxscale.report._save import save

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--dump-dom",
    "--allow-file-access-from-files", "--disable-web-security", "--virtual-time-budget=4000",
)  # fmt: skip
WITNESS = """<iframe id="page" src="report.html" style="border:0;width:{0}px;height:900px"></iframe>
<script>onload = () => {{
  const page = document.getElementById("page").contentDocument;
  const boxes = [...page.querySelectorAll(".scroll, .canvas")];
  const inside = e => boxes.some(box => box !== e && box.contains(e));
  const wide = [...page.querySelectorAll("body *")].filter(
    e => !inside(e) && e.getBoundingClientRect().right > {0} + 1).map(e => e.tagName);
  const card = getComputedStyle(page.querySelector(".cards tbody tr")).display;
  const sizes = page.documentElement.scrollWidth + " [" + wide + "] " + card;
  document.body.append("FOUND " + sizes + " END");
}}</script>"""


@pytest.fixture(scope="module")
def browser():
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip("needs a headless Chromium")
    return executable


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    figure, _ = new_figure(3)
    claims = [
        Claim(
            id=f"claim-{i}", statement="a long statement of a claim " * 4, source="Somebody 2001",
            predicted=-0.12345, measured=-1e-15, interval=(-1.234e-15, 1.234e-15), margin=0.123,
            reason="a long reason " * 9, n_seeds=8,
        )
        for i in range(3)
    ]  # fmt: skip
    table = Table("Wide", "", tuple(f"column {i}" for i in range(30)), (("cell",) * 30,))
    presets = {f"preset_{i}": {"runs": i, "device": "x" * 200} for i in range(2)}
    image = save(figure, folder, "figure")[0]
    sections = [
        Section(name, "A title " * 9, "A paper, arXiv 2001.00001", claims,
                [(image, "Caption " * 40)], [table], presets, 1.0)
        for name in ("emergence", "sparse", "superposition")
    ]  # fmt: skip
    write_page(folder / "report.html", "All " * 20, sections)
    return folder


def _measure(browser, folder, width):
    """Width of the document, what reaches over the window, and how a claim is laid out."""
    witness = folder / f"witness_{width}.html"
    witness.write_text(WITNESS.format(width))
    profile = f"--user-data-dir={folder / f'profile_{width}'}"
    done = subprocess.run(
        [browser, *FLAGS, profile, witness.as_uri()], capture_output=True, text=True, timeout=120
    )
    (measured,) = re.findall(r"FOUND (\d+ \[.*?\] \S+) END", done.stdout.split("</script>")[-1])
    return measured


@pytest.mark.browser
@pytest.mark.parametrize(("width", "card"), [(390, "grid"), (820, "grid"), (1280, "table-row")])
def test_nothing_is_wider_than_the_window(browser, folder, width, card):
    assert _measure(browser, folder, width) == f"{width} [] {card}"


@pytest.mark.browser
def test_what_is_wider_is_seen(browser, folder, tmp_path):
    page = (folder / "report.html").read_text()
    wide = page.replace("<h3>Summary</h3>", '<h3 style="width: 500px">Summary</h3>')
    (tmp_path / "report.html").write_text(wide)
    assert "[H3]" in _measure(browser, tmp_path, 390)
