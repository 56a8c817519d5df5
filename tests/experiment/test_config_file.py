"""Files that are no configs: each is answered by one sentence."""

import re
from pathlib import Path

import pytest
from helpers.configs import BUNDLED, MINIMAL, mistake
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment.config import load_config


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
