"""The code blocks of Markdown pages, run in order."""

import contextlib
import doctest
import io
import re
from pathlib import Path
from typing import Any

BLOCK = re.compile(r"(?:<!-- ([\w ]+) -->\n)?```(python|text)\n(.*?)```", re.S)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(page: Path) -> list[tuple[str | None, str, str]]:
    """(mark, language, text) of every Python and text block of a page."""
    return [match.groups() for match in BLOCK.finditer(page.read_text())]


def execute(page: Path) -> tuple[dict[str, Any], int]:
    """Run the plain Python blocks in order; each prints what the text block after it says."""
    names: dict[str, Any] = {"__name__": "guide"}
    printed, n_checked = "", 0
    for mark, language, text in blocks(page):
        if language == "python" and not mark:
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(text, str(page), "exec"), names)
            printed = out.getvalue()
        elif language == "text":
            n_checked += 1
            assert doctest.OutputChecker().check_output(text, printed, FLAGS), (
                f"{page.name} shows\n{text}\nbut this was printed:\n{printed}"
            )
    return names, n_checked
