"""`key.sub=value` on top of a config's file."""

from pathlib import Path

import pytest
from helpers.configs import MINIMAL, mistake

from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.experiment.config import text as config_text


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
    changed, key = config_text.override(content, "optimizer.lr=2")
    assert (changed, key) == ({"optimizer": {"lr": 2}, "schedule": {"lr": 1}}, "optimizer.lr")
    assert content["optimizer"] is shared and shared == {"lr": 1}


@pytest.mark.parametrize("assignment", ["seed", "=1", ".seed=1", "network.=1", "a..b=1", ""])
def test_an_override_that_is_none(file: Path, assignment: str) -> None:
    file.write_text(MINIMAL)
    assert mistake(file, assignment) == f"--set {assignment}: this must read key.sub=value, such as network.t_win=1.5"


@pytest.mark.parametrize(
    ("assignment", "bare"), [(" seed=1", "seed"), ("seed =1", "seed"), ("optimizer. lr\t=1", "optimizer.lr")]
)
def test_spaces_around_a_key(file: Path, assignment: str, bare: str) -> None:
    file.write_text(MINIMAL)
    sentence = mistake(file, assignment)
    assert sentence.endswith(f": no spaces may stand around a key: write {bare}=...")


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
