"""Files for `--init-from`, damaged, and pickles that ask for code to be run: weights, or one sentence, and no code."""

import importlib.util
import io
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from helpers.damage import damaged_bytes, nasty, put_instead, remove

from fuzz import run_damage
from fuzz.data_files import opcodes
from ttfs_cupy import models
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.device import get_device
from ttfs_cupy.experiment.files import checkpoint
from ttfs_cupy.experiment.initial_weights import begin_with

LONGEST_SENTENCE = 600


class _Calls:
    """What a pickle has called as it is read."""

    def __init__(self, function: Any, *arguments: Any):
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


class WeightFiles:
    """A network that is to begin with files of ours and of PyTorch's, in their usual forms."""

    def __init__(self, folder: Path):
        self._folder = folder / "files"
        # what a file that is run would make
        self._made = folder / "made"
        device, _ = get_device("cpu", 1)
        self._network = models.build([4, "P", 6, "P"], (1, 8, 8), 10, device, initial_potential=True)
        self._before = self._network.state_dict()
        self._files = {**_ours(folder, self._before), **_of_pytorch(self._before)}
        path = folder / "whole"
        for name, content in self._files.items():
            (whole := path.with_suffix(Path(name).suffix)).write_bytes(content)
            # whatever is imported is imported now
            begin_with(self._network, whole)

    def attempt(self, random: random.Random) -> str:
        remove(self._folder)
        self._folder.mkdir()
        name = random.choice(sorted(self._files))
        path = self._folder / name
        path.write_bytes(self._files[name])
        if random.random() < 0.95:
            random.choice(self._kinds_of(path))(path, random)
        if random.random() < 0.05 and path.is_file():
            # under a name that promises something else
            path = path.rename(path.with_suffix(random.choice([".pt", ".pth", ".safetensors", ".npz", ""])))
        self._network.load_state_dict(self._before)
        try:
            begin_with(self._network, path)
        except UserError as error:
            sentence, outcome = str(error), "refused"
            assert sentence.isprintable() and str(path) in sentence, (name, sentence)
            assert len(sentence) <= LONGEST_SENTENCE + 2 * len(str(path)), (name, sentence)
        else:
            sentence, outcome = "taken", "taken"
        assert not self._made.exists(), (name, sentence)
        after = self._network.state_dict()
        assert all(np.isfinite(array).all() for array in after.values()), (name, sentence)
        if outcome == "refused":
            assert all((after[key] == array).all() for key, array in self._before.items()), (name, sentence)
        return f"{Path(name).suffix} {outcome}"

    def _kinds_of(self, path: Path) -> list[run_damage.Kind]:
        if path.suffix == ".safetensors":
            return [*[run_damage.flipped] * 2, *[run_damage.header] * 2, *[run_damage.arrays] * 2, put_instead]
        if zipfile.is_zipfile(path):
            return [run_damage.flipped, put_instead, *[_member] * 3, self._asking, self._asking, self._plain]
        return [run_damage.flipped, put_instead, opcodes, opcodes, opcodes, self._asking, self._plain]

    def _asking(self, path: Path, random: random.Random) -> None:
        """A pickle that asks for code to be run, alone or in place of a tensor."""
        made = str(self._made)
        calls = [
            _Calls(os.mkdir, made),
            _Calls(os.system, f"mkdir {made}"),
            _Calls(exec, f"import os; os.mkdir({made!r})"),
            _Calls(eval, f"__import__('os').mkdir({made!r})"),
            _Calls(Path.mkdir, Path(made)),
            _Calls(getattr, os, "mkdir"),
            _Calls(OrderedDict, [("a", _Calls(os.mkdir, made))]),
            _Calls(importlib.import_module, "antigravity"),
            _Calls(np.zeros, (1 << 40,)),
        ]
        asked: Any = random.choice(calls)
        content = random.choice([asked, {"conv1.weight": asked}, [asked], {"state_dict": {"a": 1, "b": asked}}])
        # not all of them can be pickled
        with suppress(TypeError, pickle.PicklingError):
            _put(path, pickle.dumps(content, protocol=random.choice([0, 1, 2, 3, 4, 5])), random)

    def _plain(self, path: Path, random: random.Random) -> None:
        """A pickle of what nobody expects."""
        content = [nasty(random) for _ in range(3)]
        kinds = [content, {"state_dict": content}, {"a": content}, nasty(random)]
        with suppress(RecursionError):
            _put(path, pickle.dumps(random.choice(kinds), protocol=2), random)


def _ours(folder: Path, state: dict[str, np.ndarray]) -> dict[str, bytes]:
    """The best weights of a run, and a checkpoint, which holds more."""
    path, files = folder / "ours.safetensors", {}
    others = {"optimizer.moments": np.zeros(3, np.float32)}
    for name, arrays in (("best", state), ("last", {f"network.{key}": array for key, array in state.items()} | others)):
        checkpoint.save(path, arrays, {"psp_slope": 1.0, "epoch": 3})
        files[f"{name}.safetensors"] = path.read_bytes()
    return files


def _of_pytorch(state: dict[str, np.ndarray]) -> dict[str, bytes]:
    if importlib.util.find_spec("torch") is None:
        return {}
    import torch

    tensors = OrderedDict((key, torch.from_numpy(array.copy())) for key, array in state.items())
    halves = {key: tensor.to(torch.bfloat16) for key, tensor in tensors.items()}
    contents: dict[str, tuple[Any, dict[str, bool]]] = {
        "zip.pt": (tensors, {}),
        "legacy.pth": (tensors, {"_use_new_zipfile_serialization": False}),
        "wrapped.pt": ({"epoch": 3, "state_dict": tensors, "optimizer": {"lr": [0.1]}}, {}),
        "wrapped-legacy.pt": ({"model": tensors}, {"_use_new_zipfile_serialization": False}),
        "halves.pth": ({f"module.{key}": tensor for key, tensor in halves.items()}, {}),
        "doubles.pt": ({key: tensor.double() for key, tensor in tensors.items()}, {}),
    }
    files = {}
    for name, (content, options) in contents.items():
        torch.save(content, buffer := io.BytesIO(), **options)
        files[name] = buffer.getvalue()
    return files


def _put(path: Path, pickled: bytes, random: random.Random) -> None:
    """The pickle as the whole file, or where the archive has its own."""
    if zipfile.is_zipfile(path) and random.random() < 0.8:
        _rewritten(path, lambda name, content: pickled if name.endswith("data.pkl") else content)
    else:
        path.write_bytes(pickled)


def _member(path: Path, random: random.Random) -> None:
    """Damage within an archive, whose own checksums are right."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    chosen = random.choice([*names, *[name for name in names if name.endswith("data.pkl")] * len(names)])

    def changed(name: str, content: bytes) -> bytes:
        if name != chosen:
            return content
        if not name.endswith("data.pkl") or random.random() < 0.3:
            return damaged_bytes(content, random)
        own = path.with_name("data.pkl")
        own.write_bytes(content)
        opcodes(own, random)
        return own.read_bytes()

    _rewritten(path, changed)


def _rewritten(path: Path, changed: Callable[[str, bytes], bytes]) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, changed(name, content))
