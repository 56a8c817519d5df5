"""Keys of other frameworks in a config of ours: each is answered with its name here."""

import re
from pathlib import Path

import pytest
from helpers.configs import mistake
from helpers.environments import REPOSITORY
from pydantic import BaseModel

from ttfs_cupy.experiment.config import Config
from ttfs_cupy.migration.old_keys import OLD_KEYS, T2FSNN_KEYS, old_key


def leaves(section: type[BaseModel] = Config, above: str = "") -> set[str]:
    found = set()
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found |= {name} | leaves(kind, f"{above}{name}.")
        else:
            found.add(f"{above}{name}")
    return found


OURS = leaves()
# those that are keys of ours in some section, by the same name
SAME = {"lr", "grad_clip", "annealing", "epochs", "batch_size", "t_win", "eps"}


def test_whatever_the_table_names_is_a_key() -> None:
    assert {here for key in OLD_KEYS.values() for here in key.here} <= OURS
    assert {name for name in OLD_KEYS if any(here.endswith(f".{name}") for here in OURS)} == SAME


def test_a_key_without_a_counterpart_says_why() -> None:
    assert all(key.here or key.remark for key in OLD_KEYS.values())


@pytest.mark.parametrize("name", [name for name in OLD_KEYS if name not in SAME])
def test_every_old_key_is_answered(minimal: Path, name: str) -> None:
    key = OLD_KEYS[name]
    whose = f"{key.owner}'s {name}" if key.owner else "it"
    remark = f" ({key.remark})" if key.here and key.remark else ""
    answer = f"is {' and '.join(key.here)} here{remark}" if key.here else key.remark
    # at the top, in a section, and in whatever case
    for typed in (name, f"optimizer.{name}", f"training.{name}"):
        assert mistake(minimal, f"{typed}=1") == f"--set {typed}=1: {typed} is not a key: {whose} {answer}"
    assert f"is not a key: {whose.replace(name, name.upper())} {answer}" in mistake(minimal, f"{name.upper()}=1")


@pytest.mark.parametrize("name", sorted(SAME))
def test_the_same_name_in_another_place(minimal: Path, name: str) -> None:
    expected = " or ".join(sorted(here for here in OURS if here.endswith(f".{name}")))
    assert mistake(minimal, f"watch.{name}=1").endswith(f"watch.{name} is not a key: did you mean {expected}?")


SENTENCES = {
    "w_decay": "T2FSNN's w_decay is optimizer.weight_decay here (taken off the weights after the step, decoupled)",
    "early_stopping": "T2FSNN's early_stopping is training.patience here (epochs without a better validation accuracy)",
    "use_adam": "T2FSNN's use_adam is optimizer.name here (true is adam, false is sgd)",
    "w_ei": "T2FSNN's w_ei is optimizer.fixed_sign here",
    "w_clip": "T2FSNN's w_clip is optimizer.weight_clip here (true is [w_min, w_max], false is null)",
    "no_spk": (
        "T2FSNN's no_spk is network.readout here (true is potential, false is spike_times with network.silent excluded)"
    ),
    "betas": "it is optimizer.beta1 and optimizer.beta2 here (two keys)",
    "bz": "DTA-TTFS's bz is training.batch_size here",
    "iterationNum": "DTA-TTFS's iterationNum is training.epochs here",
    "num_class": "DTA-TTFS's num_class is not set here: it follows from the data set",
    "learning_rate": "it is optimizer.lr here",
    "num_steps": "it has no counterpart: spike times are computed in closed form, not step by step",
}


@pytest.mark.parametrize("name", SENTENCES)
def test_sentences(minimal: Path, name: str) -> None:
    assert mistake(minimal, f"{name}=1") == f"--set {name}=1: {name} is not a key: {SENTENCES[name]}"


def test_in_a_file_the_key_that_was_meant_is_not_missing_too(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("data: {dataset: digits}\ntraining: {iterationNum: 3, bz: 8}\n")
    assert mistake(file) == (
        f"{file}: training.iterationNum is not a key: DTA-TTFS's iterationNum is training.epochs here "
        "(and 1 more mistake)"
    )


def test_t2fsnn_s_file_in_the_place_of_one_of_ours(tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    file.write_text('{"use_adam": true, "epochs": 1, "batch_size": 2}')
    assert re.fullmatch(
        rf"{re.escape(str(file))}: use_adam is not a key: T2FSNN's use_adam is optimizer.name here .*; .*convert-"
        "config translates T2FSNN's whole file",
        mistake(file),
    )


def test_the_hint_is_for_t2fsnn_s_file_alone(tmp_path: Path) -> None:
    """One of ours with a stray key was sent to convert-config, which sent it back."""
    file = tmp_path / "mixed.json"
    file.write_text('{"data": {"dataset": "digits"}, "training": {"epochs": 1, "batch_size": 2}, "lr": 0.1}')
    assert mistake(file) == f"{file}: lr is not a key: did you mean optimizer.lr?"
    file = tmp_path / "OLD.JSON"
    file.write_text('{"use_adam": true, "epochs": 1, "batch_size": 2}')
    assert mistake(file).endswith("convert-config translates T2FSNN's whole file")


def test_an_empty_key_is_seen(minimal: Path) -> None:
    minimal.write_text(f'{minimal.read_text()}"": 1\n')
    assert f"{minimal}: '' is not a key: " in mistake(minimal)


def test_names_of_nobody() -> None:
    assert old_key("qqq") is None and old_key("") is None
    assert old_key("ITERATIONNUM") is OLD_KEYS["iterationNum"]
    assert set(T2FSNN_KEYS) <= set(OLD_KEYS)


def test_the_page_for_those_who_come_from_t2fsnn_names_each_key() -> None:
    page = (REPOSITORY / "docs/t2fsnn.md").read_text()
    names = {name for name, key in T2FSNN_KEYS.items() if key.owner == "T2FSNN"}
    assert len(names) > 15 and {name for name in names if f"`{name}`" not in page} == set()
