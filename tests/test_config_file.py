"""A config's way from text and back: files, the bundled ones, YAML, overrides, dump."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ttfs_cupy import data, models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment import config, config_file
from ttfs_cupy.experiment.config import Config, dump_config, load_config

MINIMAL = "data: {dataset: digits}\ntraining: {epochs: 3, batch_size: 8}\n"
BUNDLED = (
    "quickstart",
    "small_fmnist",
    "t2fsnn_vgg11_cifar10",
    "vgg11_cifar10",
    "vgg11_cifar100",
    "vgg7_fmnist",
    "vgg7_mnist",
)
CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.yaml"


def mistake(path: Path | str, *overrides: str) -> str:
    """The message for that file, which must be one sentence."""
    with pytest.raises(UserError) as caught:
        load_config(path, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


# The bundled configs


def test_the_bundled_names() -> None:
    assert config_file.names() == sorted(BUNDLED)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_configs_load_and_name_things_that_exist(name: str) -> None:
    loaded = load_config(name)
    assert loaded.data.dataset in data.DATASETS
    assert loaded.data.augment in data.AUGMENTATIONS
    assert loaded.data.root == "datasets"
    models.read(loaded.network.model)


@pytest.mark.parametrize("name", BUNDLED)
def test_every_key_of_a_bundled_config_carries_a_comment(name: str) -> None:
    text = (CONFIGS / f"{name}.yaml").read_text()
    keys = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(keys) > 15
    for line in keys:
        assert re.fullmatch(r" *[a-z_]+\d?:.* # .+", line), line
        assert len(line) <= 120, line
    assert text.startswith("# ")


@pytest.mark.parametrize("name", set(BUNDLED) - {"t2fsnn_vgg11_cifar10"})
def test_sound_defaults_are_a_causal_code_that_ends_at_slope_one(name: str) -> None:
    network = load_config(name).network
    assert (network.encoding or models.read(network.model).encoding) == "latency"
    assert (network.standardize, network.clip) == (False, "gain")
    assert isinstance(network.psp_slope, config.PspSlopeSchedule)
    assert (network.psp_slope.at(0), network.psp_slope.at(0.99)) == (0, 1)


def test_the_example_run_of_t2fsnn() -> None:
    loaded = load_config("t2fsnn_vgg11_cifar10")
    assert (loaded.network.model, loaded.network.clip, loaded.network.grad_clip) == ("vgg11", "separate", 1)
    assert (loaded.network.psp_slope, loaded.network.standardize, loaded.data.augment) == (1, True, "cifar")
    assert (loaded.optimizer.name, loaded.optimizer.lr, loaded.optimizer.weight_decay) == ("adam", 1e-4, 0.1)
    assert (loaded.schedule.name, loaded.schedule.annealing) == ("exponential", 0.999)
    assert (loaded.training.epochs, loaded.training.batch_size, loaded.training.patience) == (1000, 256, 25)


@pytest.mark.parametrize("spelling", ["quickstart", "quickstart.yaml", "configs/quickstart.yaml"])
def test_a_bundled_config_is_found_from_any_folder(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").mkdir()
    assert load_config(spelling) == load_config(CONFIGS / "quickstart.yaml")
    assert mistake(spelling, "data=null").startswith("--set data=null: ")


def test_a_file_comes_before_a_bundled_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart.yaml").write_text(f"{MINIMAL}seed: 77\n")
    assert load_config("quickstart.yaml").seed == 77
    assert load_config("quickstart").seed == 0


def test_a_mistake_in_a_bundled_config_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert mistake("quickstart", "schedule.name=multistep").startswith("configs/quickstart.yaml: schedule.milestones")


def test_bundled_configs_are_found_in_an_installed_copy(tmp_path: Path) -> None:
    # laid out as setup.cfg's package_dir installs it
    root, package = CONFIGS.parent, tmp_path / "ttfs_cupy"
    shutil.copytree(root / "ttfs_cupy", package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("configs", "models", "data"):
        shutil.copytree(root / folder, package / folder, ignore=shutil.ignore_patterns("__pycache__"))
    code = (
        "from ttfs_cupy import configs; from ttfs_cupy.experiment.config import load_config\n"
        "print(configs.__file__, load_config('quickstart').training.epochs)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == [str(package / "configs" / "__init__.py"), "30"]


# Files that are no configs


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "quikstart.yaml"
    assert mistake(path) == f"config '{path}' does not exist: did you mean quickstart?"
    path = tmp_path / "qqq.yaml"
    assert mistake(path) == f"config '{path}' does not exist: name a YAML file, or one of {', '.join(sorted(BUNDLED))}"


def test_a_directory(tmp_path: Path) -> None:
    assert mistake(tmp_path) == f"config '{tmp_path}' is a directory: name a YAML file"


def test_an_unreadable_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # not by chmod: root reads everything
    def refuse(_self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert mistake(file) == f"config '{file}' cannot be read: Permission denied"


def test_a_file_that_is_not_utf_8(file: Path) -> None:
    file.write_bytes(MINIMAL.encode() + b"output: caf\xe9\n")
    assert mistake(file) == f"{file}, line 3, is not UTF-8: save the file as UTF-8 text"
    file.write_bytes(MINIMAL.encode("utf-16"))
    assert "line 1, is not UTF-8" in mistake(file)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: 0\ndata: [1\n", 3),
        ("seed: 0\ndata: a: b\n", 2),
        ("seed: 0\n\tdata: 1\n", 2),
        ("seed: 0\n---\nseed: 1\n", 2),
        ("seed: 0\noutput: *nothing\n", 2),
        ("seed: !!python/object:os.system 0\n", 1),
    ],
)
def test_a_file_that_is_not_yaml(file: Path, text: str, line: int) -> None:
    file.write_text(text)
    assert mistake(file).startswith(f"{file}, line {line}: this is not YAML: ")


def test_a_character_that_yaml_refuses(file: Path) -> None:
    file.write_bytes(b"seed: 0\noutput: a\x07b\n")
    assert mistake(file) == f"{file}, line 2: YAML does not allow the character U+0007"


@pytest.mark.parametrize(
    "value",
    ["!!timestamp x", f"1{':00' * 200}.5", "2024-13-45", "!!int x", "!!int ''", "!!float ''", "!!bool x", "9" * 5000],
)
def test_a_value_that_its_type_refuses(file: Path, value: str) -> None:
    file.write_text(f"data: {{dataset: digits}}\nseed: {value}\n")
    assert re.match(rf"{re.escape(str(file))}, line 2: .{{0,40}} is not a valid [a-z]+$", mistake(file))


def test_nesting_without_end(file: Path) -> None:
    file.write_text(f"seed: {'[' * 5_000}\n")
    assert mistake(file) == f"{file}, line 1: lists and mappings are nested too deeply"


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n", "null\n"])
def test_an_empty_file(file: Path, text: str) -> None:
    file.write_text(text)
    assert mistake(file).startswith(f"{file} is empty: it must hold ")


@pytest.mark.parametrize(("text", "kind"), [("- seed\n", "list"), ("seed\n", "single value"), ("5\n", "single value")])
def test_a_file_without_keys(file: Path, text: str, kind: str) -> None:
    file.write_text(text)
    assert mistake(file) == f"{file} must hold keys and values, such as 'seed: 0', not a {kind}"


def test_a_key_given_twice(file: Path) -> None:
    file.write_text(f"{MINIMAL}optimizer:\n  lr: 1\n  eps: 1\n  lr: 2\n")
    assert mistake(file) == f"{file}, line 6: the key lr stands in line 4 already: keep one of them"
    file.write_text(f"seed: 1\n{MINIMAL}seed: 1\n")
    assert mistake(file) == f"{file}, line 4: the key seed stands in line 1 already: keep one of them"
    file.write_text(f"{MINIMAL}optimizer: {{lr: 1, lr: 1}}\n")
    assert mistake(file) == f"{file}, line 3: the key lr stands in line 3 already: keep one of them"


def test_merged_keys_are_not_given_twice(file: Path) -> None:
    file.write_text("data: {dataset: digits}\ntraining:\n  <<: {epochs: 1, batch_size: 8}\n  epochs: 2\n")
    assert load_config(file).training.epochs == 2


def test_a_byte_order_mark_is_no_matter(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_config(file).training.epochs == 3


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab01.:-?!&*#%@<>|[]{},'\"~= \n\t\x00é"), max_size=30) | st.binary(max_size=20))
@example("&a [*a]")
@example("network: &n {model: [3], t_win: *n}")
@example("network: {model: &m [*m]}")
@example("network: {psp_slope: &p {from: *p}}")
@example("&a {<<: *a}")
@example("!!set {a, b}")
@example("seed: 1:00:00.5e9")
def test_any_text_is_a_config_or_a_users_mistake(tmp_path_factory: pytest.TempPathFactory, text: str | bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError):
        load_config(path)


# Overrides


def test_overrides_go_on_top_one_after_another(file: Path) -> None:
    file.write_text(MINIMAL)
    loaded = load_config(file, ["training.epochs=5", "optimizer={lr: 1e-2}", "optimizer.eps=1e-4", "training.epochs=7"])
    assert (loaded.training.epochs, loaded.training.batch_size) == (7, 8)
    assert (loaded.optimizer.lr, loaded.optimizer.eps) == (0.01, 1e-4)


def test_an_override_may_clear_contain_equals_and_fill_an_empty_section(file: Path) -> None:
    file.write_text(f"{MINIMAL}output: runs/x\nschedule:\n")
    loaded = load_config(file, ["output=", "data.root=a=b", "schedule.name=cosine"])
    assert (loaded.output, loaded.data.root, loaded.schedule.name) == (None, "a=b", "cosine")


def test_an_override_mends_the_file(file: Path) -> None:
    file.write_text(f"{MINIMAL}seed: -1\n")
    assert load_config(file, ["seed=3"]).seed == 3


def test_an_override_leaves_other_users_of_an_alias_alone() -> None:
    shared = {"lr": 1}
    content = {"optimizer": shared, "schedule": shared}
    changed, key = config_file.override(content, "optimizer.lr=2")
    assert (changed, key) == ({"optimizer": {"lr": 2}, "schedule": {"lr": 1}}, "optimizer.lr")
    assert content["optimizer"] is shared and shared == {"lr": 1}


@pytest.mark.parametrize("assignment", ["seed", "=1", ".seed=1", "network.=1", "a..b=1", ""])
def test_an_override_that_is_none(file: Path, assignment: str) -> None:
    file.write_text(MINIMAL)
    assert mistake(file, assignment) == f"--set {assignment}: this must read key.sub=value, such as network.t_win=1.5"


def test_an_override_below_a_value(file: Path) -> None:
    file.write_text(f"{MINIMAL}network: {{psp_slope: 1}}\n")
    assert mistake(file, "network.psp_slope.end=0.5") == (
        "--set network.psp_slope.end=0.5: network.psp_slope has a value, not keys of its own, in this config: "
        "set it as a whole"
    )


def test_an_override_that_is_not_yaml(file: Path) -> None:
    file.write_text(MINIMAL)
    assert mistake(file, "network.model=[1").startswith("--set network.model=[1: this is not YAML: ")
    assert mistake(file, "seed={a: 1, a: 2}").startswith("--set seed={a: 1, a: 2}: the key a stands in line 1 already")


def test_the_last_override_of_a_key_is_blamed(file: Path) -> None:
    file.write_text(MINIMAL)
    assert mistake(file, "seed=-1", "seed=-2").startswith("--set seed=-2: ")
    assert mistake(file, "optimizer={lr: 1}", "optimizer.lr=0").startswith("--set optimizer.lr=0: ")
    assert mistake(file, "optimizer.lr=1", "optimizer={lr: 0}").startswith("--set optimizer={lr: 0}: ")


def test_the_file_is_blamed_for_what_no_override_set(file: Path) -> None:
    file.write_text(f"{MINIMAL}seeds: 1\n")
    assert mistake(file, "seed=3", "network.t_win=2") == f"{file}: seeds is not a key: did you mean seed?"


# dump


def finite(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(least, most, allow_nan=False, exclude_min=True, exclude_max=True)


SMALL = {"data": {"dataset": "digits"}, "training": {"epochs": 3, "batch_size": 8}}
positive = finite(0, 1e300)
share = finite(0, 1)
words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12) | st.sampled_from(
    ["1e-3", "1", "null", "true", "~", "1:30", "0x1", "2024-01-01", "a: b", "- a", "#", "=", "<<", " a ", "\n", "1_0"]
)
layers = st.lists(
    st.integers(1, 9) | words | st.dictionaries(words, st.integers() | st.floats(-1, 1), max_size=2),
    min_size=1,
    max_size=4,
)
slopes = st.builds(
    lambda ends, bounds: {"from": ends[0], "to": ends[1], "start": min(bounds), "end": max(bounds)},
    st.tuples(share, share),
    st.tuples(share, share),
)
contents = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries({"dataset": words}, optional={"root": words, "validation": share}),
        "training": st.fixed_dictionaries(
            {"epochs": st.integers(1), "batch_size": st.integers(1)}, optional={"patience": st.none()}
        ),
    },
    optional={
        "seed": st.integers(0),
        "output": words,
        "network": st.fixed_dictionaries(
            {},
            optional={"model": words | layers, "t_win": positive, "psp_slope": share | slopes, "weight_std": positive},
        ),
        "optimizer": st.fixed_dictionaries(
            {},
            optional={
                "lr": positive,
                "clip_norm": st.none() | positive,
                "weight_clip": st.tuples(finite(-9, 0), finite(0, 9)).map(list),
                "fixed_sign": st.booleans(),
            },
        ),
        "schedule": st.fixed_dictionaries(
            {
                "name": st.just("multistep"),
                "milestones": st.lists(st.integers(1), min_size=1, max_size=4, unique=True).map(sorted),
            }
        ),
    },
)


@settings(max_examples=100, deadline=None)
@given(contents)
@example({**SMALL, "output": "\x85"})
@example({**SMALL, "output": "a\n b\u2028"})
@example({**SMALL, "output": "1e-3"})
@example({**SMALL, "output": "données/图"})
def test_dump_loads_back_to_an_equal_config(tmp_path_factory: pytest.TempPathFactory, content: dict) -> None:
    original = Config.model_validate(content)
    path = tmp_path_factory.getbasetemp() / "dumped.yaml"
    path.write_bytes(dump_config(original).encode())
    assert load_config(path) == original


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_configs_survive_a_dump(name: str, file: Path) -> None:
    original = load_config(name)
    file.write_text(dump_config(original))
    assert load_config(file) == original


def test_dump_writes_lists_on_one_line(file: Path) -> None:
    file.write_text(f"{MINIMAL}optimizer: {{weight_clip: [-1, 1]}}\n")
    assert "\n  weight_clip: [-1.0, 1.0]\n" in dump_config(load_config(file))


def test_dump_keeps_letters_readable(file: Path) -> None:
    file.write_text(f"{MINIMAL}output: données/图\n")
    assert "\noutput: données/图\n" in dump_config(load_config(file))


def test_dump_writes_every_key_in_order(file: Path) -> None:
    file.write_text(f"{MINIMAL}network: {{model: [3, P, {{linear: 4}}], psp_slope: {{from: 0, to: 1}}}}\n")
    assert dump_config(load_config(file)) == (
        """seed: 0
device: auto
threads: null
tune: true
output: null
network:
  model: [3, P, {linear: 4}]
  t_win: 1.0
  psp_slope:
    from: 0.0
    to: 1.0
    start: 0.0
    end: 1.0
  clip: gain
  grad_clip: 1.0
  readout: potential
  encoding: null
  standardize: false
  weight_mean: 0.0
  weight_std: null
  initial_weights: null
  convolution: auto
  precision: split
data:
  dataset: digits
  root: datasets
  download: false
  augment: none
  validation: 0.1
training:
  epochs: 3
  batch_size: 8
  patience: 25
optimizer:
  name: adam
  lr: 0.001
  beta1: 0.9
  beta2: 0.999
  eps: 1.0e-08
  momentum: 0.0
  weight_decay: 0.0
  clip_norm: null
  weight_clip: null
  fixed_sign: false
schedule:
  name: exponential
  annealing: 1.0
  milestones: []
  factor: 0.1
  warmup: 0
"""
    )
