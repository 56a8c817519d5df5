"""The one exception for a user's mistake: commands print it as one sentence and exit with 2."""

from ttfs_cupy.common.shown import printable, shortened

# characters
LONGEST = 2000


class UserError(ValueError):
    """What was wrong, where, and what would be right, in one sentence.

    It is one line, whatever stands in it: what does not print is escaped, and of a very long one both ends are kept.
    """

    def __init__(self, sentence: str):
        super().__init__(shortened(printable(" ".join(sentence.splitlines())), LONGEST))
