"""ttfs-export: a run's network for other runtimes, checked before it is written."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.commands import Outcome, command, evaluate, run_small
from helpers.refusals import refused, tree

from ttfs_cupy.data import load_dataset
from ttfs_cupy.export import command as export_command
from ttfs_cupy.export import onnx_graph

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.usefixtures("here")

# as a user would, without this package
USE = """
import sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession("digits.onnx", providers=["CPUExecutionProvider"])
potentials, probabilities, classes = session.run(None, {"images": np.load("images.npy")})
assert "ttfs_cupy" not in sys.modules
np.save("classes.npy", classes)
"""


def export(*arguments: str | Path) -> Outcome:
    return command(export_command.main, *arguments)


def digits() -> Any:
    test = load_dataset("digits", Path("data")).test
    return test.images.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(test.maximum), test.labels


@pytest.fixture(scope="module")
def flat_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(tmp_path_factory.mktemp("flat") / "run", network__psp_slope="0", training__epochs=1)


def test_the_file_works_without_this_package(good_run: Path, here: Path) -> None:
    outcome = export(good_run, "--onnx", "digits.onnx", "--images", "100000")
    assert (outcome.code, outcome.err) == (0, "")
    pixels, labels = digits()
    assert re.fullmatch(
        rf"digits\.onnx: the network of \S+best\.safetensors; beside it in onnxruntime on {len(labels)} test images no "
        r"predictions differ, and the largest difference of potentials is \S+; layer by layer, at the same input, \d+ "
        r"of \d+ outputs differ by rounding\n",
        outcome.out,
    )
    np.save(here / "images.npy", pixels)
    (here / "use.py").write_text(USE)
    subprocess.run([sys.executable, "use.py"], cwd=here, check=True, timeout=120)
    accuracy = 100 * float((np.load(here / "classes.npy") == labels).mean())
    assert f"test accuracy  {accuracy:.2f} %" in evaluate(good_run).out


def test_at_slope_0_potentials_say_all(flat_run: Path) -> None:
    outcome = export(flat_run, "--onnx", "w.onnx", "--images", "20")
    assert (outcome.code, outcome.err) == (0, "")
    words = r"on 20 test images no predictions differ, and the largest difference of potentials is \d\.\de-0[678]\n$"
    assert re.search(words, outcome.out)


def test_class_names_and_source_stand_in_the_file(good_run: Path) -> None:
    assert export(good_run, "--onnx", "w.onnx").code == 0
    said = {entry.key: entry.value for entry in onnx.load("w.onnx").metadata_props}
    assert said["source"] == str(good_run / "best.safetensors") and said["psp_slope"] == "1.0"
    first = Path("w.onnx").read_bytes()
    assert export(good_run, "--onnx", "w.onnx", "--force").code == 0
    assert Path("w.onnx").read_bytes() == first


def test_both_files_at_once(good_run: Path) -> None:
    nir = pytest.importorskip("nir")
    outcome = export(good_run, "--onnx", "w.onnx", "--nir", "w.nir")
    assert (outcome.code, outcome.err) == (0, "")
    assert [line.partition(":")[0] for line in outcome.out.splitlines()] == ["w.nir", "w.onnx"]
    graph = nir.read("w.nir")
    assert graph.metadata["psp_slope"] == "1.0" and set(graph.outputs) == {"potentials"}


def test_the_nir_file_predicts_what_the_run_does(flat_run: Path) -> None:
    """Slope 0 with all of the network's gates; on some test images, one at a time."""
    nir = pytest.importorskip("nir")
    from helpers import nir_events

    from ttfs_cupy.trained.opening import open_run

    assert export(flat_run, "--nir", "w.nir").code == 0
    graph, (pixels, _) = nir.read("w.nir"), digits()
    network = open_run(flat_run).network
    expected = network.forward(network.encode(pixels[:20]))
    results = np.stack([nir_events.result(graph, image) for image in pixels[:20]])
    np.testing.assert_array_equal(results.argmax(1), expected.argmax(1))
    np.testing.assert_allclose(results, expected, rtol=0, atol=1e-4)


def test_a_wrong_file_is_not_written(good_run: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = onnx_graph.onnx_graph

    def wrong(*arguments: Any) -> onnx_graph.Graph:
        graph = made(*arguments)
        (found,) = (each for each in graph.model.graph.initializer if each.name == "conv2.weight")
        values = onnx.numpy_helper.to_array(found).copy()
        values[0] += 0.1
        found.CopyFrom(onnx.numpy_helper.from_array(values, found.name))
        return graph

    monkeypatch.setattr(onnx_graph, "onnx_graph", wrong)
    outcome = export(good_run, "--onnx", "w.onnx", "--nir", "w.nir")
    assert (outcome.code, outcome.err) == (1, "")
    assert outcome.out.startswith("w.onnx is not written, as it is wrong: the network of ")
    assert re.search(r"and more than rounding explains \d+ of conv2\n$", outcome.out)
    assert tree(here) == {}


def lacking(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else real(name))
    monkeypatch.setitem(sys.modules, package, None)


def test_without_the_packages(good_run: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        lacking("onnx", patch)
        words = "onnx, which writes the file, is not installed: pip install 'ttfs-cupy[onnx]'"
        refused(export(good_run, "--onnx", "w.onnx"), words)
    with monkeypatch.context() as patch:
        lacking("nir", patch)
        words = "nir, which writes the file, is not installed: pip install 'ttfs-cupy[nir]'"
        refused(export(good_run, "--nir", "w.nir"), words)
    assert tree(here) == {}
    with monkeypatch.context() as patch:
        lacking("onnxruntime", patch)
        outcome = export(good_run, "--onnx", "w.onnx")
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out.endswith(
            "best.safetensors, not compared with it: onnxruntime, which the file is checked with, is not installed: "
            "pip install 'ttfs-cupy[onnx]'\n"
        )
    assert set(tree(here)) == {"w.onnx"}


def test_what_is_refused(good_run: Path, here: Path) -> None:
    (here / "there.onnx").write_text("precious")
    before = tree(here)
    refused(export(good_run), "nothing is to be written: name a file with --onnx or --nir, or a folder with --c")
    refused(export(good_run, "--onnx", "there.onnx"), "--onnx 'there.onnx' is there already", "--force")
    refused(export(good_run, "--nir", "there.onnx"), "--nir 'there.onnx' is there already", "--force")
    refused(export(good_run, "--onnx", "missing/w.onnx"), "there is no folder missing")
    refused(export(good_run, "--onnx", here), "it is a folder")
    refused(export(good_run, "--onnx", "w", "--nir", "../here/w"), "name one file twice: name one for each")
    refused(export(good_run, "--onnx", "w", "--images", "0"), "--images must be a whole number from 1, not 0")
    refused(export(here, "--onnx", "w"), "holds no run")
    refused(export("missing", "--onnx", "w"), "missing")
    refused(export(good_run, "--onnx", "w", "--epoch", "7"), "keeps no checkpoint of epoch 7")
    refused(export(good_run, "--onnx", "w", "--device", "cuda:99"), "cuda:99")
    refused(export(good_run, "--onnx", "w", "--set", "bogus=2"), "bogus is not a key")
    for key in ("network.t_win=2", "network.psp_slope=0", "data.dataset=mnist", "network.readout=spike_times"):
        words = f"--set cannot change {key.partition('=')[0]} here, which is the run's"
        refused(export(good_run, "--onnx", "w", "--set", key), words)
    assert tree(here) == before
    assert export(good_run, "--onnx", "there.onnx", "--force", "--set", "data.root=elsewhere").code == 0


def test_a_kept_checkpoint(here: Path) -> None:
    run = run_small(here / "run", training__keep="{last: 2}", training__epochs=2)
    assert export(run, "--onnx", "one.onnx", "--epoch", "1").code == 0
    assert export(run, "--onnx", "two.onnx", "--epoch", "2").code == 0
    weights = [
        onnx.numpy_helper.to_array(
            next(each for each in onnx.load(name).graph.initializer if each.name == "conv1.weight")
        )
        for name in ("one.onnx", "two.onnx")
    ]
    assert (weights[0] != weights[1]).any()


def test_weights_of_another_network(good_run: Path, here: Path) -> None:
    shutil.copytree(good_run, here / "run")
    config = (here / "run/config.yaml").read_text()
    (here / "run/config.yaml").write_text(config.replace("[8, P, 16, P]", "[8, P, 24, P]"))
    refused(export("run", "--onnx", "w.onnx"), "conv2", "do not fit")
    assert not (here / "w.onnx").exists()
