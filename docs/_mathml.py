"""Mathematics as MathML, which browsers draw by themselves: no script, no network.

A formula that cannot be translated is a warning, which stops the build.
"""

import re
from html import escape

from docutils.nodes import SkipNode
from docutils.utils.math import MathError, latex2mathml
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
# What docutils does not read as LaTeX does: delimiters of a fixed size without a side, dots of no
# kind, and fractions whose parts are single characters without braces.
_REPLACEMENTS = (
    (re.compile(r"\\([bB]ig)(?![a-zA-Z])"), r"\\\1l"),
    (re.compile(r"\\dots(?![a-zA-Z])"), r"\\ldots"),
    (re.compile(r"(\\[td]?frac) ?([0-9A-Za-z])(?=[0-9A-Za-z{\\ ])"), r"\1{\2}"),
    (re.compile(r"(\\[td]?frac\{[^{}]*\}) ?([0-9A-Za-z])"), r"\1{\2}"),
)
# Norms and sets stay at the height of their line; browsers stretch what is not told otherwise.
_STRETCHED = re.compile("<mo>([‖{}])</mo>")


def to_mathml(node, *, as_block):
    """Return the <math> element of a formula."""
    tex = node.astext().strip()
    for pattern, replacement in _REPLACEMENTS:
        tex = pattern.sub(replacement, tex)
    try:
        mathml = latex2mathml.tex2mathml(tex, as_block=as_block)
    except (MathError, ValueError, SyntaxError) as error:
        LOGGER.warning("cannot translate the formula %r: %s", tex, error, location=node)
        return f"<code>{escape(tex)}</code>"
    return mathml if r"\left" in tex else _STRETCHED.sub(r'<mo stretchy="false">\1</mo>', mathml)


def _inline(translator, node):
    translator.body.append(to_mathml(node, as_block=False))
    raise SkipNode


def _block(translator, node):
    translator.body.append(f'<div class="formula">{to_mathml(node, as_block=True)}</div>\n')
    raise SkipNode


inline = _inline, None
block = _block, None
