"""One table for the terminal, a notebook, a log and the page: columns, and cells as text."""

import dataclasses
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.text import Text

from jaxscale._text import as_text

GAP = "  "
COLOURS = {"agrees": "green", "disagrees": "red", "open": "yellow", "failure": "red"}


@dataclasses.dataclass(frozen=True)
class Column:
    """Heading of a column.

    - `name`: what the heading says.
    - `number`: whether the cells are numbers, which are aligned at the right.
    - `style`: class of the cells on the page.
    - `page_only`: whether a terminal has no room for it.
    """

    name: str
    number: bool = False
    style: str = ""
    page_only: bool = False


@dataclasses.dataclass(frozen=True)
class Cell:
    """A text, and what the page adds to it.

    - `text`: what a terminal prints.
    - `style`: what it means, by colour: "agrees", "disagrees", "open" or "failure".
    - `link`: anchor of the page to which the text leads.
    - `statement`, `source`, `anchor`: sentence that stands on the page before the text, the paper
      it is from, and the anchor that links lead to.
    """

    text: str
    style: str = ""
    link: str = ""
    statement: str = ""
    source: str = ""
    anchor: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that `rich` prints at any width without cutting a word or a number.

    Where its columns are wider than the terminal, cells continue on further lines; where even
    their longest words do not fit, every row becomes lines of `column: cell`.

    **Arguments**

    - `title`: heading, or an empty string.
    - `note`: what the table shows, or an empty string.
    - `header`: columns; of those given by name alone the first holds text, the others numbers.
    - `rows`: cells by row, as texts or as `Cell`s.

    **Raises** `ValueError` for a row with another number of cells than there are columns.
    """

    title: str
    note: str
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
        return [
            Column(one, number=i > 0) if isinstance(one, str) else one
            for i, one in enumerate(self.header)
        ]

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows, each cell as a `Cell`."""
        return [[Cell(c) if isinstance(c, str) else c for c in row] for row in self.rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Lines for a terminal."""
        width = options.max_width
        shown = [i for i, column in enumerate(self.columns) if not column.page_only]
        columns = [self.columns[i] for i in shown]
        rows = [[row[i] for i in shown] for row in self.cells]
        yield from (Text(line, "bold") for line in _wrap(self.title, width))
        yield from (Text(line, "dim") for line in _wrap(self.note, width))
        names = [Cell(column.name) for column in columns]
        widths = _fit([names, *rows], width)
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
    lines: list[str] = []
    for word in text.split():
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _fit(rows: list[list[Cell]], width: int) -> list[int] | None:
    """Widths of the columns with few continued lines; None where the longest words do not fit."""
    texts = [[cell.text for cell in column] for column in zip(*rows, strict=True)]
    available = width - len(GAP) * (len(texts) - 1)
    widths = [min(available, max(cell_len(text) for text in column)) for column in texts]
    least = [max(cell_len(w) for text in c for w in text.split() or [""]) for c in texts]
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
) -> Iterator[Text]:
    """The lines of a row, which are as many as its longest cell has."""
    wrapped = [_wrap(cell.text, w) for cell, w in zip(row, widths, strict=True)]
    for k in range(max(map(len, wrapped), default=0)):
        line = Text(style=style)
        for i, (column, cell, w) in enumerate(zip(columns, row, widths, strict=True)):
            text = wrapped[i][k] if k < len(wrapped[i]) else ""
            space = " " * (w - cell_len(text))
            line.append(GAP if i else "")
            line.append(space + text if column.number else text, COLOURS.get(cell.style, ""))
            line.append("" if column.number else space)
        line.rstrip()
        yield line


def _stacked(columns: list[Column], rows: list[list[Cell]], width: int) -> Iterator[Text]:
    """Every row as lines of `column: cell`."""
    for i, row in enumerate(rows):
        if i:
            yield Text()
        for column, cell in zip(columns, row, strict=True):
            text = f"{column.name}: {cell.text}" if column.name else cell.text
            first, *others = _wrap(text, width - len(GAP)) or [""]
            for line in (first, *(GAP + other for other in others)):
                yield Text(line, COLOURS.get(cell.style, ""))
