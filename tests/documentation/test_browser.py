"""The documentation's site in a browser: everybody can read it, and it is found by search."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from helpers.documentation.built_site import Site

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
    brief = {"resultTypes": ["violations"], "selectors": False}
    rules = {"light": brief, "dark": {**brief, "runOnly": ["color-contrast"]}}
    # pages of sources are made alike: one of each language
    sources = {Path(name).suffixes[-2]: name for name in site.pages if name.startswith("source/")}
    grave, wide = [], []
    for name in [*(name for name in site.pages if not name.startswith("source/")), *sources.values()]:
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
