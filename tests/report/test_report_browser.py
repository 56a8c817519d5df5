"""The page in Chromium, from a file: charts are drawn, all can be done by keyboard, and nobody is told or asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import browser as chromium
from helpers.browser import waits
from helpers.page import Page

pytestmark = chromium.needed

DRAWN = "return document.documentElement.dataset.drawn === 'all'"
AXE = "const done = arguments[arguments.length - 1]; axe.run().then((found) => done(found.violations))"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    started = chromium.start("--window-size=1200,900")
    yield started
    started.quit()


def opened(browser: Any, page: Page) -> Any:
    """The page, once all of its charts are drawn, in the theme of the system."""
    browser.get(page.path.as_uri())
    browser.execute_script("localStorage.clear(); delete document.documentElement.dataset.theme")
    waits(lambda: browser.execute_script(DRAWN))
    return browser


def find(browser: Any, selector: str) -> list[Any]:
    found: list[Any] = browser.find_elements("css selector", selector)
    return found


def test_all_charts_are_drawn_and_nothing_is_said_or_fetched(browser: Any, page: Page) -> None:
    for log in ("browser", "performance"):
        browser.get_log(log)
    opened(browser, page)
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert len(find(browser, ".chart.drawn svg")) == len(page.data["charts"])
    assert browser.get_log("browser") == []
    asked = set(chromium.asked_for(browser))
    assert page.path.as_uri() in asked
    assert all(url == page.path.as_uri() or url.startswith("data:") for url in asked), asked


@pytest.fixture(params=["page", "together"])
def each_page(request: pytest.FixtureRequest) -> Page:
    """Of one run, and of several."""
    found: Page = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_grave(browser: Any, each_page: Page, theme: str) -> None:
    axe = chromium.axe()
    opened(browser, each_page)
    browser.execute_script(f"document.documentElement.dataset.theme = '{theme}'")
    browser.execute_script(axe)
    found = browser.execute_async_script(AXE)
    grave = [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")]
    assert grave == []


def test_the_theme_is_switched_and_remembered(browser: Any, page: Page) -> None:
    opened(browser, page)
    (button,) = find(browser, "#theme")

    def colour() -> str:
        return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))

    def line() -> str:
        script = "return getComputedStyle(document.querySelector('#curve-loss .mark-line path')).stroke"
        return str(browser.execute_script(script))

    before, line_before, pressed = colour(), line(), button.get_attribute("aria-pressed")
    button.send_keys("\ue007")
    assert colour() != before and line() != line_before and button.get_attribute("aria-pressed") != pressed
    after = colour()
    browser.refresh()
    assert colour() == after
    browser.execute_script("localStorage.clear()")


def test_series_are_switched_off_by_keyboard(browser: Any, page: Page) -> None:
    opened(browser, page)
    boxes = find(browser, "input[data-chart=curve-loss]")
    assert len(boxes) == 3

    def count() -> int:
        return len(find(browser, "#curve-loss .mark-line path"))

    assert count() == 3
    boxes[1].send_keys(" ")
    waits(lambda: count() == 2)
    boxes[1].send_keys(" ")
    waits(lambda: count() == 3)


def test_all_tables_are_opened_and_closed(browser: Any, page: Page) -> None:
    opened(browser, page)
    (button,) = find(browser, "#all-tables")
    for expected in (len(find(browser, "details.data")), 0):
        button.click()
        assert len(find(browser, "details.data[open]")) == expected
    assert find(browser, "details.data")


def point_at(browser: Any, chart: str, across: float) -> str:
    """What the pointer is told at that share of the chart's width."""
    from selenium.webdriver.common.action_chains import ActionChains

    (place,) = find(browser, chart)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", place)
    # the first move says where, the next one is told
    start = int((across - 0.5) * place.size["width"])
    over = ActionChains(browser).move_to_element_with_offset(place, start, 0).pause(0.2)
    over.move_by_offset(-4, 2).pause(0.2).move_by_offset(-2, 1).pause(0.2).perform()
    (tip,) = find(browser, "#tip")
    waits(tip.is_displayed)
    return str(tip.text)


def test_the_pointer_is_told_the_values(browser: Any, page: Page) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    opened(browser, page)
    said = point_at(browser, "#curve-loss", 0.5)
    assert "epoch" in said and "training" in said
    ActionChains(browser).send_keys("\ue00c").perform()
    assert not find(browser, "#tip")[0].is_displayed()


def test_the_pointer_is_told_of_runs_that_have_a_value(browser: Any, together: Page) -> None:
    """By names that would be expressions or elements; a run that has ended by then has none."""
    browser.get_log("browser")
    opened(browser, together)
    labels = [row[0] for row in together.rows("Means over seeds")[1:]]
    # both begin with epoch 1, and the second is there no longer in epoch 2
    for across, there in ((0.2, labels), (0.9, labels[:1])):
        said = point_at(browser, "#overlay-val-accuracy", across)
        assert [label for label in labels if label in said] == there and "NaN" not in said
    assert browser.get_log("browser") == []


def test_the_keyboard_reaches_all_that_can_be_used(browser: Any, page: Page) -> None:
    """By the tab key alone, in the page's order; where the focus is can be seen."""
    from selenium.webdriver.common.action_chains import ActionChains

    opened(browser, page)
    usable = "a[href], button, input, summary, pre[tabindex], .scroll[tabindex]"
    count = browser.execute_script(
        f"return [...document.querySelectorAll('{usable}')].filter((one) => one.checkVisibility()).length"
    )
    assert count > 40
    browser.execute_script("document.activeElement.blur(); window.reached = [];")
    browser.execute_script("addEventListener('focusin', (event) => window.reached.push(event.target))")
    tab = ActionChains(browser)
    for _ in range(count):
        tab.send_keys("\ue004")
    tab.perform()
    assert browser.execute_script("return new Set(window.reached).size") == count
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert browser.execute_script(outline) == "solid"
    first = browser.execute_script("return window.reached[0].className")
    assert first == "skip"


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_sticks_out(browser: Any, each_page: Page, width: int) -> None:
    sizes = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)
    try:
        opened(browser, each_page)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_it_prints_all_charts_in_light_colours(browser: Any, page: Page) -> None:
    opened(browser, page)
    browser.execute_script("document.documentElement.dataset.theme = 'dark'")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not any(one.is_displayed() for one in find(browser, ".bar, .skip, #tip"))
        printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
        assert len(printed["data"]) > 50_000
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_nothing_is_cut_off_or_torn_in_print(browser: Any, page: Page) -> None:
    opened(browser, page)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    paper = {"width": 500, "height": 990, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
    try:
        wide = "(one) => one.offsetParent && one.scrollWidth > one.clientWidth"
        assert browser.execute_script(f"return [...document.querySelectorAll('pre')].filter({wide}).length") == 0
        # a number keeps its unit beside it
        cells = find(browser, "#classes td, .tile dd")
        shares = [cell.get_attribute("textContent") for cell in cells if "%" in cell.get_attribute("textContent")]
        assert len(shares) > 20 and not any(" %" in share for share in shares)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_what_is_folded_is_not_printed(browser: Any, together: Page) -> None:
    """No empty frame of it either."""
    opened(browser, together)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        frames = find(browser, ".folded")
        assert len(frames) == 3 and not any(frame.is_displayed() for frame in frames)
        browser.execute_script("document.querySelector('.folded details').open = true")
        assert [frame.is_displayed() for frame in frames] == [True, False, False]
        # nor is a table cut off, whatever stands in its cells
        paper = {"width": 690, "height": 990, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", paper)
        browser.execute_script("for (const cell of document.querySelectorAll('td')) cell.textContent += ' and more'")
        cut = "return [...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth)"
        assert browser.execute_script(f"{cut}.length") == 0
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_names_that_would_be_scripts_do_nothing(browser: Any, evil_run: Path, evil_page: Page) -> None:
    browser.get_log("browser")
    opened(browser, evil_page)
    # an alert would raise
    assert browser.title.startswith(evil_run.name)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.querySelectorAll('[onerror], [onclick], b:not(#tip b)').length") == 0
    labels = browser.execute_script("return document.getElementById('confusion').textContent")
    assert "<script>" in labels
