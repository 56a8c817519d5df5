"""Altair's charts in a notebook, with the charting library inside: they need no network, nor does an export."""

from __future__ import annotations

import base64
import json
import uuid
from functools import cache
from typing import Any

from ttfs_cupy.common.files.json_text import in_script
from ttfs_cupy.common.packages import imported

_ALTAIR = ("altair, which describes interactive charts,", "pip install 'ttfs-cupy[notebook]'")
_VEGA = ("vl-convert-python, which brings the charting library Vega,", "pip install 'ttfs-cupy[notebook]'")
_RENDERER = "ttfs_cupy"

# The bundle's own names stay inside the function; a page of several charts runs the first one's.
# Vega-Embed empties the chart's place, so that the picture in it stays where no script runs: an export to HTML has no
# other MIME type to fall back on. It is a file of its own, since names inside it may be another chart's, too.
_PAGE = """<div id="{place}"><img alt="the chart, without its sliders" src="data:image/svg+xml;base64,{picture}"></div>
<script>
if (!window.vegaEmbed) {{ (() => {{ {vega} }})(); }}
window.vegaEmbed("#{place}", {chart}, {options});
</script>"""


def embed_altair() -> None:
    """Has Altair draw the charts of this session without a network, in a notebook and in the HTML made of it.

    Each chart's output then holds Vega (BSD 3-Clause), 0.9 MB, where Altair's own has the browser load it from a
    server. Sliders work without a kernel. Where no scripts may run, a picture takes the chart's place. Raises UserError
    where altair or vl-convert-python is missing.
    """
    renderers = imported("altair", *_ALTAIR).renderers
    _vega()
    renderers.register(_RENDERER, _rendered)
    renderers.enable(_RENDERER)


def _rendered(chart: dict[str, Any], embed_options: dict[str, Any] | None = None, **_: Any) -> dict[str, str]:
    """What a notebook shows, by MIME type. embed_options: Vega-Embed's, as Altair's renderers take them."""
    options = {"actions": False, **(embed_options or {})}
    # a digit cannot begin a name in CSS
    place = f"chart-{uuid.uuid4().hex}"
    picture: str = imported("vl_convert", *_VEGA).vegalite_to_svg(chart)
    page = _PAGE.format(
        place=place,
        picture=base64.b64encode(picture.encode()).decode(),
        vega=_vega(),
        chart=in_script(json.dumps(chart)),
        options=in_script(json.dumps(options)),
    )
    return {"text/html": page, "image/svg+xml": picture}


@cache
def _vega() -> str:
    """Vega as one script, which takes a second to be put together."""
    text: str = imported("vl_convert", *_VEGA).javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return text
