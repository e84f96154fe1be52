"""The explorer: theory under a slider, simulations under the theory, on a local page."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from jaxscale.explorer._explore import explore as explore

if _TYPE_CHECKING:
    from jaxscale.explorer._server import Explorer as Explorer
