"""Recordings that are damaged, or are none: one sentence each, and no more memory than they are worth."""

import importlib.util
import io
import struct
import sys
import tracemalloc
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.datasets_on_disk import EVENT, npz_columns, recording, write_events
from helpers.event_recordings import needs_tonic
from helpers.refusals import refused_dataset

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data.decoding.recordings import read_recording

refusal = partial(refused_dataset, name="events")


def npy(array: Any, **how: Any) -> bytes:
    written = io.BytesIO()
    np.save(written, array, **how)
    return written.getvalue()


def npz(**columns: Any) -> bytes:
    written = io.BytesIO()
    np.savez_compressed(written, **columns)
    return written.getvalue()


def header(descr: Any, shape: tuple[int, ...], content: bytes = b"") -> bytes:
    """A file of NumPy's that says what it likes."""
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode() + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text + content


def zipped(content: bytes, kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An .npz with that as x.npy."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", kind) as packed:
        packed.writestr("x.npy", content)
        for name in "ytp":
            packed.writestr(f"{name}.npy", npy(np.zeros(3, np.int8)))
    return written.getvalue()


class RunsCode:
    def __reduce__(self) -> Any:
        return (print, ("this must never run",))


EVENTS = recording(0, 0)
DESCR = EVENT.descr
OF_FLOATS = [("x", "i2"), ("y", "i2"), ("t", "f8"), ("p", "?")]
OF_VECTORS = [("x", "i2", 3), ("y", "i2"), ("t", "i8"), ("p", "?")]
AEDAT = b"#!AER-DAT2.0\r\n"
FEW = npz_columns(np.zeros(3, EVENT))
BAD: list[tuple[str, str, bytes, str]] = [
    ("an empty file", "x.npy", b"", "kind: EOF: reading magic string"),
    ("no NumPy file", "x.npy", b"<html>404</html>", "kind: the magic string is not correct"),
    ("another version", "x.npy", b"\x93NUMPY\4\0" + bytes(50), "is damaged, or no file of NumPy's .npy or .npz kind"),
    ("a cut file", "x.npy", npy(EVENTS)[:-1], "it has 971 bytes, where its header says 972"),
    ("a file too long", "x.npy", npy(EVENTS) + b"x", "it has 973 bytes, where its header says 972"),
    ("terabytes", "x.npy", header(DESCR, (2**40,)), "it has 129 bytes, where its header says 14293651161217"),
    ("less than none", "x.npy", header(DESCR, (-1,)), "its header says the shape (-1,)"),
    ("types of nothing", "x.npy", header("V0", (5,)), "itemsize cannot be zero in type"),
    (
        "a header of depth",
        "x.npy",
        b"\x93NUMPY\1\0\x2c\1" + b"(" * 300,
        "is damaged, or no file of NumPy's .npy or .npz kind",
    ),
    ("objects", "x.npy", npy(np.array([RunsCode()])), "it holds 'object', not numbers or text"),
    ("a plain array", "x.npy", npy(np.zeros((5, 4))), "with the fields x, y, t, p, not 'float64' (5, 4)"),
    ("a field less", "x.npy", npy(EVENTS[["x", "y", "t"]]), "with the fields x, y, t, p, not"),
    ("rows of events", "x.npy", npy(EVENTS[None]), "must hold a structured array (N,)"),
    (
        "a moment as float",
        "x.npy",
        npy(EVENTS.astype(OF_FLOATS)),
        "hold t as",
    ),
    (
        "vectors",
        "x.npy",
        npy(np.zeros(5, OF_VECTORS)),
        "hold x as integers",
    ),
    ("no events", "x.npy", npy(EVENTS[:0]), "holds no events"),
    ("a far column", "x.npy", npy(np.array([(4096, 0, 0, 0)], EVENT)), "event at x 4096, where pixels are 0 to 4095"),
    ("a row below 0", "x.npy", npy(np.array([(0, -1, 0, 0)], EVENT)), "event at y -1, where pixels are 0 to 4095"),
    (
        "aeons",
        "x.npy",
        npy(np.array([(0, 0, 2**63 - 1, 0), (0, 0, -(2**63), 0)], EVENT)),
        "is damaged: its events are 18446744073709551615 microseconds apart",
    ),
    ("another polarity", "x.npz", npz(**{**FEW, "p": np.array([0, 1, 2])}), "an event of polarity 2, which must be 1"),
    ("no zip", "x.npz", b"<html>404</html>", "is damaged, or no file of NumPy's .npz kind: File is not a zip file"),
    ("a cut zip", "x.npz", npz(**FEW)[:-30], "is damaged, or no file of NumPy's .npz kind"),
    ("a column less", "x.npz", npz(x=FEW["x"], t=FEW["t"]), "lacks y, p: an .npz holds x, y, t and p, each (N,)"),
    ("a short column", "x.npz", npz(**{**FEW, "t": np.zeros(2, int)}), "of different lengths: {'p': 3, 't': 2, "),
    (
        "objects in a zip",
        "x.npz",
        npz(**{**FEW, "t": np.array([RunsCode()] * 3)}),
        "t.npy: it holds 'object', not numbers or text",
    ),
    (
        "terabytes in a zip",
        "x.npz",
        zipped(header("i1", (2**40,))),
        "x.npy: it has 77 bytes, where its header says 1099511627853",
    ),
    (
        "another packing",
        "x.npz",
        zipped(npy(np.zeros(3, np.int8)), zipfile.ZIP_LZMA),
        "x.npy is compressed by another method",
    ),
    ("bytes between", "x.bin", bytes(12), "is damaged: its 12 bytes are not events of 5 bytes each"),
    ("hours", "x.bin", bytes([0, 240, 0, 0, 0]) * 140_000, "with 140000 overflows of time among 140000 events: cut it"),
    ("no AEDAT", "x.aedat", b"<html>404</html>", "is not AEDAT 2: of AEDAT, only recordings of a DVS128"),
    ("AEDAT 3", "x.aedat", b"#!AER-DAT3.1\r\n" + bytes(100), "is not AEDAT 2"),
]
OF_TONIC: list[tuple[str, str, bytes, str]] = [
    ("nothing but overflows", "x.bin", bytes([0, 240, 0, 0, 0]) * 9, "holds no events"),
    ("nothing in it", "x.bin", b"", "holds no events"),
    (
        "another camera",
        "x.aedat",
        AEDAT + bytes([0, 64, 0, 0, 0, 0, 0, 1]),
        "another camera than a DVS128",
    ),
    ("half an event", "x.aedat", AEDAT + bytes(12), "its 12 bytes are not events of 8 bytes each"),
    ("no version", "x.aedat", b"#!AER-DAT2,0\r\n" + bytes(16), "is damaged, or no AEDAT file (could not convert"),
    ("a header alone", "x.aedat", AEDAT, "is damaged"),
]


def ids(rows: list[tuple[str, str, bytes, str]]) -> list[str]:
    return [row[0] for row in rows]


@pytest.mark.parametrize(("name", "content", "words"), [row[1:] for row in BAD], ids=ids(BAD))
def test_damaged_recordings(
    name: str, content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_events(tmp_path, train=6, test=3)
    file = tmp_path / "test" / "class 2" / name
    file.write_bytes(content)
    tracemalloc.start()
    try:
        sentence = refusal(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()
    assert sentence.startswith(f"{file} ") and words in sentence
    assert capsys.readouterr().out == ""


@needs_tonic
@pytest.mark.parametrize(("name", "content", "words"), [row[1:] for row in OF_TONIC], ids=ids(OF_TONIC))
def test_damaged_recordings_that_tonic_reads(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3)
    file = tmp_path / "test" / "class 2" / name
    file.write_bytes(content)
    sentence = refusal(tmp_path)
    assert sentence.startswith(f"{file} ") and words in sentence


@pytest.mark.parametrize("ending", [".npy", ".npz", ".bin", ".aedat"])
def test_what_is_no_file(ending: str, tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3)
    file = tmp_path / "train" / "class 0" / f"x{ending}"
    file.symlink_to("/dev/zero")
    assert refusal(tmp_path) == f"{file} cannot be read: it is a device, not a file"
    file.unlink()
    with pytest.raises(UserError, match=f"{file} cannot be read: no such file"):
        read_recording(file)


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3)
    link = tmp_path / "train" / "class 0" / "x.npy"
    link.symlink_to("nothing")
    assert refusal(tmp_path) == f"{link} is a link that leads nowhere: no such file"


def test_a_file_that_is_too_large_to_be_a_recording(tmp_path: Path) -> None:
    write_events(tmp_path, train=6, test=3)
    file = tmp_path / "train" / "class 0" / "x.bin"
    with file.open("wb") as sparse:
        sparse.truncate((1 << 28) + 5)
    assert refusal(tmp_path).startswith(f"{file} has 268435461 bytes, more than the 268435456 that a recording may")


@pytest.mark.parametrize("ending", [".bin", ".aedat"])
def test_without_tonic(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "tonic"]:
        monkeypatch.delitem(sys.modules, module)
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tonic" else real(name))
    monkeypatch.setitem(sys.modules, "tonic", None)
    write_events(tmp_path, ending=ending)
    assert refusal(tmp_path) == (
        "tonic, which reads recordings of event cameras, is not installed: pip install 'ttfs-cupy[events]'"
    )
