"""What is wrong in a sweep file, and in which line."""

import contextlib
import re
from pathlib import Path

MOST_CHARACTERS = 60  # of the line, that the sentence shows
LINE = "a line is `name = value`, `[table]` or a comment (#)"
TEXT_OR_LIST = "a text needs quotes, several values a list in brackets"
REASONS = {  # of words in the parser's message, the first that it has
    "Invalid value": f"it is no value: {TEXT_OR_LIST}, true and false are in small letters, a "
    "point has digits on both sides",
    "Expected newline": f"more follows after the value: {TEXT_OR_LIST}",
    "Expected '='": LINE,
    "Invalid statement": LINE,
    "initial character for a key": LINE,
    "Cannot overwrite": "the name has a value already, further up",
    "Duplicate inline table key": "the table gives a name two values",
    "twice": "the table is there already, further up",
    "immutable": "the table is there already, further up",
    "Unterminated string": "a text has no closing quote",
    'Expected "\'"': "a text has no closing quote",
    "Illegal character '\\n'": "a text has no closing quote",
    "Unclosed": "a bracket is not closed, or a comma is missing",
    "end of a table declaration": "a table is named in brackets, [fields]",
    "backslash": "a backslash in a text is written twice, or the text in single quotes",
    "Unescaped": "a backslash in a text is written twice, or the text in single quotes",
    "hex value": "a backslash in a text is written twice, or the text in single quotes",
}


def toml_error(text: str, error: str) -> str:
    """Return the line of `text` that the parser refused with `error`, and why, in words."""
    lines = text.split("\n")  # as the parser counts them
    place = re.search(r"at line (\d+)", error)
    number = min(int(place[1]) if place else len(lines), len(lines))
    reasons = (reason for words, reason in REASONS.items() if words in error)
    own = re.sub(r" \(at .*\)$", "", error)
    reason = next(reasons, "the parser refuses it")
    line = lines[number - 1].strip()[:MOST_CHARACTERS]
    return f"line {number}, {line!r}, is not TOML: {reason} ({own})."


def place(file: str | Path, path: Path, name: str) -> str:
    """Return the name `file` of the file at `path`, with the line that sets `name`, if one does."""
    lines = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        lines = path.read_text("utf-8").split("\n")
    own = rf"""["']?{re.escape(name)}["']?"""
    sets = re.compile(rf"(?:^|[{{,])\s*{own}\s*=|^\s*\[{own}\]")  # also in {{...}}, and a table
    numbers = [i for i, line in enumerate(lines, 1) if sets.search(line)]
    return f"{file}, line {numbers[0]}" if len(numbers) == 1 else str(file)
