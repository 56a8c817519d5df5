"""What is typed of a sweep: lists of values and seeds, combinations, and the names of folders."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment.config import load_config
from ttfs_cupy.sweep import grid, naming, plan
from ttfs_cupy.sweep.devices import parse_devices, threads_variable
from ttfs_cupy.sweep.plan import by_setting, check_configs, planned

LEAVES = st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="ascii"))
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text("ab',:[", min_size=1), inner), max_leaves=6
)


@given(st.lists(VALUES, min_size=1))
@example(["it's", "a,b", ["]", "x'y"], {"a": "',"}])
def test_any_values_of_json_come_apart_where_they_were_joined(values: list[Any]) -> None:
    texts = [json.dumps(value) for value in values]
    for joint in (",", " , "):
        assert grid.split_values(joint.join(texts)) == texts


WORDS = st.text("ab'\"[]{}: #-.", min_size=1).map(str.strip).filter(lambda word: word and word[0] not in "'\"[{:")


@given(st.lists(WORDS.filter(lambda word: ": " not in word and '":' not in word and "':" not in word), min_size=1))
def test_brackets_and_quotes_within_plain_words_mean_nothing(words: list[str]) -> None:
    assert grid.split_values(",".join(words)) == words


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-4,3e-4", ["1e-4", "3e-4"]),
        ("[32, P], [64, P, {linear: 3}]", ["[32, P]", "[64, P, {linear: 3}]"]),
        ("{from: 0, to: 1},1", ["{from: 0, to: 1}", "1"]),
        ("'a, b',\"c, \\\", d\",'it''s, e'", ["'a, b'", '"c, \\", d"', "'it''s, e'"]),
        ("{a: 'x}, y'},it's,b", ["{a: 'x}, y'}", "it's", "b"]),
        ("dataset: [1, 2],b", ["dataset: [1, 2]", "b"]),
        ("a[1,2]", ["a[1", "2]"]),
        # left to YAML, which says what is wrong
        ("[1, 2", ["[1, 2"]),
        ("'1, 2", ["'1, 2"]),
        ("", [""]),
        ("1,,2,", ["1", "", "2", ""]),
    ],
)
def test_commas_part_values_outside_of_brackets_and_quotes(text: str, values: list[str]) -> None:
    assert grid.split_values(text) == values


@pytest.mark.parametrize(
    ("text", "seeds"), [("5", [5]), ("0-4", [0, 1, 2, 3, 4]), ("0,3,7", [0, 3, 7]), ("7, 0-1", [7, 0, 1]), ("3-3", [3])]
)
def test_seeds(text: str, seeds: list[int]) -> None:
    assert grid.parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is no seed: write 5, or 0,3,7, or 0-4"),
        ("1,", "'' is no seed"),
        ("-1", "'-1' is no seed"),
        ("0-2-4", "'0-2-4' is no seed"),
        ("1.5", "'1.5' is no seed"),
        ("²", "is no seed"),
        ("4-0", "'4-0' ends before it begins: write 0-4"),
        ("0-4,3", "3 is there twice"),
        ("0-10000", "more than 10,000 seeds"),
        ("9" * 30, "is no seed"),
    ],
)
def test_what_are_no_seeds(text: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        grid.parse_seeds(text)


@pytest.mark.parametrize(
    ("assignments", "words"),
    [
        (["optimizer.lr"], "--set optimizer.lr: this must read key.sub=value,value, such as optimizer.lr=1e-4,3e-4"),
        (["=3"], "--set =3: this must read"),
        (["optimizer.lr=1,,2"], "--set optimizer.lr=1,,2: a value is empty"),
        (["optimizer.lr=1,"], "a value is empty"),
        (["optimizer.lr="], "a value is empty"),
        (["optimizer.lr=1", "optimizer.lr=2"], "optimizer.lr is given twice: write all of its values into one list"),
        (["seed=1,2"], "--set seed=1,2: list seeds with --seeds"),
        (["device=cpu"], "name devices with --devices"),
        (["output=x"], "name the sweep's folder with --output"),
    ],
)
def test_what_is_no_list_of_values(assignments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        grid.parse_settings(assignments)


def test_first_keys_change_last_and_seeds_first() -> None:
    runs = planned({"a": ["1", "2"], "fixed": ["0"], "b": ["x", "y"]}, [3, 1])
    assert [(run.setting.label, run.seed) for run in runs] == [
        (f"a={a}, b={b}", seed) for a in "12" for b in "xy" for seed in (3, 1)
    ]
    assert runs[2].name == "a=1,b=y,seed=3"
    assert runs[2].setting.overrides == ["a=1", "fixed=0", "b=y"]
    assert [(setting.label, own) for setting, own in by_setting(runs)] == [
        (f"a={a}, b={b}", runs[2 * place : 2 * place + 2]) for place, (a, b) in enumerate(["1x", "1y", "2x", "2y"])
    ]


def test_a_sweep_over_seeds_alone() -> None:
    assert [(run.name, run.setting.label) for run in planned({}, [0, 1])] == [
        ("seed=0", "as given"),
        ("seed=1", "as given"),
    ]


def test_too_many_runs() -> None:
    hundred = [str(number) for number in range(100)]
    assert len(planned({"a": hundred}, range(100))) == grid.MOST_RUNS
    with pytest.raises(UserError, match="these are 10,100 runs, and a sweep has 10,000 at most"):
        planned({"a": hundred}, range(101))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({" seed": ["1"]}, "--set  seed=1: no spaces may stand around a key: write seed=..."),
        ({"optimizer.lrr": ["1"]}, "--set optimizer.lrr=1: optimizer.lrr is not a key: did you mean optimizer.lr?"),
        ({"optimizer.lr": ["1e-3", "-3"]}, "--set optimizer.lr=-3: optimizer.lr must be a number above 0, not -3"),
        ({"network.model": ["[32, P", "[8]"]}, "--set network.model=[32, P: this is not YAML"),
        ({"optimizer.lr": ["1e-3", "0.001"]}, "'optimizer.lr=1e-3' and 'optimizer.lr=0.001' are one and the same"),
        # that only go ill together
        ({"optimizer.name": ["adam", "sgd"], "optimizer.momentum": ["0", "0.5"]}, "optimizer.momentum has no effect"),
    ],
)
def test_configs_are_checked_before_anything_runs(settings: dict[str, list[str]], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        check_configs("quickstart", planned(settings, [0, 1]), tune=True)


def test_what_a_base_lacks_may_be_set(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text("data: {dataset: digits}\ntraining: {epochs: 1}\n")
    check_configs(base, planned({"training.batch_size": ["1", "2"]}, [0]), tune=False)
    with pytest.raises(UserError, match=r"training\.batch_size is missing"):
        check_configs(base, planned({}, [0]), tune=False)


def test_many_seeds_are_not_checked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(plan, "load_config", lambda *given: asked.append(given) or load_config(*given))
    check_configs("quickstart", planned({"optimizer.lr": ["1", "2"]}, [7, *range(6), 9]), tune=True)
    assert [options["seed"] for _, _, options in asked[2:]] == [0, 9]


def test_seeds_are_checked_too() -> None:
    for seeds in ([0, 99999999999999999999], [99999999999999999999, 3]):
        with pytest.raises(UserError, match="--seed 99999999999999999999: seed must be"):
            check_configs("quickstart", planned({}, seeds), tune=True)


ASSIGNMENTS = st.lists(st.tuples(st.text("ab.", min_size=1), st.text("ab1,=[] '/é\0\n")), min_size=1, max_size=5)


@given(ASSIGNMENTS, ASSIGNMENTS)
@example([("a", "1,b=2")], [("a", "1"), ("b", "2")])
@example([("a", "x" * 300)], [("a", "x" * 300 + "y")])
@example([("a", "[1]")], [("a", "{1}")])
def test_folders_have_names_of_their_own_that_are_safe(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    names = [naming.folder_name(assignments) for assignments in (one, other)]
    assert (names[0] == names[1]) == (one == other)
    for name in names:
        assert len(name) <= naming.LONGEST
        assert re.fullmatch(r"[A-Za-z0-9_.+,=-]+", name) and Path(name).name == name and name not in (".", "..")


def test_a_plain_name_says_what_is_set() -> None:
    assert naming.folder_name([("optimizer.lr", "1e-4"), ("seed", "3")]) == "optimizer.lr=1e-4,seed=3"


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_devices("cuda:0, cuda:1,cpu") == ["cuda:0", "cuda:1", "cpu"]
    for text in ("", "cpu,", "gpu", "cuda:", "cuda:x"):
        with pytest.raises(UserError, match="is no device: write auto, cpu, cuda or cuda:N"):
            parse_devices(text)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("ttfs_cupy.sweep.devices.available_cores", lambda: 7)
    assert [threads_variable(count) for count in (1, 2, 3, 9)] == [
        {},
        *({"OMP_NUM_THREADS": threads} for threads in ("3", "2", "1")),
    ]
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads_variable(2) == {}
