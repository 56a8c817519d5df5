"""Notebooks as pages: their text and code, and with EXECUTE=true what running them gives."""

import os
import posixpath
import re
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import ExecutePreprocessor
from traitlets.config import Config

# what a page can show without a script of somebody's
SHOWN = ["text/html", "image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/plain"]
PATIENCE = 600  # seconds for a cell
HEADING = re.compile(r"##+ (.+)")
PICTURE = re.compile(r"!\[\w+\]\(")


def pages(folder: Path, config: MkDocsConfig) -> list[File]:
    """Of each notebook a page, and its pictures, if it was run."""
    found = []
    for path in sorted(folder.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        if os.environ.get("EXECUTE") == "true":
            ExecutePreprocessor(timeout=PATIENCE).preprocess(notebook, {"metadata": {"path": str(folder)}})
        _keep_plain_tables(notebook)
        exporter = MarkdownExporter(config=Config({"NbConvertBase": {"display_data_priority": SHOWN}}))
        text, resources = exporter.from_notebook_node(notebook, {"unique_key": path.stem})
        place = f"{folder.name}/{path.stem}.md"
        note = f"\n\nThis page is `notebooks/{path.name}`: open it in Jupyter, and change what you like.\n"
        title, _, rest = text.partition("\n")
        found.append(File.generated(config, place, content=f"{title}{note}{_described(rest, title)}"))
        found += [
            File.generated(config, posixpath.join(folder.name, name), content=content)
            for name, content in resources["outputs"].items()
        ]
    return found


def _keep_plain_tables(notebook: nbformat.NotebookNode) -> None:
    """Of outputs in HTML, tables stay; what else there is brings scripts along, and has a picture beside it."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            html = output.get("data", {}).get("text/html", "")
            if html and ("<script" in html or not html.startswith("<table")):
                del output["data"]["text/html"]


def _described(text: str, title: str) -> str:
    """Pictures get the names of their sections, for whoever does not see them."""
    lines, section = [], title.lstrip("# ")
    for line in text.splitlines(keepends=True):
        if heading := HEADING.match(line):
            section = heading[1].replace("`", "").replace("$", "")
        lines.append(PICTURE.sub(lambda _, section=section: f"![Figure: {section}](", line))
    return "".join(lines)
