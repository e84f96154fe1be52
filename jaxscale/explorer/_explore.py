"""`explore`: a page on which theory follows a slider, and a sweep lies under it."""

from typing import TYPE_CHECKING, Any

from jaxscale._arguments import hinted
from jaxscale.explorer._sources import source_of

if TYPE_CHECKING:
    from jaxscale.explorer._server import Explorer


@hinted
def explore(runs_or_grid: Any = None, *, show: bool = True, port: int = 0) -> "Explorer":
    """Open a page on which theory follows a slider, and simulations lie under it.

    It is served by this process, on this machine alone, with a token in the address, until it
    ends or `close()` is called. In a notebook the page is shown in the output; the notebook's
    server must run on this machine. It needs the extra `explore`: `pip install
    'jaxscale[explore]'`.

    **Arguments**

    - `runs_or_grid`: a `Grid` or a system (its theory), the result of `js.run` or `js.open_store`
      or the path of a store (the sweep), a DataFrame or the path of a table of runs (fits), the
      name of a preset or of a system; None lists what there is.
    - `show`: whether to open the browser.
    - `port`: port of 127.0.0.1; 0 takes a free one.

    **Returns** an `Explorer`, with the address as `url`.

    **Raises** `ValueError` for what cannot be explored, or a port that cannot be used.

    **Example**

    ```python
    page = js.explore(js.emergence.MultilinearSkills(), show=False)
    print(page.url)
    page.close()
    ```
    """
    source = source_of(runs_or_grid)
    try:
        import bokeh  # noqa: F401
    except ImportError:
        raise ValueError("`explore` needs Bokeh: pip install 'jaxscale[explore]'.") from None
    from jaxscale.explorer._pages import page_maker
    from jaxscale.explorer._server import Explorer

    explorer = Explorer(page_maker(source), port)
    if show and not _in_notebook():
        explorer.show()
    return explorer


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return type(get_ipython()).__name__ == "ZMQInteractiveShell"
