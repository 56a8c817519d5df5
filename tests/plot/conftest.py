"""What the tests of figures share."""

from collections.abc import Iterator

import pytest

matplotlib = pytest.importorskip("matplotlib", reason="the extra plot brings it")


@pytest.fixture(autouse=True)
def no_figure_stays() -> Iterator[None]:
    """Figures are drawn without a display, and every test begins and ends with none."""
    pyplot = pytest.importorskip("matplotlib.pyplot")
    backend = matplotlib.get_backend()
    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")
    pyplot.switch_backend(backend)
