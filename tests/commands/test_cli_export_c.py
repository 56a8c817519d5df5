"""ttfs-export --c: a run's network as a folder of C files, checked before it is made."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers.commands import Outcome, command, run_small
from helpers.refusals import refused, tree

from ttfs_cupy.data import load_dataset
from ttfs_cupy.export import command as export_command
from ttfs_cupy.export.c import export as c_export
from ttfs_cupy.export.c import text
from ttfs_cupy.export.c.compiler import Compiler, find_compiler
from ttfs_cupy.trained.opening import open_run

pytestmark = pytest.mark.usefixtures("here")

FILES = {"network.h", "network_float32.c", "network_int8.c", "main.c", "Makefile", "README.txt"}


def export(*arguments: str | Path) -> Outcome:
    return command(export_command.main, *arguments)


@pytest.fixture
def compiler(tmp_path: Path) -> Compiler:
    scratch = tmp_path / "compiler"
    scratch.mkdir()
    found = find_compiler(scratch)
    if found is None:
        pytest.skip("there is no C compiler here")
    return found


@pytest.mark.parametrize("slope", ["0", "1"])
def test_the_folder_predicts_what_the_run_does(slope: str, here: Path, compiler: Compiler) -> None:
    run = run_small(here / "run", network__psp_slope=slope)
    outcome = export(run, "--c", "c", "--images", "100000")
    assert (outcome.code, outcome.err) == (0, "")
    test = load_dataset("digits", Path("data")).test
    count = len(test)
    rounding = r"; layer by layer, at the same input, \d+ of [\d,]+ outputs differ by rounding" if slope == "1" else ""
    said = re.fullmatch(
        rf"c: the network of \S+best\.safetensors\n"
        rf"  beside it on {count} test images, built by {re.escape(str(compiler))}:\n"
        rf"  float32: every prediction is the same, and potentials differ by \S+e-0\d at most{rounding}\n"
        r"  int8: accuracy ([\d.]+) %, the network's ([\d.]+) %; .*\n"
        r"  network_float32\.c: [\d,]+ bytes of constants \(flash\), [\d,]+ of activations \(RAM\)\n"
        r"  network_int8\.c: [\d,]+ bytes of constants \(flash\), [\d,]+ of activations \(RAM\)\n",
        outcome.out,
    )
    assert said, outcome.out
    assert set(tree(here / "c")) == FILES
    # as README.txt says, with the user's compiler
    program = here / "predict"
    sources = [here / "c" / name for name in ("main.c", "network_float32.c", "network_int8.c")]
    subprocess.run([*compiler.command, "-std=c99", "-O2", *sources, "-o", program], check=True)
    network = open_run(run).network
    pixels = test.images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(test.maximum)
    expected = network.forward(network.encode(pixels)).argmax(1)
    accuracies = [float(100 * (expected == test.labels).mean())]
    for variant in ("float32", "int8"):
        printed = subprocess.run([program, variant], input=test.images.tobytes(), capture_output=True, check=True)
        classes = np.array([int(line.split()[0]) for line in printed.stdout.splitlines()])
        if variant == "float32":
            np.testing.assert_array_equal(classes, expected)
        accuracies.append(float(100 * (classes == test.labels).mean()))
    assert said.groups() == (f"{accuracies[2]:.2f}", f"{accuracies[0]:.2f}")
    assert abs(accuracies[2] - accuracies[0]) <= 2


def test_what_is_refused(good_run: Path, here: Path) -> None:
    (here / "there").mkdir()
    (here / "there/notes.txt").write_text("precious")
    (here / "file").write_text("precious")
    before = tree(here)
    refused(export(good_run, "--c", "there"), "--c 'there' is there already: name another folder, or add --force")
    refused(export(good_run, "--c", "file"), "--c 'file' is a file: name a folder, which is made")
    refused(export(good_run, "--c", "file", "--force"), "--c 'file' is a file")
    refused(export(good_run, "--c", "missing/c"), "there is no folder missing")
    refused(export(good_run, "--c", "one", "--nir", "one"), "name one file twice")
    assert tree(here) == before


def test_by_force_other_files_stay(good_run: Path, here: Path) -> None:
    (here / "c").mkdir()
    (here / "c/notes.txt").write_text("precious")
    (here / "c/main.c").write_text("mine")
    assert export(good_run, "--c", "c", "--force", "--images", "5").code == 0
    found = tree(here / "c")
    assert set(found) == {*FILES, "notes.txt"}
    assert found["notes.txt"] == b"precious" and found["main.c"] != b"mine"
    assert export(good_run, "--c", "again", "--images", "5").code == 0
    assert tree(here / "again") == {name: found[name] for name in FILES}


def test_a_wrong_folder_is_not_made(
    good_run: Path, here: Path, monkeypatch: pytest.MonkeyPatch, compiler: Compiler
) -> None:
    made = text.files_of

    def planted(name: str, old: bytes, new: bytes) -> Outcome:
        with monkeypatch.context() as patch:
            changed = lambda *arguments: {  # noqa: E731
                file: data.replace(old, new) if file == name else data for file, data in made(*arguments).items()
            }
            patch.setattr(c_export, "files_of", changed)
            return export(good_run, "--c", "c", "--images", "5")

    wrong = [
        (planted("network_float32.c", b"sums.drive >= T", b"sums.drive < T"), "more than rounding explains"),
        (planted("network_int8.c", b"#define STEPS 255", b"#define STEPS 250"), "on 5 images its integers are not"),
        (planted("network_int8.c", b"return best;", b"return worst;"), "does not compile it: .*error.*worst"),
        (planted("network_int8.c", b"int best = 0;", b"int best = TTFS_CLASSES / (TTFS_CHANNELS - 1);"), "zero"),
        (planted("main.c", b"return 0;", b"return 3;"), "it does not run: it ends with code 3"),
    ]
    for outcome, words in wrong:
        assert (outcome.code, outcome.err) == (1, "")
        assert outcome.out.startswith("c is not written, as it is wrong: the network of ")
        assert re.search(words, outcome.out), outcome.out
    assert tree(here) == {}


def test_without_a_compiler(good_run: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(c_export, "find_compiler", lambda scratch: None)
    outcome = export(good_run, "--c", "c")
    assert (outcome.code, outcome.err) == (0, "")
    assert "not compared with the network: no C compiler works here (install gcc or clang, or set CC)" in outcome.out
    assert set(tree(here)) == {"c", *(f"c/{name}" for name in FILES)}
