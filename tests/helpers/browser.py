"""Chromium, for tests of pages: those marked as `needed` are skipped where it is missing."""

import json
import shutil
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

# seconds
PATIENCE = 60
DRIVER = shutil.which("chromedriver")
# a mark, since what tests share is made before a fixture of theirs could skip them
needed = pytest.mark.skipif(
    not (find_spec("selenium") and shutil.which("chromium") and DRIVER),
    reason="needs selenium, chromium and chromedriver",
)


def start(*arguments: str, scripts: bool = True) -> Any:
    """A browser without a window, which keeps what pages log and ask for. arguments: more of Chromium's own."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", *arguments):
        options.add_argument(argument)
    if not scripts:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    browser.set_script_timeout(PATIENCE)
    return browser


def waits(holds: Callable[[], Any]) -> Any:
    """What it returns once that is true. Raises AssertionError if it does not become so."""
    limit = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < limit
        time.sleep(0.02)
    return found


def asked_for(browser: Any) -> list[str]:
    """The addresses that pages asked for since this was called last."""
    events = (json.loads(entry["message"])["message"] for entry in browser.get_log("performance"))
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def axe() -> str:
    """axe-core's script."""
    spec = find_spec("axe_core_python")
    if spec is None or spec.origin is None:
        pytest.skip("the extra test brings axe-core-python")
    return (Path(spec.origin).parent / "axe.min.js").read_text("utf-8")
