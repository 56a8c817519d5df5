"""TeX as MathML, which browsers show by themselves."""

import html as escapes
import re

from latex2mathml.converter import convert

# as pymdownx.arithmatex leaves them
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def typeset(html: str) -> str:
    """The page with its formulas typeset."""
    return FORMULA.sub(_typeset, html)


def _typeset(formula: re.Match[str]) -> str:
    display = "block" if formula[2] == "[" else "inline"
    return f'<{formula[1]} class="formula">{convert(escapes.unescape(formula[3]), display=display)}</{formula[1]}>'
