"""The tests run every line of the kernels."""

import re
from pathlib import Path

import line_coverage
import pytest

from ttfs_cupy.device.compilation import source

pytestmark = pytest.mark.skipif(line_coverage.why_not() is not None, reason=str(line_coverage.why_not()))

# Files for a GPU alone.
FOR_GPUS = {
    "cuda.h": "what NVRTC is given in place of cpu.h; of it the emulator compiles what its kernels call",
    "warp.h": "single instructions of PTX; the emulator has its own file of that name's functions",
    "warpgroup.h": "likewise, of compute capability 9.0",
}

# A file, part of the line, and why no test reaches it; nothing at present.
UNREACHABLE: dict[tuple[str, str], str] = {}

FILES = sorted(
    path for path in source.FOLDER.rglob("*") if path.suffix in (".cu", ".cpp", ".h") and path.name not in FOR_GPUS
)


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory) -> line_coverage.Counts:
    return line_coverage.count(tmp_path_factory.mktemp("coverage"))


def test_the_names_of_files_are_told_apart() -> None:
    assert len({path.name for path in FILES}) == len(FILES) >= 15
    assert {path.name for path in source.FOLDER.rglob("*.h")} >= set(FOR_GPUS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_line_runs(path: Path, counts: line_coverage.Counts) -> None:
    lines, text = counts[path.name], path.read_text().splitlines()
    assert lines
    missed = [
        f"{path.name}:{number} {text[number - 1].strip()}"
        for number, times in sorted(lines.items())
        if not times and not any(path.name == file and part in text[number - 1] for file, part in UNREACHABLE)
    ]
    assert not missed


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_function_is_compiled(path: Path, counts: line_coverage.Counts) -> None:
    """gcov lists nothing of a function that nobody calls."""
    functions = line_coverage.functions(path)
    assert len(functions) == len(re.findall(r"^ *(?:DEVICE|DEVICE_MEMBER|KERNEL)\b", path.read_text(), re.MULTILINE))
    assert not [name for name, lines in functions.items() if not set(lines) & set(counts[path.name])]


def test_a_line_that_does_not_run_is_seen(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    code = tmp_path / "part" / "kernels.cu"
    code.write_text("int main(int count, char**) {\n    if (count > 5)\n        return 1;\n    return 0;\n}\n")
    command = ["g++", "-O0", "--coverage", "-x", "c++", "-dumpdir", f"{code.parent}/", str(code), "-o", f"{code}.out"]
    line_coverage.run(*command)
    line_coverage.run(f"{code}.out")
    assert line_coverage.read(tmp_path) == {"kernels.cu": {1: 1, 2: 1, 3: 0, 4: 1}}
