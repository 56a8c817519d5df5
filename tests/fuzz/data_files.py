"""Damaged data sets: `load_dataset` returns one whose arrays agree, or says in one line which file is wrong."""

import gzip
import io
import pickle
import pickletools
import random
import struct
import tarfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from helpers.damage import content_of, damaged_bytes, nasty, put_instead, remove
from helpers.datasets_on_disk import (
    write_cifar10,
    write_cifar100,
    write_emnist,
    write_events,
    write_mnist,
    write_qmnist,
    write_stl10,
    write_svhn,
)
from helpers.event_recordings import has_tonic
from helpers.photographs import GOOD

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.data import DATASETS, Dataset, load_dataset

LONGEST_SENTENCE = 500

Kind = Callable[[Path, random.Random], None]


class DataFiles:
    """Small sets as they are published, and of one's own: idx files, gzipped or not, MATLAB's, folders and archives,
    photographs of every kind, arrays."""

    def __init__(self, folder: Path):
        self._root = folder / "root"
        self._sets: list[tuple[str, dict[str, bytes]]] = []
        makers: list[tuple[str, Callable[[Path], Any]]] = [
            ("mnist", lambda root: write_mnist(root, train=6, test=3, zipped=False)),
            ("mnist", lambda root: write_mnist(root, train=6, test=3)),
            ("emnist", lambda root: write_emnist(root, train=6, test=3)),
            ("qmnist", lambda root: write_qmnist(root, train=6, test=3, zipped=False)),
            ("qmnist", lambda root: write_qmnist(root, train=6, test=3)),
            ("svhn", lambda root: write_svhn(root, train=6, test=3, zipped=False)),
            ("svhn", lambda root: write_svhn(root, train=6, test=3)),
            ("stl10", lambda root: write_stl10(root, train=6, test=3)),
            ("stl10", lambda root: write_stl10(root, train=6, test=3, archive=True)),
            ("events", lambda root: write_events(root, train=4, test=2, classes=2)),
            ("events", lambda root: write_events(root, train=4, test=2, classes=2, ending=".npz")),
            ("cifar10", lambda root: write_cifar10(root, train=6, test=3)),
            ("cifar10", lambda root: write_cifar10(root, train=6, test=3, archive=True)),
            ("cifar100", lambda root: write_cifar100(root, train=6, test=3)),
            ("cifar100", lambda root: write_cifar100(root, train=6, test=3, archive=True)),
            ("folder", _photographs),
            ("arrays", _arrays),
        ]
        if has_tonic():
            makers += [
                ("events", lambda root: write_events(root, train=4, test=2, classes=2, ending=".bin")),
                ("events", lambda root: write_events(root, train=4, test=2, classes=2, ending=".aedat")),
            ]
        for number, (name, make) in enumerate(makers):
            root = folder / str(number)
            make(root)
            packed = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
            # torchvision is imported once
            load_dataset(name, root)
            self._sets.append((name, {str(path.relative_to(root)): content for path, content in packed.items()}))

    def attempt(self, random: random.Random) -> str:
        remove(self._root)
        name, files = random.choice(self._sets)
        for file, content in files.items():
            path = self._root / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        damaged = random.sample(sorted(files), k=random.choice([1, 1, 2]) if len(files) > 1 else 1)
        for file in damaged:
            self._damage(self._root / file, random)
        before = content_of(self._root)
        try:
            dataset = load_dataset(name, self._root)
        except UserError as error:
            self._judge(str(error), name, damaged)
            # an archive that was unpacked is there beside it; nothing else, and nothing half
            after = content_of(self._root)
            assert {file: after.get(file) for file in before} == before, (str(error), damaged)
            assert not any(Path(file).name.startswith(".") for file in after), sorted(after)
            return "refused"
        _check(dataset, name)
        return "taken"

    def _damage(self, path: Path, random: random.Random) -> None:
        kinds: list[Kind] = [_bytes, put_instead]
        if path.name.endswith(".tar.gz"):
            kinds += [_unzipped, _unzipped, _members, _members]
        elif path.suffix == ".gz":
            kinds += [_unzipped, _unzipped, _more]
        elif "-idx" in path.name:
            kinds += [_sizes]
        elif path.suffix == ".mat":
            kinds += [_elements, _elements, _inflated]
        elif path.suffix == ".npy":
            kinds += [_header, _array]
        elif path.suffix == ".npz":
            kinds += [_columns, _columns]
        elif path.suffix in ("", ".meta"):
            kinds += [opcodes, opcodes, _content, _content]
        random.choice(kinds)(path, random)

    def _judge(self, sentence: str, name: str, damaged: list[str]) -> None:
        told = (sentence, damaged)
        assert sentence.isprintable(), told
        assert len(sentence) <= LONGEST_SENTENCE + 2 * len(str(self._root)), told
        # the file, or the half that it belongs to
        assert str(self._root) in sentence, told


def _photographs(root: Path) -> None:
    """One of each kind in one class or the other, and of each class one more."""
    draw, kinds = np.random.default_rng(0), [GOOD[name] for name in GOOD if "turned" not in name]
    for number, kind in enumerate([*kinds, kinds[0], kinds[1]]):
        path = root / "ab"[number % 2] / f"{number}{kind.ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind.make(path, 5, 5, draw)


def _arrays(root: Path) -> None:
    root.mkdir()
    pixels, labels = np.arange(20 * 9, dtype=np.uint8).reshape(20, 3, 3), np.arange(20) % 2
    for name, array in (("images", pixels), ("labels", labels), ("test_images", pixels / 255), ("test_labels", labels)):
        np.save(root / f"{name}.npy", array)
    np.save(root / "class_names.npy", np.array(["a", "b"]))


def _check(dataset: Dataset, name: str) -> None:
    source = DATASETS[name]
    shape, classes = source.shape or dataset.train.images.shape[1:], source.classes or dataset.classes
    for half in (dataset.train, dataset.test):
        assert half.images.shape == (len(half), *shape) and half.images.dtype == np.uint8 and len(half)
        assert half.images.flags.c_contiguous and half.labels.shape == (len(half),) and half.labels.dtype == np.int32
        assert half.labels.min() >= 0 and half.labels.max() < classes
        # every byte is there
        assert int(half.images.sum(dtype=np.int64)) >= 0
    assert dataset.mean.shape == dataset.std.shape == (shape[2],)


# Kinds of damage


def _bytes(path: Path, random: random.Random) -> None:
    path.write_bytes(damaged_bytes(path.read_bytes(), random))


def _unzipped(path: Path, random: random.Random) -> None:
    """Damage within the gzip, whose own checksum is right."""
    content = gzip.decompress(path.read_bytes())
    changed = _with_other_sizes(content, random) if random.random() < 0.3 else damaged_bytes(content, random)
    path.write_bytes(gzip.compress(changed, 1))


def _more(path: Path, random: random.Random) -> None:
    """What follows the gzip: another, or rubbish."""
    more = random.choice([gzip.compress(bytes(5000)), b"rubbish", bytes(100)])
    path.write_bytes(path.read_bytes() + more)


def _sizes(path: Path, random: random.Random) -> None:
    path.write_bytes(_with_other_sizes(path.read_bytes(), random))


def _with_other_sizes(content: bytes, random: random.Random) -> bytes:
    """Another number in the header of an idx file."""
    place = random.choice([0, 4, 8, 12])
    number = random.choice([0, 1, 2, 27, 28, 60_000, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 0x0803, 0x0D03])
    return content[:place] + struct.pack(">I", number) + content[place + 4 :]


def _elements(path: Path, random: random.Random) -> None:
    """Another number in one of the first tags of a MATLAB file."""
    content = bytearray(path.read_bytes())
    place = 128 + 4 * random.randrange(16)
    number = random.choice([0, 1, 2, 5, 14, 15, 0x10001, 0x40001, 0xFFFF0001, 2**20, 2**31 - 1, 2**31, 2**32 - 1])
    content[place : place + 4] = struct.pack("<I", number)
    path.write_bytes(bytes(content))


def _inflated(path: Path, random: random.Random) -> None:
    """Damage within the first packed element of a MATLAB file, whose own checksum is right."""
    content = path.read_bytes()
    kind, size = struct.unpack("<2I", content[128:136])
    if kind != 15:
        return _bytes(path, random)
    changed = zlib.decompress(content[136 : 136 + size])
    changed = damaged_bytes(changed[:100], random) + changed[100:]
    if random.random() < 0.2:
        changed += bytes(random.choice([1, 8, 1 << 20]))
    packed = zlib.compress(changed, 1)
    path.write_bytes(content[:128] + struct.pack("<2I", 15, len(packed)) + packed + content[136 + size :])
    return None


def _header(path: Path, random: random.Random) -> None:
    """Another header in NumPy's file."""
    shapes = ["(60,)", "(0,)", "(61,)", "(59,)", "()", "(60, 1)", "(-1,)", "(2**62,)", "(4611686018427387904,)", "60"]
    types = ["[('x', '<i2'), ('y', '<i2'), ('t', '<i8'), ('p', '|b1')]", "'|O'", "'<i2'", "'V0'", "'(5000,5000)f8'"]
    types += ["[('x', '<i2'), ('y', '<u8'), ('t', 'u1'), ('p', '|S2')]", "[('x', '<i2', (3,))]", "{}", "(" * 300]
    text = f"{{'descr': {random.choice(types)}, 'fortran_order': False, 'shape': {random.choice(shapes)}, }}"
    content = path.read_bytes()
    version = random.choice([b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\4\0"])
    size = struct.pack("<H" if version == b"\1\0" else "<I", len(text) + 1)
    path.write_bytes(b"\x93NUMPY" + version + size + text.encode() + b"\n" + content[128:])


def _other_column(column: Any, random: random.Random) -> Any:
    number = random.choice([-1, 2, 300, 2**31, 2**62, -(2**63), 2**63 - 1])
    kinds = [column.astype("f4"), column[:0], column[:-1], column[None], column.astype(object), column.astype("U5")]
    kinds += [np.full_like(column, number, np.int64), column.astype("u8") + np.uint64(2**63), column.astype(">i4")]
    return random.choice(kinds)


def _array(path: Path, random: random.Random) -> None:
    """An array of other fields, types or values."""
    events = np.load(path)
    if events.dtype.names is None:
        others = [events[:0], events[:-1], events[None], events.astype(object)]
        is_text = events.dtype.kind == "U"
        np.save(path, random.choice(others) if is_text else _other_column(events, random), allow_pickle=True)
        return
    name = random.choice(events.dtype.names)
    columns = {key: events[key] for key in events.dtype.names}
    columns[name] = np.broadcast_to(np.resize(_other_column(columns[name], random).ravel(), len(events)), len(events))
    other = random.choice(["", "", "", name])
    made = np.zeros(len(events), [("z" if key == other else key, value.dtype) for key, value in columns.items()])
    for key, value in zip(made.dtype.names, columns.values(), strict=True):
        made[key] = value
    np.save(path, random.choice([made, made, made[:0], made[None], made[::-1]]), allow_pickle=True)


def _columns(path: Path, random: random.Random) -> None:
    """An .npz of other columns, or with another number in it, its checksums as they were."""
    with np.load(path) as packed:
        columns = {name: packed[name] for name in packed.files}
    name = random.choice(sorted(columns))
    columns[name] = _other_column(columns[name], random)
    if random.random() < 0.2:
        del columns[name]
    save: Any = random.choice([np.savez, np.savez_compressed])
    save(path, **columns)


def _members(path: Path, random: random.Random) -> None:
    """An archive with another entry's size, kind or name."""
    kinds = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.XHDTYPE, tarfile.FIFOTYPE]
    kinds += [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE, tarfile.CHRTYPE, tarfile.XGLTYPE]
    written = io.BytesIO()
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member)) for member in tar if member.isfile()]
        chosen = random.randrange(len(members))
        for number, (member, file) in enumerate(members):
            content = file.read() if file else b""
            if number == chosen:
                member.size = random.choice([0, member.size - 1, member.size, 2**20, 2**33, 2**40, 2**62])
                member.type = random.choice(kinds)
                member.name = random.choice([member.name, f"../{member.name}", "x" * 300, "./x"])
                member.linkname = random.choice(["", "/etc/passwd", member.name])
            padding = bytes(-len(content) % 512)
            written.write(member.tobuf(random.choice([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])) + content + padding)
    path.write_bytes(gzip.compress(written.getvalue() + bytes(1024), 1))


def opcodes(path: Path, random: random.Random) -> None:
    """Another opcode, or another number behind one, in a pickle."""
    content = bytearray(path.read_bytes())
    places = [place for _, _, place in pickletools.genops(bytes(content)) if place is not None]
    place = random.choice(places)
    kind = random.choice(["opcode", "number", "insert", "doubled"])
    opcodes = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]
    if kind == "opcode":
        content[place : place + 1] = random.choice(opcodes)
    elif kind == "number":
        content[place + 1 : place + 5] = struct.pack("<I", random.choice([0, 1, 2**16, 2**27, 2**31 - 1, 2**32 - 1]))
    elif kind == "insert":
        content[place:place] = random.choice(opcodes) * random.choice([1, 1, 5000]) + random.randbytes(4)
    else:
        content[place:place] = content[place : random.choice(places) + 1]
    path.write_bytes(bytes(content))


def _content(path: Path, random: random.Random) -> None:
    """Something else under a key of a batch, or an array of another kind."""
    content = pickle.loads(path.read_bytes())
    key = random.choice(sorted(content, key=str))
    value = content[key]
    if isinstance(value, np.ndarray):
        arrays = [value.astype("f4"), value[:0], value[:, :-1], value.T, value.reshape(-1), np.asfortranarray(value)]
        arrays += [value.astype(object), value.astype(">u2"), value.astype("?"), value[::-1]]
        content[key] = random.choice([*arrays, nasty(random), value.tolist()])
    elif isinstance(value, list) and value and random.random() < 0.7:
        value[random.randrange(len(value))] = nasty(random)
    else:
        content[key] = nasty(random)
    # what is nested too deeply for a pickle
    with suppress(RecursionError):
        path.write_bytes(pickle.dumps(content, protocol=random.choice([0, 2, 4, 5])))
