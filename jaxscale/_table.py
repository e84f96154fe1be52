"""One table for the terminal, a notebook, a log and the page: columns, and cells as text."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from jaxscale._text import DASH, as_text, printable, without_marks

if TYPE_CHECKING:
    import rich.console
    import rich.text

GAP = "  "
SENTENCE = 48  # characters, from which a text is a sentence
READABLE = 16  # characters in a line of one
COLOURS = {"agrees": "green", "disagrees": "red", "open": "yellow", "failure": "red"}


@dataclasses.dataclass(frozen=True)
class Column:
    """Heading of a column, whose cells are aligned at the right if they are numbers."""

    name: str
    number: bool = False
    style: str = ""  # class of the cells on the page
    page_only: bool = False  # a terminal has no room for it


@dataclasses.dataclass(frozen=True)
class Cell:
    """A text that a terminal prints, and what the page adds to it."""

    text: str
    style: str = ""  # what it means: a key of `COLOURS`
    link: str = ""  # anchor to which the text leads
    statement: str = ""  # sentence that stands before the text
    source: str = ""  # paper of the statement
    anchor: str = ""  # of the statement, for links


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that `rich` prints at any width without cutting a word or a number.

    Where its columns are wider than the terminal, cells continue on further lines; where even
    their longest words do not fit, or sentences would be narrower than 16 characters, every row
    becomes lines of `column: cell`. Of the columns that are given by name alone the first holds
    text, the others numbers.

    **Raises** `ValueError` for a row with another number of cells than there are columns.
    """

    title: str
    note: str  # what the table shows; formulas between dollar signs
    header: Sequence[str | Column]
    rows: Sequence[Sequence[str | Cell]]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(
                    f"`rows` must have {len(self.header)} cells each, as `header` has, got {row!r}."
                )

    @property
    def columns(self) -> list[Column]:
        """The columns, each as a `Column`."""
        header = enumerate(self.header)
        return [Column(c, number=i > 0) if isinstance(c, str) else c for i, c in header]

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows, each cell as a `Cell`."""
        rows = [[Cell(c) if isinstance(c, str) else c for c in row] for row in self.rows]
        return [[dataclasses.replace(c, text=printable(c.text)) for c in row] for row in rows]

    @property
    def filled(self) -> "Table":
        """The table without columns in which every cell is a dash."""
        cells, n = self.cells, len(self.columns)
        used = [i for i in range(n) if not cells or {row[i].text for row in cells} != {DASH}]
        header = [self.columns[i] for i in used]
        rows = [tuple(row[i] for i in used) for row in self.rows]
        return dataclasses.replace(self, header=header, rows=rows)

    def __rich_console__(
        self, console: "rich.console.Console", options: "rich.console.ConsoleOptions"
    ) -> "Iterator[rich.text.Text]":
        from rich.text import Text

        width = options.max_width
        shown = [i for i, column in enumerate(self.columns) if not column.page_only]
        columns = [self.columns[i] for i in shown]
        rows = [[row[i] for i in shown] for row in self.cells]
        yield from (Text(line, "bold") for line in _wrap(self.title, width))
        yield from (Text(line, "dim") for line in _wrap(without_marks(self.note), width))
        names = [Cell(column.name) for column in columns]
        widths = _fit(columns, [names, *rows], width)
        if widths is None:
            yield from _stacked(columns, rows, width)
        else:
            yield from _row(columns, names, widths, "bold")
            yield Text(GAP.join("─" * w for w in widths), "dim")
            for row in rows:
                yield from _row(columns, row, widths)
        yield Text()

    def __str__(self) -> str:
        return as_text(self)


def _wrap(text: str, width: int) -> list[str]:
    """Break between words; a word that is wider than `width` has a line to itself."""
    from rich.cells import cell_len

    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _fit(columns: list[Column], rows: list[list[Cell]], width: int) -> list[int] | None:
    """Widths of the columns with few continued lines; None where they would be too narrow.

    A column has room for its longest word, and one of sentences for `READABLE` characters.
    """
    from rich.cells import cell_len

    texts = [[cell.text for cell in column] for column in zip(*rows, strict=True)]
    available = width - len(GAP) * (len(texts) - 1)
    widths = [min(available, max(cell_len(text) for text in column)) for column in texts]
    least = [max(cell_len(w) for text in c for w in text.split() or [""]) for c in texts]
    for i, column in enumerate(columns):
        is_sentence = any(cell_len(text) >= SENTENCE for text in texts[i][1:])
        least[i] = max(least[i], READABLE) if is_sentence and not column.number else least[i]
    if sum(least) > available:
        return None

    def cost(i: int) -> tuple[int, int]:
        """Lines that a step narrower adds to column `i`; ties go to the widest."""
        lines = [sum(len(_wrap(t, w)) for t in texts[i]) for w in (widths[i] - 1, widths[i])]
        return lines[0] - lines[1], -widths[i]

    while sum(widths) > available:
        widths[min((i for i, w in enumerate(widths) if w > least[i]), key=cost)] -= 1
    return widths


def _row(
    columns: list[Column], row: list[Cell], widths: list[int], style: str = ""
) -> "Iterator[rich.text.Text]":
    """The lines of a row, which are as many as its longest cell has."""
    from rich.text import Text

    wrapped = [_wrap(cell.text, w) for cell, w in zip(row, widths, strict=True)]
    for texts in itertools.zip_longest(*wrapped, fillvalue=""):
        parts = []
        for text, column, cell, w in zip(texts, columns, row, widths, strict=True):
            parts.append(Text(text, COLOURS.get(cell.style, "")))
            parts[-1].align("right" if column.number else "left", w)
        line = Text(GAP, style).join(parts)
        line.rstrip()
        yield line


def _stacked(
    columns: list[Column], rows: list[list[Cell]], width: int
) -> "Iterator[rich.text.Text]":
    """Every row as lines of `column: cell`."""
    from rich.text import Text

    for i, row in enumerate(rows):
        if i:
            yield Text()
        for column, cell in zip(columns, row, strict=True):
            text = f"{column.name}: {cell.text}" if column.name else cell.text
            first, *others = _wrap(text, width - len(GAP)) or [""]
            for line in (first, *(GAP + other for other in others)):
                yield Text(line, COLOURS.get(cell.style, ""))
