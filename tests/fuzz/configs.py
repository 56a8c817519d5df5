"""Configs, overrides and model files with something wrong in them: a Config, or one sentence that says what."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from helpers.environments import REPOSITORY

from fuzz import config_keys
from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.files import yaml_text
from ttfs_cupy.device import CpuDevice, get_device
from ttfs_cupy.engine.plan import Plan, stages_of
from ttfs_cupy.experiment.config import Config, dump_config, load_config
from ttfs_cupy.experiment.config import text as config_text
from ttfs_cupy.experiment.config.values import PspSlopeSchedule

CONFIGS = REPOSITORY / "configs"
LONGEST_SENTENCE = 500
# memory that a network may take here; more is refused by name, as it would be on a small machine
MEMORY = 64 << 20
MAX_BATCH = 64

SMALL = [
    "data: {dataset: digits}\ntraining: {epochs: 1, batch_size: 8}\nnetwork: {model: [4, P, {linear: 6}]}\n",
    "seed: 3\ndata: {dataset: digits, root: d}\ntraining: {epochs: 2, batch_size: 16, patience: null}\n"
    "network:\n  model: &m [{convolution: 4, kernel: [3, 3], stride: 1}, {pool: [2, 1], stride: 1}]\n"
    "  psp_slope: {from: 0, to: 1, start: 0.1}\n  convolution: {conv1: gemm}\n"
    "optimizer: {name: sgd, momentum: 0.9, weight_clip: [-1, 1]}\nschedule: {name: multistep, milestones: [1, 2]}\n",
    "data: {dataset: digits}\nnetwork: {model: [4, P], weight_std: {conv1: 0.1}}\noptimizer: {l2: 1e-3}\n"
    "training: {epochs: 2, batch_size: 8, accumulate: 3, average: 0.99}\n"
    "schedule: {name: onecycle, rise: 0.2, start_factor: 0.1, end_factor: 0}\n",
    "data: {dataset: digits, validation: 100, subset: 0.5, mean: 0.1, std: [0.2]}\n"
    "network: {model: [4, P], initial_weights: x.safetensors}\n"
    "training:\n  epochs: 2\n  batch_size: 8\n  checkpoint_every: {steps: 3}\n  keep: {last: 2, every: 5}\n",
    "x: &b {epochs: 1, batch_size: 8}\ndata: {dataset: digits}\ntraining: {<<: *b, epochs: 2}\n",
]
MODEL = "layers: [4, P, {linear: 6}]\nencoding: latency\n"

NUMBERS = (
    *(
        "0",
        "-1",
        "010",
        "0o10",
        "0x7f",
        "0b1",
        "1:30",
        "1_000",
        "1e3",
        "1.5",
        "+.5",
        "1e-320",
        "1e-40",
        "1e-38",
        "1e308",
    ),
    *("1e308", "1e999", "-1e999", ".inf", "-.inf", ".nan", "2147483648", "4294967296", "9223372036854775808"),
    *("18446744073709551616", "9" * 90, "9" * 4000, "0." + "1" * 400, "1" + ":59" * 300),
)
WORDS = (
    *(
        "",
        "~",
        "null",
        "yes",
        "no",
        "on",
        "true",
        "'a'",
        "x",
        "x" * 5000,
        "é",
        "=",
        "<<",
        "2024-01-01",
        "2024-13-45T99:99",
    ),
    *(
        "vgg7",
        "wei_vgg16",
        "gemm",
        "winograd",
        "direct",
        "auto",
        "tensorcore:99",
        "gemm/auto/gemm",
        "cuda:99999",
        "cuda",
    ),
)
PATHS = (
    "~nosuchuser/x",
    "~/x",
    "/dev/zero",
    "/dev/zero.yaml",
    "/nonexistent",
    ".",
    "..",
    "a.yaml",
    "~nosuchuser/x.yaml",
)
CHARACTERS = (
    *('"\\0"', '"\\ud800"', '"\\U00110000"', '"\\UFFFFFFFF"', '"a\\nb"', "\u2028", "\ufeff", "\x85", "\x07", "\t"),
    *("@", "`", "|", ">", "%YAML 9.9", "%YAML 1." + "1" * 5000, "---", "...", "# c"),
)
TAGS = (
    *("!!int x", "!!float 1", "!!str 1", "!!binary YQ==", "!!set {a, b}", "!x 1", "!!python/object:os.system x"),
    *("&a [*a]", "&a {a: *a}", "*a", "&a 1", "&a {<<: *a}", "!!seq [1]", "!!map {a: 1}", "!!null ''"),
)
NODES = (
    *("[]", "{}", "[[]]", "{a: {b: c}}", "{linear:3}", "[" * 50, "{a: " * 50, "[" * 3000, "- " * 500, "? " * 100),
    *("{steps: 3}", "{minutes: 0.5}", "{minutes: 1, steps: 2}", "{last: 2, every: 3}", "{last: 0}", "{every: 1e9}"),
    *("{from: 0, to: 1}", "{from: 1, to: 0, start: 1, end: 0}", "[1, 2]", "[2, 1]", "[-1, 1]", "[1e39, 1e40]"),
    "[1" + ", 1" * 9000 + "]",
)
LAYERS = (
    *(
        "[{linear: 4}]",
        "[4, P]",
        "[1000000000, 1000000000]",
        "[P, P, P, P, P]",
        "[{pool: 1000000000}]",
        "[4, 4, 4, 'P', 4]",
    ),
    *("[{convolution: 3, kernel: 1000000001}]", "[{convolution: 1000000000, kernel: 1000000000}]"),
    *("[{convolution: 2, kernel: 1, padding: 3000}]", "[{convolution: 2, stride: 99999}]", "[{linear: 1000000000}]"),
    "[4, 4, 4, 'P', 4]",
)
# text as it may stand in YAML where a value stands
NASTY = (*NUMBERS, *WORDS, *PATHS, *CHARACTERS, *TAGS, *NODES, *LAYERS)
LAUGHS = "a0: &a0 [x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
PIECES = (
    *NASTY,
    ": ",
    "\n",
    "  ",
    "- ",
    ", ",
    "[",
    "]",
    "{",
    "}",
    "&b ",
    "*b",
    "<<: ",
    "!!",
    "'",
    '"',
    "\0",
    "\r",
    LAUGHS,
)


class Configs:
    """An attempt damages a config, and maybe gives overrides and a model file, damaged too."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.texts = [*SMALL, *((CONFIGS / f"{name}.yaml").read_text() for name in config_text.names())]
        self.model_texts = [MODEL, *(f"layers: {layers}\n" for layers in ("[4, 4, P]", "[{linear: 3}]"))]
        self.keys = sorted(config_keys.dotted())
        device, _ = get_device("cpu", 1)
        assert isinstance(device, CpuDevice)
        device.free_bytes = lambda: MEMORY  # type: ignore[method-assign]
        self.device = device

    def attempt(self, random: random.Random) -> str:
        """What became of it: refused, a config, a network refused, or a network."""
        path, model_path = self.folder / "config.yaml", self.folder / "model.yaml"
        path.write_bytes(self._damaged(self._text(random), random))
        model_path.write_bytes(self._damaged(random.choice(self.model_texts), random))
        overrides = [self._override(random) for _ in range(random.choice((0, 0, 0, 1, 2)))]
        if random.random() < 0.1:
            overrides.append(f"network.model={model_path}")
        told = f"{path.read_bytes()[:2000]!r}\noverrides {[override[:300] for override in overrides]}"
        try:
            config = load_config(path, overrides)
        except UserError as error:
            _check_sentence(error, (path.name, "--set "), told)
            return "refused"
        self._check_that_it_dumps(config, told)
        try:
            plan = self._plan(config)
        except UserError as error:
            _check_sentence(error, ("layer", "model", "network", "encoding", "convolution"), told)
            return "network refused"
        assert plan.bytes >= 0, told
        return "network"

    def _text(self, random: random.Random) -> str:
        return random.choice(SMALL if random.random() < 0.7 else self.texts)

    def _check_that_it_dumps(self, config: Config, told: str) -> None:
        dumped = dump_config(config)
        again = self.folder / "dumped.yaml"
        again.write_bytes(dumped.encode())
        # as text, since a model may hold nan
        assert dump_config(load_config(again)) == dumped, f"{told}\ndumped\n{dumped}"

    def _plan(self, config: Config) -> Plan:
        wanted, slope = config.network, config.network.psp_slope
        network = models.build(
            wanted.model,
            (1, 8, 8),
            10,
            self.device,
            seed=config.seed,
            t_win=wanted.t_win,
            psp_slope=slope.at(0.5) if isinstance(slope, PspSlopeSchedule) else slope,
            clip=wanted.clip if not isinstance(slope, PspSlopeSchedule) else "gain",
            grad_clip=wanted.grad_clip,
            readout=wanted.readout,
            silent=wanted.silent,
            encoding=wanted.encoding,
            standardize=wanted.standardize,
            initial_potential=wanted.initial_potential,
            weight_mean=wanted.weight_mean,
            weight_std=wanted.weight_std,
            convolution=wanted.convolution,
            precision=wanted.precision,
        )
        return Plan(stages_of(network.layers), min(config.training.batch_size, MAX_BATCH), training=True)

    def _override(self, random: random.Random) -> str:
        key = random.choice(self.keys) if random.random() < 0.9 else _damaged_text(random.choice(self.keys), random)
        return f"{key}={random.choice(NASTY)}"

    def _damaged(self, text: str, random: random.Random) -> bytes:
        for _ in range(random.choice((0, 0, 1, 1, 2, 4))):
            text = random.choice(_DAMAGES)(text, random)
        content = text.encode("utf-8", "surrogatepass")
        if random.random() < 0.1:
            content = random.choice(_ENCODINGS)(text, random)
        if random.random() < 0.1:
            content = _damaged_bytes(content, random)
        return content


_ENCODINGS: tuple[Callable[[str, random.Random], bytes], ...] = (
    lambda text, _: text.encode("utf-16", "surrogatepass"),
    lambda text, _: text.encode("utf-32-le", "surrogatepass"),
    lambda text, _: b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass"),
    lambda text, _: text.replace("\n", "\r\n").encode("utf-8", "surrogatepass"),
    lambda text, random: text.encode("utf-8", "surrogatepass") + b"# long\n" * random.choice((10, 50_000)),
)


def _check_sentence(error: UserError, named: tuple[str, ...], told: str) -> None:
    sentence = str(error)
    assert sentence.isprintable(), f"not one line: {sentence!r}\n{told}"
    assert len(sentence) <= LONGEST_SENTENCE, f"{len(sentence)} characters: {sentence}\n{told}"
    assert any(name in sentence for name in named), f"names nothing: {sentence}\n{told}"


def _damaged_text(text: str, random: random.Random) -> str:
    first = random.randint(0, len(text))
    last = min(len(text), first + random.choice((0, 0, 1, 3, 30)))
    return text[:first] + random.choice(PIECES) + text[last:]


def _damaged_bytes(content: bytes, random: random.Random) -> bytes:
    if not content:
        return content
    damaged = bytearray(content)
    for _ in range(random.choice((1, 2, 8))):
        damaged[random.randrange(len(damaged))] = random.randrange(256)
    return bytes(damaged[: random.randint(0, len(damaged))]) if random.random() < 0.3 else bytes(damaged)


def _other_value(text: str, random: random.Random) -> str:
    """One line's value is another."""
    lines = text.split("\n")
    number = random.randrange(len(lines))
    key, colon, _ = lines[number].partition(":")
    lines[number] = f"{key}{colon} {random.choice(NASTY)}"
    return "\n".join(lines)


def _other_node(text: str, random: random.Random) -> str:
    """A node of the YAML is left out, doubled, or another one's value."""
    try:
        content = yaml_text.parse(text)
    except yaml_text.TextError:
        return _damaged_text(text, random)
    places = list(_places(content, 6))
    if not places:
        return text
    holder, key = random.choice(places)
    match random.randrange(5):
        case 0:
            del holder[key]
        case 1:
            holder[key] = [holder[key]] * random.choice((2, 50, 1001) if len(str(holder[key])) < 50 else (2,))
        case 2:
            other, other_key = random.choice(places)
            holder[key] = other[other_key]
        case 3:
            value = holder[key]
            holder[key] = random.choice(
                (None, True, -1, 0, 1e-30, 1e30, 2**33, "x", "1", [], {}, [value], {"a": value})
            )
        case _:
            if isinstance(holder, dict):
                holder[random.choice((*map(str, holder), "nosuch", "lr", "1", ""))] = holder[key]
    return str(yaml.safe_dump(content))


def _multiplied(text: str, random: random.Random) -> str:
    """Aliases that stand for 9^11 values, in front or behind."""
    return LAUGHS + text if random.random() < 0.5 else f"{text}\n{LAUGHS}"


_DAMAGES = (*[_damaged_text, _other_value, _other_node] * 5, _multiplied)


def _places(content: Any, depth: int) -> Any:
    """(holder, key) of every value in lists and mappings, not below `depth` of them."""
    if depth == 0 or not isinstance(content, (dict, list)):
        return
    for key, value in list(content.items()) if isinstance(content, dict) else list(enumerate(content))[:100]:
        yield content, key
        yield from _places(value, depth - 1)
