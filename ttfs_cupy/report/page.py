"""The page's text: one file that needs no other, and asks for none."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from ttfs_cupy.common.files.json_text import in_script
from ttfs_cupy.common.packages import imported
from ttfs_cupy.report.drawing.charts import JINJA, VL_CONVERT, Compiled

# what of the bundle the page's script uses: Vega-Embed, which holds Vega
_VEGA = "window.vegaEmbed = vegaEmbed;"


def check_libraries() -> None:
    """Raises UserError where a library of the extra `report` is missing."""
    imported("vl_convert", *VL_CONVERT)
    imported("jinja2", *JINJA)


def rendered(template: str, charts: Compiled, content: Mapping[str, Any]) -> bytes:
    """The page, UTF-8. Whatever is not of a template is escaped."""
    jinja2 = imported("jinja2", *JINJA)
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    safe = imported("markupsafe", *JINJA).Markup
    scripts = {name: _template(f"{name}.js") for name in ("theme", "page")}
    if charts.charts:
        scripts["vega"] = _vega()
    for text in scripts.values():
        # it would end there
        assert "</script" not in text.lower() and "<!--" not in text
    own = {
        "style": safe(_template("style.css")),
        "scripts": {name: safe(text) for name, text in scripts.items()},
        "data": safe(in_script(charts.json())),
        "policy": _policy(scripts.values()),
    }
    html: str = environment.get_template(template).render(**content, **own)
    # halves of characters, as of names of files that are no text, are no UTF-8
    return html.encode("utf-8", "replace")


def _policy(scripts: Any) -> str:
    """What the page may do: run these very scripts and show what it holds; nothing of the network."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:"


@cache
def _vega() -> str:
    """Vega as one script, which takes a second to be put together."""
    text: str = imported("vl_convert", *VL_CONVERT).javascript_bundle(_VEGA)
    return text


def _template(name: str) -> str:
    return (resources.files("ttfs_cupy.report") / "templates" / name).read_text("utf-8")
