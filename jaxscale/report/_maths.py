"""Formulas between dollar signs, such as `$L = D^-(alpha/gamma)$`, as MathML for the page."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from jaxscale._text import FORMULA

if TYPE_CHECKING:
    from markupsafe import Markup

Token: TypeAlias = "tuple[str, str]"  # kind and text

NAMES = "alpha beta gamma delta eta lambda xi rho sigma tau"
GREEK: dict[str, str] = dict(zip(NAMES.split(), "αβγδηλξρστ", strict=True))
SIGNS = {"-": "−", "<": "&lt;", ">": "&gt;", "&": "&amp;", "<=": "≤", ">=": "≥"}
OPEN, CLOSE = ('<mo stretchy="false">(</mo>', '<mo stretchy="false">)</mo>')
TOKENS = re.compile(
    r"(?P<space>\s+)|(?P<number>\d+\.\.\d+|\d+(?:\.\d+)?(?:e[+-]?\d+)?(?!\.?\d)|[∞½])"
    rf"|(?P<symbol>(?:{'|'.join(GREEK)}|[^\W\d_])(?:_(?:[a-z]+|\d+))?(?:\*|(?!\w)))"
    r"|(?P<open>\()|(?P<close>\))|(?P<function>\w+)|(?P<sign><=|>=|.)",
    re.DOTALL,
)
UNBROKEN = re.compile(r"\(?<math>.*?</math>[).,:;]*")  # in which no line ends


def formulas_to_mathml(text: str) -> "Markup":
    """Escape a sentence for HTML and set what is between dollar signs as MathML."""
    from markupsafe import Markup, escape

    parts = re.split(FORMULA, text)  # every second one is a formula
    shown = [formula_to_mathml(part) if i % 2 else escape(part) for i, part in enumerate(parts)]
    html = "".join(map(str, shown))
    return Markup(UNBROKEN.sub(r'<span class="formula">\g<0></span>', html))


def formula_to_mathml(formula: str) -> "Markup":
    """Set one formula as MathML.

    It is written as in a text: Greek letters by name, indices after `_`, powers after `^`, products
    as a space; parentheses around an exponent are not shown.
    """
    from markupsafe import Markup

    tokens = [(str(match.lastgroup), match.group()) for match in TOKENS.finditer(formula)]
    return Markup(f"<math>{''.join(_atoms(tokens))}</math>")


def _atoms(tokens: Sequence[Token]) -> list[str]:
    """The elements of a formula, of which a power and a pair of parentheses are one each."""
    solid = [token for token in tokens if token[0] != "space"]
    atoms, i = [], 0
    while i < len(solid):
        kind, text = solid[i]
        end = _after(solid, i)
        if text == "^" and atoms and i + 1 < len(solid):
            minus = solid[i + 1][1] == "-"
            end = _after(solid, i + 1 + minus)
            power = solid[i + 1 + minus : end]
            sum_of = any(sign in ("+", "-") for sign in _outer_signs(power))
            if power and power[0][0] == "open" and not (minus and sum_of):
                power = power[1:-1]
            exponent = "<mo>−</mo>" * minus + "".join(_atoms(power))
            atoms[-1] = f"<msup>{atoms[-1]}<mrow>{exponent}</mrow></msup>"
        elif kind == "open":
            inside = "".join(_atoms(solid[i + 1 : end - (solid[end - 1][0] == "close")]))
            atoms.append(f"<mrow>{OPEN}{inside}{CLOSE}</mrow>")
        else:
            atoms.append(_element(kind, text))
        i = end
    return atoms


def _after(tokens: Sequence[Token], start: int) -> int:
    """Index after the token at `start`, or after the parenthesis that it opens."""
    depth = 0
    for i in range(start, len(tokens)):
        depth += (tokens[i][0] == "open") - (tokens[i][0] == "close")
        if depth <= 0:
            return i + 1
    return len(tokens)


def _outer_signs(group: Sequence[Token]) -> list[str]:
    """Signs of a parenthesis that are not in another one."""
    signs, depth = [], 0
    for kind, text in group:
        depth += (kind == "open") - (kind == "close")
        signs += [text] if kind == "sign" and depth == 1 else []
    return signs


def _element(kind: str, text: str) -> str:
    if kind == "number":
        return f"<mn>{text.replace('..', '…')}</mn>"
    if kind == "function":
        return f'<mspace width=".17em"></mspace><mi>{text}</mi><mspace width=".17em"></mspace>'
    if kind != "symbol":
        return f"<mo>{SIGNS.get(text, text)}</mo>"
    letter, _, index = text.rstrip("*").partition("_")
    letter = f"<mi>{GREEK.get(letter, letter)}</mi>"
    index = f"<mi>{index}</mi>" if index.isalpha() else f"<mn>{index}</mn>" if index else ""
    if text.endswith("*"):
        star = "<mo>∗</mo>"
        return (
            f"<msubsup>{letter}{index}{star}</msubsup>" if index else f"<msup>{letter}{star}</msup>"
        )
    return f"<msub>{letter}{index}</msub>" if index else letter
