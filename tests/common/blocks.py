"""The code blocks of Markdown pages, run in order."""

import contextlib
import doctest
import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from jaxscale import cli

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


def run_shell(page: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> str:
    """Run the command lines of a text, without `reproduce`, and return what they print."""
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", page, re.S)).replace("\\\n", " ")
    for line in re.findall(r"^jaxscale ((?:plan|run|fit|surface|show) .*)$", shell, re.M):
        monkeypatch.setattr("sys.argv", ["jaxscale", *shlex.split(line, comments=True)])
        with pytest.raises(SystemExit) as done:
            cli.main()
        assert not done.value.code, line
    return capsys.readouterr().out
