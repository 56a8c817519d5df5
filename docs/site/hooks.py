"""What MkDocs does not do by itself: pages of the repository's other files, links to them, and the two references.

MkDocs calls the functions named on_...; they run before those of plugins.
"""

import posixpath
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority, get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

# MkDocs reads this file without its folder
sys.path.insert(0, str(Path(__file__).parent))
import api_reference
import formulas
import mermaid
import notebook_pages
import yaml_reference

ROOT = Path(__file__).resolve().parents[2]
# as setup.cfg has them
PACKAGES = {"ttfs_cupy": "ttfs_cupy", "data": "ttfs_cupy/data", "models": "ttfs_cupy/models"}
# files beside docs/ that are pages of their own
PAGES = ("CHANGELOG.md", "CONTRIBUTING.md")
FIRST_PAGE = {"README.md": "index.md"}
# of sources, the endings that are not the names of their languages
LANGUAGES = {"cfg": "ini", "cu": "cuda", "h": "cpp", "py": "python", "yml": "yaml"}
FENCE = re.compile(r"^( *)(`{3,}).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
UNNAMED = {
    '<div class="md-search" data-md-component="search"': "Search",
    '<input class="md-toggle" data-md-toggle="search"': "Search",
    '<input class="md-toggle" data-md-toggle="drawer"': "Navigation",
}
# drawings with small letters, which narrow screens would make smaller still
DRAWING = re.compile(r'<p>(<img [^>]*src="[^"]*\bimages/[^"]*\.svg"[^>]*>)</p>')
# what tests read behind a fence's language
WHY_NOT_RUN = re.compile(r'^( *`{3,}\w+) no-run="[^"\n]*"$', re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?!\w+:)([^)\s#]+)(?=[)\s#])")

log = get_plugin_logger("docs/site")


@event_priority(100)
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Makes the package's tree as an installation has it, before what reads docstrings looks for its folders."""
    tree = ROOT / "build" / "site-package"
    shutil.rmtree(tree, ignore_errors=True)
    # copies, since that reader follows no link
    for folder, place in PACKAGES.items():
        for path in (ROOT / folder).rglob("*.py"):
            copy = tree / place / path.relative_to(ROOT / folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return config


@event_priority(100)
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that lie outside of docs/, and a page for each file of the repository that a page links to."""
    for name in PAGES:
        files.append(File(name, str(ROOT), config.site_dir, use_directory_urls=False))
    for file in notebook_pages.pages(ROOT / "notebooks", config):
        files.append(file)
    texts = {file.src_uri: file.content_string for file in files if file.src_uri.endswith(".md")}
    linked = {path for page, text in texts.items() for path in _links(page, text) if not _place(path)}
    for path in sorted(linked):
        if (ROOT / path).is_file():
            files.append(File.generated(config, _source_page(path), content=_source_text(path)))
    return files


@event_priority(100)
def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fills in the references, and has links go where the site has what they name."""
    name = page.file.src_uri
    if name == "yaml_keys.md":
        markdown = yaml_reference.filled_in(markdown)
    if name == "python_api.md":
        markdown = api_reference.filled_in(markdown)
    here = posixpath.dirname(name)

    def placed(link: re.Match[str]) -> str:
        path = _repository_path(name, link[1])
        return posixpath.relpath(_place(path) or _source_page(path), here or ".")

    markdown = _outside_of_code(markdown, lambda text: LINK.sub(placed, text))
    return mermaid.drawn(WHY_NOT_RUN.sub(r"\1", markdown), name)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Typesets formulas, and has drawings keep their size."""
    framed = r'<div class="drawing" tabindex="0" role="group" aria-label="Drawing">\1</div>'
    return DRAWING.sub(framed, formulas.typeset(html))


def _outside_of_code(markdown: str, changed: Callable[[str], str]) -> str:
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [changed(markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, changed(markdown[end:])])


def _links(page: str, markdown: str) -> Iterator[str]:
    """What a page of that name links to, as paths in the repository."""
    for link in LINK.findall(FENCE.sub("", markdown)):
        yield _repository_path(page, link)


def _repository_path(page: str, link: str) -> str:
    """Of a link of a page, where in the repository that leads."""
    folder = "" if page in PAGES or page.startswith("notebooks/") else "docs"
    return posixpath.normpath(posixpath.join(folder, posixpath.dirname(page), link))


def _place(path: str) -> str | None:
    """Where the site has that file of the repository as a page or a picture, if it has."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("notebooks/"):
        return re.sub(r"\.ipynb$", ".md", path)
    return path if path in PAGES else FIRST_PAGE.get(path)


def _source_page(path: str) -> str:
    return f"source/{path}.md"


def _source_text(path: str) -> str:
    """A page that shows a file as it is."""
    language = LANGUAGES.get(ending := Path(path).suffix.removeprefix("."), ending) or "text"
    content = (ROOT / path).read_text("utf-8").rstrip()
    return f"---\ntitle: {path}\nsearch: {{exclude: true}}\n---\n\n# {path}\n\n``````{language}\n{content}\n``````\n"


@event_priority(-100)
def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Names what the theme leaves without a name, for whoever hears pages."""
    for element, name in UNNAMED.items():
        if element not in output:
            log.warning("the theme has no %s any more", element)
        output = output.replace(element, f'{element} aria-label="{name}"')
    return output
