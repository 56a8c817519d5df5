"""Notebooks as pages of the site: tables as such, and pictures with a text for whoever does not see them."""

import importlib
from pathlib import Path

import pytest
from helpers.environments import REPOSITORY

for needed in ("mkdocs", "nbconvert"):
    pytest.importorskip(needed, reason="the extra docs brings it")

TABLE = "<table>\n<tr><td>conv1</td></tr>\n</table>"
CHART = "<div id=chart></div><script>draw()</script>"
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def test_tables_stay_scripts_go_and_pictures_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.plugins import PluginCollection

    monkeypatch.syspath_prepend(str(REPOSITORY / "docs" / "site"))
    monkeypatch.delenv("EXECUTE", raising=False)
    notebook_pages = importlib.import_module("notebook_pages")
    shown = [{"text/html": TABLE, "text/plain": "<Network at 0x1>"}, {"text/html": CHART, "image/png": PICTURE}]
    cells = [nbformat.v4.new_markdown_cell("# Steps"), nbformat.v4.new_markdown_cell("## The `net`")]
    for data in shown:
        output = nbformat.v4.new_output("display_data", data)
        cells.append(nbformat.v4.new_code_cell("net", outputs=[output]))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "steps.ipynb")
    config, plugins = MkDocsConfig(), PluginCollection()
    # as MkDocs has it while it calls hooks
    plugins._current_plugin = None
    config.load_dict({"site_name": "x", "plugins": plugins, "site_dir": str(tmp_path)})
    page, picture = notebook_pages.pages(tmp_path, config)
    text = page.content_string
    assert TABLE in text
    assert "0x1" not in text
    assert "script" not in text
    assert f"![Figure: The net]({Path(picture.src_uri).name})" in text
