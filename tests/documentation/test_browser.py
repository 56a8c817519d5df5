"""The documentation's site in a browser: everybody can read it, and it is found by search."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import browser as chromium
from helpers.browser import waits
from helpers.documentation.built_site import Site

pytestmark = chromium.needed

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
    started = chromium.start()
    yield started
    started.quit()


def prefers(browser: Any, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def is_wide(browser: Any, width: int) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def test_everybody_can_read_every_page(browser: Any, site: Site) -> None:
    axe = chromium.axe()
    # what depends on the scheme is checked in both
    brief = {"resultTypes": ["violations"], "selectors": False}
    rules = {"light": brief, "dark": {**brief, "runOnly": ["color-contrast"]}}
    # pages of sources are made alike: one of each language
    sources = {Path(Path(name).stem).suffix: name for name in site.pages if name.startswith("source/")}
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


def test_light_and_dark_follow_the_system_and_the_reader(browser: Any, site: Site) -> None:
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


def test_search_finds_what_one_asks_for(browser: Any, site: Site) -> None:
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
        urls = chromium.asked_for(browser)
        assert urls and [url for url in urls if not url.startswith(("file:", "data:", "blob:", "about:"))] == []
