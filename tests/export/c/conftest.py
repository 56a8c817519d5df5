"""A C compiler, where there is one."""

from pathlib import Path

import pytest

from ttfs_cupy.export.c.compiler import Compiler, find_compiler


@pytest.fixture(scope="session")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    found = find_compiler(Path(tmp_path_factory.mktemp("compiler")))
    if found is None:
        pytest.skip("there is no C compiler here")
    return found
