"""Equations as MathML, which browsers set themselves: no script, no fonts, no network."""

import re
from html import escape

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

SAME = ((r"\\arg(?![a-zA-Z])", r"\operatorname{arg}"), (r"(\\[bB]ig)?\\\|", r"\Vert "))
"""Commands that latex2mathml lacks, and what it knows that says the same."""


def mathml(latex: str, display: str) -> str:
    """Return the MathML of an equation; a command that is not understood is an error."""
    same = latex
    for command, other in SAME:
        same = re.sub(command, other.replace("\\", r"\\"), same)
    try:
        element = convert(same, display=display)
    except Exception as error:
        raise SphinxError(f"the equation {latex!r} is not understood: {error!r}") from error
    if "\\" in element:
        raise SphinxError(f"a command of the equation {latex!r} is not understood: {element}")
    return element


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Write an equation within a line."""
    translator.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write an equation of its own; wide ones scroll, and its source is its label."""
    number = get_node_equation_number(translator, node) if node.get("number") else ""
    label = f'<span class="eqno">({number})</span>' if number else ""
    source = escape(" ".join(node.astext().split()), quote=True)
    # a wide equation scrolls, so it must be reachable by keyboard
    translator.body.append(
        f'<div class="math" role="group" tabindex="0" aria-label="{source}">'
        f"{label}{mathml(node.astext(), 'block')}</div>\n"
    )
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
