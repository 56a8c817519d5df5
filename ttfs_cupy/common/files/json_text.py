"""JSON that this package wrote, or should have written: keys and values."""

import json
from typing import Any

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import message_of, shown


def keys_and_values(text: str, beginning: str) -> dict[str, Any]:
    """A mapping. Raises UserError for any other text.

    beginning: of the sentence, which ends in what it is instead: "metrics.jsonl cannot be read: it is".
    """
    try:
        content = json.loads(text)
    except ValueError as error:
        raise UserError(f"{beginning} not JSON ({message_of(error)})") from None
    except RecursionError:
        raise UserError(f"{beginning} nested too deeply") from None
    if not isinstance(content, dict):
        raise UserError(f"{beginning} {shown(content)}, not keys and values")
    return content
