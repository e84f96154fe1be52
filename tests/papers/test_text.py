"""What the studies say: captions are filled with values that the study has."""

import pytest
from matplotlib.figure import Figure

from jaxscale.papers import STUDIES
from jaxscale.papers._runs import study_text, with_captions

VALUES = {
    "emergence": {"regime": "time", "n_seeds": 8, "parameter": "time_scale", "rms_delta": 0.1},
    "sparse": {"n_runs": 512},
    "superposition": {"caveat": "Found late.", "first": 10.0, "last": 100.0},
    "streaming": {},
    "atlas": {"multiplicity": "Six cells.", "setup": "Adam, tied W", "rate": 0.001},
}


@pytest.mark.parametrize("paper", STUDIES)
def test_captions_are_filled(paper):
    captions, text = study_text(paper)
    assert set(text) == {"title", "source", "summary", "symbols", "paper_scale"}
    figures = with_captions(dict.fromkeys(captions, Figure()), captions, **VALUES[paper])
    assert [figure.name for figure in figures] == list(captions)
    for figure, caption in zip(figures, captions.values(), strict=True):
        assert "{" not in figure.caption
        assert "\n" not in caption
        assert caption.endswith((".", "}"))
    filled = " ".join(figure.caption for figure in figures)
    assert all(str(value) in filled or isinstance(value, float) for value in VALUES[paper].values())
