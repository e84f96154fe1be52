"""Files of what a page shows: the data, and figures for papers, by the Python that it offers."""

import io
from collections.abc import Mapping
from typing import Any

from jaxscale.explorer._process_state import CHANGED
from jaxscale.report._save import inert

EXPORTS = {"csv": "text/csv", "svg": "image/svg+xml", "png": "image/png"}
File = tuple[str, str, bytes]  # its name, media type and content


def export(kind: str, code: str, given: Mapping[str, Any] | None = None) -> File:
    """A file, from running the lines of "copy as Python".

    They are lines that jaxscale wrote itself; they leave `figure`, and the data it shows as
    `table`, `shown` or `theory`. `given` are names that they use and do not make.
    """
    with CHANGED:
        return _exported(kind, code, dict(given or {}))


def _exported(kind: str, code: str, names: dict[str, Any]) -> File:
    lines = [
        line for line in code.split("\n") if not line.startswith(tuple(f"{n} = ..." for n in names))
    ]
    exec(compile("\n".join(lines), "<copied from the explorer>", "exec"), names)
    if kind == "csv":
        shown = [names[n] for n in ("table", "shown", "theory") if n in names]
        frame = shown[0].to_dataframe() if hasattr(shown[0], "to_dataframe") else shown[0]
        frame = frame.reset_index()
        texts = frame.select_dtypes(exclude="number")
        frame[texts.columns] = texts.map(lambda v: inert(v) if isinstance(v, str) else v)
        frame.columns = [inert(str(name)) for name in frame.columns]
        return "jaxscale.csv", EXPORTS[kind], frame.to_csv(index=False).encode()
    file = io.BytesIO()
    names["figure"].savefig(file, format=kind, bbox_inches="tight", dpi=200)
    return f"jaxscale.{kind}", EXPORTS[kind], file.getvalue()
