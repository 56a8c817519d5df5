"""An augmentation from what a user gives: a name, or a list of operations as YAML has it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import one_line, shown

from .operations import (
    Cutout,
    ImageOperation,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomTranslation,
    RandomVerticalFlip,
)
from .pipeline import Augmentation
from .policies import AutoAugment, RandAugment, TrivialAugmentWide
from .program import MOST_SLOTS

_KINDS: tuple[type[ImageOperation], ...] = (
    RandomCrop,
    RandomTranslation,
    RandomHorizontalFlip,
    RandomVerticalFlip,
    Cutout,
    RandomErasing,
    AutoAugment,
    RandAugment,
    TrivialAugmentWide,
)
OPERATIONS: Mapping[str, type[ImageOperation]] = {kind.__name__: kind for kind in _KINDS}
# its short name
_ALIASES = {"TrivialAugment": TrivialAugmentWide}

# mid grey, published with this recipe for what a shifted image uncovers. It suits photographs; where the background is
# black, grey borders are spikes that no test image has.
GREY = 128
_CROP = RandomTranslation(1 / 8, GREY)
# 2 pixels at 28x28, 1 at 8x8: objects on black mostly lie near the border, and further, parts of them would be lost
_SHIFT = RandomTranslation(1 / 14)
_FLIP = RandomHorizontalFlip()
# as published; black is silence under latency coding, random pixels would be many spikes
_ERASE = RandomErasing(scale=(0.02, 0.4), ratio=(0.3, 1 / 0.3))

_NAMED: Mapping[str, tuple[ImageOperation, ...]] = {
    "none": (),
    # in the published order
    "cifar": (_CROP, _FLIP, AutoAugment(fill=GREY), Cutout()),
    "crop_flip": (_CROP, _FLIP),
    "flip": (_FLIP,),
    "shift": (_SHIFT,),
    # for what is the same in a mirror, such as clothes, and not for digits
    "shift_flip": (_SHIFT, _FLIP),
    "shift_erase": (_SHIFT, _ERASE),
    "shift_flip_erase": (_SHIFT, _FLIP, _ERASE),
}
AUGMENTATIONS: Mapping[str, Augmentation] = {name: Augmentation(parts, name) for name, parts in _NAMED.items()}

# what an augmentation may be, in words
CHOICES = (
    f"one of {', '.join(AUGMENTATIONS)}, or a list of operations such as [{{RandomCrop: {{padding: 4}}}}, "
    "RandomHorizontalFlip]"
)


def augmentation(given: str | Sequence[Any] | Augmentation) -> Augmentation:
    """The augmentation of that name, or of a list of operations, in their order.

    given: a name in AUGMENTATIONS, or a list whose items are an operation's name, a mapping of one such name to its
    parameters (a mapping, or the first parameter by itself: {Cutout: 16}), or an operation.
    Raises UserError, one sentence that names the operation's number and what would be right.
    """
    try:
        return _read(given)
    except UserError as error:
        raise UserError(f"augmentation {error}") from None


def augmentation_trouble(given: Any) -> str:
    """What is wrong with it, said of a key that stands before it; empty if nothing."""
    try:
        _read(given)
    except UserError as error:
        return str(error)
    return ""


def _read(given: Any) -> Augmentation:
    if isinstance(given, Augmentation):
        return given
    if isinstance(given, str):
        return _named(given)
    if not isinstance(given, (list, tuple)):
        raise UserError(f"must be {CHOICES}, not {shown(given)}")
    # an operation is one slot at least
    if len(given) > MOST_SLOTS:
        raise UserError(f"must be a list of up to {MOST_SLOTS} operations, not of {len(given):,}")
    return Augmentation(tuple(_operation(item, f"operation {number}") for number, item in enumerate(given, 1)))


def _named(name: str) -> Augmentation:
    if name in AUGMENTATIONS:
        return AUGMENTATIONS[name]
    if name in OPERATIONS or name in _ALIASES:
        raise UserError(f"must be a list where it names an operation: write [{name}]")
    hint = _meant(name, [*AUGMENTATIONS, *OPERATIONS])
    raise UserError(f"must be {CHOICES}, not {shown(name)}{f': did you mean {hint}?' if hint else ''}")


def _operation(item: Any, where: str) -> ImageOperation:
    if isinstance(item, ImageOperation):
        return item
    if isinstance(item, str):
        return _made(_kind(item, where), {}, where)
    if not isinstance(item, Mapping):
        raise UserError(f"{where} must be a name or a mapping, such as {{Cutout: 16}}, not {shown(item)}")
    if len(item) != 1:
        names = ", ".join(one_line(str(key), 40) for key in [*item][:3])
        found = f"{len(item)} keys ({names}{', ...' if len(item) > 3 else ''})" if item else "no key"
        raise UserError(f"{where} must be a mapping with one key, the operation's name, but has {found}")
    ((name, parameters),) = item.items()
    kind = _kind(name, where)
    if parameters is None:
        return _made(kind, {}, where)
    if not isinstance(parameters, Mapping):
        first, *_ = fields(kind)
        parameters = {first.name: parameters}
    return _made(kind, parameters, where)


def _kind(name: Any, where: str) -> type[ImageOperation]:
    if isinstance(name, str) and (found := OPERATIONS.get(name) or _ALIASES.get(name)):
        return found
    if str(name).lower() in ("mixup", "cutmix"):
        raise UserError(f"{where}: {name} mixes the images of a batch: set data.mix to {str(name).lower()} instead")
    if name in AUGMENTATIONS:
        raise UserError(f"{where}: {name} is a whole augmentation: write it in place of the list, or its operations")
    meant = _meant(str(name), OPERATIONS)
    hint = f"did you mean {meant}?" if meant else f"there are {', '.join(OPERATIONS)}"
    raise UserError(f"{where}: there is no operation {shown(name)}: {hint}")


def _made(kind: type[ImageOperation], parameters: Mapping[Any, Any], where: str) -> ImageOperation:
    known = [field.name for field in fields(kind)]
    for key in parameters:
        if key not in known:
            meant = _meant(str(key), known)
            hint = f"did you mean {meant}?" if meant else f"it has {', '.join(known)}"
            raise UserError(f"{where}, {kind.__name__}: there is no parameter {shown(key)}: {hint}")
    try:
        return kind(**parameters)
    except UserError as error:
        raise UserError(f"{where}, {error}") from None


def _meant(name: str, known: Iterable[str]) -> str:
    """The nearest of the known names, whatever their letters' case; empty if none is near."""
    by_lower = {one.lower(): one for one in known}
    # nobody means a name with one that is many times as long, and comparing would take long
    close = difflib.get_close_matches(name[:60].lower(), by_lower, n=1)
    return by_lower[close[0]] if close else ""
