"""Studies that `jaxscale reproduce` runs, by system name."""

from jaxscale.papers.atlas._study import STUDY as _atlas
from jaxscale.papers.emergence._study import STUDY as _emergence
from jaxscale.papers.sparse._study import STUDY as _sparse
from jaxscale.papers.streaming._study import STUDY as _streaming
from jaxscale.papers.superposition._study import STUDY as _superposition
from jaxscale.report._study import Study

STUDIES: dict[str, Study] = {
    "emergence": _emergence,
    "sparse": _sparse,
    "superposition": _superposition,
    "streaming": _streaming,
    "atlas": _atlas,
}
