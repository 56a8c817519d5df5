"""Which tensor of a file is which of a network's: by name, else by order and shape, and never by a guess."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ttfs_cupy.common.columns import aligned
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import listed, shown
from ttfs_cupy.exchange.weight_file import Stored, WeightFile

Shape = tuple[int, ...]
# of a table: more tensors than that are counted
MOST_LEFT_OUT = 20

_RENAME = "name its tensors as the network does"


@dataclass(frozen=True)
class Placement:
    """placed: the file's tensors by the network's names, in the network's order. left_out: the others, each with the
    reason why."""

    placed: Mapping[str, Stored]
    left_out: Sequence[tuple[Stored, str]]

    def table(self) -> list[str]:
        """A line for each tensor of the file, with its name, type, shape, and where it went."""
        rows = [(one, f"-> {name}") for name, one in self.placed.items()]
        rows += [(one, f"left out: {why}") for one, why in self.left_out[:MOST_LEFT_OUT]]
        lines = aligned([(shown(one.name), one.kind, str(one.shape), end) for one, end in rows], left=4, gap=" ")
        more = len(self.left_out) - MOST_LEFT_OUT
        return [f"  {line}" for line in lines] + ([f"  and {more} more were left out"] if more > 0 else [])


def place(wanted: Mapping[str, Shape], file: WeightFile) -> Placement:
    """Finds each of the network's weights in the file. wanted: shapes by name, in layer order; weights have two
    dimensions or four, and initial potentials, which a file need not have, one.

    Biases and the like are left out. Raises UserError that names the first weight that finds none, or what could be
    read in two ways, or a weight or an initial potential of the file that no layer has.
    """
    weights = {name: shape for name, shape in wanted.items() if len(shape) > 1}
    by_name = {one.name: one for one in file.tensors}
    candidates = [one for one in file.tensors if len(one.shape) in (2, 4)]
    if weights.keys() <= by_name.keys():
        found = {name: by_name[name] for name in weights}
    elif file.in_order:
        found = _by_order(weights, candidates, file)
    else:
        found = _by_shape(weights, candidates, file)
    for name, shape in weights.items():
        if found[name].shape != shape:
            raise _unfit(file, f"weights '{name}' have shape {found[name].shape}, the network's {shape}")
    # a weight too many is of a layer that this network has not: what it has may then be wrong, too
    names = {one.name for one in found.values()}
    if rest := [str(one) for one in candidates if one.name not in names]:
        raise _unfit(file, f"weights {listed(rest, 3)} are not in this network, which has {listed(weights)}")
    for name, shape in wanted.items():
        if len(shape) == 1 and name in by_name:
            found[name] = by_name[name]
            if found[name].shape != shape:
                raise _unfit(file, f"'{name}' has shape {found[name].shape}, the network's {shape}")
    placed = {name: found[name] for name in wanted if name in found}
    taken = {one.name for one in placed.values()}
    # weights may have been placed by order or shape, potentials never are: dropped, they would silently begin at 0
    potentials = [name for name in wanted if name not in weights]
    lost = [str(one) for one in file.tensors if one.name not in taken and _is_potential(one)]
    if potentials and lost:
        raise _unfit(
            file,
            f"initial potentials {listed(lost, 3)} have none of the names that this network's have, which are "
            f"{listed(map(shown, potentials), 3)}: {_RENAME}",
        )
    return Placement(placed, [(one, _why(one)) for one in file.tensors if one.name not in taken])


def _by_order(weights: Mapping[str, Shape], candidates: Sequence[Stored], file: WeightFile) -> dict[str, Stored]:
    found = {}
    for number, (name, shape) in enumerate(weights.items()):
        if number >= len(candidates):
            raise _missing(name, shape, candidates, file)
        one = candidates[number]
        if one.shape != shape:
            raise _unfit(
                file,
                f"weights '{name}' are missing, of shape {shape}: by the order in the file, {one} comes in their place",
            )
        if one.name in weights and one.name != name:
            raise _unfit(file, f"{one} is '{one.name}' by its name, and '{name}' by its place in the file: {_RENAME}")
        found[name] = one
    return found


def _by_shape(weights: Mapping[str, Shape], candidates: Sequence[Stored], file: WeightFile) -> dict[str, Stored]:
    """Of a file without an order: those of one shape by the numbers in their names, if only those differ."""
    found = {one.name: one for one in candidates if one.shape == weights.get(one.name)}
    rest = sorted((one for one in candidates if one.name not in found), key=lambda one: _natural(one.name))
    for name, shape in weights.items():
        if name in found:
            continue
        layers = [other for other, its in weights.items() if its == shape and other not in found]
        alike = [one for one in rest if one.shape == shape]
        if len(alike) < len(layers):
            raise _missing(layers[len(alike)], shape, candidates, file)
        if len(alike) > len(layers) or len({_pattern(one.name) for one in alike}) > 1:
            raise _unfit(
                file,
                f"weights '{name}' could be any of {listed(map(str, alike))}, since safetensors keep no order: "
                f"{_RENAME}, or give a .pt file",
            )
        found.update(zip(layers, alike, strict=True))
        rest = [one for one in rest if one not in alike]
    _check_numbers(weights, found, file)
    return found


def _check_numbers(weights: Mapping[str, Shape], found: Mapping[str, Stored], file: WeightFile) -> None:
    """Names that differ in their numbers alone have to count as the network's layers do."""
    last: dict[str, Stored] = {}
    for name in weights:
        pattern = _pattern(found[name].name)
        before = last.get(pattern)
        if before is not None and _natural(before.name) > _natural(found[name].name):
            raise _unfit(
                file, f"by their shapes {before} comes before {found[name]}, by their names after it: {_RENAME}"
            )
        last[pattern] = found[name]


def _natural(name: str) -> list[tuple[int, str]]:
    """A key to sort names by, in which 10 comes after 9: text and digits in turns."""
    parts = re.split(r"(\d+)", name)
    return [
        (len(part.lstrip("0")) if place % 2 else 0, part.lstrip("0") if place % 2 else part)
        for place, part in enumerate(parts)
    ]


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _is_potential(one: Stored) -> bool:
    return one.name.rpartition(".")[2] == "potential"


def _why(one: Stored) -> str:
    end = one.name.rpartition(".")[2]
    if _is_potential(one):
        return "the network has no initial potentials (network.initial_potential)"
    if end == "bias":
        return "no layer here has a bias"
    if end in ("running_mean", "running_var", "num_batches_tracked") or (end == "weight" and len(one.shape) == 1):
        return "there is no batch norm here"
    return "no layer has that name"


def _missing(name: str, shape: Shape, candidates: Sequence[Stored], file: WeightFile) -> UserError:
    has = listed(map(str, candidates), 6) if candidates else "none"
    return _unfit(file, f"weights '{name}' are missing, of shape {shape}; the file's weights are {has}")


def _unfit(file: WeightFile, problem: str) -> UserError:
    return UserError(f"the weights in '{file.path}' do not fit: {problem}")
