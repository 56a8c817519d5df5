"""Altair's charts that hold Vega: nothing is asked of the network, and sliders work without a kernel."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import browser as chromium
from helpers.browser import waits

from ttfs_cupy import UserError, plot

altair = pytest.importorskip("altair", reason="the extra notebook brings it")
pytest.importorskip("vl_convert", reason="the extra notebook brings it")


@pytest.fixture(autouse=True)
def altair_as_it_was() -> Iterator[None]:
    with altair.renderers.enable(altair.renderers.active):
        yield


def chart(name: str) -> Any:
    """A dot for each of three values, of which a slider called `name` leaves one."""
    level = altair.param(name=name, value=0, bind=altair.binding_range(min=0, max=2, step=1))
    rows = [{"level": level, "text": f"</script>{level}"} for level in range(3)]
    base = altair.Chart(altair.Data(values=rows)).mark_text().encode(text="text:N")
    return base.transform_filter(f"datum.level == {name}").add_params(level)


def html(name: str) -> str:
    found: str = chart(name)._repr_mimebundle_()["text/html"]
    return found


def test_a_chart_holds_all_that_draws_it() -> None:
    plot.embed_altair()
    text = html("level")
    assert len(text) > 500_000
    assert text.count("<script>") == text.count("</script>") == 1
    assert not re.search(r"<script[^>]+src|<link|requirejs|cdn\.jsdelivr", text)


def test_a_picture_is_there_for_where_no_scripts_run() -> None:
    plot.embed_altair()
    picture = chart("level")._repr_mimebundle_()["image/svg+xml"]
    assert picture.startswith("<svg") and "&lt;/script&gt;0" in picture and "&lt;/script&gt;1" not in picture


def test_each_chart_has_a_place_of_its_own() -> None:
    plot.embed_altair()
    places = [re.match(r'<div id="([\w-]+)">', html("level")) for _ in range(2)]
    assert places[0] and places[1] and places[0].group(1) != places[1].group(1)


@pytest.mark.parametrize("missing", ["altair", "vl_convert"])
def test_without_a_library_it_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ttfs_cupy.plot import embedding

    def absent(module: str, package: str, install: str) -> Any:
        if module == missing:
            raise UserError(f"{package} is not installed: {install}")
        return altair

    monkeypatch.setattr(embedding, "imported", absent)
    # what is kept of other tests would not ask
    monkeypatch.setattr(embedding, "_vega", embedding._vega.__wrapped__)
    with pytest.raises(UserError, match=r"is not installed: pip install 'ttfs-cupy\[notebook\]'"):
        plot.embed_altair()


@pytest.fixture
def browsers() -> Iterator[Callable[..., Any]]:
    """Opens a browser without a network, with scripts or without."""
    with contextlib.ExitStack() as opened:

        def browser(*, scripts: bool) -> Any:
            found = chromium.start(scripts=scripts)
            opened.callback(found.quit)
            return found

        yield browser


@chromium.needed
def test_sliders_work_in_a_browser_without_a_network(browsers: Callable[..., Any], tmp_path: Path) -> None:
    plot.embed_altair()
    with altair.renderers.set_embed_options(renderer="svg"):
        page = tmp_path / "page.html"
        page.write_text(f"<!DOCTYPE html><meta charset='utf-8'>{html('first')}{html('second')}", "utf-8")
    browser = browsers(scripts=True)
    browser.get(page.as_uri())

    def texts() -> list[str]:
        return [one.text for one in browser.find_elements("css selector", ".mark-text text")]

    waits(lambda: texts() == ["</script>0", "</script>0"])
    slide = "const one = document.querySelector(\"input[name='second']\"); one.value = 2; "
    browser.execute_script(f"{slide} one.dispatchEvent(new Event('input'))")
    waits(lambda: texts() == ["</script>0", "</script>2"])
    # the chart has taken the picture's place
    assert browser.find_elements("css selector", "img") == []
    assert browser.get_log("browser") == []


@chromium.needed
def test_an_export_shows_the_picture_where_no_scripts_run(browsers: Callable[..., Any], tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="the extra notebook brings it")
    nbconvert = pytest.importorskip("nbconvert", reason="the extra docs brings it")
    plot.embed_altair()
    v4 = nbformat.v4
    shown = v4.new_output("display_data", chart("level")._repr_mimebundle_())
    page = tmp_path / "export.html"
    notebook = v4.new_notebook(cells=[v4.new_code_cell("chart", outputs=[shown])])
    page.write_text(nbconvert.HTMLExporter().from_notebook_node(notebook)[0], "utf-8")
    browser = browsers(scripts=False)
    browser.get(page.as_uri())
    (picture,) = browser.find_elements("css selector", ".jp-OutputArea img")
    # drawn, as wide as the SVG says
    wanted = re.search(r'<svg[^>]* width="([\d.]+)"', shown["data"]["image/svg+xml"])
    assert wanted and picture.size["width"] == pytest.approx(float(wanted[1]), abs=1)
