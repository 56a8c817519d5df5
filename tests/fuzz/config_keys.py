"""The keys of configs, as their classes have them: new ones are here by themselves."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from ttfs_cupy.experiment.config import Config


def dotted(section: type[BaseModel] = Config, above: str = "") -> Iterator[str]:
    """training, training.epochs, training.keep.last and all the others."""
    for name, field in section.model_fields.items():
        key = above + (field.alias or name)
        yield key
        for inner in _sections(field.annotation):
            yield from dotted(inner, f"{key}.")


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """Those of an optional one, or of several, too."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _sections(part)
