"""Mermaid's diagrams as pictures in the page, so that a reader's browser loads no script, let alone from elsewhere.

`python docs/site/mermaid.py` draws all of docs/ anew, in Chromium (Debian: chromium, chromium-driver; pip: selenium)
with mermaid as npm packs it.
"""

import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
import textwrap
from pathlib import Path

from mkdocs.plugins import get_plugin_logger

MERMAID = "mermaid@11.4.1"
DOCS = Path(__file__).resolve().parents[1]
FOLDER = DOCS / "site" / "diagrams"
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What mermaid computes with, and what the page then has instead: colours of the theme, light or dark
COLOURS = {
    "#010203": "var(--ttfs-diagram-box)",
    "#040506": "var(--ttfs-diagram-line)",
    "#070809": "var(--md-default-fg-color)",
}
BOX, LINE, TEXT = COLOURS

log = get_plugin_logger("docs/site")


def drawn(markdown: str, page: str) -> str:
    """The page's text with pictures for its diagrams."""

    def picture(diagram: re.Match[str]) -> str:
        path = _path(diagram[1])
        if not path.exists():
            log.warning("%s: a diagram was changed: type python docs/site/mermaid.py", page)
            return diagram[0]
        return f'<div class="diagram" tabindex="0" role="img" aria-label="{_said(diagram[1])}">{path.read_text()}</div>'

    return DIAGRAM.sub(picture, markdown)


def _path(diagram: str) -> Path:
    return FOLDER / f"{_name(diagram)}.svg"


def _name(diagram: str) -> str:
    return f"diagram-{hashlib.sha256(diagram.encode()).hexdigest()[:16]}"


def _said(diagram: str) -> str:
    """For whoever does not see: the nodes' text, in order."""
    texts = re.findall(r'\["(.*?)"\]', diagram)
    return "Diagram. " + "; ".join(re.sub(r"<.*?>", "", text).replace('"', "&quot;") for text in texts)


def _draw() -> None:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    texts = (path.read_text() for path in sorted(DOCS.rglob("*.md")))
    diagrams = [diagram for text in texts for diagram in DIAGRAM.findall(text)]
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.svg"):
        path.unlink()
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--window-size=1400,1000"):
        options.add_argument(option)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        browser.get("data:text/html,<meta charset=utf-8><body>")
        browser.execute_script(
            "const script = document.createElement('script'); script.text = arguments[0]; document.head.append(script)",
            _script(),
        )
        for diagram in diagrams:
            svg = browser.execute_async_script(DRAW, _name(diagram), diagram, BOX, LINE, TEXT)
            for colour, name in COLOURS.items():
                red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
                svg = svg.replace(colour, name).replace(f"rgb({red}, {green}, {blue})", name)
            svg = re.sub(r' (role|aria-roledescription)="[^"]*"', "", svg)
            _path(diagram).write_text(re.sub(r"\s*\n\s*", " ", svg) + "\n")
    finally:
        browser.quit()


def _script() -> str:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", MERMAID], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).iterdir()
        with tarfile.open(archive) as members:
            script = members.extractfile("package/dist/mermaid.min.js")
            assert script
            return script.read().decode()


DRAW = textwrap.dedent("""\
    const [id, text, box, line, words, done] = arguments;
    mermaid.initialize({
        startOnLoad: false, theme: "base", deterministicIds: true, securityLevel: "loose",
        fontFamily: "sans-serif",
        themeVariables: {
            primaryColor: box, primaryBorderColor: line, primaryTextColor: words, lineColor: line, fontSize: "14px",
            secondaryColor: box, tertiaryColor: box, edgeLabelBackground: box, textColor: words,
        },
    });
    mermaid.render(id, text).then((made) => done(made.svg), (error) => done(String(error)));
""")


if __name__ == "__main__":
    _draw()
