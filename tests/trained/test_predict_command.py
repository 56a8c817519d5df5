"""ttfs predict: the classes of image files, whatever way they are named, and a sentence for each that is none."""

import csv
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.classified import classify, lines_of
from helpers.commands import evaluate, run_small
from helpers.earlier_runs import forget_input
from helpers.photographs import BAD
from PIL import Image

from ttfs_cupy import ImageSet, TrainedNetwork, load
from ttfs_cupy.common.command import command_line


@pytest.fixture(scope="module")
def net(digits_run: Path) -> TrainedNetwork:
    return load(digits_run)


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


# What is said


def test_a_whole_folder(digits_run: Path, digits: ImageSet, folder: Path, net: TrainedNetwork) -> None:
    outcome = classify(digits_run, folder, "--json", "--batch-size", "37")
    assert outcome.err == ""
    lines = lines_of(outcome)
    expected = net.predict(digits.images.transpose(0, 3, 1, 2))
    assert [line["file"] for line in lines] == [str(folder / f"{number:04}.png") for number in range(len(digits))]
    assert [line["label"] for line in lines] == expected.classes.tolist()
    assert [line["class"] for line in lines] == list(expected.names)
    for key, array in (("margin", expected.margin), ("decision_time", expected.decision_time)):
        assert np.array_equal(np.array([line[key] for line in lines], np.float32), array)
    chosen = expected.probabilities.max(axis=1)
    assert np.array_equal(np.array([line["probability"] for line in lines], np.float32), chosen)
    # and of the data set that the run knows
    accuracy = np.mean([line["label"] == label for line, label in zip(lines, digits.labels, strict=True)])
    assert f"test accuracy  {100 * accuracy:.2f} %\n" in evaluate(digits_run).out


def test_the_table(digits_run: Path, some: Path) -> None:
    outcome = classify(digits_run, some, "--top", "3")
    assert (outcome.code, outcome.err) == (0, "")
    head, *rows = outcome.out.splitlines()
    assert head.split() == ["class", "probability", "margin", "decision", "file"]
    assert [row.split()[-1] for row in rows[::3]] == [str(some / name) for name in ("a.png", "b/1.png", "c.png")]
    lines = lines_of(classify(digits_run, some, "--json", "--top", "3"))
    for row, line in zip(rows[::3], lines, strict=True):
        assert re.fullmatch(r"\d +0\.\d{4} +[\d.]+ +3\.\d{3}  .*", row)
        assert float(row.split()[1]) == pytest.approx(line["probability"], abs=6e-5)
    for at, (row, best) in enumerate(zip(rows, [best for line in lines for best in line["top"]], strict=True)):
        assert row.split()[0] == best["class"]
        assert at % 3 == 0 or len(row.split()) == 2


def test_csv_and_json_say_the_same(digits_run: Path, some: Path, net: TrainedNetwork) -> None:
    rows = list(csv.DictReader(io.StringIO(classify(digits_run, some, "--csv", "--top", "4").out)))
    lines = lines_of(classify(digits_run, some, "--json", "--top", "4"))
    found = net.predict([line["file"] for line in lines])
    for row, line, shares in zip(rows, lines, found.probabilities, strict=True):
        assert row["file"] == line["file"] and row["class"] == line["class"]
        for key in ("label", "probability", "margin", "decision_time"):
            assert float(row[key]) == line[key]
        best = line["top"]
        assert best[0] == {key: line[key] for key in ("class", "label", "probability")}
        assert [one["label"] for one in best] == np.argsort(-shares, kind="stable")[:4].tolist()
        for place, one in enumerate(best[1:], 2):
            assert row[f"class_{place}"] == one["class"]
            assert float(row[f"probability_{place}"]) == one["probability"]
    everything = lines_of(classify(digits_run, some / "a.png", "--json", "--top", "99"))[0]["top"]
    assert len(everything) == 10 and sum(one["probability"] for one in everything) == pytest.approx(1)
    assert "top" not in lines_of(classify(digits_run, some / "a.png", "--json"))[0]


def test_other_sizes_and_colours_are_made_to_fit(digits_run: Path, tmp_path: Path, net: TrainedNetwork) -> None:
    picture = tmp_path / "large.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)).save(picture)
    outcome = classify(digits_run, picture, "--json", "--verbose")
    with Image.open(picture) as image:
        grey = image.resize((12, 8), Image.Resampling.BILINEAR).crop((2, 0, 10, 8)).convert("L")
    levels = np.rint(np.asarray(grey) / 255 * 16).astype(np.uint8)
    assert lines_of(outcome)[0]["label"] == net.predict(levels[np.newaxis, np.newaxis]).classes[0]
    assert f"{picture} is resized: 20 x 30 to 8 x 8 pixels\n" in outcome.err
    assert "device         CPU" in outcome.err and ", epoch " in outcome.err


# Ways to name images


def test_standard_input(digits_run: Path, some: Path, stdin: Any) -> None:
    stdin((some / "a.png").read_bytes())
    lines = lines_of(classify(digits_run, some / "c.png", "-", some / "a.png", "--json"))
    assert [line.pop("file") for line in lines] == [str(some / "c.png"), "-", str(some / "a.png")]
    assert lines[1] == lines[2] != lines[0]
    for content, told in ((b"", "standard input is empty"), (b"text", "standard input is no image")):
        stdin(content)
        outcome = classify(digits_run, "-")
        assert outcome.code == 2 and outcome.err.startswith(told), outcome
    stdin(b"")
    assert classify(digits_run, "-", "--from-list", "-").err == (
        "error: standard input (-) is named twice, and can be read once\n"
    )


@pytest.mark.parametrize("end", ["\n", "\0"])
def test_a_list_of_paths(end: str, digits_run: Path, some: Path, tmp_path: Path, stdin: Any) -> None:
    odd = some / ("new\nline.png" if end == "\0" else "e\u0301 x.png")
    shutil.copy(some / "a.png", odd)
    paths = [str(some / "c.png"), str(some / "b"), str(odd), str(some / "a.png")]
    content = end.join(paths).encode()
    (tmp_path / "list").write_bytes(content)
    expected = [paths[0], str(some / "b" / "1.png"), *paths[2:]]
    by_file = lines_of(classify(digits_run, "--from-list", tmp_path / "list", "--json"))
    assert [line["file"] for line in by_file] == expected
    # an end more changes nothing
    stdin(content + end.encode() * 2)
    assert lines_of(classify(digits_run, "--from-list", "-", "--json")) == by_file
    both = lines_of(classify(digits_run, "--json", some / "a.png", "--from-list", tmp_path / "list"))
    assert [line["file"] for line in both] == [paths[3], *expected]


def test_a_long_list_is_read_piece_by_piece(digits_run: Path, some: Path, stdin: Any) -> None:
    path = str(some / "a.png")
    stdin(f"{path}\n".encode() * 3000)
    lines = lines_of(classify(digits_run, "--from-list", "-", "--json"))
    assert len(lines) == 3000 and {line["file"] for line in lines} == {path}
    stdin(b"x" * 200_000)
    outcome = classify(digits_run, "--from-list", "-")
    assert outcome.code == 2 and "standard input is no list of paths: it holds more than 65536 bytes" in outcome.err


def test_names_that_would_break_a_table(digits_run: Path, folder: Path, tmp_path: Path) -> None:
    names = [
        "new\nline.png",
        "cr\r.png",
        "\x1b[2J.png",
        'quote",comma.png',
        os.fsdecode(b"\xff\xfe.png"),
        "-.png",
        " space .png",
    ]
    images = tmp_path / "odd"
    images.mkdir()
    for name in names:
        shutil.copy(folder / "0000.png", images / name)
    expected = sorted(str(images / name) for name in names)
    assert [line["file"] for line in lines_of(classify(digits_run, images, "--json"))] == expected
    table = classify(digits_run, images).out
    assert len(table.splitlines()) == 1 + len(names) and all(c.isprintable() or c == "\n" for c in table)
    assert "new\\nline.png" in table and "\\x1b[2J.png" in table
    file = tmp_path / "out.csv"
    assert classify(digits_run, images, "--csv", "-o", file).code == 0
    with file.open(newline="") as text:
        rows = [row["file"] for row in csv.DictReader(text)]
    assert file.read_bytes().count(b"\r") == 1
    # a byte that is no text is written as an escape
    assert rows == [name.encode(errors="backslashreplace").decode() for name in expected]


def test_folders_with_links(digits_run: Path, some: Path, tmp_path: Path) -> None:
    (some / "b" / "up").symlink_to(some)
    (some / "gone.png").symlink_to(tmp_path / "nowhere")
    (some / "loop.png").symlink_to("loop.png")
    (some / "x.png").mkdir()
    shutil.copy(some / "a.png", some / "x.png" / "2.PNG")
    os.mkfifo(some / "pipe.png")
    outcome = classify(digits_run, some, "--json")
    read = [str(some / name) for name in ("a.png", "b/1.png", "c.png", "x.png/2.PNG")]
    assert [line["file"] for line in lines_of(outcome, 1)] == read
    assert outcome.err.splitlines() == [
        f"{some}/gone.png cannot be read: no such file",
        f"{some}/loop.png cannot be read: its symbolic links lead in a circle",
        f"{some}/pipe.png cannot be read: it is a pipe, not a file",
        "4 images are classified, and 3 are not",
    ]


# Mistakes


def test_damaged_files_are_named_and_the_rest_is_classified(digits_run: Path, some: Path) -> None:
    told = []
    for number, (name, (ending, make, words)) in enumerate(BAD.items()):
        path = some / f"bad{number:02}{ending}"
        make(path)
        told.append((name, str(path), words))
    outcome = classify(digits_run, some, "--json")
    assert [Path(line["file"]).name for line in lines_of(outcome, 1)] == ["a.png", "1.png", "c.png"]
    *sentences, last = outcome.err.splitlines()
    assert last == f"3 images are classified, and {len(told)} are not"
    assert len(sentences) == len(told) > 5
    for sentence, (name, path, words) in zip(sentences, told, strict=True):
        # what a link leads to is looked at as it is opened
        assert sentence.startswith(path) and ("cannot be read" if "link" in name else words) in sentence, name


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "error: no image is named: give files or folders, - for standard input, or --from-list\n"),
        ([""], "error: argument IMAGE: it must name a path, and is empty: see"),
        (
            ["gone.png", "nul\0.png"],
            "gone.png cannot be read: no such file\n"
            "nul\\x00.png cannot be read: its name holds a NUL character, which no path may\n"
            "error: no image is classified: none of 2 could be read\n",
        ),
        (
            ["empty"],
            "empty holds no image: no file in it ends in .jpg, .jpeg, .png, .ppm, .bmp, .pgm, .tif, .tiff, .webp, "
            ".gif\n"
            "error: no image is classified\n",
        ),
        (["--from-list", "gone"], "error: the list gone cannot be read: no such file\n"),
        (["--from-list", "empty"], "error: the list empty cannot be read: it is a directory, not a file\n"),
        (["--from-list", "nothing"], "error: no image is named: the list is empty\n"),
        (["x", "--top", "0"], "error: --top must be a whole number from 1, not 0\n"),
        (["x", "--batch-size", "0"], "error: --batch-size must be a whole number from 1, not 0\n"),
        (["x", "-o", "nothing"], "error: 'nothing' is there already: name another file, or add --force\n"),
        (["x", "-o", "empty"], "error: empty cannot be written: it is a folder\n"),
        (["x", "--epoch", "9"], "keeps no checkpoint of epoch 9: there are 1, 2, 3, 4, 5, 6\n"),
        (["x", "--json", "--csv"], "error: argument --csv: not allowed with argument --json: see"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list[str], told: str, digits_run: Path, here: Path) -> None:
    (here / "empty").mkdir()
    (here / "nothing").touch()
    outcome = classify(digits_run, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert told in outcome.err and "Traceback" not in outcome.err


def test_a_run_that_is_none(here: Path) -> None:
    outcome = classify("nowhere", "x.png")
    assert (outcome.code, outcome.err) == (2, "error: 'nowhere' holds no run: there is no config.yaml in it\n")


def test_runs_that_image_files_are_not_for(digits: ImageSet, digits_run: Path, tmp_path: Path) -> None:
    images = tmp_path / "arrays"
    images.mkdir()
    for name, array in (("images", np.repeat(digits.images[:200], 2, axis=3)), ("labels", digits.labels[:200])):
        np.save(images / f"{name}.npy", array)
    run = run_small(
        tmp_path / "run", data__dataset="arrays", data__root=str(images), training__batch_size=32, training__epochs=1
    )
    assert classify(run, "x.png").err == (
        "error: image files are grey or have three colours, and this network takes 2 channels: give it arrays, or "
        "measure it with evaluate\n"
    )
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("dataset: arrays", "dataset: events"))
    assert classify(run, "x.png").err == (
        f"error: '{run}' is a run on recordings (data.dataset events), and predict takes images alone: measure it with "
        "evaluate\n"
    )


# Output


def test_a_file_is_written_whole_or_not_at_all(digits_run: Path, some: Path, here: Path) -> None:
    printed = classify(digits_run, some, "--json").out
    outcome = classify(digits_run, some, "--json", "-o", "out.json")
    assert (outcome.code, outcome.out) == (0, "")
    assert outcome.err == "out.json: 3 images\n" and Path("out.json").read_text() == printed
    assert classify(digits_run, some, "--csv", "-o", "out.json", "--force", "--quiet").err == ""
    before = Path("out.json").read_bytes()
    assert before.startswith(b"file,class,")
    assert classify(digits_run, "gone", "-o", "out.json", "--force").code == 2
    assert Path("out.json").read_bytes() == before and [*Path().iterdir()] == [Path("out.json")]


def test_one_image_is_one(digits_run: Path, some: Path, here: Path) -> None:
    assert classify(digits_run, some / "a.png", "-o", "one").err == "one: 1 image\n"
    assert classify(digits_run, some / "a.png", "gone").err.endswith("1 image is classified, and 1 is not\n")
    outcome = classify(digits_run, some / "a.png", some / "c.png", "gone", "nowhere")
    assert outcome.err.endswith("2 images are classified, and 2 are not\n")


def test_a_reader_that_has_seen_enough(digits_run: Path, folder: Path) -> None:
    paths = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path if entry)
    line = f'"$PYTHON" -m ttfs_cupy predict {digits_run} {folder} --batch-size 8 | head -2; echo ${{PIPESTATUS[0]}}'
    ended = subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.stderr == ""
    assert ended.stdout.splitlines()[-1] == str(command_line.OUTPUT_CLOSED) and len(ended.stdout.splitlines()) == 3


def test_a_run_of_an_earlier_version(digits_run: Path, some: Path, tmp_path: Path) -> None:
    run = tmp_path / "old"
    shutil.copytree(digits_run, run)
    forget_input(run / "best.safetensors")
    assert classify(run, some).out == classify(digits_run, some).out
