"""The report's text: what every stage prints, on disk as it comes, but for what would make it too long."""

from collections import deque
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import IO

# Characters of a stage's text, and lines of its end that are kept in any case.
MOST_TEXT, LAST_LINES = 32_000, 60
MOST_LINE = 500


class Text:
    """A file that is flushed with every line."""

    def __init__(self, file: Path):
        self._file = file.open("w")

    def __enter__(self) -> "Text":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, line: str) -> None:
        self._file.write(line + "\n")
        self._file.flush()

    def copy(self, stream: IO[str]) -> "Copy":
        """Begins to copy all that comes from a stage."""
        return Copy(self, stream)


class Copy:
    """A thread that copies a stage's output to the report until the stage, and all that it started, have ended."""

    def __init__(self, text: Text, stream: IO[str]):
        self._text, self._stream = text, stream
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._written = self._left_out = 0
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def last(self) -> list[str]:
        """The lines that came last."""
        return list(self._last)

    def finish(self) -> None:
        """To be called once the stage's processes have ended."""
        self._thread.join(timeout=2)
        if self._left_out:
            shown = self.last[-min(self._left_out, LAST_LINES) :]
            self._text.write(f"... {self._left_out - len(shown)} lines are left out ...")
            for line in shown:
                self._text.write(line)

    def _run(self) -> None:
        # whoever has left the stage's group and still writes writes for nobody
        with self._stream, suppress(ValueError):
            for line in self._stream:
                self._take(line.rstrip()[:MOST_LINE])

    def _take(self, line: str) -> None:
        self._last.append(line)
        if self._written < MOST_TEXT:
            self._written += len(line) + 1
            self._text.write(line)
        else:
            self._left_out += 1
