"""Notebooks as pages: their text and code, and with EXECUTE=true what running them gives."""

import os
import posixpath
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import ExecutePreprocessor
from traitlets.config import Config

# what a page can show without a script of somebody's
SHOWN = ["image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/plain"]
PATIENCE = 600  # seconds for a cell


def pages(folder: Path, config: MkDocsConfig) -> list[File]:
    """Of each notebook a page, and its pictures, if it was run."""
    found = []
    for path in sorted(folder.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        if os.environ.get("EXECUTE") == "true":
            ExecutePreprocessor(timeout=PATIENCE).preprocess(notebook, {"metadata": {"path": str(folder)}})
        exporter = MarkdownExporter(config=Config({"NbConvertBase": {"display_data_priority": SHOWN}}))
        text, resources = exporter.from_notebook_node(notebook, {"unique_key": path.stem})
        place = f"{folder.name}/{path.stem}.md"
        note = f"\n\nThis page is `notebooks/{path.name}`: open it in Jupyter, and change what you like.\n"
        title, _, rest = text.partition("\n")
        found.append(File.generated(config, place, content=f"{title}{note}{rest}"))
        found += [
            File.generated(config, posixpath.join(folder.name, name), content=content)
            for name, content in resources["outputs"].items()
        ]
    return found
