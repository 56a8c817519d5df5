"""The rules of a config: each key's default and bounds, and the sentence for a mistake."""

from pathlib import Path
from typing import Any

import pytest
from helpers.configs import mistake

from ttfs_cupy.experiment.config import Config, load_config

MINIMAL: dict[str, dict[str, Any]] = {"data": {"dataset": "digits"}, "training": {"epochs": 3, "batch_size": 8}}


def value_of(loaded: Config, key: str) -> Any:
    found: Any = loaded
    for part in key.split("."):
        found = getattr(found, part)
    return found


DEFAULTS = {
    "seed": 0,
    "device": "auto",
    "threads": None,
    "tune": True,
    "output": None,
    "network": {
        "model": "vgg11",
        "t_win": 1.0,
        "psp_slope": 1.0,
        "clip": "gain",
        "grad_clip": 1.0,
        "readout": "potential",
        "silent": "latest",
        "encoding": None,
        "standardize": False,
        "weight_mean": 0.0,
        "weight_std": None,
        "normalization": "none",
        "initial_potential": False,
        "initial_weights": None,
        "convolution": "auto",
        "precision": "split",
    },
    "data": {
        "dataset": "digits",
        "root": "datasets",
        "download": False,
        "size": None,
        "channels": None,
        "test": None,
        "time_window": None,
        "mean": None,
        "std": None,
        "augment": "none",
        "mix": "none",
        "mix_alpha": 1.0,
        "class_weights": None,
        "sampling": "plain",
        "subset": None,
        "validation": 0.1,
        "resident": 0.5,
    },
    "training": {
        "epochs": 3,
        "batch_size": 8,
        "patience": 25,
        "label_smoothing": 0.0,
        "average": None,
        "accumulate": 1,
        "max_skipped": 20,
        "checkpoint_every": {"minutes": 10.0, "steps": None},
        "keep": None,
    },
    "optimizer": {
        "name": "adam",
        "lr": 1e-3,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "l2": 0.0,
        "clip_norm": None,
        "weight_clip": None,
        "fixed_sign": False,
    },
    "schedule": {
        "name": "exponential",
        "annealing": 1.0,
        "milestones": (),
        "factor": 0.1,
        "warmup": 0,
        "rise": 0.3,
        "start_factor": 0.04,
        "end_factor": 4e-6,
    },
    "watch": {"log_every": 60.0, "tensorboard": False, "loggers": ()},
}


def test_defaults(minimal: Path) -> None:
    # compared as text too: that tells the order of the keys
    assert repr(load_config(minimal).model_dump()) == repr(DEFAULTS)


@pytest.mark.parametrize("key", ["data.dataset", "training.epochs", "training.batch_size"])
def test_required_keys(tmp_path: Path, key: str) -> None:
    section, name = key.split(".")
    content = {title: dict(keys) for title, keys in MINIMAL.items()}
    del content[section][name]
    path = tmp_path / "my.yaml"
    path.write_text(str(content))
    assert mistake(path).startswith(f"{path}: {key} is missing: it must be ")


@pytest.mark.parametrize("section", ["data", "training"])
def test_required_sections(tmp_path: Path, section: str) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(str({title: keys for title, keys in MINIMAL.items() if title != section}))
    assert f"{section} is missing: it must be a section with the keys " in mistake(path)


WHOLE_FROM_0 = ["-1", "2.5", "2.0", "ten", "'1'", "true", "null", "[1]", ".nan", ".inf"]
WHOLE_FROM_1 = ["0", "-1", "2.5", "2.0", "ten", "'1'", "true", "[1]", ".nan", ".inf"]
ANY_NUMBER = ["ten", "'1e-3'", "true", "[1]", ".nan", ".inf", "-.inf", "1e999"]
POSITIVE = [*ANY_NUMBER, "0", "-1"]
NAME = ["nosuch", "1", "true", "''", "[a]", "null"]
FLAG = ["1", "0", "'true'", "null", "[]"]
TEXT = ["''", "1", "true", "[a]", "1.5"]
IMAGES = ["true", "[1]", ".nan", ".inf", "-.inf", "1e999", "1.0", "1.5", "0", "0.0", "-1", "-0.1", "''"]

WRONG = {
    "seed": WHOLE_FROM_0,
    "device": [*NAME, "'cuda:'", "cuda:x", "cuda:1x", "xcuda:1", "cuda:-1", "gpu", "CPU", "'cuda:1 '"],
    "threads": WHOLE_FROM_1,
    "tune": FLAG,
    "output": TEXT,
    "network.model": ["''", "[]", "1", "null", "true", "{}", "{linear: 3}"],
    "network.t_win": [*POSITIVE, "null"],
    "network.psp_slope": [*ANY_NUMBER, "-0.1", "1.1", "null"],
    "network.clip": [*NAME, "gains", "again"],
    "network.grad_clip": [*POSITIVE, "null"],
    "network.readout": NAME,
    "network.silent": NAME,
    "network.normalization": NAME,
    "network.initial_potential": FLAG,
    "network.encoding": [name for name in NAME if name != "null"],
    "network.standardize": FLAG,
    "network.weight_mean": [*ANY_NUMBER, "null", "{conv1: x}", "{conv1: .nan}", "{conv1: true}", "{conv1: 1e7}"],
    "network.weight_std": [*POSITIVE, "{conv1: 0}", "{conv1: [1]}", "{conv1: null}", "{conv1: -1}"],
    "network.initial_weights": TEXT,
    "network.precision": [*NAME, "float64", "null"],
    "network.convolution": [
        *NAME,
        "tensorcore:",
        "tensorcore:x",
        "tensorcore:-1",
        "auto:1",
        "tensorcore:1:2",
        "gemm/gemm",
        "gemm/auto/gemm",
        "gemm/",
        "[gemm]",
    ],
    "data.dataset": [*TEXT, "null"],
    "data.root": [*TEXT, "null"],
    "data.download": FLAG,
    "data.size": [
        "32",
        "[32]",
        "[32, 32, 3]",
        "[0, 32]",
        "[32, 4097]",
        "[-1, 8]",
        "[true, 8]",
        "{8, 9}",
        "[32, 1.5]",
        "[32, x]",
        "true",
        "x",
    ],
    "data.channels": ["0", "2", "4", "1.0", "true", "x", "[3]"],
    "data.test": [*POSITIVE, "1", "1.5"],
    "data.time_window": WHOLE_FROM_1,
    "data.mean": ["ten", "'1e-3'", "true", "[]", "[x]", "[0.1, .nan]", "[true]", "[[1]]", ".inf", "1e7", "{red: 1}"],
    "data.std": ["ten", "true", "[]", "[0.1, 0]", "0", "-1", "[0.1, -0.1]", ".nan", "1e-7", "[1e7]", "{red: 1}"],
    "data.augment": ["''", "1", "true", "1.5", "null", "{}", "{Cutout: 16}", "cifra", "RandomHorizontalFlip"],
    "data.mix": [*NAME, "cut", "null"],
    "data.mix_alpha": [*POSITIVE, "101", "0.001", "null"],
    "data.resident": [*ANY_NUMBER, "-0.1", "1.1", "null"],
    "data.class_weights": [
        "balance",
        "''",
        "1",
        "true",
        "[x]",
        "[1, 0]",
        "[-1]",
        "[.nan]",
        "[.inf]",
        "[true]",
        "{0: 1}",
    ],
    "data.sampling": [*NAME, "balance", "null"],
    "data.subset": IMAGES,
    "data.validation": [*IMAGES, "null"],
    "training.epochs": [*WHOLE_FROM_1, "null"],
    "training.batch_size": [*WHOLE_FROM_1, "null"],
    "training.patience": WHOLE_FROM_1,
    "training.label_smoothing": [*ANY_NUMBER, "1", "-0.1", "null"],
    "training.accumulate": [*WHOLE_FROM_1, "null"],
    "training.max_skipped": WHOLE_FROM_1,
    "training.checkpoint_every": ["5", "[5]", "often", "{}", "{minutes: 5, steps: 5}", "{minutes: null}"],
    "training.keep": ["5", "[5]", "all", "{}", "{last: null}"],
    "training.average": [*POSITIVE, "1", "1.5", "0.99999999"],
    "optimizer.name": NAME,
    "optimizer.lr": [*POSITIVE, "null"],
    "optimizer.beta1": [*ANY_NUMBER, "1", "-0.1", "null"],
    "optimizer.beta2": [*ANY_NUMBER, "1", "-0.1", "null"],
    "optimizer.eps": [*POSITIVE, "null"],
    "optimizer.momentum": [*ANY_NUMBER, "1", "-0.1", "null"],
    "optimizer.weight_decay": [*ANY_NUMBER, "-0.1", "null"],
    "optimizer.l2": [*ANY_NUMBER, "-0.1", "null"],
    "optimizer.clip_norm": POSITIVE,
    "optimizer.weight_clip": [
        "1",
        "[1]",
        "[1, 1]",
        "[1, 0]",
        "[0, 1, 2]",
        "[0, x]",
        "[0, .nan]",
        "[0, .inf]",
        "{0, 1}",
    ],
    "optimizer.fixed_sign": FLAG,
    "schedule.name": NAME,
    "schedule.annealing": [*POSITIVE, "1.1", "null"],
    "schedule.milestones": ["1", "[0]", "[2, 1]", "[1, 1]", "[1.5]", "[true]", "[x]", "null"],
    "schedule.factor": [*POSITIVE, "1.1", "null"],
    "schedule.warmup": WHOLE_FROM_0,
    "schedule.rise": [*ANY_NUMBER, "-0.1", "1.1", "null"],
    "schedule.start_factor": [*ANY_NUMBER, "-0.1", "1.1", "null"],
    "schedule.end_factor": [*ANY_NUMBER, "-0.1", "1.1", "null"],
    "watch.log_every": [*POSITIVE, "null"],
    "watch.tensorboard": FLAG,
    "watch.loggers": ["wandb", "1", "true", "null", "[1]", "[x]", "[wandb, wandb]", "{wandb: 1}", "[[wandb]]"],
}


def test_a_wrong_algorithm_of_a_layer_is_named(minimal: Path) -> None:
    message = mistake(minimal, "network.convolution={conv1: direct, conv2: wino}")
    assert "network.convolution must be auto or one of" in message and "wino" in message


@pytest.mark.parametrize("key", WRONG)
def test_wrong_values_are_named(minimal: Path, key: str) -> None:
    for value in WRONG[key]:
        message = mistake(minimal, f"{key}={value}")
        assert message.startswith(f"--set {key}={value}: {key} must be "), message


def test_every_key_is_tried() -> None:
    sections = {key: value for key, value in DEFAULTS.items() if isinstance(value, dict)}
    keys = {f"{section}.{key}" for section, content in sections.items() for key in content}
    assert keys | (DEFAULTS.keys() - sections.keys()) == WRONG.keys()


RIGHT = [
    ("seed", "0", 0),
    ("device", "cuda", "cuda"),
    ("device", "cuda:12", "cuda:12"),
    ("device", "cpu", "cpu"),
    ("threads", "1", 1),
    ("threads", "null", None),
    ("output", "runs/a b", "runs/a b"),
    ("network.model", "vgg7", "vgg7"),
    ("network.model", "[32, P, {convolution: 64, kernel: 5}]", [32, "P", {"convolution": 64, "kernel": 5}]),
    ("network.t_win", "3", 3.0),
    ("network.psp_slope", "0", 0.0),
    ("network.psp_slope", "1", 1.0),
    ("network.clip", "none", "none"),
    ("network.clip", "separate", "separate"),
    ("network.grad_clip", "11", 11.0),
    ("network.readout", "spike_times", "spike_times"),
    ("network.silent", "latest", "latest"),
    ("network.encoding", "direct", "direct"),
    ("network.standardize", "true", True),
    ("network.weight_mean", "-1", -1.0),
    ("network.weight_std", ".5", 0.5),
    ("network.weight_mean", "{conv1: 1, readout: -1e-3}", {"conv1": 1.0, "readout": -0.001}),
    ("network.weight_std", "{conv1: 1}", {"conv1": 1.0}),
    ("network.weight_std", "null", None),
    ("network.normalization", "weight", "weight"),
    ("network.initial_potential", "true", True),
    ("tune", "false", False),
    ("network.convolution", "gemm", "gemm"),
    ("network.convolution", "gemm/winograd/gemm", "gemm/winograd/gemm"),
    ("network.convolution", "tensorcore:12", "tensorcore:12"),
    ("network.convolution", "{conv1: tensorcore:2/gemm/tensorcore:0}", {"conv1": "tensorcore:2/gemm/tensorcore:0"}),
    ("network.convolution", "{conv1: direct, conv2: auto}", {"conv1": "direct", "conv2": "auto"}),
    ("network.initial_weights", "runs/a/best.safetensors", "runs/a/best.safetensors"),
    ("network.encoding", "null", None),
    ("data.size", "null", None),
    ("data.channels", "null", None),
    ("data.validation", "1e-3", 0.001),
    ("data.size", "[34, 30]", (34, 30)),
    ("data.time_window", "300000", 300_000),
    ("data.validation", "1", 1),
    ("data.validation", "5000", 5000),
    ("data.validation", "held out.txt", "held out.txt"),
    ("data.validation", "'0.1'", "0.1"),
    ("data.subset", "0.25", 0.25),
    ("data.subset", "5000", 5000),
    ("data.subset", "few.npy", "few.npy"),
    ("data.subset", "null", None),
    ("data.mix", "cutmix", "cutmix"),
    ("data.class_weights", "null", None),
    ("data.class_weights", "balanced", "balanced"),
    ("data.class_weights", "[1, 2.5, 1e-3]", (1.0, 2.5, 1e-3)),
    ("data.sampling", "balanced", "balanced"),
    ("training.patience", "null", None),
    ("training.max_skipped", "null", None),
    ("training.label_smoothing", "0", 0.0),
    ("training.label_smoothing", "1e-1", 0.1),
    ("training.average", "0.999", 0.999),
    ("training.average", "null", None),
    ("optimizer.lr", "1e-3", 0.001),
    ("optimizer.lr", "3E-5", 3e-5),
    ("optimizer.lr", "1.e-2", 0.01),
    ("optimizer.lr", ".5e1", 5.0),
    ("optimizer.lr", "+1e+1", 10.0),
    ("optimizer.beta1", "0", 0.0),
    ("optimizer.l2", "5e-4", 0.0005),
    ("optimizer.clip_norm", "1", 1.0),
    ("optimizer.weight_clip", "[-1, 1e-1]", (-1.0, 0.1)),
    ("schedule.annealing", "1e-3", 0.001),
    ("schedule.warmup", "0", 0),
]


@pytest.mark.parametrize(("key", "text", "expected"), RIGHT)
def test_right_values(minimal: Path, key: str, text: str, expected: Any) -> None:
    # recordings take both
    of_events = ["data.dataset=events"] if key in ("data.size", "data.time_window") else []
    found = value_of(load_config(minimal, [*of_events, f"{key}={text}"]), key)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(
    ("mean", "std", "expected"),
    [
        ("0.5", "1", (0.5, 1.0)),
        ("[0.4914, -1]", "[1e-6, 2]", ((0.4914, -1.0), (1e-6, 2.0))),
        ("0", "[1]", (0.0, (1.0,))),
    ],
)
def test_means_and_deviations(minimal: Path, mean: str, std: str, expected: tuple[Any, Any]) -> None:
    data = load_config(minimal, [f"data.mean={mean}", f"data.std={std}"]).data
    assert (data.mean, data.std) == expected


@pytest.mark.parametrize(
    ("key", "values"),
    {
        "training.checkpoint_every.minutes": ["0", "-1", "often", "1e39", ".nan"],
        "training.checkpoint_every.steps": WHOLE_FROM_1,
        "training.keep.last": WHOLE_FROM_1,
        "training.keep.every": WHOLE_FROM_1,
    }.items(),
)
def test_wrong_values_of_a_keys_own_keys(minimal: Path, key: str, values: list[str]) -> None:
    above, _, name = key.rpartition(".")
    for value in values:
        message = mistake(minimal, f"{above}={{{name}: {value}}}")
        assert message.startswith(f"--set {above}={{{name}: {value}}}: {key} must be a"), message
    assert f"{above}.no is not a key: " in mistake(minimal, f"{above}={{no: 1}}")


def test_a_message_says_what_would_be_right(minimal: Path) -> None:
    assert mistake(minimal, "training.epochs=ten").endswith("must be a whole number from 1, not 'ten'")
    assert mistake(minimal, "network.clip=gian").endswith("must be gain, separate or none, not 'gian'")
    assert mistake(minimal, "threads=0").endswith("must be a whole number from 1, or null, not 0")
    held_out = "a share above 0, below 1, a number of images, or the path of a file of their indices, one a line"
    for value in ("true", "1.5", "0", "null"):
        assert mistake(minimal, f"data.validation={value}").endswith(f"data.validation must be {held_out}, not {value}")
    assert mistake(minimal, "network.encoding=1").endswith("must be latency or direct, or null, not 1")
    assert "or a list such as [32, P" in mistake(minimal, "network.model=null")
    assert mistake(minimal, "training=null").endswith(
        "must be a section with the keys epochs, batch_size, patience, label_smoothing, average, accumulate, "
        "max_skipped, checkpoint_every, keep; epochs and batch_size must be there, not null"
    )
    assert len(mistake(minimal, f"seed={'x' * 1000}").rpartition(", not ")[2]) == 60


@pytest.mark.parametrize("section", ["network", "data", "training", "optimizer", "schedule", "watch"])
def test_a_section_must_be_one(minimal: Path, section: str) -> None:
    for value in ("null", "3", "[a]", "text"):
        assert f"{section} must be a section with the keys " in mistake(minimal, f"{section}={value}")
