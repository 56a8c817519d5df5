"""JSON that holds keys and values: what this package wrote, or should have written, and what users bring."""

import json
from typing import Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import message_of, shown


def keys_and_values(text: str, beginning: str, *, each_once: bool = False) -> dict[str, Any]:
    """A mapping. Raises UserError for any other text.

    beginning: of the sentence, which ends in what it is instead: "metrics.jsonl cannot be read: it is".
    each_once: a key that stands twice is refused; else its last value counts.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise UserError(f"{beginning} not clear: the key {shown(key)} stands twice in it")
            found[key] = value
        return found

    try:
        content = json.loads(text, object_pairs_hook=unique if each_once else None)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{beginning} not JSON ({message_of(error)})") from None
    except RecursionError:
        raise UserError(f"{beginning} nested too deeply") from None
    if not isinstance(content, dict):
        raise UserError(f"{beginning} {shown(content)}, not keys and values")
    return content


def in_script(text: str) -> str:
    """JSON as it may stand in an HTML script element, whatever its texts are."""
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    return "".join(escapes.get(character, character) for character in text) if any(map(text.count, escapes)) else text
