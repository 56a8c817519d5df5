"""Their modules, imported from the checkouts that two variables name."""

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

T2FSNN, DTA = "TTFS_T2FSNN", "TTFS_DTA"
SOURCES = {
    T2FSNN: ("T2FSNN", "https://github.com/ggoupy/T2FSNN", "ttfsnn/snn.py"),
    DTA: ("DTA-TTFS", "https://github.com/Wenjie-Wei/DTA-TTFS", "models/snn_directTrain_model.py"),
}


class T2fsnn(NamedTuple):
    """Their layers, their trainer, and app/run.py, which has the networks."""

    snn: ModuleType
    train: ModuleType
    run: ModuleType


class DtaTtfs(NamedTuple):
    """The spiking networks, and the proxies for them, in earliness."""

    spiking: ModuleType
    proxy: ModuleType


def t2fsnn() -> T2fsnn:
    """Skips the test that asks for it where the variable is not set."""
    root = _checkout(T2FSNN)
    # app/run.py imports `augment`, which lies beside it
    with _importable(root, root / "app"):
        snn, train = importlib.import_module("ttfsnn.snn"), importlib.import_module("ttfsnn.train")
        return T2fsnn(snn, train, _loaded("t2fsnn_run", root / "app" / "run.py"))


def dta_ttfs() -> DtaTtfs:
    """Their models alone: mainFile.py begins to train as it is imported."""
    root = _checkout(DTA)
    models = root / "models"
    return DtaTtfs(
        _loaded("dta_spiking", models / "snn_directTrain_model.py"),
        _loaded("dta_proxy", models / "proxy_ann_model.py"),
    )


def _checkout(variable: str) -> Path:
    name, address, file = SOURCES[variable]
    given = os.environ.get(variable)
    if not given:
        pytest.skip(f"{variable} is not set: it names the folder of a checkout of {name}, {address}")
    root = Path(given).resolve()
    if not (root / file).is_file():
        pytest.fail(f"{variable} names '{root}', where {file} of {name} is not: clone {address}", pytrace=False)
    return root


def _loaded(name: str, path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # app/run.py changes how NumPy prints
    with np.printoptions():
        spec.loader.exec_module(module)
    return module


@contextmanager
def _importable(*folders: Path) -> Iterator[None]:
    before = list(sys.path)
    sys.path[:0] = map(str, folders)
    try:
        yield
    finally:
        sys.path[:] = before
