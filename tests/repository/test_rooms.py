"""The rooms of docs/design.md: imports go one way, in the order that its table says, and rooms stay small."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from helpers.environments import CODE, REPOSITORY

PACKAGE = "ttfs_cupy"
# by their folders of the repository, what packages are imported as
FOLDERS = {folder: place.replace("/", ".") for folder, place in CODE.items()}
COMMANDS = {"__main__", "train", "evaluate", "preview", "convert", "convert_config", "simulate", "bench", "list"}
FOLDERS_OF_TESTS = sorted({path.parent for path in (REPOSITORY / "tests").rglob("test_*.py")})
MOST_MODULES, MOST_LINES = 15, 400

Imports = Mapping[str, set[str]]


def order() -> list[str]:
    """The rooms as the table lists them, the lowest first, by what they are imported as."""
    text = (REPOSITORY / "docs/design.md").read_text()
    folders = re.findall(r"^\| `([\w/]+)/` \|", text, re.MULTILINE)
    return [".".join([FOLDERS[folder.split("/")[0]], *folder.split("/")[1:]]) for folder in folders]


def files() -> dict[str, Path]:
    """Every module by its dotted name."""
    found = {}
    for folder, name in FOLDERS.items():
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            parts = path.relative_to(REPOSITORY / folder).with_suffix("").parts
            found[".".join([name, *(part for part in parts if part != "__init__")])] = path
    return found


def imported(module: str, path: Path, known: Iterable[str]) -> Iterator[str]:
    """The known modules that one imports: anywhere in its text, also for types alone, also relatively."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                if whole in known or source in known:
                    yield whole if whole in known else source


def imports() -> Imports:
    known = files()
    return {module: set(imported(module, path, known)) - {module} for module, path in known.items()}


def circle(graph: Imports) -> list[str]:
    """Modules each of which imports the next, and the last the first; empty where there are none."""
    done: set[str] = set()

    def search(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        for other in sorted(graph[module]):
            if found := search(other, [*path, module]):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := search(module, []))), [])


def room(module: str, rooms: Iterable[str]) -> str:
    """The innermost that a module lies in."""
    return max((name for name in rooms if f"{module}.".startswith(f"{name}.")), key=len)


def upward(graph: Imports, rooms: list[str]) -> list[str]:
    """Imports of a room by one below it."""
    arrows = ((module, other) for module, others in graph.items() for other in others)
    return [
        f"{module} imports {other}"
        for module, other in arrows
        if rooms.index(room(other, rooms)) > rooms.index(room(module, rooms))
    ]


def test_no_circle_of_modules() -> None:
    assert circle(imports()) == []


def test_no_module_imports_upwards() -> None:
    rooms = order()
    print("from the bottom up:", *rooms, sep="\n    ")
    assert rooms[0] == f"{PACKAGE}.common" and rooms[-1] == PACKAGE and len(rooms) >= 12
    assert upward(imports(), rooms) == []


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"e"}, "e": {"b"}}
    assert circle(graph) == ["b", "d", "e"]
    assert circle(graph | {"e": {"c"}}) == []


def test_an_arrow_upwards_is_found() -> None:
    rooms = ["p.low", "p.high", "p"]
    graph = {"p.low.a": {"p.high.b", "p.low.b"}, "p.high.b": {"p.low.a"}, "p.command": {"p.low.a"}}
    assert upward(graph, rooms) == ["p.low.a imports p.high.b"]


@pytest.mark.parametrize("text", ["from . import other", "from .other import x", "def f():\n    import p.q.other"])
def test_every_kind_of_import_is_seen(text: str, tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text(text)
    assert list(imported("p.q.one", path, {"p.q.one", "p.q.other"})) == ["p.q.other"]


def test_every_room_is_listed() -> None:
    rooms = order()
    listed = {room(module, rooms) for module in files() if not module.startswith(f"{PACKAGE}.configs")}
    assert listed == set(rooms)
    above = {module for module in files() if room(module, rooms) == PACKAGE}
    assert above == {PACKAGE, *(f"{PACKAGE}.{command}" for command in COMMANDS), f"{PACKAGE}.configs"}


def drawn() -> set[tuple[str, str]]:
    """The arrows of the picture, between rooms without what lies in them."""
    (picture,) = re.findall(r"```mermaid\n(.*?)```", (REPOSITORY / "docs/design.md").read_text(), re.DOTALL)
    return set(re.findall(r"^ *(\w+)(?:\[.*?\])? --> (\w+)", picture, re.MULTILINE))


def test_the_picture_draws_every_room_and_what_it_imports() -> None:
    arrows: set[tuple[str, str]] = set()
    for module, others in imports().items():
        for other in others:
            one, another = (name.split(".")[1] if name != PACKAGE else "" for name in (module, other))
            one = "commands" if one in COMMANDS else one
            arrows |= {(one, another)} if one and another and one != another else set()
    names = {room.split(".")[1] for room in order() if room != PACKAGE} | {"commands"}
    assert {name for arrow in drawn() for name in arrow} == names
    assert drawn() <= arrows
    # what is not drawn follows from what is
    below = drawn()
    while larger := {(a, c) for a, b in below for other, c in below if b == other} - below:
        below |= larger
    assert arrows <= below


def test_the_kernels_folder_holds_kernels_and_nothing_else() -> None:
    endings = {path.suffix for path in (REPOSITORY / "ttfs_cupy/kernels").rglob("*") if path.is_file()}
    assert endings == {".cu", ".cpp", ".h"}


def test_rooms_stay_small() -> None:
    modules = files().values()
    folders = {path.parent for path in modules}
    large = {folder: count for folder in folders if (count := len(list(folder.glob("*.py")))) > MOST_MODULES}
    assert large == {}
    kernels = [path for path in (REPOSITORY / "ttfs_cupy/kernels").rglob("*") if path.is_file()]
    lines = {path: path.read_text().count("\n") for path in [*modules, *kernels]}
    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize("folder", FOLDERS_OF_TESTS, ids=lambda folder: folder.name)
def test_tests_lie_in_folders_of_the_rooms_names(folder: Path) -> None:
    name = folder.relative_to(REPOSITORY / "tests")
    places = [REPOSITORY / name, REPOSITORY / PACKAGE / name]
    # of what the tests themselves are made of, of the commands, and of the repository as a whole
    others = {"commands", "documentation", "emulator", "fuzz", "parity", "reference", "repository"}
    assert any(place.is_dir() for place in places) or str(name) in others
