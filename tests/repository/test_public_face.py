"""What `from ttfs_cupy import ...` gives: quick to import, whole, typed, with docstrings; and README needs no more."""

import ast
import inspect
import json
import os
import re
import signal
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from helpers.children import Child
from helpers.environments import CODE, REPOSITORY, python

import ttfs_cupy
from ttfs_cupy.device.compilation import cpu_library

FACE = REPOSITORY / "ttfs_cupy" / "__init__.py"
HEAVY = ("torch", "torchvision", "cupy", "pydantic", "sklearn", "matplotlib")
SMALL = ["network.model=[8, P]", "training.batch_size=64", "network.psp_slope=0"]
ROOMS = sorted(ttfs_cupy._WHOLE_ROOMS)
OBJECTS = sorted(set(ttfs_cupy.__all__) - {"__version__", *ROOMS})


@pytest.mark.parametrize("name", OBJECTS)
def test_every_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(ttfs_cupy, name)
    assert found.__name__ == name
    assert (found.__doc__ or "").strip() and not found.__doc__.startswith(f"{name}("), "a docstring of its own"


@pytest.mark.parametrize("name", ROOMS)
def test_every_room_is_there_and_says_what_it_is(name: str) -> None:
    room = getattr(ttfs_cupy, name)
    assert room.__name__ == f"ttfs_cupy.{name}" and (room.__doc__ or "").strip()
    for one in room.__all__:
        found = getattr(room, one)
        assert found.__name__ == one and (found.__doc__ or "").strip()


def test_what_types_see_is_what_is_imported() -> None:
    tree = ast.parse(FACE.read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        node.module: sorted(alias.name for alias in node.names)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
    }
    expected = {f"ttfs_cupy.{room}": sorted(names) for room, names in ttfs_cupy._ROOMS.items()}
    assert seen == {"ttfs_cupy": ROOMS, **expected}
    assert sorted([*ttfs_cupy._ROOM_OF, *ROOMS, "UserError", "__version__"]) == sorted(ttfs_cupy.__all__)


def test_no_module_hides_a_public_name() -> None:
    # once it is imported, by whomever, a module is what its package's attribute of that name is
    modules = {path.stem for folder, place in CODE.items() for path in folders_below(folder, place)}
    assert {"train", "engine", "models", "data"} <= modules
    others = {name for name in ttfs_cupy.__all__ if not inspect.ismodule(getattr(ttfs_cupy, name))}
    assert "predict" in others and not modules & others
    after = python(
        "import ttfs_cupy.trained.predict_command, ttfs_cupy.engine.steps.prediction as prediction, ttfs_cupy\n"
        "from ttfs_cupy import predict\n"
        "assert predict is ttfs_cupy.predict is prediction.predict"
    )
    assert after.stderr == ""


def folders_below(folder: str, place: str) -> list[Path]:
    """What is imported as ttfs_cupy.NAME: the package's own modules and folders, or a folder that is put there."""
    top = REPOSITORY / folder
    return list(top.iterdir()) if place == "ttfs_cupy" else [top]


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'ttfs_cupy' has no attribute 'Adamw'"):
        _ = ttfs_cupy.Adamw
    assert set(ttfs_cupy.__all__) <= set(dir(ttfs_cupy))


def test_importing_loads_nothing_heavy_and_nor_does_a_network() -> None:
    code = (
        "import sys, ttfs_cupy; first = sorted(sys.modules)\n"
        "ttfs_cupy.build([4], (1, 8, 8), 10, 'cpu'); ttfs_cupy.Batches; ttfs_cupy.plot; ttfs_cupy.TrainingStep\n"
        "import json; print(json.dumps([first, sorted(sys.modules)]))"
    )
    cpu_library.load()  # a build would be told on stderr
    result = python(code)
    assert result.stderr == ""
    first, second = json.loads(result.stdout)
    assert not {*HEAVY, "numpy"} & set(first)
    assert not set(HEAVY) & set(second)


def public_functions() -> list[Any]:
    """Functions, and methods of classes, that the face gives."""
    found: list[Any] = []
    for name in OBJECTS:
        one = getattr(ttfs_cupy, name)
        if inspect.isclass(one):
            members = (getattr(one, key) for key in vars(one) if not key.startswith("_"))
            # of a property that is kept, the function that computes it
            computed = (member.func if isinstance(member, cached_property) else member for member in members)
            found += [member for member in computed if inspect.isroutine(member)]
        else:
            found.append(one)
    rooms = (getattr(ttfs_cupy, name) for name in ROOMS)
    return [*found, *(getattr(room, one) for room in rooms for one in room.__all__)]


@pytest.mark.parametrize("function", public_functions(), ids=lambda function: function.__qualname__)
def test_every_public_function_is_typed(function: Any) -> None:
    signature = inspect.signature(function)
    untyped = [
        name
        for name, parameter in signature.parameters.items()
        if name not in ("self", "cls") and parameter.annotation is inspect.Parameter.empty
    ]
    assert untyped == []
    assert signature.return_annotation is not inspect.Signature.empty


def sources() -> dict[str, str]:
    """The code that users are shown: README's, and the notebooks'."""
    readme = (REPOSITORY / "README.md").read_text()
    found = {"README.md": "\n".join(re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL))}
    for path in sorted(REPOSITORY.glob("notebooks/*.ipynb")):
        cells = json.loads(path.read_text())["cells"]
        found[path.name] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return found


@pytest.mark.parametrize("name", sources())
def test_users_are_shown_the_public_face_alone(name: str) -> None:
    used = {
        (node.module, alias.name)
        for node in ast.walk(ast.parse(sources()[name]))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ttfs_cupy")
        for alias in node.names
    }
    assert used
    assert {module for module, _ in used} == {"ttfs_cupy"}
    assert {one for _, one in used} <= set(ttfs_cupy.__all__)


@pytest.mark.parametrize("name", [name for name in sources() if name.endswith(".ipynb")])
def test_notebooks_need_little_else(name: str) -> None:
    imported = {
        (node.module or "").partition(".")[0] if isinstance(node, ast.ImportFrom) else alias.name.partition(".")[0]
        for node in ast.walk(ast.parse(sources()[name]))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported <= {"ttfs_cupy", "numpy", "matplotlib", "altair", *sys.stdlib_module_names}


def test_runs_from_python_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = ttfs_cupy.load_config("quickstart", ["device=cpu", "tune=false", "training.epochs=1", *SMALL])

    experiment = ttfs_cupy.prepare(config)
    sets = (experiment.training, experiment.validation)

    def trainer(run: ttfs_cupy.RunDirectory) -> ttfs_cupy.Trainer:
        return ttfs_cupy.Trainer(experiment.config, experiment.network, experiment.optimizer(), *sets, run)

    def refused() -> int:
        """What another process finds."""
        # one that is let in would wait for the threads of this process
        signal.alarm(20)
        owner = f"process {os.getppid()} on "
        with pytest.raises(ttfs_cupy.UserError, match=f"already holds a run, of {owner}"):
            ttfs_cupy.RunDirectory.create(tmp_path / "run", "seed: 0")
        for attempt in (others.fit, others.resume):
            with pytest.raises(ttfs_cupy.UserError, match=f"in use by {owner}"):
                attempt()
        return 0

    def meanwhile() -> None:
        outcome = Child(refused, tmp_path / "said").wait()
        assert outcome.code == 0, outcome

    def interrupted() -> None:
        meanwhile()
        raise KeyboardInterrupt

    others = trainer(ttfs_cupy.RunDirectory(tmp_path / "run"))
    run = ttfs_cupy.RunDirectory.create(tmp_path / "run", ttfs_cupy.dump_config(config))
    meanwhile()
    first = trainer(run)
    with monkeypatch.context() as patch:
        patch.setattr(first, "_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            first.fit()
    # a notebook goes on, while it still has what it began with
    second = trainer(ttfs_cupy.RunDirectory.existing(run.path))
    second.resume()
    meanwhile()
    second.fit()
    # the log and the split are written by the command, which knows the whole data set
    written = {file.name for file in run.files if file not in (run.log, run.split)}
    assert {file.name for file in run.path.iterdir()} == written


def test_a_whole_run_from_python(tmp_path: Path) -> None:
    config = ttfs_cupy.load_config("quickstart", ["device=cpu", "tune=false", "training.epochs=1", *SMALL])
    experiment = ttfs_cupy.prepare(config)
    run = ttfs_cupy.RunDirectory.create(tmp_path / "run", ttfs_cupy.dump_config(experiment.config))
    sets = (experiment.training, experiment.validation)
    ttfs_cupy.Trainer(experiment.config, experiment.network, experiment.optimizer(), *sets, run).fit()
    assert all(file.exists() for file in (run.config, run.metrics, run.best, run.last))
    result = ttfs_cupy.Evaluator(experiment.network, 64).over(experiment.test, "test")
    assert isinstance(result, ttfs_cupy.Evaluation)
    assert result.totals.images == len(experiment.test.images)
    assert result.totals.accuracy > 0.15
