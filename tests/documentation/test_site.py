"""The documentation's site: it builds without a warning, leads nowhere in vain, and has everything in it."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from helpers.documentation.built_site import Site, build, copied
from helpers.environments import REPOSITORY


def test_every_page_of_docs_is_there(site: Site) -> None:
    sources = list((REPOSITORY / "docs").glob("*.md"))
    pages = {f"{path.stem}.html" for path in sources} | {"CHANGELOG.html", "CONTRIBUTING.html"}
    pages |= {f"notebooks/{path.stem}.html" for path in (REPOSITORY / "notebooks").glob("*.ipynb")}
    assert len(pages) > 25
    assert sorted(pages - set(site.pages)) == []


def test_no_link_of_a_page_is_dead(site: Site) -> None:
    links = [link for page in site.pages.values() for link in page.links]
    inside = [link for link in links if not urlsplit(link.target).scheme]
    assert len(inside) > 1000
    assert [f"{one.page}:{one.line}: {one.target}" for one in inside if site.dead(one)] == []
    outside = {link.target for link in links if urlsplit(link.target).scheme}
    wrong = re.compile(r"(?!https://[\w.-]+\.[a-z]{2,}(/[^\s<>]*)?$|mailto:|data:)")
    assert [link for link in sorted(outside) if wrong.match(link)] == []


def test_nothing_is_loaded_from_elsewhere(site: Site) -> None:
    loaded = [link for page in site.pages.values() for link in page.links if link.loaded]
    assert len(loaded) > 100
    assert [link for link in loaded if urlsplit(link.target).netloc] == []
    styles = "".join(path.read_text() for path in site.folder.rglob("*.css"))
    assert re.findall(r"""(?:@import|url\()\s*["']?(?:https?:)?//[^)]*""", styles) == []


def test_every_key_and_every_name_is_described(site: Site) -> None:
    keys = site.pages["yaml_keys.html"].anchors
    assert {"networkpsp_slope", "trainingkeep", "seed", "watchloggers"} <= keys
    names = site.pages["python_api.html"].anchors
    assert {"ttfs_cupy.build", "ttfs_cupy.Network.forward", "ttfs_cupy.plot.raster", "ttfs_cupy.UserError"} <= names
    # a function that is called as its module is not taken for that
    assert "doc-module" not in (site.folder / "python_api.html").read_text()


FAULTS = {
    "orphan.md": ("# Nobody leads here\n", r"not included in the \"nav\"[^I]*- orphan\.md"),
    "model.md": ("[gone](nowhere.md) [there](data.md#no-such-part)\n", r"nowhere\.md(.|\n)*#no-such-part"),
    "python_api.md": ("# Python\n", r"python_api\.md must have ::: ttfs_cupy\.build once"),
    "yaml_keys.md": ("# Keys\n\n### network.pspslope\n\nx\n", r"network\.pspslope is no such key"),
    "design.md": ("```mermaid\nflowchart TD\n    a --> b\n```\n", r"design\.md: a diagram was changed"),
    "data.md": ("[a folder](../tests/) [a file](../setup.cfg)\n", r"data\.md(.|\n)*tests"),
}


def test_what_is_wrong_fails_the_build(site: Site, tmp_path: Path) -> None:
    copied(tmp_path)
    for name, (text, _) in FAULTS.items():
        (tmp_path / "docs" / name).write_text(text)
    built = build(tmp_path, tmp_path / "built")
    assert built.returncode != 0
    assert [name for name, (_, said) in FAULTS.items() if not re.search(said, built.stderr)] == [], built.stderr
    assert "a key whose meaning is not written" in built.stderr
    # a file of the repository that is linked is a page by itself
    assert "python_requires" in (tmp_path / "built/source/setup.cfg.html").read_text()
