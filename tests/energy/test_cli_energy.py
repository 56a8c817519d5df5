"""ttfs-energy on a real run."""

import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import commands
from helpers.commands import Outcome, command
from helpers.environments import python

from ttfs_cupy import UserError
from ttfs_cupy.common.files import writing
from ttfs_cupy.energy import command as energy_command
from ttfs_cupy.energy.costs import WAYS


def energy(*arguments: str | Path) -> Outcome:
    return command(energy_command.main, *arguments)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return commands.run_small(tmp_path_factory.mktemp("energy") / "run", training__epochs=1)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_it_says_what_each_layer_costs_and_leaves_the_run_alone(run: Path) -> None:
    before = tree(run)
    outcome = energy(run)
    assert (outcome.code, outcome.err) == (0, "")
    assert tree(run) == before
    layers = ["input", "conv1", "pool1", "conv2", "pool2", "readout", "total"]
    assert re.findall(r"^(\w+) +[\d,]+ ", outcome.out, re.MULTILINE)[:7] == layers
    accuracy = re.findall(r"test accuracy  ([\d.]+) %", commands.evaluate(run).out)
    assert re.findall(r"test images    \d+, accuracy ([\d.]+) %", outcome.out) == accuracy
    assert energy(run).out == outcome.out


def test_json_holds_the_tables_numbers(run: Path, tmp_path: Path) -> None:
    outcome = energy(run, "--json", "-", "--images", "50", "--memory", "1MB")
    assert (outcome.code, outcome.err) == (0, "")
    content = json.loads(outcome.out)
    file = tmp_path / "energy.json"
    said = energy(run, "--json", file, "--images", "50", "--memory", "1MB").out
    assert json.loads(file.read_text()) == content
    assert content["images"] == 50 and content["pj"]["access"] == 50
    total, layers = content["total"], content["layers"]
    assert f"{total['ann_multiply_adds']:,}" in said and f"{total['synaptic_operations']:,.0f}" in said
    # 3 x 3 with padding 1 on 8 x 8 has 22 x 22 taps, of 1 and 8 channels
    assert [layer.get("ann_multiply_adds") for layer in layers] == [
        None,
        22 * 22 * 8,
        None,
        10 * 10 * 8 * 16,
        None,
        2 * 2 * 16 * 10,
    ]
    for way in WAYS:
        for of in ("arithmetic_nj", "accesses", "memory_nj"):
            each = [layer[way][of] for layer in layers if way in layer]
            assert len(each) == 3 and total[way][of] == pytest.approx(sum(each))
    for layer in layers:
        if layer["spikes"] is not None:
            assert layer["firing_rate"] == pytest.approx(layer["spikes"] / layer["neurons"])
    np.testing.assert_allclose(total["additions"]["arithmetic_nj"], 0.9e-3 * total["synaptic_operations"])


def test_the_picture_is_the_same_each_time_and_written_over_only_when_told(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot brings it")
    file = tmp_path / "energy.png"
    assert energy(run, "--plot", file, "--images", "20").code == 0
    first = file.read_bytes()
    assert first.startswith(b"\x89PNG")
    again = energy(run, "--plot", file)
    assert (again.code, again.err) == (2, f"error: '{file}' is there already: name another file, or add --force\n")
    file.write_bytes(b"old")
    assert energy(run, "--plot", file, "--images", "20", "--force").code == 0
    assert file.read_bytes() == first


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--images", "0"], "--images must be a whole number from 1, not 0"),
        (["--images", "361"], "--images 361 is more than the 360 of the test set"),
        (["--plot", "energy.pdf"], "--plot makes a PNG file, so its name has to end in .png, not 'energy.pdf'"),
        (["--json", "nowhere/e.json"], "nowhere/e.json cannot be written: there is no folder nowhere"),
        (["--json", "e.png", "--plot", "e.png"], "--json and --plot 'e.png' are one file: name two"),
        (["--epoch", "7"], "7"),
        (["--memory", "2MB"], "argument --memory: invalid choice: '2MB'"),
    ],
)
def test_mistakes_are_one_sentence(
    run: Path, arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = energy(run, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("error: ") and outcome.err.count("\n") == 1 and sentence in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_runs_own_files_stay(run: Path) -> None:
    before = tree(run)
    for name in ("config.yaml", "checkpoints/epoch-0001.safetensors"):
        (run / "checkpoints").mkdir(exist_ok=True)
        outcome = energy(run, "--json", run / name, "--force")
        sentence = f"error: '{run / name}' is a file of the run in '{run}': name another one\n"
        assert (outcome.code, outcome.err) == (2, sentence)
    (run / "checkpoints").rmdir()
    assert tree(run) == before


def test_a_pipe_stays_one(run: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    outcome = energy(run, "--json", pipe, "--force")
    assert (outcome.code, outcome.err) == (2, f"error: {pipe} is a pipe, not a file\n")
    assert pipe.is_fifo()


def test_both_files_are_written_or_neither(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot brings it")
    text, drawn = tmp_path / "e.json", tmp_path / "e.png"
    real = writing.written_aside

    def full(path: Path, content: bytes) -> Any:
        if path == drawn:
            raise UserError("no space")
        return real(path, content)

    monkeypatch.setattr(writing, "written_aside", full)
    outcome = energy(run, "--json", text, "--plot", drawn, "--images", "5")
    assert (outcome.code, outcome.err) == (2, "error: no space\n")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert energy(run, "--json", text, "--plot", drawn, "--images", "5").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"e.json", "e.png"}


def test_quiet_leaves_the_table(run: Path) -> None:
    outcome = energy(run, "--quiet", "--images", "5")
    assert (outcome.code, outcome.err) == (0, "")
    assert "test images" not in outcome.out and re.search("^readout ", outcome.out, re.MULTILINE)


def test_of_a_backend_that_there_is_not(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra plot brings it")
    code = (
        f"from ttfs_cupy.energy.command import main; exit(main([{str(run)!r}, '--plot', {str(tmp_path / 'e.png')!r}]))"
    )
    result = python(code, variables={"MPLBACKEND": "foo"})
    assert result.returncode == 2 and result.stderr.startswith("error: matplotlib refuses its settings (")
    assert result.stderr.count("\n") == 1


def test_where_there_is_no_run(tmp_path: Path) -> None:
    outcome = energy(tmp_path)
    assert (outcome.code, outcome.out) == (2, "") and outcome.err.startswith("error: ")


def test_without_matplotlib(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else real(name))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    outcome = energy(run, "--plot", tmp_path / "e.png")
    assert outcome.code == 2 and "pip install 'ttfs-cupy[plot]'" in outcome.err
    assert energy(run, "--images", "5").code == 0
