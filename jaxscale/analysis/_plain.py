"""Results as plain data, and as JSON files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxscale._files import require_writable


def plain(value: Any) -> Any:
    """Lists, dictionaries, numbers and text; None for what is not a finite number."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def write_json(value: Any, path: Path | str) -> None:
    """Write plain data to a file.

    **Raises** `ValueError` for a path in a folder that does not exist.
    """
    require_writable("path", Path(path))
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")
