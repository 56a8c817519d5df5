"""An HTML page, taken apart without a browser."""

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = {"meta", "link", "img", "input", "br", "hr"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parent: "Element | None" = None
    children: "list[Element]" = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All of it, with its children's, on one line."""
        return " ".join(" ".join(self._texts()).split())

    def _texts(self) -> list[str]:
        return [*self.texts, *(text for child in self.children for text in child._texts())]

    def all(self, tag: str, **attributes: str) -> "list[Element]":
        """Those below it, in the page's order; attributes: `class_` for class."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        found = []
        for child in self.children:
            if child.tag == tag and all(child.attributes.get(name) == value for name, value in wanted.items()):
                found.append(child)
            found += child.all(tag, **attributes)
        return found

    def one(self, tag: str, **attributes: str) -> "Element":
        (found,) = self.all(tag, **attributes)
        return found


@dataclass
class Page:
    """path: of the file. root: holds the html element."""

    path: Path
    source: str
    root: Element

    @property
    def data(self) -> dict[str, Any]:
        """What the page's script is given."""
        (holder,) = self.root.all("script", type="application/json")
        found: dict[str, Any] = json.loads("".join(holder.texts))
        return found

    def rows(self, caption: str) -> list[list[str]]:
        """The cells of the table with that caption, header first."""
        for table in self.root.all("table"):
            if table.one("caption").text.startswith(caption):
                return [[cell.text for cell in row.children] for row in table.all("tr")]
        raise AssertionError(f"no table is called {caption}")

    def section(self, name: str) -> Element:
        return self.root.one("section", id=name)


class _Parser(HTMLParser):
    """Refuses a page whose elements do not close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        element = Element(tag, {name: value or "" for name, value in attrs}, self.open[-1])
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        self.open[-1].texts.append(data)


def page_of(path: Path) -> Page:
    source = path.read_text("utf-8")
    parser = _Parser()
    parser.feed(source)
    parser.close()
    assert parser.open == [parser.root]
    return Page(path, source, parser.root)
