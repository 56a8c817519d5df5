"""How long the page of a run takes to make and to show: python -m ttfs_cupy.benchmarks.report_page RUN_DIR..."""

if __name__ == "__main__":
    # imports what it needs with an answer to Ctrl-C
    from ttfs_cupy.common.command import entry

    entry.run("ttfs_cupy.benchmarks.report_page.__main__")

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ttfs_cupy.benchmarks.options import count
from ttfs_cupy.common.columns import aligned
from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.packages import imported
from ttfs_cupy.report import command

SELENIUM = ("selenium, which opens the page in Chromium,", "pip install selenium")
AXE = ("axe-core-python, which looks for faults,", "pip install axe-core-python")
# seconds that drawing, or a check of accessibility, may take
PATIENCE = 300
FIRST_PAINT = "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
NOW = "return performance.now()"
DRAWN = "return document.documentElement.dataset.drawn === 'all'"
CHECK = "const done = arguments[arguments.length - 1]; axe.run().then((found) => done(found.violations))"
GRAVE = ("serious", "critical")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parsed = _parser().parse_args(arguments)
    return command_line.run(lambda: _measure(parsed), process_ends=arguments is None)


def _parser() -> argparse.ArgumentParser:
    parser = command_line.Parser(prog="python -m ttfs_cupy.benchmarks.report_page", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", type=command_line.path, help="a run: a page for each")
    parser.add_argument("--together", action="store_true", help="one page, of all runs side by side")
    parser.add_argument(
        "--rounds", type=count, default=9, metavar="N", help="how often it is made and opened (default: 9)"
    )
    return parser


def _measure(parsed: argparse.Namespace) -> None:
    imported("selenium.webdriver", *SELENIUM)
    imported("axe_core_python", *AXE)
    pages = [parsed.runs] if parsed.together else [[run] for run in parsed.runs]
    rows = [["page", "seconds to make", "of CPU", "MB", "first paint, ms", "all charts, ms", "axe: serious", "others"]]
    with tempfile.TemporaryDirectory() as folder:
        for runs in pages:
            file = Path(folder) / "report.html"
            made = [_made(runs, file) for _ in range(parsed.rounds)]
            shown = [_opened(file, check=place == 0) for place in range(parsed.rounds)]
            paints, drawn = ([one[key] for one in shown] for key in ("paint", "drawn"))
            name = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
            found = shown[0]["violations"]
            grave = sum(one in GRAVE for one in found)
            medians = [f"{statistics.median(times):.2f}" for times in zip(*made, strict=True)]
            medians.append(f"{file.stat().st_size / 1e6:.2f}")
            medians += [_spread(times) for times in (paints, drawn)]
            rows.append([name, *medians, str(grave), str(len(found) - grave)])
    command_line.say(*aligned(rows, left=1), f"medians of {parsed.rounds}; axe-core in light and dark together")


def _spread(times: Sequence[float]) -> str:
    return f"{statistics.median(times):.0f} ({min(times):.0f} to {max(times):.0f})"


def _made(runs: Sequence[Path], file: Path) -> tuple[float, float]:
    """Seconds that the command takes in this process, whose imports are done the first time; and those of its CPUs."""
    began = time.perf_counter(), time.process_time()
    code = command.main([*map(str, runs), "--output", str(file), "--force"])
    if code:
        raise UserError("there is no page to be measured: see what is said above")
    return time.perf_counter() - began[0], time.process_time() - began[1]


def _opened(file: Path, *, check: bool) -> dict[str, Any]:
    """A fresh Chromium opens the file: milliseconds until something is painted, and until all charts are; with check,
    how grave each fault is that axe-core finds, in light and in dark."""
    browser = _chromium()
    try:
        browser.get(file.resolve().as_uri())
        limit = time.monotonic() + PATIENCE
        while not browser.execute_script(DRAWN):
            if time.monotonic() > limit:
                raise UserError("the page's charts are not drawn")
            time.sleep(0.01)
        found = {
            "paint": browser.execute_script(FIRST_PAINT),
            "drawn": browser.execute_script(NOW),
        }
        found["violations"] = _faults(browser) if check else []
    finally:
        browser.quit()
    return found


def _faults(browser: Any) -> list[str]:
    spec = find_spec("axe_core_python")
    assert spec is not None and spec.origin is not None
    text = (Path(spec.origin).parent / "axe.min.js").read_text("utf-8")
    browser.set_script_timeout(PATIENCE)
    found = []
    for theme in ("light", "dark"):
        browser.execute_script(f"document.documentElement.dataset.theme = '{theme}'")
        browser.execute_script(text)
        found += [violation["impact"] for violation in browser.execute_async_script(CHECK)]
    return found


def _chromium() -> Any:
    webdriver = imported("selenium.webdriver", *SELENIUM)
    errors = imported("selenium.common.exceptions", *SELENIUM)
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,900"):
        options.add_argument(option)
    driver = shutil.which("chromedriver")
    if driver is None:
        raise UserError("there is no chromedriver on the PATH: install Chromium's")
    service = imported("selenium.webdriver.chrome.service", *SELENIUM).Service(driver)
    try:
        return webdriver.Chrome(options=options, service=service)
    except errors.WebDriverException as error:
        raise UserError(f"Chromium cannot be started: {str(error).splitlines()[0]}") from None
