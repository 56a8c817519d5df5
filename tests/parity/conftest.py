"""Fixtures of the parity suite: what it needs, and where it is missing, which test was skipped and why."""

import pytest

from parity import checkouts, figures


@pytest.fixture(scope="session")
def t2fsnn() -> checkouts.T2fsnn:
    pytest.importorskip("torch", reason="T2FSNN runs on PyTorch: pip install torch")
    return checkouts.t2fsnn()


@pytest.fixture(scope="session")
def dta() -> checkouts.DtaTtfs:
    pytest.importorskip("torch", reason="DTA-TTFS runs on PyTorch: pip install torch")
    return checkouts.dta_ttfs()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if figures.LINES:
        terminalreporter.section("parity")
        for line in figures.LINES:
            terminalreporter.line(line)
