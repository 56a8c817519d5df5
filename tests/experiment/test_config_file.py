"""Files that are no configs: each is answered by one sentence."""

import os
import re
from pathlib import Path

import pytest
from helpers.configs import BUNDLED, MINIMAL, mistake
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.experiment.config import dump_config, load_config


def test_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "quikstart.yaml"
    assert mistake(path) == f"config '{path}' does not exist: did you mean quickstart?"
    path = tmp_path / "qqq.yaml"
    assert mistake(path) == f"config '{path}' does not exist: name a YAML file, or one of {', '.join(sorted(BUNDLED))}"


def test_a_directory(tmp_path: Path) -> None:
    assert mistake(tmp_path) == f"config '{tmp_path}' cannot be read: it is a directory, not a file"


def test_an_unreadable_file(file: Path) -> None:
    # not by chmod: root reads everything
    link = file.with_name("loop.yaml")
    link.symlink_to(link)
    assert mistake(link) == f"config '{link}' cannot be read: its symbolic links lead in a circle"
    assert mistake("a" * 300 + ".yaml") == f"config '{'a' * 197}...' cannot be read: File name too long"
    assert mistake("a\0b") == r"config 'a\x00b' cannot be read: its name holds a NUL character, which no path may"
    assert mistake("/proc/self/mem") == "config '/proc/self/mem' cannot be read: Input/output error"


def test_what_never_ends_is_not_read(file: Path) -> None:
    os.mkfifo(file)
    assert mistake(file) == f"config '{file}' cannot be read: it is a pipe, not a file"
    assert mistake("/dev/zero") == "config '/dev/zero' cannot be read: it is a device, not a file"


def test_a_large_file_is_not_read(file: Path) -> None:
    with file.open("wb") as large:
        large.truncate(1 << 40)
    assert mistake(file) == f"config '{file}' is larger than 256 KiB: name a YAML file, which is a page or two"


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
        ("seed: 0\noutput: *nothing\n", 2),
        ('output: "\\U00110000"\n', 1),
        ('seed: 0\noutput: "\\UFFFFFFFF"\n', 2),
    ],
)
def test_a_file_that_is_not_yaml(file: Path, text: str, line: int) -> None:
    file.write_text(text)
    assert mistake(file).startswith(f"{file}, line {line}: this is not YAML: ")


def test_a_character_that_yaml_refuses(file: Path) -> None:
    file.write_bytes(b"seed: 0\noutput: a\x07b\n")
    assert mistake(file) == f"{file}, line 2: YAML does not allow the character U+0007"


def test_two_documents(file: Path) -> None:
    file.write_text("seed: 0\n---\nseed: 1\n")
    assert mistake(file) == f"{file}, line 2: a second document begins here: keep one of them"


@pytest.mark.parametrize("value", ["!!int x", "!!int ''", "!!int 1.5", "!!float ''", "!!bool x", "!!null 0"])
def test_a_value_that_its_type_refuses(file: Path, value: str) -> None:
    file.write_text(f"data: {{dataset: digits}}\nseed: {value}\n")
    tag, _, text = value.partition(" ")
    shown = text if text == "''" else f"'{text}'"
    assert mistake(file) == f"{file}, line 2: {shown} is not a valid {tag.removeprefix('!!')}"


@pytest.mark.parametrize("tag", ["!!timestamp", "!!binary", "!!set", "!!python/object:os.system", "!mine", "!!seq"])
def test_a_tag_that_is_not_known(file: Path, tag: str) -> None:
    file.write_text(f"data: {{dataset: digits}}\nseed: {tag} 0\n")
    assert mistake(file) == f"{file}, line 2: the tag {tag} is not known here: leave it out"


@pytest.mark.parametrize(
    "number", ["9" * 5000, f"-{'9' * 5000}", f"0x{'f' * 90_000}", f"0.{'1' * 5000}", f"1e{'0' * 5000}"]
)
def test_numbers_of_thousands_of_digits(file: Path, number: str) -> None:
    file.write_text(f"data: {{dataset: digits}}\nseed: {number}\n")
    assert re.fullmatch(
        rf"{re.escape(str(file))}, line 2: \S{{40}} has [0-9,]+ digits: write a number in at most 100", mistake(file)
    )


@pytest.mark.parametrize("value", [r'"a\0b"', r'"\ud800"'])
def test_characters_that_no_path_holds(file: Path, value: str) -> None:
    file.write_text(f"{MINIMAL}output: {value}\n")
    assert re.fullmatch(
        rf"{re.escape(str(file))}, line 3: the character U\+\w{{4}} has no place in a value", mistake(file)
    )


@pytest.mark.parametrize("text", [f"seed: {'[' * 5_000}\n", f"seed: {'{a: ' * 5_000}\n", f"seed:\n {'- ' * 5_000}\n"])
def test_nesting_without_end(file: Path, text: str) -> None:
    file.write_text(text)
    assert mistake(file).endswith(": lists and mappings are nested more than 32 deep")


def test_nesting_by_aliases(file: Path) -> None:
    file.write_text("x0: &x0 [1]\n" + "".join(f"x{i}: &x{i} [[[[*x{i - 1}]]]]\n" for i in range(1, 2000)))
    assert mistake(file) == f"{file}, line 9: lists and mappings are nested more than 32 deep"


LAUGHS = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
MERGED = "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}], k{i}: 1}}\n" for i in range(1, 12))


@pytest.mark.parametrize("text", [f"a0: &a0 [x, x]\n{LAUGHS}", f"a: [{'1, ' * 30_000}]\n"])
def test_aliases_count_as_copies(file: Path, text: str) -> None:
    file.write_text(text)
    assert re.fullmatch(
        rf"{re.escape(str(file))}, line \d+: from here on there are more than 20,000 values, aliases counted as copies",
        mistake(file),
    )


@pytest.mark.parametrize(
    "text", ["&a [*a]", "network: &n {model: [3], t_win: *n}", "network: {model: &m [[*m]]}", "&a {<<: *a}"]
)
def test_an_alias_of_what_it_stands_in(file: Path, text: str) -> None:
    file.write_text(text)
    assert re.fullmatch(
        rf"{re.escape(str(file))}, line 1: the alias \*\w stands inside of what it names", mistake(file)
    )


def test_an_alias_is_a_copy(file: Path) -> None:
    file.write_text(
        f"{MINIMAL}network: {{model: [&c {{convolution: 4}}, *c, *c], convolution: {{conv1: &g gemm, conv2: *g}}}}\n"
    )
    model = load_config(file).network.model
    assert model == [{"convolution": 4}] * 3
    assert isinstance(model, list) and model[0] is not model[1]
    assert "*" not in dump_config(load_config(file)) and "&" not in dump_config(load_config(file))


@pytest.mark.parametrize("key", ["[a]", "{a: 1}", "&b [c]"])
def test_a_key_that_is_no_word(file: Path, key: str) -> None:
    file.write_text(f"{MINIMAL}? {key}\n: 1\n")
    assert mistake(file) == f"{file}, line 3: a key must be a word, not a list, a mapping or an alias"


@pytest.mark.parametrize(
    "text", [f"a: [&a {'x' * 9000}{', *a' * 1000}]\n", f"a: [&a {{{'x' * 900}: 1}}{', *a' * 1000}]\n"]
)
def test_long_texts_are_copied_within_bounds(file: Path, text: str) -> None:
    file.write_text(text)
    assert mistake(file) == f"{file}, line 1: from here on the copies that aliases stand for are longer than 256 KiB"


def test_merging_multiplies_nothing(file: Path) -> None:
    file.write_text(f"a0: &a0 {{x: 1}}\n{MERGED}")
    assert mistake(file).startswith(f"{file}: a0 is not a key: ")


def test_what_is_merged_must_have_keys(file: Path) -> None:
    file.write_text(f"{MINIMAL}network: {{<<: [1]}}\n")
    assert mistake(file) == f"{file}, line 3: << takes the keys of a mapping, or of a list of them, not 1"


# YAML 1.2's core schema (chapter 10.3.2 of its specification)


@pytest.mark.parametrize(
    ("text", "seed"),
    [("010", 10), ("0010", 10), ("0o10", 8), ("0x1F", 31), ("+12", 12), ("!!int 010", 10), ("08", 8)],
)
def test_whole_numbers(file: Path, text: str, seed: int) -> None:
    file.write_text(f"{MINIMAL}seed: {text}\n")
    assert load_config(file).seed == load_config("quickstart", [f"seed={text}"]).seed == seed


@pytest.mark.parametrize(
    "text",
    ["1:30", "1_000", "0b11", "2024-01-01", "1:00:00.5", "yes", "0o8", "0x", "1 000", "1,5", "٣", "0X1F"],
)
def test_what_is_no_number(file: Path, text: str) -> None:
    file.write_text(f"{MINIMAL}seed: {text}\n")
    assert mistake(file) == f"{file}: seed must be a whole number from 0, not '{text}'"
    assert mistake("quickstart", f"seed={text}").endswith(f": seed must be a whole number from 0, not '{text}'")


@pytest.mark.parametrize(
    ("text", "lr"), [("1e-3", 0.001), ("+.5", 0.5), ("0.1e-1", 0.01), ("1.", 1.0), ("01.5", 1.5), ("!!float 1", 1.0)]
)
def test_numbers(file: Path, text: str, lr: float) -> None:
    file.write_text(f"{MINIMAL}optimizer: {{lr: {text}}}\n")
    assert load_config(file).optimizer.lr == lr


@pytest.mark.parametrize("text", ["yes", "no", "on", "off", "Yes", "OFF", "y", "n"])
def test_only_true_and_false_are_flags(file: Path, text: str) -> None:
    file.write_text(f"{MINIMAL}tune: {text}\n")
    assert mistake(file) == f"{file}: tune must be true or false, not '{text}'"
    file.write_text(f"{MINIMAL}output: {text}\n")
    assert load_config(file).output == text


@pytest.mark.parametrize(
    "text", ["010", "0o10", "1:30", "yes", "+.5", "1e3", "~", "<<", "=", "2024-01-01", ".inf", "0x1", "!a"]
)
def test_what_looks_like_something_else_is_dumped_as_text(file: Path, text: str) -> None:
    file.write_text(f"{MINIMAL}output: '{text}'\nnetwork: {{model: [{{'{text}': '{text}'}}]}}\n")
    config = load_config(file)
    file.write_text(dump_config(config))
    assert (load_config(file).output, load_config(file)) == (text if text != "~" else str(Path.home()), config)


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
