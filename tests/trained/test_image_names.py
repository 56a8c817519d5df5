"""Which images are named, and that they are decoded as they are."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from helpers.classified import classify, lines_of

from ttfs_cupy import load
from ttfs_cupy.common.machine import cores
from ttfs_cupy.trained import trained_network
from ttfs_cupy.trained.image_names import named_images
from ttfs_cupy.trained.image_stream import ImageSource, decoded_images


def test_a_folder_beside_a_link_to_it_is_read_once(digits_run: Path, some: Path) -> None:
    # in the order of names the link comes first
    (some / "a link").symlink_to(some / "b")
    (some / "b" / "up").symlink_to(some)
    outcome = classify(digits_run, some, "--json")
    read = [str(some / name) for name in ("a link/1.png", "a.png", "c.png")]
    assert [line["file"] for line in lines_of(outcome)] == read
    assert outcome.err == ""
    told = classify(digits_run, some, "--json", "--verbose").err
    assert f"{some}/a link/up is the folder {some}, which is read once\n" in told
    assert f"{some}/b is the folder {some}/a link, which is read once\n" in told


def test_a_list_by_a_pipe(digits_run: Path, some: Path, tmp_path: Path) -> None:
    """As `--from-list <(find ...)` gives one, and by a name of its own, whose writer comes later."""
    line = f"{some / 'a.png'}\n"
    expected = lines_of(classify(digits_run, some / "a.png", "--json"))
    reader, writer = os.pipe()
    os.write(writer, line.encode())
    os.close(writer)
    try:
        assert lines_of(classify(digits_run, "--from-list", f"/dev/fd/{reader}", "--json")) == expected
    finally:
        os.close(reader)
    named = tmp_path / "pipe"
    os.mkfifo(named)
    late = threading.Timer(0.3, lambda: named.write_text(line))
    late.start()
    assert lines_of(classify(digits_run, "--from-list", named, "--json")) == expected
    late.join()
    # an image is not waited for
    assert f"{named} cannot be read: it is a pipe, not a file\n" in classify(digits_run, named).err


def test_a_list_is_taken_as_it_comes(some: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, f"{some / 'a.png'}\n{some / 'c.png'}\n".encode())
    # for who waits until its end
    end = threading.Timer(20, lambda: os.close(writer))
    end.start()
    named = named_images([], f"/dev/fd/{reader}")
    found = [next(named), next(named)]
    assert end.is_alive()
    end.cancel()
    os.close(writer)
    assert found == [ImageSource(str(some / "a.png")), ImageSource(str(some / "c.png"))]
    assert [*named] == []
    os.close(reader)


def test_what_is_known_is_not_kept_until_more_is_named(digits_run: Path, some: Path) -> None:
    """With a batch of one, an image is classified when a few more are named, however many threads decode."""
    images = load(digits_run).images
    asked = []

    def slowly() -> Iterator[ImageSource]:
        for number in range(100):
            asked.append(number)
            yield ImageSource(str(some / "a.png"))
            time.sleep(0.02)

    with closing(decoded_images(slowly(), images, 3, 1)) as decoded:
        next(decoded)
        assert len(asked) < 8


def test_as_many_threads_decode_as_the_config_says(
    digits_run: Path, some: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []

    def noted(sources: Any, images: Any, threads: int, batch_size: int) -> Any:
        counts.append(threads)
        return decoded_images(sources, images, threads, batch_size)

    monkeypatch.setattr(trained_network, "decoded_images", noted)
    monkeypatch.setattr(cores, "usable_cores", lambda: 3)
    monkeypatch.setattr(cores, "available_cores", lambda: 3)
    for threads in (1, 2):
        classify(digits_run, some, "--set", f"threads={threads}")
    run = tmp_path / "run"
    shutil.copytree(digits_run, run)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("threads: null", "threads: 2"))
    load(run).predict([some / "a.png"])
    assert counts == [1, 2, 2]
