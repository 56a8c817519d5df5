"""A run's network as C files, compared with it; and the folder that they go to."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files.reading import is_there
from ttfs_cupy.common.files.writing import check_new_folder, write_atomically
from ttfs_cupy.common.shown import shown_path
from ttfs_cupy.export.c.comparison import Comparison, comparison
from ttfs_cupy.export.c.compiler import BuildError, ProgramError, find_compiler
from ttfs_cupy.export.c.quantization import integers_of
from ttfs_cupy.export.c.stages import stages_of
from ttfs_cupy.export.c.text import files_of, memory_said
from ttfs_cupy.trained.opening import OpenedRun


@dataclass(frozen=True)
class CFiles:
    """content: of each file by its name. said: of them, line by line. is_good: whether nothing was found wrong."""

    content: Mapping[str, bytes]
    said: tuple[str, ...]
    is_good: bool = True


def c_files(opened: OpenedRun, images: int) -> CFiles:
    """The files, and how they compare with the network on that many test images, or all if there are fewer.

    They are compiled and run where there is a C compiler; where there is none, that is said. Raises UserError for a
    network that C cannot have.
    """
    network, test = opened.network, opened.experiment.test
    stages = stages_of(network, test.images.maximum)
    integers = integers_of(stages)
    names = opened.weights.class_names or opened.class_names
    content = files_of(integers, str(opened.path), None if names is None else [str(name) for name in names])
    memory = memory_said(integers)
    with tempfile.TemporaryDirectory(prefix="ttfs-c-") as folder:
        scratch = Path(folder)
        compiler = find_compiler(scratch)
        if compiler is None:
            unchecked = "not compared with the network: no C compiler works here (install gcc or clang, or set CC)"
            return CFiles(content, (unchecked, *memory))
        files = scratch / "files"
        write_files(files, content)
        try:
            found = comparison(network, integers, test, min(images, len(test.images)), files, scratch, compiler)
        except BuildError as error:
            return CFiles(content, (f"{compiler} does not compile it: {error}",), is_good=False)
        except ProgramError as error:
            return CFiles(content, (f"built by {compiler}, it does not run: {error}",), is_good=False)
    return CFiles(content, (*_said(found), *memory), found.is_good)


def _said(found: Comparison) -> list[str]:
    float32, int8 = found.float32, found.int8
    lines = [
        f"beside it on {found.images:,} test images, built by {found.compiler}:",
        f"float32: {_differ(float32.predictions)}, and potentials differ by {float32.largest:.1e} at most",
    ]
    if float32.classes:
        lines[-1] += f"; on {float32.classes:,} images the class is not that of the largest potential"
    if float32.layers is not None:
        outcomes = float32.layers
        lines[-1] += (
            f"; layer by layer, at the same input, {outcomes.explained:,} of {outcomes.neurons:,} outputs differ by "
            "rounding"
        )
        if outcomes.unexplained:
            names = ", ".join(f"{number:,} of {name}" for name, number in outcomes.unexplained.items())
            lines[-1] += f", and more than rounding explains {names}"
    lines.append(
        f"int8: accuracy {100 * int8.accuracy:.2f} %, the network's {100 * int8.own:.2f} %; {_differ(int8.predictions)}"
    )
    if int8.wrong:
        lines[-1] += f"; on {int8.wrong:,} images its integers are not those of its arithmetic"
    return lines


def _differ(number: int) -> str:
    if not number:
        return "every prediction is the same"
    return f"{number:,} prediction{'s differ' if number > 1 else ' differs'}"


def check_folder(folder: Path, *, force: bool) -> None:
    """Raises UserError where `write_files` could not write, or would write into what is there without being told to."""
    if not is_there(folder):
        check_new_folder(folder)
    elif not folder.is_dir():
        raise UserError(f"--c '{shown_path(folder)}' is a file: name a folder, which is made")
    elif not force:
        raise UserError(f"--c '{shown_path(folder)}' is there already: name another folder, or add --force")
    elif not os.access(folder, os.W_OK):
        raise UserError(f"--c '{shown_path(folder)}' is write-protected")


def write_files(folder: Path, content: Mapping[str, bytes]) -> None:
    """Makes the folder with all of the files, or not at all. In one that is there, files of these names are replaced,
    each whole, and others stay. Raises UserError."""
    if is_there(folder):
        for name, data in content.items():
            write_atomically(folder / name, data)
        return
    aside = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        aside.mkdir()
        for name, data in content.items():
            write_atomically(aside / name, data)
        aside.rename(folder)
    except OSError as error:
        raise UserError(f"{shown_path(folder)} cannot be made: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            shutil.rmtree(aside)
