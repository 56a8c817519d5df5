"""A config as text: it loads back to an equal one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.configs import BUNDLED, MINIMAL
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ttfs_cupy.experiment.config import Config, dump_config, load_config


def finite(least: float, most: float) -> st.SearchStrategy[float]:
    """Numbers that float32 holds with all its digits, as a config has them."""
    floats = st.floats(least, most, allow_nan=False, exclude_min=True, exclude_max=True)
    return floats.filter(lambda value: value == 0 or abs(value) > 1.2e-38)


def whole(least: int, most: int = 1_000_000_000) -> st.SearchStrategy[int]:
    return st.integers(least, most)


def test_a_config_of_numpys_numbers() -> None:
    plain = {
        "seed": 3,
        "network": {"model": [8, {"linear": 4}], "t_win": 0.5},
        "data": {"dataset": "digits", "validation": 0.25},
        "training": {"epochs": 3, "batch_size": 8},
        "optimizer": {"weight_clip": (-0.5, 1.0), "fixed_sign": True},
        "schedule": {"name": "multistep", "milestones": [1, 2]},
    }

    def of_numpy(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: of_numpy(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [of_numpy(one) for one in value]
        return value if isinstance(value, str) else np.array(value)[()]

    short = Config.model_validate(of_numpy(plain))
    assert short == Config.model_validate(plain)
    assert dump_config(short) == dump_config(Config.model_validate(plain))


SMALL = {"data": {"dataset": "digits"}, "training": {"epochs": 3, "batch_size": 8}}
positive = finite(0, 3e38)
window = finite(1e-6, 1e6)
share = finite(0, 1)
# ~name would be a user's folder, and there is none of that name
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda text: not text.startswith("~")
) | st.sampled_from(
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
class_weights = st.none() | st.just("balanced") | st.lists(finite(1e-6, 1e6), max_size=3)
by_channel = window | st.lists(window, min_size=1, max_size=3)
by_layer = window | st.dictionaries(words, window, max_size=3)
held_out = st.floats(1e-30, 0.9) | whole(1) | words
contents = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries(
            {"dataset": words},
            optional={"root": words, "validation": held_out, "subset": held_out, "class_weights": class_weights},
        )
        | st.fixed_dictionaries({"dataset": words, "mean": by_channel, "std": by_channel}),
        "training": st.fixed_dictionaries(
            {"epochs": whole(1), "batch_size": whole(1)}, optional={"patience": st.none()}
        ),
    },
    optional={
        "seed": whole(0, 2**64 - 1),
        "output": words,
        "network": st.fixed_dictionaries(
            {},
            optional={"model": words | layers, "t_win": window, "psp_slope": share | slopes, "weight_std": by_layer},
        ),
        "optimizer": st.fixed_dictionaries(
            {},
            optional={
                "lr": positive,
                "clip_norm": st.none() | finite(1e-6, 3e38),
                "weight_clip": st.tuples(finite(-9, 0), finite(0, 9)).map(list),
                "fixed_sign": st.booleans(),
            },
        ),
        "schedule": st.fixed_dictionaries(
            {
                "name": st.just("multistep"),
                "milestones": st.lists(whole(1), min_size=1, max_size=4, unique=True).map(sorted),
            }
        ),
        "watch": st.fixed_dictionaries(
            {},
            optional={
                "log_every": positive,
                "tensorboard": st.booleans(),
                "loggers": st.lists(st.sampled_from(["wandb", "mlflow"]), unique=True),
            },
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
  silent: latest
  encoding: null
  standardize: false
  weight_mean: 0.0
  weight_std: null
  normalization: none
  initial_potential: false
  initial_weights: null
  convolution: auto
  precision: split
data:
  dataset: digits
  root: datasets
  download: false
  size: null
  channels: null
  test: null
  time_window: null
  mean: null
  std: null
  augment: none
  mix: none
  mix_alpha: 1.0
  class_weights: null
  sampling: plain
  subset: null
  validation: 0.1
  resident: 0.5
training:
  epochs: 3
  batch_size: 8
  patience: 25
  label_smoothing: 0.0
  average: null
  accumulate: 1
  max_skipped: 20
  checkpoint_every:
    minutes: 10.0
    steps: null
  keep: null
optimizer:
  name: adam
  lr: 0.001
  beta1: 0.9
  beta2: 0.999
  eps: 1.0e-08
  momentum: 0.0
  weight_decay: 0.0
  l2: 0.0
  clip_norm: null
  weight_clip: null
  fixed_sign: false
schedule:
  name: exponential
  annealing: 1.0
  milestones: []
  factor: 0.1
  warmup: 0
  rise: 0.3
  start_factor: 0.04
  end_factor: 4.0e-06
watch:
  log_every: 60.0
  tensorboard: false
  loggers: []
"""
    )
