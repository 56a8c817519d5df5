"""Whose a config is: one of ours, or T2FSNN's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json"


def is_ours(content: Mapping[str, Any]) -> bool:
    """Whether it is a config of ours, which JSON can hold as well as YAML: such a one has sections."""
    return any(isinstance(content.get(section), Mapping) for section in ("data", "training"))
