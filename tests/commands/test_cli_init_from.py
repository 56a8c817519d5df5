"""A run that begins with weights of a file: --init-from, which is short for network.initial_weights."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import yaml
from helpers.commands import convert, run_small, small, train, weights
from helpers.refusals import refused, tree

from ttfs_cupy.exchange import pytorch_file
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.prepare import prepare

# a step that changes next to nothing, so that what the run began with shows
STILL = {"optimizer__lr": "1e-30", "training__epochs": 1}


@pytest.fixture(scope="module")
def standardized_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_small(
        tmp_path_factory.mktemp("standardized") / "run",
        network__normalization="weight",
        network__initial_potential=True,
        network__psp_slope=0,
    )


def begun(output: Path, source: Path, **changes: object) -> dict[str, np.ndarray]:
    """The weights of a network at the beginning of a run."""
    arguments = small(output, **changes)
    sets = [value for option, value in pairwise(arguments) if option == "--set"]
    config = load_config("quickstart", sets, {"network.initial_weights": str(source), "device": "cpu"})
    return prepare(config).network.state_dict()


def test_all_forms_of_a_run_s_weights_begin_the_same(good_run: Path, tmp_path: Path) -> None:
    written = [tmp_path / name for name in ("w.pt", "w.pth", "w.safetensors")]
    outcome = convert(good_run, *(part for file in written for part in ("-o", file)))
    assert (outcome.code, outcome.err) == (0, "")
    for source in (good_run, good_run / "best.safetensors", *written):
        state = begun(tmp_path / "run", source)
        for name, array in weights(good_run).items():
            np.testing.assert_array_equal(state[name], array)


def test_a_standardised_network_s_weights_come_back_to_the_bit(standardized_run: Path, tmp_path: Path) -> None:
    assert convert(standardized_run, "-o", tmp_path / "w.pt", "-o", tmp_path / "w.safetensors").code == 0
    plain = {"network__psp_slope": 0, "network__initial_potential": True}
    kept = weights(standardized_run)
    for source in (standardized_run, tmp_path / "w.pt", tmp_path / "w.safetensors"):
        for name, array in begun(tmp_path / "run", source, **plain).items():
            np.testing.assert_array_equal(array, kept[name])
    # a standardised network makes its weights anew of the raw ones, the same of each file
    several = [
        begun(tmp_path / "run", source, network__normalization="weight", **plain)
        for source in (standardized_run, tmp_path / "w.pt", tmp_path / "w.safetensors")
    ]
    for name, array in several[0].items():
        np.testing.assert_allclose(array, kept[name], rtol=1e-5, atol=1e-6)
        for other in several[1:]:
            np.testing.assert_array_equal(other[name], array)


def test_a_checkpoint_s_raw_weights_and_gains_are_kept(standardized_run: Path, tmp_path: Path) -> None:
    own = {"network__normalization": "weight", "network__initial_potential": True, "network__psp_slope": 0}
    outcome = train(
        *small(tmp_path / "run", **own, **STILL), "--init-from", standardized_run / "last.safetensors"
    )  # fmt: skip
    assert (outcome.code, outcome.err) == (0, "")
    assert "conv1.v" in outcome.out and "not of the network: 'optimizer." in outcome.out
    before, after = weights(standardized_run, "last"), weights(tmp_path / "run", "last")
    names = [name for name in before if name.startswith("network.")]
    assert any(name.endswith(".g") for name in names)
    for name in names:
        np.testing.assert_array_equal(after[name], before[name])


def test_a_checkpoint_in_a_network_that_is_not_standardised(standardized_run: Path, tmp_path: Path) -> None:
    """It gets the weights that follow from the raw ones, and no potentials if it has none."""
    source = standardized_run / "last.safetensors"
    standardized = begun(
        tmp_path / "a", source, network__normalization="weight", network__initial_potential=True, network__psp_slope=0
    )
    plain = begun(tmp_path / "b", source, network__psp_slope=0)
    assert set(plain) == {name for name in standardized if not name.endswith(".potential")}
    for name, array in plain.items():
        np.testing.assert_allclose(array, standardized[name], rtol=1e-6, atol=1e-7)


def test_the_config_and_the_log_say_what_a_run_began_with(good_run: Path, tmp_path: Path) -> None:
    outcome = train(*small(tmp_path / "run", **STILL), "--init-from", good_run)
    assert (outcome.code, outcome.err) == (0, "")
    config = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert config["network"]["initial_weights"] == str(good_run)
    row = "'conv1.weight'   float32 (8, 1, 3, 3)  -> conv1.weight"
    assert row in outcome.out and row in (tmp_path / "run/log.txt").read_text()
    for name, array in weights(good_run).items():
        np.testing.assert_array_equal(weights(tmp_path / "run")[name], array)


def test_a_network_of_pytorch_s(tmp_path: Path) -> None:
    """With biases and batch norm, which are left out, in bfloat16, its linear layer's inputs in the order (C, H, W)."""
    torch = pytest.importorskip("torch")
    nn = torch.nn
    network = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10)),
    )
    state = {f"module.{name}": tensor.bfloat16() for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "w.pth")
    outcome = train(*small(tmp_path / "run", **STILL), "--init-from", tmp_path / "w.pth")
    assert (outcome.code, outcome.err) == (0, "")
    assert "left out: no layer here has a bias" in outcome.out
    assert "left out: there is no batch norm here" in outcome.out
    places = {"conv1.weight": "0.weight", "conv2.weight": "4.weight", "readout.weight": "8.weight"}
    for own, theirs in places.items():
        np.testing.assert_array_equal(weights(tmp_path / "run")[own], state[f"module.{theirs}"].float().numpy())


def test_initial_potentials_begin_at_0_where_the_file_has_none(good_run: Path, tmp_path: Path) -> None:
    outcome = train(*small(tmp_path / "run", network__initial_potential=True, **STILL), "--init-from", good_run)
    assert (outcome.code, outcome.err) == (0, "")
    assert "no initial potentials for 3 layers: they begin at 0" in outcome.out
    assert np.abs(weights(tmp_path / "run")["conv1.potential"]).max() < 1e-20


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_initial_potentials_of_a_network_within_another_are_taken(
    suffix: str, standardized_run: Path, tmp_path: Path
) -> None:
    state = {f"encoder.{name}": array for name, array in weights(standardized_run).items()}
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(pytorch_file.content(state) if suffix == "pt" else safetensors.numpy.save(state))
    plain = {"network__psp_slope": 0, "network__initial_potential": True}
    found = begun(tmp_path / "run", path, **plain)
    assert np.abs(found["conv1.potential"]).max() > 0
    for name, array in found.items():
        np.testing.assert_array_equal(array, state[f"encoder.{name}"])


def test_the_table_says_what_type_the_file_has(good_run: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    state = {name: torch.from_numpy(array) for name, array in weights(good_run).items()}
    save_file({**state, "conv1.weight": state["conv1.weight"].bfloat16()}, tmp_path / "w.safetensors")
    outcome = train(*small(tmp_path / "run", **STILL), "--init-from", tmp_path / "w.safetensors")
    assert (outcome.code, outcome.err) == (0, "")
    assert "'conv1.weight'   bfloat16 (8, 1, 3, 3)  -> conv1.weight" in outcome.out
    assert "'conv2.weight'   float32  (16, 8, 3, 3) -> conv2.weight" in outcome.out


def test_suffixes_in_capitals(good_run: Path, tmp_path: Path) -> None:
    for name in ("W.PT", "W.SafeTensors"):
        assert convert(good_run, "-o", tmp_path / name).code == 0
        for key, array in begun(tmp_path / "run", tmp_path / name).items():
            np.testing.assert_array_equal(array, weights(good_run)[key])


@pytest.mark.usefixtures("here")
class TestRefusals:
    def test_files_that_are_none(self, here: Path) -> None:
        for name, content in (("w.pt", b"no weights"), ("w.pth", b""), ("w.safetensors", b"no weights")):
            (here / name).write_bytes(content)
            refused(train(*small(here / "out"), "--init-from", name), name, "cannot be read", "not a whole")
        refused(train(*small(here / "out"), "--init-from", "missing.pt"), "missing.pt", "no such file")
        refused(train(*small(here / "out"), "--init-from", "."), "'.' holds no run")
        refused(train(*small(here / "out"), "--init-from", ""), "--init-from", "must name a path")
        assert not (here / "out").exists()

    def test_weights_that_do_not_fit(self, good_run: Path, here: Path) -> None:
        before = tree(here)
        refused(
            train(*small(here / "out", network__model="[8, P, 32, P]"), "--init-from", good_run),
            "best.safetensors",
            "'conv2.weight' have shape (16, 8, 3, 3), the network's (32, 8, 3, 3)",
        )
        assert tree(here) == before

    @pytest.mark.parametrize(("value", "words"), [(np.nan, "NaN"), (np.inf, "float32 cannot hold")])
    def test_numbers_that_are_not_finite(self, value: float, words: str, good_run: Path, here: Path) -> None:
        arrays = weights(good_run)
        arrays["conv2.weight"][0, 0, 0, 0] = value
        safetensors.numpy.save_file(arrays, here / "w.safetensors")
        refused(train(*small(here / "out"), "--init-from", "w.safetensors"), "'conv2.weight' holds", words)

    def test_integers(self, good_run: Path, here: Path) -> None:
        arrays = {name: array.astype(np.int32) for name, array in weights(good_run).items()}
        safetensors.numpy.save_file(arrays, here / "w.safetensors")
        refused(
            train(*small(here / "out"), "--init-from", "w.safetensors"), "'conv1.weight'", "are int32: they must be"
        )

    @pytest.mark.parametrize("name", ["conv1.v", "conv1.g", "conv1.potential"])
    @pytest.mark.parametrize("normalization", ["weight", "none"])
    def test_integers_of_a_checkpoint(self, name: str, normalization: str, standardized_run: Path, here: Path) -> None:
        arrays = weights(standardized_run, "last")
        arrays[f"network.{name}"] = arrays[f"network.{name}"].astype(np.int64)
        safetensors.numpy.save_file(arrays, here / "w.safetensors")
        own = {"network__normalization": normalization, "network__initial_potential": True, "network__psp_slope": 0}
        refused(
            train(*small(here / "out", **own), "--init-from", "w.safetensors"), f"'{name}'", "are int64: they must be"
        )

    @pytest.mark.parametrize("name", ["w.bin", "w", "w.npz"])
    def test_names_that_do_not_say_what_they_are(self, name: str, good_run: Path, here: Path) -> None:
        (here / name).write_bytes(pytorch_file.content(weights(good_run)))
        words = f"weights '{name}' cannot be used: name a run's directory, or a file whose name ends in .safetensors, "
        refused(train(*small(here / "out"), "--init-from", name), words, "in .pt or .pth")
        refused(train(*small(here / "out"), "--init-from", f"no-{name}"), "no such file")

    def test_keys_that_go_against_it(self, good_run: Path, here: Path) -> None:
        outcome = train(*small(here / "out", network__weight_std=0.1), "--init-from", good_run)
        refused(outcome, "network.weight_std", "has no effect with initial_weights")
        refused(train("--resume", good_run, "--init-from", good_run), "--resume", "leave out --init-from")

    def test_a_network_key_that_is_no_section(self, good_run: Path, here: Path) -> None:
        (here / "c.yaml").write_text("network: 3\ndata: {dataset: digits}\ntraining: {epochs: 1, batch_size: 64}\n")
        refused(train("c.yaml", "--init-from", good_run), "--init-from", "network has a value")
