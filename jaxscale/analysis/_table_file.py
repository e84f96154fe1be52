"""Tables in files: CSV with its separator, JSON lines, JSON records and Parquet, row by row."""

import bz2
import csv
import gzip
import io
import json
import lzma
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from jaxscale._arguments import hinted
from jaxscale._devices import host_memory
from jaxscale._text import counted
from jaxscale._warn import warn_user

if TYPE_CHECKING:
    import pandas

Lines: TypeAlias = list[tuple[int, str]]  # with their numbers in the file, from 1

LINE = "line of "  # begins the name of an index of lines, as `line of runs.csv`
MEMORY_SHARE = 0.1  # of the host, that a text may take
MARKS = ",;\t|"
OPENERS: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")


@hinted
def read_table(path: str | Path) -> "pandas.DataFrame":
    """Read a table from a file, as `js.calibrate` and the explorer do.

    **Arguments**

    - `path`: of the file. Its ending says what it is: `.jsonl` and `.ndjson` hold JSON lines,
      `.json` a list of records, `.parquet` is Parquet and anything else is CSV with any of
      `,`, `;`, `|` or tabs; text may be packed as `.gz`, `.bz2` or `.xz`.

    An empty cell of CSV is missing, and so are NA, nan and the like in a column of numbers; in one
    of texts these are texts.

    Lines that begin with `#` and blank ones are not rows; between rows they are counted in a
    warning. The index of a table of CSV or JSON lines holds the line of the file of each row.

    **Raises** `ValueError` with the line for what is no table.

    **Example**

    ```python
    runs = js.analysis.read_table("runs.csv")
    fit = js.calibrate(js.forms.chinchilla, runs[runs["seed"] == 0])
    ```
    """
    path = Path(path)
    packed = path.suffix.lower() in OPENERS
    ending = Path(path.stem if packed else path.name).suffix.lower()
    if ending == ".parquet":
        return _parquet(path)
    opener = OPENERS[path.suffix.lower()] if packed else open
    try:
        most = int(MEMORY_SHARE * host_memory())
        with opener(path, "rt", encoding="utf-8-sig") as file:
            text = file.read(most + 1)
        if len(text) > most:
            raise ValueError(
                f"`data` {path} has more than {most:.2g} characters: take a part of it."
            )
        lines = list(io.StringIO(text))
    except (OSError, EOFError, UnicodeError, lzma.LZMAError) as error:
        raise ValueError(f"`data` is not a table: {path}: {error}.") from None
    if ending == ".json":
        return _records(path, lines)
    rows = [(i, line) for i, line in enumerate(lines, 1) if line.strip() and line[0] != "#"]
    if not rows:
        raise ValueError(f"`data` is not a table: {path} has no rows.")
    between = rows[-1][0] - rows[0][0] + 1 - len(rows)
    if between:
        warn_user(
            f"{counted(between, 'line')} between rows of {path.name}, comments (#) or blank: "
            "left out"
        )
    if ending in (".jsonl", ".ndjson"):
        return _json_lines(path, rows)
    return _csv(path, rows)


def _separator(heading: str) -> str:
    """The mark between the cells of a line of names."""
    return max(MARKS, key=lambda m: len(next(csv.reader([heading], delimiter=m))))


def place_of(values: Any, row: int) -> str:
    """Where the value number `row` of a column or an array stands: in words."""
    index: Any = getattr(values, "index", None)
    name = str(getattr(index, "name", ""))
    if name.startswith(LINE):
        return f"line {index[row]} of {name.removeprefix(LINE)}"
    return f"row {row} (counted from 0)"


def of_file(table: Any, before: str = " of ") -> str:
    """The name of the file that a table was read from, after `before`; empty if it was none."""
    name = str(getattr(table.index, "name", ""))
    return before + name.removeprefix(LINE) if name.startswith(LINE) else ""


def _by_line(table: "pandas.DataFrame", path: Path, lines: Sequence[int]) -> "pandas.DataFrame":
    """A table whose index is the line of the file at which each row begins."""
    return table.set_axis(list(lines), axis="index").rename_axis(f"{LINE}{path.name}")


def _csv(path: Path, rows: Lines) -> "pandas.DataFrame":
    import pandas

    heading = rows[0][1]
    mark = _separator(heading)
    reader = csv.reader((line for _, line in rows), delimiter=mark, skipinitialspace=True)
    try:
        names = _names(path, next(reader), rows[0][0])
        begins, lines = reader.line_num, []  # a quoted cell may have several lines
        for cells in reader:
            lines.append(rows[begins][0])
            begins = reader.line_num
            if len(cells) != len(names):
                raise ValueError(
                    f"`data` {path} must have {counted(len(names), 'cell')} in each row "
                    f"({', '.join(names)}), got {len(cells)} in line {lines[-1]}."
                )
        text = "".join(line for _, line in rows)
        options: Any = {"sep": mark, "header": 0, "names": names, "index_col": False,
                        "skipinitialspace": True}  # fmt: skip
        table = pandas.read_csv(io.StringIO(text), **options)
        texts = table.columns[[not pandas.api.types.is_numeric_dtype(d) for d in table.dtypes]]
        if len(texts):  # in which NA or None are labels like others
            options |= {"keep_default_na": False, "na_values": [""], "usecols": list(texts)}
            table = table.assign(**pandas.read_csv(io.StringIO(text), **options))
    except (csv.Error, pandas.errors.ParserError) as error:
        raise ValueError(f"`data` is not a table: {path}: {error}.") from None
    for name in texts:
        table[name] = table[name].map(lambda v: v.strip() if isinstance(v, str) else v)
        cells = ((i, v) for i, v in zip(lines, table[name], strict=True) if isinstance(v, str))
        line, text = next((at for at in cells if DECIMAL_COMMA.fullmatch(at[1])), (0, ""))
        if line and mark != ",":
            raise ValueError(
                f"`data` {path} must have decimals with a point, got {text!r} for {name!r} in line "
                f"{line}; write it so, or pass pandas.read_csv(path, sep={mark!r}, decimal=',')."
            )
    return _by_line(table, path, lines)


def _names(path: Path, cells: Sequence[str], line: int) -> list[str]:
    """Names of the columns: distinct, in one line, and no numbers; a column may have none."""
    names = [cell.strip() or f"Unnamed: {i}" for i, cell in enumerate(cells)]
    _require_distinct(str(path), names)
    if all(_is_number(name) for name in names):
        raise ValueError(
            f"`data` {path} must name its columns in its first line that does not begin with #, "
            f"got the numbers {', '.join(names)} in line {line}."
        )
    if len(names) == 1 and len(parts := re.split(r"\s+", names[0])) > 1:
        raise ValueError(
            f"`data` {path} must be separated by one of , ; | or tabs, its first line is "
            f"{' '.join(parts)!r}; write it so, or pass pandas.read_csv(path, sep=r'\\s+')."
        )
    return names


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _require_distinct(what: str, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ValueError(f"`data` {what} must name each column once, got {name!r} twice.")


def _record(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One JSON object, whose names are distinct."""
    _require_distinct("record", [name for name, _ in pairs])
    return dict(pairs)


def _json_lines(path: Path, rows: Lines) -> "pandas.DataFrame":
    import pandas

    records = []
    for number, line in rows:
        wanted = f"`data` {path} must have one JSON object in each line, got"
        try:
            record = json.loads(line, object_pairs_hook=_record)
        except ValueError as error:
            raise ValueError(f"{wanted} {line.strip()[:60]!r} in line {number}: {error}") from None
        if not isinstance(record, dict):
            raise ValueError(f"{wanted} {line.strip()[:60]!r} in line {number}.")
        records.append(record)
    return _by_line(pandas.DataFrame(records), path, [number for number, _ in rows])


def _records(path: Path, lines: Sequence[str]) -> "pandas.DataFrame":
    import pandas

    wanted = f'`data` {path} must be a JSON list of records, [{{"step": 1, "loss": 2.0}}, ...]'
    try:
        records = json.loads("".join(lines), object_pairs_hook=_record)
    except ValueError as error:
        raise ValueError(f"{wanted}: {error} (JSON lines have the ending .jsonl).") from None
    if not isinstance(records, list):
        raise ValueError(f"{wanted}, got a {type(records).__name__}.")
    for i, record in enumerate(records):
        if not isinstance(record, dict):
            raise ValueError(f"{wanted}, got {str(record)[:60]!r} in row {i} (counted from 0).")
    return pandas.DataFrame(records)


def _parquet(path: Path) -> "pandas.DataFrame":
    import pandas

    try:
        return pandas.read_parquet(path)
    except ImportError:
        raise ValueError(
            f"`data` {path}: Parquet needs pyarrow, which is not installed; install it, or write "
            "the table as CSV."
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"`data` is not a table: {path}: {error}.") from None
