"""The documentation's site, built once."""

from pathlib import Path

import pytest
from helpers.documentation.built_site import Site, build, copied


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The whole of it, which must build without a warning."""
    for package in ("mkdocs", "material", "mkdocstrings", "nbconvert", "latex2mathml"):
        pytest.importorskip(package, reason="the extra docs brings it")
    folder = tmp_path_factory.mktemp("site")
    built = build(copied(tmp_path_factory.mktemp("repository")), folder)
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr and "ERROR" not in built.stderr, built.stderr
    return Site(Path(folder))
