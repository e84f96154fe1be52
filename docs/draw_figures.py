"""Draw the figures of the gallery anew: `python docs/draw_figures.py [FOLDER]`.

Runs `jaxscale reproduce all` (some minutes; what FOLDER already holds is not computed again) and
writes every figure to `docs/figures` as a small PNG.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from jaxscale.report._save import save
from jaxscale.report._study import Figure

FIGURES = Path(__file__).resolve().parent / "figures"
PAPERS = ("emergence", "sparse", "superposition", "streaming")
WIDTH = 1400  # pixels, at most


def main(folder: Path) -> None:
    """Simulate, draw, and write the pictures with a palette of 128 colours."""
    subprocess.run(["jaxscale", "reproduce", "all", "--out", str(folder)], check=True)
    for paper in PAPERS:
        for source in sorted((folder / paper / "figures").glob("*.png")):
            name = source.name if source.name.startswith(paper) else f"{paper}_{source.name}"
            shrink(source, FIGURES / name)


def draw_small(figures: list[Figure]) -> None:
    """Draw figures as small pictures of the site."""
    with tempfile.TemporaryDirectory() as folder:
        for figure in figures:
            save(figure.drawing, Path(folder), figure.name)
            shrink(Path(folder, f"{figure.name}.png"), FIGURES / f"{figure.name}.png")


def shrink(source: Path, target: Path) -> None:
    """Write a picture small enough for the site."""
    picture = Image.open(source).convert("RGB")
    if picture.width > WIDTH:
        height = round(picture.height * WIDTH / picture.width)
        picture = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    picture.quantize(128).save(target, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"))
