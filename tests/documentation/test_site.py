"""The documentation's site: it builds without a warning, leads nowhere in vain, is found, and everybody can read it."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from helpers.documentation.built_site import Site, build, copied
from helpers.environments import REPOSITORY

webdriver = pytest.importorskip("selenium.webdriver", reason="the extra test brings it")
CHROMIUM, DRIVER = (shutil.which(program) for program in ("chromium", "chromedriver"))
in_browser = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver")

PATIENCE = 60
WIDE, NARROW = 1280, 360
AXE = """
const [options, done] = arguments;
axe.run(options).then((found) => done(found.violations.map(({id, impact, nodes}) => [id, impact, nodes[0].html])))
"""
TOO_WIDE = """
return [...document.querySelectorAll("main *")]
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 1 && !one.closest("pre, .md-typeset__scrollwrap"))
    .slice(0, 3).map((one) => one.outerHTML.slice(0, 120))
"""


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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(DRIVER))
    started.set_script_timeout(PATIENCE)
    yield started
    started.quit()


def waits(holds: Callable[[], Any]) -> Any:
    limit = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return found


def prefers(browser: Any, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def is_wide(browser: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@in_browser
def test_everybody_can_read_every_page(site: Site, browser: Any) -> None:
    spec = find_spec("axe_core_python")
    if spec is None or spec.origin is None:
        pytest.skip("the extra test brings axe-core-python")
    axe = (Path(spec.origin).parent / "axe.min.js").read_text("utf-8")
    # what depends on the scheme is checked in both
    rules = {"light": {"resultTypes": ["violations"]}, "dark": {"runOnly": ["color-contrast"]}}
    grave, wide = [], []
    for name in site.pages:
        for scheme, options in rules.items():
            prefers(browser, scheme)
            is_wide(browser, WIDE)
            browser.get((site.folder / name).as_uri())
            browser.execute_script(axe)
            found = browser.execute_async_script(AXE, options)
            grave += [(name, scheme, rule, html) for rule, impact, html in found if impact in ("serious", "critical")]
        is_wide(browser, NARROW)
        if browser.execute_script("return document.documentElement.scrollWidth") > NARROW:
            wide.append((name, browser.execute_script(TOO_WIDE)))
    assert grave == []
    assert wide == []
    assert [entry["message"] for entry in browser.get_log("browser")] == []


@in_browser
def test_light_and_dark_follow_the_system_and_the_reader(site: Site, browser: Any) -> None:
    def colour() -> str:
        return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))

    is_wide(browser, WIDE)
    prefers(browser, "light")
    browser.get((site.folder / "index.html").as_uri())
    light = colour()
    prefers(browser, "dark")
    waits(lambda: colour() != light)
    # of the three states the second is light, whatever the system is
    (button,) = (one for one in browser.find_elements("css selector", "label[for^=__palette]") if one.is_displayed())
    button.click()
    waits(lambda: colour() == light)
    browser.execute_script("localStorage.clear()")


@in_browser
def test_search_finds_what_one_asks_for(site: Site, browser: Any) -> None:
    is_wide(browser, WIDE)
    for asked, page in (("silent layer", "warnings.html"), ("psp_slope", "yaml_keys.html")):
        browser.get_log("performance")
        browser.get((site.folder / "index.html").as_uri())
        (field,) = browser.find_elements("css selector", "input.md-search__input")
        field.click()
        field.send_keys(asked)

        def found() -> list[str]:
            links = browser.find_elements("css selector", ".md-search-result__link")
            return [link.get_attribute("href") for link in links]

        assert any(f"/{page}" in link for link in waits(found)), found()
        events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
        urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        assert urls and [url for url in urls if not url.startswith(("file:", "data:", "blob:", "about:"))] == []
