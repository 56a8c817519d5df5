"""What a sweep goes over: lists of values and seeds as they are typed, taken apart."""

import re
from collections.abc import Mapping, Sequence

from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import shown
from ttfs_cupy.experiment.config import text as config_text

# More than that are a mistake: a minute each, they would take a week.
MOST_RUNS = 10_000

# What a sweep says for itself, and how
_OWN = {
    "seed": "list seeds with --seeds",
    "device": "name devices with --devices",
    "output": "name the sweep's folder with --output; its runs have folders of their own in it",
}
_SEEDS = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")


def parse_settings(assignments: Sequence[str]) -> dict[str, list[str]]:
    """The values of each key, as texts, in the order of `key.sub=VALUE,VALUE` assignments. Raises UserError.

    Whether keys and values are any that a config has is not looked at.
    """
    settings: dict[str, list[str]] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        called = config_text.called(assignment)
        if not equals or not key:
            raise UserError(f"{called}: this must read key.sub=value,value, such as optimizer.lr=1e-4,3e-4")
        if key in _OWN:
            raise UserError(f"{called}: {_OWN[key]}")
        if key in settings:
            raise UserError(f"{called}: {key} is given twice: write all of its values into one list")
        values = split_values(text)
        if not all(values):
            raise UserError(f"{called}: a value is empty: write null for none, and no comma at an end")
        settings[key] = values
    return settings


def split_values(text: str) -> list[str]:
    """The pieces between commas, without spaces around them.

    A comma inside of YAML's brackets, braces or quotes parts nothing. As in YAML, these have a meaning only where a
    value begins, or inside of brackets: it's and a[1] are plain words. What never closes goes to the text's end.
    """
    pieces, begin, depth, quote = [], 0, 0, ""
    # a value begins here
    is_fresh = True
    place = 0
    while place < len(text):
        character, following = text[place], text[place + 1 : place + 2]
        if quote:
            if (quote == '"' and character == "\\") or (quote == "'" and character == following == "'"):
                # what is escaped
                place += 1
            elif character == quote:
                quote = ""
        elif is_fresh and character in "'\"":
            quote, is_fresh = character, False
        elif character in "[{" and (is_fresh or depth):
            depth, is_fresh = depth + 1, True
        elif character in "]}" and depth:
            depth, is_fresh = depth - 1, False
        elif character == ",":
            if not depth:
                pieces.append(text[begin:place])
                begin = place + 1
            is_fresh = True
        elif character == ":" and (following.isspace() or text[place - 1 : place] in ("'", '"')):
            is_fresh = True
        elif not character.isspace():
            is_fresh = False
        place += 1
    return [piece.strip() for piece in [*pieces, text[begin:]]]


def parse_seeds(text: str) -> list[int]:
    """The seeds of `0-4`, `0,3,7`, `5`, or `0-2,7`, in that order. Raises UserError."""
    called = f"--seeds {shown(text)}"
    seeds: dict[int, None] = {}
    for piece in text.split(","):
        found = _SEEDS.fullmatch(piece.strip())
        if found is None:
            raise UserError(f"{called}: {shown(piece)} is no seed: write 5, or 0,3,7, or 0-4")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise UserError(f"{called}: {shown(piece)} ends before it begins: write {last}-{first}")
        if last - first >= MOST_RUNS:
            raise UserError(f"{called}: these are more than {MOST_RUNS:,} seeds")
        for seed in range(first, last + 1):
            if seed in seeds:
                raise UserError(f"{called}: {seed} is there twice, and would be the same run: keep one of them")
            seeds[seed] = None
    return list(seeds)


def check_size(settings: Mapping[str, Sequence[str]], seeds: Sequence[int]) -> None:
    """Raises UserError where there are too many combinations."""
    runs = len(seeds)
    for values in settings.values():
        runs *= len(values)
    if runs > MOST_RUNS:
        raise UserError(f"these are {runs:,} runs, and a sweep has {MOST_RUNS:,} at most: make several of it")
