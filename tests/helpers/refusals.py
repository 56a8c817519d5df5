"""What holds for a command that refuses: one sentence, exit code 2, nothing left behind."""

from pathlib import Path

from helpers.commands import Outcome


def refused(outcome: Outcome, *words: str) -> str:
    """The sentence of a command that must have been refused; it says each of the words."""
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("error: ")
    assert outcome.err.endswith("\n")
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.out + outcome.err
    for word in words:
        assert word in outcome.err, f"{word!r} is not in {outcome.err!r}"
    return outcome.err


def tree(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder: by path, a file's content, None for a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
