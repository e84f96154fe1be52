"""Formulas between dollar signs become MathML; the rest of a sentence is text."""

import ast
import re
from pathlib import Path

import pytest

from jaxscale import papers
from jaxscale._text import without_marks
from jaxscale.papers import STUDIES
from jaxscale.report._maths import formula_to_mathml, formulas_to_mathml

SENTENCES = {
    "near $D^-(alpha/gamma) = D^-0.25$ (alpha = 1)": ["D−α/γ=D−0.25"],
    "falls as $t^-(1 - 2 xi)$: Gaussian": ["t−(1−2ξ)"],
    "as $C^((alpha+1)/(alpha+2))$ at $N*$": ["C(α+1)/(α+2)", "N∗"],
    "the exponent is $(a + 2b - 1)/a$ ($a = 2, b = 0$)": ["(a+2b−1)/a", "a=2,b=0"],
    "by $eta S P_k < 0.5$ % for $tau >= 50$": ["ηSPk<0.5", "τ≥50"],
    "$d ln D*$ per $d ln C$, $D = 32..512$": ["dlnD∗", "dlnC", "D=32…512"],
    "a fifth of N = 2; A claim of (a, b) for k^-2; 5 $ at 3": [],
    "(from $5/eta_bias$) $(x$": ["5/ηbias", "(x)"],
    "$a) + b$ in $[0, 1)$ to $(c))^2$": ["a)+b", "[0,1)", "(c))2"],
}


@pytest.mark.parametrize(("sentence", "formulas"), SENTENCES.items())
def test_what_is_marked_is_a_formula_and_nothing_else(sentence, formulas):
    shown = str(formulas_to_mathml(sentence))
    inside = [re.sub("<[^>]*>", "", f) for f in re.findall("<math>(.*?)</math>", shown)]
    assert [f.replace("&lt;", "<") for f in inside] == formulas
    rest = re.sub('<math>.*?</math>|<span class="formula">|</span>', "", shown)
    assert rest == re.sub(r"\$[^$]+\$", "", sentence)
    assert without_marks(sentence).count("$") == sentence.count("$") % 2


CLAIMS = ("Claim", "Claim.from_seeds")
MODULES = sorted(Path(papers.__file__).parent.glob("*/_*.py"))


def test_every_claim_of_a_paper_says_when_its_margin_was_fixed():
    claiming = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in CLAIMS:
                claiming.add(path.parent.name)
                assert "margin_fixed" in [k.arg for k in node.keywords], (path.name, node.lineno)
    assert claiming == set(STUDIES)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_marks_of_the_papers_come_in_pairs(path):
    tree = ast.parse(path.read_text())
    parts = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in parts:
            assert ast.unparse(node).count("$") % 2 == 0, node.lineno


def test_powers_hold_their_exponent_and_text_is_escaped():
    power = "<msup><mi>k</mi><mrow><mo>−</mo><mn>2</mn></mrow></msup>"
    assert formula_to_mathml("k^-2") == f"<math>{power}</math>"
    assert formula_to_mathml("N_1*") == (
        "<math><msubsup><mi>N</mi><mn>1</mn><mo>∗</mo></msubsup></math>"
    )
    assert formulas_to_mathml("<script> & $k^-2$") == (
        f'&lt;script&gt; &amp; <span class="formula"><math>{power}</math></span>'
    )


def test_no_line_ends_between_a_formula_and_its_punctuation():
    shown = str(formulas_to_mathml("($a$), $b$: $c$ ($d$ e)."))
    shown = re.sub("<math>.*?</math>", "M", shown.replace('<span class="formula">', "["))
    assert shown.replace("</span>", "]") == "[(M),] [M:] [M] [(M] e)."


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_a_study_says_what_it_simulates_in_three_sentences(study):
    assert len(re.findall(r"\.(?= |$)", study.summary)) == 3
    for symbol, meaning in study.symbols.items():
        shown = str(formula_to_mathml(symbol))
        assert shown.count("<mi>") >= 1
        assert meaning.strip()


def test_blanks_hold_no_formula():
    assert str(formulas_to_mathml(" ")) == " "
