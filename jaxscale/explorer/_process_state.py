"""What belongs to the whole process, and only one thread at a time may change."""

import contextlib
import threading
import warnings
from collections.abc import Iterator

CHANGED = threading.RLock()  # filters of warnings, and the style of matplotlib


@contextlib.contextmanager
def noted() -> Iterator[list[str]]:
    """Note in a list what users are warned of in the block, each once, as soon as it ends."""
    texts: list[str] = []
    with CHANGED, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield texts
        own = (str(w.message) for w in caught if w.category is UserWarning)
        texts += dict.fromkeys(own)
