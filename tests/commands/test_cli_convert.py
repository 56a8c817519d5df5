"""ttfs-convert: a run's weights as a state_dict, and its network as a module of PyTorch's."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from helpers.commands import convert, weights
from helpers.refusals import refused, tree

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("here")

# as a user would, in a folder of its own, without this package
USE = """
import sys
import numpy as np, torch
from digits import Net
net = Net()
net.load_state_dict(torch.load("digits.pt", weights_only=True))
with torch.no_grad():
    output = net(torch.from_numpy(np.load("images.npy")))
assert "ttfs_cupy" not in sys.modules
np.save("output.npy", output.numpy())
"""


def test_the_module_and_the_weights_work_without_this_package(good_run: Path, here: Path) -> None:
    from ttfs_cupy.experiment.config import load_config
    from ttfs_cupy.experiment.prepare import prepare
    from ttfs_cupy.experiment.run_weights import load_best

    outcome = convert(good_run, "-o", "digits.pt", "-o", "digits.py")
    assert (outcome.code, outcome.err) == (0, "")
    assert "digits.pt: 3 tensors of" in outcome.out
    assert "beside it on 256 test images potentials differ by" in outcome.out
    images = np.random.default_rng(0).random((1000, 1, 8, 8), np.float32)
    np.save(here / "images.npy", images)
    (here / "use.py").write_text(USE)
    subprocess.run([sys.executable, "use.py"], cwd=here, check=True, timeout=120)
    network = prepare(load_config(good_run / "config.yaml", ["device=cpu"]), training=False).network
    load_best(network, good_run / "best.safetensors")
    ours, theirs = network.forward(network.encode(images)), np.load(here / "output.npy")
    apart = np.abs(ours - theirs).max(axis=1)
    # of psp_slope 1: rounding may have decided about a spike
    assert np.count_nonzero(apart > 1e-5 * max(1, np.abs(ours).max())) <= 10


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.safetensors"])
def test_no_bit_of_a_weight_changes(name: str, good_run: Path) -> None:
    assert convert(good_run / "best.safetensors", "-o", name).code == 0
    if name.endswith(".safetensors"):
        state = safetensors.numpy.load_file(name)
    else:
        state = {key: tensor.numpy() for key, tensor in torch.load(name, weights_only=True).items()}
    expected = weights(good_run)
    assert state.keys() == expected.keys()
    for key, array in expected.items():
        assert state[key].dtype == np.float32
        np.testing.assert_array_equal(state[key], array)


def test_a_checkpoint(good_run: Path) -> None:
    outcome = convert(good_run / "last.safetensors", "-o", "w.pt", "-o", "w.py")
    assert (outcome.code, outcome.err) == (0, "")
    last = weights(good_run, "last")
    for name, tensor in torch.load("w.pt", weights_only=True).items():
        np.testing.assert_array_equal(tensor.numpy(), last[f"network.{name}"])


def test_files_that_are_there_stay_without_force(good_run: Path, here: Path) -> None:
    for name in ("w.pt", "w.safetensors", "w.py"):
        (here / name).write_text("precious")
        before = tree(here)
        refused(convert(good_run, "-o", "new.pt", "-o", name), f"'{name}' is there already", "--force")
        assert tree(here) == before
        assert convert(good_run, "-o", name, "--force").code == 0
        assert (here / name).read_bytes() != b"precious"
        (here / name).unlink()


def test_a_run_is_not_written_over(good_run: Path) -> None:
    best = good_run / "best.safetensors"
    before = best.read_bytes()
    refused(convert(good_run, "-o", best, "--force"), "is the file that is converted")
    assert best.read_bytes() == before


def test_what_is_refused(good_run: Path, here: Path) -> None:
    shutil.copy(good_run / "best.safetensors", here / "alone.safetensors")
    before = tree(here)
    refused(convert(good_run, "-o", "w.onnx"), "must end in .pt, .safetensors or .py", "w.onnx")
    refused(convert(good_run, "-o", "missing/w.pt"), "there is no folder missing")
    refused(convert(good_run), "--output")
    refused(convert("missing", "-o", "w.pt"), "missing", "no such file")
    refused(convert(here, "-o", "w.pt"), "holds no run")
    refused(convert("alone.safetensors", "-o", "w.py"), "does not say what its network is", "config.yaml")
    refused(convert(good_run, "-o", "one/../w.pt", "-o", "w.py"), "there is no folder one/..")
    refused(convert(good_run, "-o", "w.pt", "-o", "w.py", "-o", "./../here/w.pt"), "--output 'w.pt' and '", "one file")
    refused(convert("alone.safetensors", "-o", "w.pt", "--set", "data.root=x"), "does not say what its network is")
    assert tree(here) == before
    assert convert("alone.safetensors", "-o", "w.pt").code == 0


def test_weights_that_are_not_the_config_s(good_run: Path, here: Path) -> None:
    shutil.copytree(good_run, here / "run")
    config = (here / "run/config.yaml").read_text()
    (here / "run/config.yaml").write_text(config.replace("[8, P, 16, P]", "[8, P, 24, P]"))
    refused(convert("run", "-o", "w.py"), "conv2.weight", "do not fit")


@pytest.mark.parametrize("name", ["w.py", "w.pt", "w.safetensors"])
@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("bogus=2", "bogus is not a key"),
        ("network.t_win=2", "--set cannot change network.t_win here, which is the run's"),
        ("network.model=[8, P, 24, P]", "--set cannot change network.model here"),
        ("data.dataset=mnist", "--set cannot change data.dataset here"),
    ],
)
def test_a_run_s_network_is_written_as_it_is(
    name: str, assignment: str, words: str, good_run: Path, here: Path
) -> None:
    refused(convert(good_run, "-o", name, "--set", assignment), words)
    assert tree(here) == {}
    assert convert(good_run, "-o", name, "--set", "data.root=elsewhere").code == 0


def test_files_of_pytorch_s_are_no_run_s(good_run: Path) -> None:
    assert convert(good_run, "-o", "w.pt", "-o", "W.PY").code == 0
    words = "'w.pt' cannot be converted: name a run's directory, or one of its .safetensors files"
    refused(convert("w.pt", "-o", "other.pt"), words)


def test_a_file_that_is_no_weights(here: Path) -> None:
    (here / "bad.safetensors").write_bytes(b"nothing of the kind")
    refused(convert("bad.safetensors", "-o", "w.pt"), "bad.safetensors", "not a whole safetensors file")
