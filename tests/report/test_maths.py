"""Formulas of sentences become MathML; words, articles and names do not."""

import re

import pytest

from jaxscale.papers import STUDIES
from jaxscale.report._maths import formula_to_mathml, formulas_to_mathml

SENTENCES = {
    "near D^-(alpha/gamma) = D^-0.25 (alpha = 1, gamma = 2)": ["D−α/γ=D−0.25", "α=1", "γ=2"],
    "falls as t^-(1 - 2 xi): Gaussian": ["t−(1−2ξ)"],
    "as C^((alpha+1)/(alpha+2)) at N*": ["C(α+1)/(α+2)", "N∗"],
    "the exponent is (a + 2b - 1)/a (a = 2, b = 0)": ["(a+2b−1)/a", "a=2", "b=0"],
    "by eta S P_k < 0.5 % for tau >= 50": ["ηSPk<0.5", "τ≥50"],
    "d ln D* per d ln C, D = 32..512": ["dlnD∗", "dlnC", "D=32…512"],
    "a fifth of an e-fold; A claim of best-N and (a, b)": [],
    "section 5: from -0.375 to 1.2 ± 0.1, teacher-student": [],
    "(from 5/eta_bias)": ["5/ηbias"],
}


@pytest.mark.parametrize(("sentence", "formulas"), SENTENCES.items())
def test_formulas_are_set_and_words_are_not(sentence, formulas):
    shown = str(formulas_to_mathml(sentence))
    inside = [re.sub("<[^>]*>", "", f) for f in re.findall("<math>(.*?)</math>", shown)]
    assert [f.replace("&lt;", "<") for f in inside] == formulas


def test_powers_hold_their_exponent_and_text_is_escaped():
    power = "<msup><mi>k</mi><mrow><mo>−</mo><mn>2</mn></mrow></msup>"
    assert formula_to_mathml("k^-2") == f"<math>{power}</math>"
    assert formula_to_mathml("N_1*") == (
        "<math><msubsup><mi>N</mi><mn>1</mn><mo>∗</mo></msubsup></math>"
    )
    assert formulas_to_mathml("<script> & k^-2") == f"&lt;script&gt; &amp; <math>{power}</math>"


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_a_study_says_what_it_simulates_in_three_sentences(study):
    assert len(re.findall(r"\.(?= |$)", study.summary)) == 3
    for symbol, meaning in study.symbols.items():
        shown = str(formula_to_mathml(symbol))
        assert shown.count("<mi>") >= 1
        assert meaning.strip()
