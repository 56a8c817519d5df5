"""T2FSNN's JSON as a config of ours: what each key becomes, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from helpers.t2fsnn_files import BATCH_32, BATCH_256, write_json

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment.config import Config, load_config
from ttfs_cupy.experiment.config.keys import resolve
from ttfs_cupy.migration import t2fsnn
from ttfs_cupy.migration.old_keys import T2FSNN_KEYS
from ttfs_cupy.migration.rows import Row, table
from ttfs_cupy.models import build

SHORTEST = {"epochs": 3, "batch_size": 8}
KNOWN = ", ".join(T2FSNN_KEYS)


@pytest.fixture
def old(here: Path) -> Path:
    return Path("old.json")


def translated(old: Path, content: Any, dataset: Any = "cifar10", network: Any = "vgg11") -> t2fsnn.Translation:
    return t2fsnn.translate(old, t2fsnn.read(write_json(old, content)), dataset, network)


def config(old: Path, content: Any, dataset: Any = "cifar10", network: Any = "vgg11") -> Config:
    found = translated(old, content, dataset, network)
    return resolve(found.where, found.content, found.sources)


def refusal(old: Path, content: Any, dataset: Any = "cifar10", network: Any = "vgg11") -> str:
    with pytest.raises(UserError) as caught:
        config(old, content, dataset, network)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def row(old: Path, content: Any, key: str, **how: Any) -> Row:
    (found,) = (row for row in translated(old, content, **how).rows if key in (row.old, row.new))
    return found


# What T2FSNN's examples become


@pytest.mark.parametrize(
    ("dataset", "network"), [("cifar10", "vgg11"), ("cifar100", "vgg11"), ("mnist", "vgg7"), ("fmnist", "vgg7")]
)
def test_its_examples_are_the_bundled_configs_of_its_runs(old: Path, dataset: str, network: str) -> None:
    name = f"t2fsnn_{network}_{dataset}"
    assert config(old, BATCH_256, dataset, network) == load_config(name)
    changed = load_config(name, ["optimizer.lr=3e-5", "training.batch_size=32"])
    assert config(old, BATCH_32, dataset, network) == changed != load_config(name)


def test_its_defaults(old: Path) -> None:
    found = config(old, SHORTEST)
    optimizer = found.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.weight_decay, optimizer.fixed_sign) == ("adam", 1e-4, 0, False)
    assert (found.network.grad_clip, found.network.clip) == (1, "separate")
    assert (found.schedule.name, found.schedule.annealing) == ("exponential", 1)
    assert (found.training.patience, found.training.epochs, found.training.batch_size) == (25, 3, 8)
    lines = table(translated(old, SHORTEST).rows)
    defaults = {line.split()[0]: line.split()[1] for line in lines if "(default)" in line}
    assert defaults == {
        "use_adam": "true",
        "lr": "0.0001",
        "w_decay": "0",
        "w_ei": "false",
        "grad_clip": "1",
        "annealing": "1",
        "early_stopping": "25",
    }


def test_what_t2fsnn_always_does(old: Path) -> None:
    network = config(old, SHORTEST, network="wei_vgg11").network
    assert (network.psp_slope, network.clip, network.readout) == (1, "separate", "potential")
    # of a model that was published with direct coding, too
    assert (network.encoding, network.standardize) == ("latency", True)
    data = config(old, SHORTEST).data
    assert (data.validation, data.download) == (0.1, True)


@pytest.mark.parametrize(
    ("dataset", "augment"), [("cifar10", "cifar"), ("cifar100", "cifar"), ("mnist", "none"), ("fmnist", "none")]
)
def test_data_sets(old: Path, here: Path, dataset: str, augment: str) -> None:
    data = config(old, SHORTEST, dataset).data
    assert (data.dataset, data.augment, data.root) == (dataset, augment, "datasets")
    (here / "datasets" / dataset).mkdir(parents=True)
    assert config(old, SHORTEST, dataset).data.root == f"datasets/{dataset}"
    assert row(old, SHORTEST, "data.root", dataset=dataset).why == "T2FSNN's folder, which is there"


def test_a_data_set_that_t2fsnn_does_not_know(old: Path) -> None:
    data = config(old, SHORTEST, "digits", "8C3 - P2").data
    assert (data.dataset, data.augment, data.root, data.download) == ("digits", "none", "datasets", False)
    assert row(old, SHORTEST, "--dataset", dataset="digits").why == "T2FSNN does not know it"


# key of T2FSNN's → what comes of it
KEYS: list[tuple[dict[str, Any], str, Any]] = [
    ({"use_adam": True}, "optimizer.name", "adam"),
    ({"use_adam": False}, "optimizer.name", "sgd"),
    ({"lr": 0.5}, "optimizer.lr", 0.5),
    ({"w_decay": 0.25}, "optimizer.weight_decay", 0.25),
    ({"w_ei": True}, "optimizer.fixed_sign", True),
    ({"grad_clip": 2}, "network.grad_clip", 2.0),
    ({"annealing": 0.9}, "schedule.annealing", 0.9),
    ({"early_stopping": 7}, "training.patience", 7),
    ({"early_stopping": None}, "training.patience", None),
    ({"w_clip": True}, "optimizer.weight_clip", (-1, 1)),
    ({"w_clip": True, "w_max": 0.5}, "optimizer.weight_clip", (-1, 0.5)),
    ({"w_clip": True, "w_min": -2, "w_max": 3}, "optimizer.weight_clip", (-2, 3)),
    ({"w_clip": False, "w_min": -2}, "optimizer.weight_clip", None),
    ({"w_min": -2, "w_max": -3}, "optimizer.weight_clip", None),
    ({"t_win": 2}, "network.t_win", 2.0),
    ({"w_init_mean": 0.01}, "network.weight_mean", 0.01),
    ({"w_init_std": 0.5}, "network.weight_std", 0.5),
    ({"w_init_std": {"readout": 0.5}}, "network.weight_std", {"readout": 0.5}),
    ({"w_init_std": None, "w_init_mean": None}, "network.weight_std", None),
    ({"adam_beta1": 0.5}, "optimizer.beta1", 0.5),
    ({"adam_beta2": 0.5}, "optimizer.beta2", 0.5),
    ({"adam_epsilon": 1e-6}, "optimizer.eps", 1e-6),
    ({"eps": 1e-6}, "optimizer.eps", 1e-6),
    ({"betas": [0.5, 0.75]}, "optimizer.beta1", 0.5),
    ({"betas": [0.5, 0.75]}, "optimizer.beta2", 0.75),
    ({"use_adam": False, "adam_beta1": 0.5, "eps": 1e-6}, "optimizer.beta1", 0.9),
]


@pytest.mark.parametrize(("content", "key", "expected"), KEYS, ids=lambda value: str(value)[:40])
def test_keys(old: Path, content: dict[str, Any], key: str, expected: Any) -> None:
    section, name = key.split(".")
    assert getattr(getattr(config(old, {**SHORTEST, **content}), section), name) == expected
    told = "\n".join(table(translated(old, {**SHORTEST, **content}).rows))
    assert all(f"\n{given}" in told for given in content)


def test_every_key_has_a_test() -> None:
    assert {key for content, _, _ in KEYS for key in content} | {"epochs", "batch_size"} == set(T2FSNN_KEYS)


@pytest.mark.parametrize("key", ["w_init_mean", "w_init_std"])
def test_weights_that_are_drawn_by_layer(old: Path, key: str) -> None:
    new = {"w_init_mean": "weight_mean", "w_init_std": "weight_std"}[key]
    listed = {**SHORTEST, key: [0.1, None, 0.3]}
    content = translated(old, listed, network="8C3 - P2 - 16F").content
    assert content["network"][new] == {"conv1": 0.1, "readout": 0.3}
    content = translated(old, {**SHORTEST, key: [None] * 3}, network="8C3 - P2 - 16F").content
    assert new not in content["network"]
    named = {"conv1": 0.1}
    assert translated(old, {**SHORTEST, key: named}).content["network"][new] == named


def test_what_is_left_out_is_told(old: Path) -> None:
    rows = translated(old, {**SHORTEST, "use_adam": False, "adam_beta1": 0.5, "w_min": -2}).rows
    assert [(one.old, one.why) for one in rows if not one.new] == [
        ("w_min", "left out: of no use without w_clip"),
        ("adam_beta1", "left out: SGD has no use for it"),
    ]


def test_the_table_says_which_keys_t2fsnn_itself_does_not_read(old: Path) -> None:
    lines = table(translated(old, {**SHORTEST, "t_win": 2}).rows)
    (line,) = (line for line in lines if line.startswith("t_win"))
    assert line.startswith("t_win*") and line.endswith("the readout adds T S to A, where T2FSNN adds S")
    assert lines[-1].startswith("* T2FSNN's run.py does not read this key")
    assert not any("*" in line for line in table(translated(old, BATCH_32).rows))


# What is refused: a file's content → the sentence behind "old.json"
FILES = {
    "": " cannot be read: it is not JSON (Expecting value: line 1 column 1 (char 0))",
    "lr: 3": " cannot be read: it is not JSON (Expecting value: line 1 column 1 (char 0))",
    "[1, 2]": " cannot be read: it is [1, 2], not keys and values",
    "3": " cannot be read: it is 3, not keys and values",
    '{"lr": 1, "lr": 2}': " cannot be read: it is not clear: the key 'lr' stands twice in it",
    "[" * 100_000: " cannot be read: it is nested too deeply",
    "{}": ": epochs and batch_size must be there, for which T2FSNN has no default",
    '{"epochs": 3}': ": batch_size must be there, for which T2FSNN has no default",
    " " * 300_000: " is larger than 256 KiB: name a config, which is a page or two",
}


@pytest.mark.parametrize("text", FILES, ids=lambda text: text[:20].strip() or "-")
def test_files(old: Path, text: str) -> None:
    assert refusal(old, text) == f"old.json{FILES[text]}"


def test_files_that_are_none(old: Path, here: Path) -> None:
    for path, why in ((Path("missing.json"), "no such file"), (here, "it is a directory, not a file")):
        with pytest.raises(UserError, match=f" cannot be read: {why}$"):
            t2fsnn.read(path)
    old.write_bytes(b'{"lr": "\xff"}')
    with pytest.raises(UserError, match=r"^old\.json cannot be read: it is not UTF-8 text$"):
        t2fsnn.read(old)
    # as some editors of Windows write it
    old.write_bytes(b'\xef\xbb\xbf{"lr": 1}')
    assert t2fsnn.read(old) == {"lr": 1}


# keys beside those that must be there → the sentence behind "old.json"
IGNORED = "is not a key of T2FSNN's, which would have ignored it"
VALUES: list[tuple[dict[str, Any], str]] = [
    ({"learning": 1}, f": learning {IGNORED}: known are {KNOWN}"),
    ({"w_deacy": 1}, f": w_deacy {IGNORED}: did you mean w_decay?"),
    ({"LR": 1}, f": LR {IGNORED}: did you mean lr?"),
    (
        {"no_spk": False},
        f": no_spk {IGNORED}: leave it out here; for false train with --set network.readout=spike_times --set "
        "network.silent=excluded",
    ),
    ({"num_class": 3}, f": num_class {IGNORED}: leave it out here; DTA-TTFS's num_class is not set here"),
    ({"": 1}, f": '' {IGNORED}: known are {KNOWN}"),
    ({"a\nb": 1}, rf": a\nb {IGNORED}: known are"),
    ({"use_adam": "yes"}, ": use_adam must be true or false, not 'yes'"),
    ({"use_adam": None}, ": use_adam must be true or false, not null"),
    ({"w_clip": [-1, 1]}, ": w_clip must be true or false, not [-1, 1]"),
    ({"w_ei": 1}, ", w_ei: optimizer.fixed_sign must be true or false, not 1"),
    ({"lr": "0.1"}, ", lr: optimizer.lr must be a number above 0, not '0.1'"),
    ({"lr": float("nan")}, ", lr: optimizer.lr must be a number above 0, not nan"),
    ({"lr": float("inf")}, ", lr: optimizer.lr must be a number above 0, not inf"),
    ({"lr": True}, ", lr: optimizer.lr must be a number above 0, not true"),
    ({"lr": [1]}, ", lr: optimizer.lr must be a number above 0, not [1]"),
    ({"w_decay": -1}, ", w_decay: optimizer.weight_decay must be a number from 0, not -1"),
    ({"grad_clip": 0}, ", grad_clip: network.grad_clip must be a number from 1e-6 to 3.4e38, not 0"),
    ({"annealing": 1.5}, ", annealing: schedule.annealing must be a number above 0, up to 1, not 1.5"),
    ({"early_stopping": 0}, ", early_stopping: training.patience must be a whole number from 1, or null, not 0"),
    ({"epochs": 2.5}, ", epochs: training.epochs must be a whole number from 1, not 2.5"),
    ({"batch_size": {}}, ", batch_size: training.batch_size must be a whole number from 1, not {}"),
    ({"t_win": -1}, ", t_win: network.t_win must be a number from 1e-6 to 1e6, not -1"),
    (
        {"w_clip": True, "w_min": 2},
        ", w_clip: optimizer.weight_clip must be two numbers, the lower one first, such as [-1, 1], or null, "
        "not [2, 1]",
    ),
    ({"w_clip": True, "w_max": "x"}, ", w_clip: optimizer.weight_clip must be two numbers"),
    ({"betas": 0.9}, ": betas must be two numbers, such as [0.9, 0.999], not 0.9"),
    ({"betas": [0.9, 2]}, ", betas: optimizer.beta2 must be a number from 0 to below 1, not 2"),
    ({"betas": [0.9, 0.99], "adam_beta2": 0.9}, ": adam_beta2 and betas say the same: keep one of them"),
    ({"eps": 1e-8, "adam_epsilon": 1e-8}, ": adam_epsilon and eps say the same: keep one of them"),
    (
        {"w_init_std": [0.1]},
        ": w_init_std has 1 value, but there are 11 layers with weights: conv1, conv2, conv3, conv4, conv5, conv6, "
        "conv7, conv8, conv9, conv10, readout",
    ),
    (
        {"w_init_mean": {"conv1": 0, "conv11": 1}},
        ": w_init_mean names layer 'conv11', but the layers with weights are conv1, conv2, ",
    ),
    ({"betas": [None, True, 1]}, ": betas must be two numbers, such as [0.9, 0.999], not [null, true, 1]"),
    ({"w_init_mean": "x"}, ", w_init_mean: network.weight_mean must be a number"),
]


@pytest.mark.parametrize(("content", "sentence"), VALUES, ids=lambda value: str(value)[:40])
def test_values(old: Path, content: dict[str, Any], sentence: str) -> None:
    said = refusal(old, {**SHORTEST, **content})
    assert said.startswith(f"old.json{sentence}") and len(said) < 500


# settings beside a file that says nothing of them → the sentence, which does not speak of a key of the file
WAYS = {
    "network.psp_slope=0": (
        "old.json, as T2FSNN always has it: network.clip separate is defined for a psp_slope of 1 alone: choose gain "
        "or none"
    ),
    "network.encoding=direct": (
        "old.json, as T2FSNN always has it: network.standardize belongs to latency encoding (direct always does it): "
        "leave it out"
    ),
}


@pytest.mark.parametrize("setting", WAYS)
def test_settings_that_contradict_what_t2fsnn_always_does(old: Path, setting: str) -> None:
    found = translated(old, SHORTEST)
    with pytest.raises(UserError) as caught:
        resolve(found.where, found.content, found.sources, [setting])
    assert str(caught.value) == WAYS[setting]


@pytest.mark.parametrize(
    ("network", "count"), [("8C3 - P2 - 4C3 - 16F - 8F", 5), ("P2", 1), ("16F", 2), ([4, "P", {"linear": 3}], 3)]
)
def test_layers_are_called_as_in_the_network(old: Path, network: Any, count: int) -> None:
    state = build(network, (3, 32, 32), device="cpu").state_dict()
    names = [name.removesuffix(".weight") for name in state]
    said = refusal(old, {**SHORTEST, "w_init_std": [0.1] * 9}, network=network)
    are, layers = ("is", "layer") if count == 1 else ("are", "layers")
    assert said.endswith(f"but there {are} {count} {layers} with weights: {', '.join(names)}") and len(names) == count


def test_null_stands_in_the_table(old: Path) -> None:
    (line,) = (
        line
        for line in table(translated(old, {**SHORTEST, "w_init_std": [0.1, None, 0.3]}, network="8C3 - P2 - 16F").rows)
        if line.startswith("w_init_std")
    )
    assert "[0.1, null, 0.3]" in line


def test_what_the_command_line_has_to_name(old: Path) -> None:
    form = "old.json is T2FSNN's, which names data set and network on the command line: add"
    such = "such as --dataset cifar10 --network vgg11"
    assert refusal(old, SHORTEST, None, None) == f"{form} --dataset and --network, {such}"
    assert refusal(old, SHORTEST, None) == f"{form} --dataset, {such}"
    assert refusal(old, SHORTEST, network=None) == f"{form} --network, {such}"
    assert refusal(old, SHORTEST, "cifar").startswith("there is no data set 'cifar'; there are mnist, ")
    assert refusal(old, SHORTEST, network="vgg12") == "model 'vgg12' is not known: did you mean 'vgg11'?"
