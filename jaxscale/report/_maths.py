"""Formulas in plain sentences, such as `L falls as D^-(alpha/gamma)`, as MathML for the page."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from markupsafe import Markup

Token: TypeAlias = "tuple[str, str]"  # kind and text

NAMES = "alpha beta gamma delta eta lambda xi rho sigma tau"
GREEK: dict[str, str] = dict(zip(NAMES.split(), "αβγδηλξρστ", strict=True))
SIGNS = {"-": "−", "<": "&lt;", ">": "&gt;", "<=": "≤", ">=": "≥"}
ARTICLES = ("a", "A", "I")
TOKENS = re.compile(
    r"(?P<space>\s+)|(?P<number>\d+\.\.\d+|\d+(?:\.\d+)?(?:e[+-]?\d+)?(?!\.?\d)|[∞½])"
    rf"|(?P<symbol>(?:{'|'.join(GREEK)}|[^\W\d_])(?:_(?:[a-z]+|\d+))?(?:\*|(?!\w)))"
    r"|(?P<function>(?:ln|log10)(?!\w))|(?P<sign><=|>=|[-+±/=<>^])|(?P<open>\()|(?P<close>\))"
    r"|(?P<word>\w+)|(?P<other>.)",
    re.DOTALL,
)
ENDS = ("number", "symbol", "close")


def formulas_to_mathml(text: str) -> "Markup":
    """Escape a sentence for HTML and set its formulas as MathML.

    A formula is a run of symbols (Greek names and single letters), numbers, signs and balanced
    parentheses that holds a Greek or capital letter, or a sign next to a symbol; the rest is text.
    """
    from markupsafe import Markup, escape

    tokens = _tokens(text)
    parts, i, before = [], 0, "space"
    while i < len(tokens):
        end = _end(tokens, i) if before in ("space", "open") else i
        if end > i:
            parts.append(str(formula_to_mathml(tokens[i:end])))
        else:
            end = i + 1
            parts.append(str(escape(tokens[i][1])))
        before = tokens[end - 1][0]
        i = end
    return Markup("".join(parts))


def formula_to_mathml(formula: str | Sequence[Token]) -> "Markup":
    """Set one formula as MathML."""
    from markupsafe import Markup

    tokens = _tokens(formula) if isinstance(formula, str) else list(formula)
    return Markup(f"<math>{''.join(_atoms(tokens))}</math>")


def _tokens(text: str) -> list[Token]:
    return [(str(match.lastgroup), match.group()) for match in TOKENS.finditer(text)]


def _end(tokens: list[Token], start: int) -> int:
    """End of the formula that begins at `start`; `start` itself where there is none."""
    solid = [token for token in tokens[start : start + 3] if token[0] != "space"]
    if solid[0][1] in ARTICLES and [kind for kind, _ in solid[1:2]] != ["sign"]:
        return start
    depth, end = 0, start
    for i in range(start, len(tokens)):
        kind = tokens[i][0]
        depth += (kind == "open") - (kind == "close")
        if kind in ("word", "other") or depth < 0:
            break
        if kind in ENDS and depth == 0:
            end = i + 1
    return end if _is_formula(tokens[start:end]) else start


def _is_formula(tokens: Sequence[Token]) -> bool:
    symbols = [text for kind, text in tokens if kind == "symbol"]
    letters = any(not text.isascii() or len(text) > 1 or text.isupper() for text in symbols)
    return letters or (bool(symbols) and any(kind == "sign" for kind, _ in tokens))


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
            inside = "".join(_atoms(solid[i + 1 : end - 1]))
            atoms.append(f"<mrow><mo>(</mo>{inside}<mo>)</mo></mrow>")
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
