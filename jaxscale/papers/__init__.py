"""Studies that `jaxscale reproduce` runs, by system name."""

from jaxscale.papers.emergence.study import STUDY as _emergence
from jaxscale.papers.sparse.study import STUDY as _sparse
from jaxscale.papers.superposition.study import STUDY as _superposition
from jaxscale.report.study import Study

STUDIES: dict[str, Study] = {
    "emergence": _emergence,
    "sparse": _sparse,
    "superposition": _superposition,
}
