"""Every sentence of the config part, whole, as a user gets to read it: what was typed, and what is answered.

A row here fails when its sentence changes. Read the new one as who typed it would: does it say what is wrong, where,
and what would be right? Does it blame the right thing? (Those of models are in tests/models/test_model_messages.py.)
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.configs import BUNDLED, MINIMAL

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.convolution.registry import algorithms
from ttfs_cupy.data import DATASETS, split
from ttfs_cupy.data.augmentation import CHOICES
from ttfs_cupy.experiment.config import dump_config, load_config
from ttfs_cupy.experiment.prepare import prepare

FLOAT32 = "a number of a size that float32 can hold, 1.18e-38 to 3.4e38"
ALGORITHMS = (
    f"auto or one of {', '.join(algorithms())}, or three with slashes between them (forward, data gradient, weight "
    "gradient), or such for each layer: {conv1: direct, conv2: gemm}; tensorcore:2 is a variant"
)
KEYS = "seed, device, threads, tune, output, network, data, training, optimizer, schedule, watch"
NETWORK = (
    "model, t_win, psp_slope, clip, grad_clip, readout, silent, encoding, standardize, weight_mean, weight_std, "
    "normalization, initial_potential, initial_weights, convolution, precision"
)
OPTIMIZER = "name, lr, beta1, beta2, eps, momentum, weight_decay, l2, clip_norm, weight_clip, fixed_sign"
BY_LAYER = "or such by layer, as in {conv1: 0.1, readout: 0.05}"
LOGGERS = "a list of wandb and mlflow, each once at most, such as [wandb]"

# an override of a good config → the sentence behind "--set {override}: "
VALUES = {
    "seed=-1": "seed must be a whole number from 0, not -1",
    "seed=1e3": "seed must be a whole number from 0, not 1000.0",
    "seed=1:30": "seed must be a whole number from 0, not '1:30'",
    "seed=18446744073709551616": "seed must be at most 18446744073709551615, not 18446744073709551616",
    "device=gpu": "device must be auto, cuda, cuda:N or cpu, not 'gpu'",
    "device=cuda:99999999999999999999": ("device must be auto, cuda, cuda:N or cpu, not 'cuda:99999999999999999999'"),
    "threads=0": "threads must be a whole number from 1, or null, not 0",
    "threads=1e23": "threads must be a whole number from 1, or null, not 1e+23",
    "threads=1000000": "threads must be at most 1024, not 1000000",
    "tune=yes": "tune must be true or false, not 'yes'",
    "output=3": "output must be a path, or null, not 3",
    "output=~nosuchuser/x": "output must be a path whose ~ names a user of this machine, not '~nosuchuser/x'",
    "data.augment=cifra": f"data.augment must be {CHOICES}, not 'cifra': did you mean cifar?",
    "data.augment=3": f"data.augment must be {CHOICES}, not 3",
    "data.augment=Cutout": "data.augment must be a list where it names an operation: write [Cutout]",
    "data.augment=[Cutout, RandomCop]": (
        "data.augment operation 2: there is no operation 'RandomCop': did you mean RandomCrop?"
    ),
    "data.augment=[{RandomCrop: {padding: -1}}]": (
        "data.augment operation 1, RandomCrop: padding must be a whole number from 0 to 8192, not -1"
    ),
    "network=3": f"network must be a section with the keys {NETWORK}, not 3",
    "network.model=3": (
        "network.model must be a model's name, the path of its YAML file, layers such as '64C3 - P2 - 512F', or a list "
        "such as [32, P, 64, P], not 3"
    ),
    "network.t_win=0": "network.t_win must be a number from 1e-6 to 1e6, not 0",
    "network.t_win=1e-320": "network.t_win must be a number from 1e-6 to 1e6, not 1e-320",
    "network.t_win=.nan": "network.t_win must be a number from 1e-6 to 1e6, not nan",
    "network.psp_slope=2": (
        "network.psp_slope must be a number from 0 to 1, or a schedule such as {from: 0, to: 1, start: 0.2, end: 0.75}"
        ", not 2"
    ),
    "network.psp_slope=1e-320": f"network.psp_slope must be {FLOAT32}, not 1e-320",
    "network.psp_slope={from: 0, to: 1, start: 0.5, end: 0.2}": (
        "network.psp_slope.start is 0.5, but must not exceed end, 0.2"
    ),
    "network.psp_slope={from: 0}": "network.psp_slope.to is missing: it must be a number from 0 to 1",
    "network.clip=gian": "network.clip must be gain, separate or none, not 'gian'",
    "network.grad_clip=1e-20": "network.grad_clip must be a number from 1e-6 to 3.4e38, not 1e-20",
    "network.readout=x": "network.readout must be potential or spike_times, not 'x'",
    "network.silent=x": "network.silent must be latest or excluded, not 'x'",
    "network.silent=excluded": (
        "network.silent has no effect with readout potential: leave it out, or choose spike_times"
    ),
    "network.encoding=rate": "network.encoding must be latency or direct, or null, not 'rate'",
    "network.weight_mean=-1e308": (f"network.weight_mean must be a number from -1e6 to 1e6, {BY_LAYER}, not -1e+308"),
    "network.weight_mean={conv1: 1e7}": (
        f"network.weight_mean must be a number from -1e6 to 1e6, {BY_LAYER}, not {{'conv1': 10000000.0}}"
    ),
    "network.initial_potential=0.1": "network.initial_potential must be true or false, not 0.1",
    "network.normalization=batch": "network.normalization must be none or weight, not 'batch'",
    "network.weight_std=1e308": (
        f"network.weight_std must be a number from 1e-6 to 1e6, {BY_LAYER}, or null, not 1e+308"
    ),
    "network.initial_weights=": None,
    "network.convolution=wino": f"network.convolution must be {ALGORITHMS}, not 'wino'",
    "network.precision=half": "network.precision must be float32, split or tf32, not 'half'",
    "data.dataset=": f"data.dataset must be the name of a data set ({', '.join(DATASETS)}), not null",
    "data.root=~nosuchuser/x": "data.root must be a path whose ~ names a user of this machine, not '~nosuchuser/x'",
    "data.size=[32]": (
        "data.size must be [height, width], two whole numbers from 1 to 4096, such as [32, 32], or null, not [32]"
    ),
    "data.size=[32, 5000]": "data.size must be at most 4096, not 5000",
    "data.channels=2": "data.channels must be 1 or 3, or null, not 2",
    "data.channels=x": "data.channels must be 1 or 3, or null, not 'x'",
    "data.size=[32, 32]": "data.size has no effect with dataset digits: leave it out, or choose events or folder",
    "data.test=0.1": "data.test has no effect with dataset digits: leave it out, or choose folder or arrays",
    "data.time_window=5": "data.time_window has no effect with dataset digits: leave it out, or choose events",
    "data.mean=0.5": "data.mean needs data.std beside it: set both, or neither",
    "data.mean=[0.5, 1e7]": (
        "data.mean must be a number from -1e6 to 1e6, or a list with one for each channel, or null, not "
        "[0.5, 10000000.0]"
    ),
    "data.std=0": "data.std must be a number from 1e-6 to 1e6, or a list with one for each channel, or null, not 0",
    "data.subset=1.5": (
        "data.subset must be a share above 0, below 1, a number of images, or the path of a file of their indices, one "
        "a line, or null, not 1.5"
    ),
    "data.validation=3000000000": "data.validation must be at most 1000000000, not 3000000000",
    "data.validation=~nosuchuser/x": (
        "data.validation must be a path whose ~ names a user of this machine, not '~nosuchuser/x'"
    ),
    "training.epochs=3000000000": "training.epochs must be at most 1000000000, not 3000000000",
    "training.batch_size=99999999999999999999": (
        "training.batch_size must be at most 1000000000, not 99999999999999999999"
    ),
    "optimizer.name=adamw": None,
    "optimizer={name: adamw, l2: 0}": None,
    "optimizer={name: adamw, l2: 0.1}": (
        "optimizer.l2 does not go with optimizer.name adamw: set optimizer.weight_decay, or choose adam"
    ),
    "optimizer.name=AdamW": "optimizer.name must be adam, adamw or sgd, not 'AdamW'",
    "optimizer.lr=1e-320": f"optimizer.lr must be {FLOAT32}, not 1e-320",
    "optimizer.lr=-1": "optimizer.lr must be a number above 0, not -1",
    "optimizer.beta2=0.99999999999": "optimizer.beta2 must be at most 0.9999999, not 0.99999999999",
    "optimizer.eps=1e-320": "optimizer.eps must be a number from 1e-20 to 1, not 1e-320",
    "optimizer.momentum=0.9": (
        "optimizer.momentum has no effect with optimizer.name adam: leave it out, or choose sgd"
    ),
    "optimizer.weight_decay=2000": (
        "optimizer.weight_decay is 2000: a step takes lr times that off each weight, with lr 0.001 more than all of "
        "it; lower one of them"
    ),
    "optimizer.l2=-1": "optimizer.l2 must be a number from 0, not -1",
    "optimizer.clip_norm=1e-30": "optimizer.clip_norm must be a number from 1e-6 to 3.4e38, or null, not 1e-30",
    "optimizer.weight_clip=[1, -1]": (
        "optimizer.weight_clip must be two numbers, the lower one first, such as [-1, 1], or null, not [1, -1]"
    ),
    "optimizer.weight_clip=[0, 1e39]": f"optimizer.weight_clip must be {FLOAT32}, not 1e+39",
    "schedule.milestones=[3, 2]": (
        "schedule.milestones must be a list of increasing epochs, such as [15, 30, 40], not [3, 2]"
    ),
    "schedule.milestones=[3000000000]": "schedule.milestones must be at most 1000000000, not 3000000000",
    "watch.log_every=0": "watch.log_every must be a number above 0, not 0",
    "watch.tensorboard=1": "watch.tensorboard must be true or false, not 1",
    "watch.loggers=wandb": f"watch.loggers must be {LOGGERS}, not 'wandb'",
    "watch.loggers=[wandb, neptune]": f"watch.loggers must be {LOGGERS}, not ['wandb', 'neptune']",
    "watch.loggers=[mlflow, mlflow]": f"watch.loggers must be {LOGGERS}, not ['mlflow', 'mlflow']",
    "watch.loggers=[3]": f"watch.loggers must be {LOGGERS}, not [3]",
    "schedule.annealing=0": "schedule.annealing must be a number above 0, up to 1, not 0",
    "schedule.warmup=-1": "schedule.warmup must be a whole number from 0, not -1",
    "epoch=3": "epoch is not a key: did you mean training.epochs?",
    "optimizer.nesterov=true": f"optimizer.nesterov is not a key: optimizer has {OPTIMIZER}",
    "seed=[1": "this is not YAML: expected ',' or ']', but got '<stream end>'",
    "seed={a:1}": "a:1 is one word to YAML: write a space after its colon",
    "training.epochs.x=1": "training.epochs has a value, not keys of its own, in this config: set it as a whole",
    "seed": "this must read key.sub=value, such as network.t_win=1.5",
    f"{'a.' * 5000}b=1": "this must read key.sub=value, such as network.t_win=1.5",
    f"seed={'x' * 100_000}": f"seed must be a whole number from 0, not '{'x' * 56}...",
    f"seed={'9' * 5000}": f"{'9' * 37}... has 5,000 digits: write a number in at most 100",
    f"{'x' * 100_000}=1": f"{'x' * 77}... is not a key: a config has {KEYS}",
    "'a\nb'=1": rf"'a\nb' is not a key: a config has {KEYS}",
}


@pytest.mark.parametrize("override", VALUES, ids=lambda override: override[:60])
def test_values(override: str, minimal: Path) -> None:
    if VALUES[override] is None:
        load_config(minimal, [override])
        return
    called = override.replace("\n", r"\n")
    where = f"--set {called if len(called) <= 100 else called[:97] + '...'}: "
    with pytest.raises(UserError) as caught:
        load_config(minimal, [override])
    assert str(caught.value) == f"{where}{VALUES[override]}"
    assert len(str(caught.value)) <= 500


def test_of_wrong_values_only_a_line_is_shown(minimal: Path) -> None:
    minimal.write_text(f'{MINIMAL}seed: [{"1, " * 9999}]\n? "{"k" * 9999}\\n"\n: 1\n')
    with pytest.raises(UserError) as caught:
        load_config(minimal)
    assert len(str(caught.value)) < 400
    minimal.write_text(MINIMAL + "".join(f"x{i}: 1\n" for i in range(9000)))
    with pytest.raises(UserError, match=r": x0 is not a key: .* \(and many more mistakes\)$"):
        load_config(minimal)


# a command's own options → the sentence
OPTIONS = [
    ({"device": "gpu"}, "--device gpu: device must be auto, cuda, cuda:N or cpu, not 'gpu'"),
    ({"seed": -1}, "--seed -1: seed must be a whole number from 0, not -1"),
    ({"output": ""}, "--output '': output must be a path, or null, not ''"),
    (
        {"device": None, "output": "a b", "seed": None, "device ": 1},
        "--device  1: device  is not a key: did you mean device?",
    ),
]


@pytest.mark.parametrize(("options", "sentence"), OPTIONS)
def test_options(options: dict[str, object], sentence: str, minimal: Path) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        load_config(minimal, ["device=tpu"] if options.get("device") == "gpu" else [], options)


def test_an_option_has_the_last_word(minimal: Path) -> None:
    config = load_config(
        minimal, ["device=tpu", "seed=1", "output=a"], {"device": "cpu", "seed": None, "output": "1e3"}
    )
    assert (config.device, config.seed, config.output) == ("cpu", 1, "1e3")


# a file's text → the sentence behind "{file}"
FILES = {
    "": " is empty: it must hold the keys of a config, as configs/quickstart.yaml does",
    "seed\n": " must hold keys and values, such as 'seed: 0', not a single value",
    "- seed\n": " must hold keys and values, such as 'seed: 0', not a list",
    "seed: 0\nseed: 0\n": ", line 2: the key seed stands in line 1 already: keep one of them",
    "a: 1\n--- \nb: 1\n": ", line 2: a second document begins here: keep one of them",
    "seed: !!set {1}\n": ", line 1: the tag !!set is not known here: leave it out",
    "seed: *a\n": ", line 1: this is not YAML: the alias *a names nothing that stands above it",
    "a: &a [*a]\n": ", line 1: the alias *a stands inside of what it names",
    f"a: {'[' * 99}": ", line 1: lists and mappings are nested more than 32 deep",
    "? [a]\n: 1\n": ", line 1: a key must be a word, not a list, a mapping or an alias",
    "\x07": ", line 1: YAML does not allow the character U+0007",
    'a: "\\0"\n': ", line 1: the character U+0000 has no place in a value",
    "training: {epochs: 1, batch_size: 1}": (
        ": data is missing: it must be a section with the keys "
        "dataset, root, download, size, channels, test, time_window, mean, std, augment, mix, mix_alpha, "
        "class_weights, sampling, subset, validation, resident; dataset must be there"
    ),
    f"{MINIMAL}optimizer.lr: 1\n": (": optimizer.lr must not be written with a dot: put lr into the section optimizer"),
}


@pytest.mark.parametrize("text", FILES, ids=lambda text: repr(text[:40]))
def test_files(text: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        load_config(file)
    assert str(caught.value) == f"{file}{FILES[text]}"


def test_a_validation_share() -> None:
    with pytest.raises(UserError) as caught:
        split(np.zeros(1437, np.int32), 1e-5, 0)
    said = "a validation share of 1e-05 of 1437 images is none at all: it must be at least 0.0007, which is one image"
    assert str(caught.value) == said


def test_a_missing_file() -> None:
    with pytest.raises(UserError) as caught:
        load_config("nosuch")
    assert str(caught.value) == f"config 'nosuch' does not exist: name a YAML file, or one of {', '.join(BUNDLED)}"


NO_CONFIG = "a config must be a YAML file, or one of"
NO_LIST = r"overrides must be a list of texts, such as \['seed=1'\], not"
WRONG_CALLS: list[tuple[Callable[..., Any], tuple[Any, ...], str]] = [
    (load_config, (None,), f"{NO_CONFIG} .*, not null"),
    (load_config, (3,), f"{NO_CONFIG} .*, not 3"),
    (load_config, ("",), f"{NO_CONFIG} .*, not ''"),
    (load_config, (b"quickstart",), f"{NO_CONFIG} .*, not b'quickstart'"),
    (load_config, ("quickstart", "seed=1"), f"{NO_LIST} 'seed=1'"),
    (load_config, ("quickstart", None), f"{NO_LIST} null"),
    (load_config, ("quickstart", [3]), rf"{NO_LIST} \[3\]"),
    (load_config, ("quickstart", [], ["x"]), "options must be of type Mapping, not list"),
    (dump_config, ({},), "config must be of type Config, not dict"),
    (prepare, ("quickstart",), "config must be of type Config, not str"),
]


@pytest.mark.parametrize(
    ("call", "arguments", "message"), WRONG_CALLS, ids=lambda value: getattr(value, "__name__", str(value)[:40])
)
def test_calls_from_python(call: Callable[..., Any], arguments: tuple[Any, ...], message: str) -> None:
    """They ended in whatever pathlib or Python had to say."""
    with pytest.raises((UserError, TypeError), match=f"^{message}$"):
        call(*arguments)
