"""Formulas between dollar signs, such as `$L = D^-(alpha/gamma)$`, as MathML for the page."""

import re
from typing import TYPE_CHECKING, TypeAlias

from jaxscale._text import FORMULA

if TYPE_CHECKING:
    from markupsafe import Markup

Token: TypeAlias = "tuple[str, str]"  # kind and text

NAMES = "alpha beta gamma delta eta lambda xi rho sigma tau"
GREEK: dict[str, str] = dict(zip(NAMES.split(), "αβγδηλξρστ", strict=True))
SIGNS = {"-": "−", "<": "&lt;", ">": "&gt;", "&": "&amp;", "<=": "≤", ">=": "≥"}
MINUS = "<mo>−</mo>"
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

    matches = TOKENS.finditer(formula)
    tokens = [(str(m.lastgroup), m.group()) for m in matches if m.lastgroup != "space"]
    return Markup(f"<math>{''.join(_elements(tokens, top=True))}</math>")


def _elements(tokens: list[Token], top: bool = False) -> list[str]:
    """Take elements off `tokens`, a base with its power; below the `top` up to a `)`."""
    elements: list[str] = []
    while tokens and ((token := tokens.pop(0))[0] != "close" or top):
        if token[1] != "^" or not elements or not tokens:
            elements.append(_element(*token, tokens))
            continue
        minus = tokens[0][1] == "-"
        del tokens[: int(minus)]
        if tokens and tokens[0][0] == "open":  # whose parentheses are shown around a negative sum
            del tokens[0]
            inner = _elements(tokens)
            power = _group(inner) if minus and {"<mo>+</mo>", MINUS} & {*inner} else "".join(inner)
        else:
            power = "".join(_element(*tokens.pop(0), tokens) for _ in tokens[:1])
        elements[-1] = f"<msup>{elements[-1]}<mrow>{MINUS * minus}{power}</mrow></msup>"
    return elements


def _group(elements: list[str]) -> str:
    open_, close = ('<mo stretchy="false">' + sign + "</mo>" for sign in "()")
    return f"<mrow>{open_}{''.join(elements)}{close}</mrow>"


def _element(kind: str, text: str, rest: list[Token]) -> str:
    if kind == "open":
        return _group(_elements(rest))
    if kind == "number":
        return f"<mn>{text.replace('..', '…')}</mn>"
    if kind == "function":
        return f'<mspace width=".17em"></mspace><mi>{text}</mi><mspace width=".17em"></mspace>'
    if kind != "symbol":
        return f"<mo>{SIGNS.get(text, text)}</mo>"
    letter, _, index = text.rstrip("*").partition("_")
    letter = f"<mi>{GREEK.get(letter, letter)}</mi>"
    index = f"<mi>{index}</mi>" if index.isalpha() else f"<mn>{index}</mn>" if index else ""
    star = "<mo>∗</mo>" if text.endswith("*") else ""
    tag = "m" + "sub" * bool(index) + "sup" * bool(star)
    return f"<{tag}>{letter}{index}{star}</{tag}>" if index or star else letter
