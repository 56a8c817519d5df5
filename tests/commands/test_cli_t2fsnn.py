"""T2FSNN's JSON on the command line: `train` takes it, `convert-config` makes YAML of it."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.commands import Outcome, command, metrics, train, weights
from helpers.datasets_on_disk import write_cifar10, write_mnist
from helpers.refusals import refused, tree
from helpers.t2fsnn_files import BATCH_32, BATCH_256, write_json
from reference.comparison import DEVICE

from ttfs_cupy import convert_config
from ttfs_cupy.experiment import named_config
from ttfs_cupy.experiment.config import load_config

DIGITS = ("--dataset", "digits", "--network", "8C3 - P2 - 16C3")
CIFAR = ("--dataset", "cifar10", "--network", "vgg11")
QUICK = ("--device", DEVICE, "--no-tune", "--set", "training.epochs=1")


@pytest.fixture
def old(here: Path) -> Path:
    return write_json(Path("old.json"), BATCH_32)


def convert(*arguments: str | Path) -> Outcome:
    return command(convert_config.main, *arguments)


@pytest.mark.parametrize("content", [BATCH_32, BATCH_256], ids=["32", "256"])
def test_t2fsnn_s_examples_train(content: dict[str, Any], here: Path) -> None:
    write_cifar10(here / "datasets/cifar10", train=64, test=10)
    write_json(here / "old.json", content)
    settings = (*QUICK, "--set", "training.batch_size=32")
    outcome = train("old.json", "--dataset", "cifar10", "--network", "8C3 - P2 - 16C3 - P2", *settings)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("T2FSNN ")
    for name, (here_, value) in {
        "use_adam": ("optimizer.name", "adam"),
        "w_decay": ("optimizer.weight_decay", "0.1"),
        "early_stopping": ("training.patience", "25"),
        "batch_size": ("training.batch_size", str(content["batch_size"])),
    }.items():
        assert re.search(rf"^{name} .* {here_} +{value}\b", outcome.out, re.MULTILINE), name
    assert "\nthen --set training.epochs=1\nthen --set training.batch_size=32\n" in outcome.out
    epoch, last = metrics(here / "runs/old")
    assert (epoch["epoch"], last["test_images"]) == (1, 10)
    text = (here / "runs/old/config.yaml").read_text()
    assert text.startswith("# Translated from T2FSNN's old.json.\nseed: 0\n")
    config = load_config("runs/old/config.yaml")
    assert (config.network.model, config.data.root) == ("8C3 - P2 - 16C3 - P2", "datasets/cifar10")
    assert (config.optimizer.lr, config.optimizer.weight_decay) == (content["lr"], 0.1)
    assert (config.schedule.annealing, config.training.patience) == (0.999, 25)


def test_keys_that_only_its_classes_take(here: Path) -> None:
    content = {"w_clip": True, "w_max": 0.3, "w_min": -0.25, "w_ei": True, "w_init_std": [0.5, 0.1, None], "t_win": 2}
    write_json(here / "old.json", {**BATCH_32, **content, "betas": [0.8, 0.9]})
    outcome = train("old.json", *DIGITS, *QUICK)
    assert (outcome.code, outcome.err) == (0, "")
    assert "weights to its bounds, before the first step" in outcome.out
    trained = weights(here / "runs/old")
    for array in trained.values():
        assert -0.25 <= array.min() < 0 < array.max() <= np.float32(0.3)
    # drawn five times as wide, most of them lie at a bound
    assert np.mean((trained["conv1.weight"] > 0.29) | (trained["conv1.weight"] < -0.24)) > 0.4
    assert np.mean((trained["conv2.weight"] > 0.29) | (trained["conv2.weight"] < -0.24)) < 0.05


def test_a_run_goes_on_and_may_change(old: Path, here: Path) -> None:
    assert train(old, *DIGITS, *QUICK, "--output", "run", "--seed", "3").code == 0
    assert train("--resume", "run", "--set", "training.epochs=2").code == 0
    assert load_config("run/config.yaml").seed == 3
    assert [line["epoch"] for line in metrics(here / "run") if "epoch" in line] == [1, 2]


def test_other_options_go_with_it(old: Path, here: Path) -> None:
    assert train(old, *DIGITS, *QUICK, "--output", "first").code == 0
    outcome = train(old, *DIGITS, *QUICK, "--output", "second", "--init-from", "first", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    assert "T2FSNN" not in outcome.out
    assert load_config("second/config.yaml").network.initial_weights == "first"
    before = tree(here)
    outcome = train(old, *DIGITS, "--dry-run", "--device", DEVICE, "--no-tune")
    assert outcome.code == 0 and "use_adam" in outcome.out and "nothing was written" in outcome.out
    assert tree(here) == before


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (BATCH_256, CIFAR),
        (BATCH_32, ("--dataset", "mnist", "--network", "[8, P, {linear: 4}]")),
        ({"epochs": 2, "batch_size": 3}, DIGITS),
        ({**BATCH_32, "use_adam": False, "w_clip": True, "betas": [0.9, 0.99], "t_win": 2.5}, DIGITS),
        ({**BATCH_32, "w_init_std": [0.1, None, 0.2], "w_init_mean": {"conv2": 0.01}}, DIGITS),
        ({**BATCH_32, "betas": [0.9, 0.99], "eps": 1e-9, "w_init_mean": 1e-3, "w_init_std": 0.1}, CIFAR),
    ],
)
def test_the_yaml_file_trains_what_the_json_does(content: dict[str, Any], options: tuple[str, ...], here: Path) -> None:
    write_json(here / "old.json", content)
    outcome = convert("old.json", *options, "-o", "new.yaml")
    assert (outcome.code, outcome.err) == (0, "")
    _, dataset, _, network = options
    network = yaml.safe_load(network) if network.startswith("[") else network
    found = named_config.named(Path("old.json"), dataset, network, [], {})
    assert load_config("new.yaml") == found.config
    assert load_config("new.yaml") != load_config("new.yaml", ["training.epochs=77"])
    # the same table, and what to type next
    assert outcome.out.splitlines()[: len(found.table)] == list(found.table)
    assert outcome.out.endswith("train new.yaml\n")
    # without -o the same text, and the table elsewhere
    printed = convert("old.json", *options)
    assert (printed.code, printed.out) == (0, (here / "new.yaml").read_text())
    assert printed.err.splitlines() == list(found.table)


def test_the_yaml_file_is_commented(old: Path, here: Path) -> None:
    assert convert(old, *CIFAR, "-o", "new.yaml").code == 0
    lines = (here / "new.yaml").read_text().splitlines()
    assert lines[0] == "# Translated from T2FSNN's old.json."
    assert (
        "  patience: 25                   # T2FSNN's early_stopping: epochs without a better validation accuracy"
        in (lines)
    )
    assert [line for line in lines if "#" not in line] == []
    assert "  model: vgg11                   # as --network says" in lines
    assert "  dataset: cifar10               # as --dataset says" in lines
    assert "  clip: separate                 # clips a spike time's two derivatives one by one" in lines
    assert [line for line in lines if not line.startswith(("  ", "#"))] == [
        "network:                         # what is trained",
        "data:                            # what it is trained on",
        "training:                        # how long",
        "optimizer:                       # how the weights change",
        "schedule:                        # how the learning rate changes",
    ]


def test_a_name_ends_no_comment(here: Path) -> None:
    name = "a\nseed: 3 #.json"
    write_json(here / name, BATCH_32)
    assert convert(name, *CIFAR, "-o", "new.yaml").code == 0
    assert load_config("new.yaml").seed == 0


def test_what_convert_config_refuses(old: Path, here: Path) -> None:
    (here / "there.yaml").write_text("precious")
    write_json(here / "ours.json", {"data": {"dataset": "digits"}, "training": {"epochs": 1, "batch_size": 8}})
    write_json(here / "wrong.json", {**BATCH_32, "lr": -1})
    write_json(here / "layers.json", {**BATCH_32, "w_init_std": {"conv9": 1}})
    before = tree(here)
    refused(convert(old, *CIFAR, "-o", "there.yaml"), "'there.yaml' is there already", "--force")
    refused(convert(old, *CIFAR, "-o", "new.json"), "--output must end in .yaml, not 'new.json'")
    refused(convert(old, *CIFAR, "-o", "missing/new.yaml"), "there is no folder missing")
    refused(convert("wrong.json", *CIFAR, "-o", "new.yaml"), "wrong.json, lr: optimizer.lr must be a number above 0")
    refused(convert(old), "add --dataset and --network")
    refused(convert("ours.json", *CIFAR), "'ours.json' is no config of T2FSNN's: its keys are those of this package")
    refused(convert("layers.json", *DIGITS, "-o", "new.yaml"), "w_init_std names layer 'conv9', but the layers with ")
    for network, kind in (("64F", "full connection"), ("P2 - 8C3", "pooling")):
        refused(
            convert(old, "--dataset", "fmnist", "--network", network, "-o", "new.yaml"),
            f"old.json: network '{network}' begins with a {kind}, but here only a convolution reads standardised ",
            "takes it with --set network.standardize=false, which codes them as they are",
        )
    refused(convert(old, "--dataset", "cifar10", "--network", "[8, P"), "--network", "this is not YAML")
    assert tree(here) == before
    assert convert(old, *CIFAR, "-o", "there.yaml", "--force").code == 0
    assert load_config("there.yaml").data.dataset == "cifar10"


def test_what_train_refuses(old: Path, here: Path) -> None:
    before = tree(here)
    refused(train(old), "old.json is T2FSNN's", "add --dataset and --network")
    refused(train("missing.json", *CIFAR), "missing.json cannot be read: no such file")
    refused(train(old, *DIGITS, "--set", "w_decay=0.2"), "--set w_decay=0.2: ", "is optimizer.weight_decay here")
    refused(train("--resume", "run", "--dataset", "digits"), "--resume goes on", "leave out --dataset")
    refused(train("--resume", "run", "--network", "vgg11"), "--resume goes on", "leave out --network")
    assert tree(here) == before


def test_data_set_and_network_of_other_configs(here: Path) -> None:
    write_json(here / "ours.json", {"data": {"dataset": "mnist"}, "training": {"epochs": 1, "batch_size": 128}})
    for name in ("ours.json", "quickstart"):
        assert train(name, *DIGITS, *QUICK, "--set", "network.psp_slope=1").code == 0
        config = load_config(here / "runs" / Path(name).stem / "config.yaml")
        assert (config.data.dataset, config.network.model) == ("digits", "8C3 - P2 - 16C3")
        assert config.network.clip == "gain"
    refused(train("quickstart", "--network", "8C3 - Q2"), "model '8C3 - Q2': its part 'Q2' must be such as 64C3")
    refused(train("quickstart", "--dataset", ""), "--dataset '': data.dataset must be the name of a data set (mnist, ")


@pytest.mark.parametrize("network", ["16F", "P2 - 8C3"])
def test_a_network_that_begins_without_a_convolution(old: Path, here: Path, network: str) -> None:
    """Its standardised pixels are refused, and the way out that is named goes through."""
    options = ("--dataset", "mnist", "--network", network, *QUICK)
    write_mnist(here / "datasets/mnist", train=64, test=10)
    before = tree(here)
    refused(train(old, *options), f"old.json: network '{network}' begins", "--set network.standardize=false, which")
    assert tree(here) == before
    for more in ([], ["--set", "data.mean=null", "--set", "data.std=null"]):
        outcome = train(old, *options, "--set", "network.standardize=false", *more)
        assert (outcome.code, outcome.err) == (0, "") and "data.mean " not in outcome.out
    config = load_config("runs/old/config.yaml")
    assert (config.network.standardize, config.network.encoding, config.data.mean) == (False, "latency", None)


def test_options_win_over_settings(old: Path, here: Path) -> None:
    write_json(here / "ours.json", {"data": {"dataset": "mnist"}, "training": {"epochs": 1, "batch_size": 128}})
    for name in ("old.json", "ours.json"):
        settings = ["network.model=4C3", "data.dataset=mnist", "training.epochs=7", "seed=3"]
        found = named_config.named(Path(name), "digits", "8C3 - P2", settings, {"seed": 5})
        assert (found.config.network.model, found.config.data.dataset) == ("8C3 - P2", "digits")
        assert (found.config.seed, found.config.training.epochs) == (5, 7)
        # and what does not count is not told
        assert [line for line in found.table if "--set" in line] == ["then --set training.epochs=7"][: len(found.table)]


def test_a_last_layer_that_fires(old: Path) -> None:
    """As the sentence about no_spk has it."""
    settings = ["network.readout=spike_times", "network.silent=excluded"]
    network = named_config.named(old, "digits", "8C3 - P2", settings, {}).config.network
    assert (network.readout, network.silent, network.clip) == ("spike_times", "excluded", "separate")


def test_a_readout_that_is_written_is_told_of(old: Path) -> None:
    said = "network.model ends in a spiking layer of 10 neurons, and a readout of as many follows by itself"
    assert said in train(old, "--dataset", "digits", "--network", "8C3 - P2 - 10F", *QUICK).out
    assert said not in train(old, "--dataset", "digits", "--network", "8C3 - P2 - 12F", *QUICK).out
