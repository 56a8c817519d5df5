"""The documentation's site: built as `make docs` builds it, and its pages read without a browser."""

import posixpath
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from helpers.environments import CODE, REPOSITORY, run

LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "link": "href"}


def copied(folder: Path) -> Path:
    """The repository as a clone has it, without what builds left there; that folder."""
    for name in (*CODE, "docs", "notebooks"):
        shutil.copytree(
            REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
    for path in REPOSITORY.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, folder)
    return folder


def build(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Builds the site of a repository into that folder, in a process of its own, and without the network."""
    # whoever asks for something elsewhere is told that there is nobody
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    variables = {**nowhere, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(source)}
    return run("-m", "mkdocs", "build", "--site-dir", str(folder), variables=variables, here=source)


@dataclass(frozen=True)
class Link:
    """page: the path that it is on, within the site. line: of the page's HTML. loaded: by the browser itself."""

    page: str
    line: int
    target: str
    loaded: bool


@dataclass(frozen=True)
class Site:
    folder: Path

    @cached_property
    def pages(self) -> dict[str, "HtmlPage"]:
        """By their paths within the site. 404.html is left out, whose links are for a server."""
        paths = sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*.html"))
        return {path: HtmlPage(path, (self.folder / path).read_text("utf-8")) for path in paths if path != "404.html"}

    def dead(self, link: Link) -> bool:
        """Whether a link within the site leads nowhere."""
        parts = urlsplit(link.target)
        path = posixpath.normpath(posixpath.join(posixpath.dirname(link.page), unquote(parts.path)))
        path = link.page if not parts.path else path
        if path in self.pages:
            return bool(parts.fragment) and unquote(parts.fragment) not in self.pages[path].anchors
        return path == "404.html" or not (self.folder / path).is_file()


class HtmlPage(HTMLParser):
    """links: all that it names. anchors: what links may lead to."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__()
        self.path, self.links, self.anchors = path, list[Link](), {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        name = LOADED.get(tag, "href")
        if values.get(name) and tag != "base":
            self.links.append(Link(self.path, self.getpos()[0], values[name], tag in LOADED))
