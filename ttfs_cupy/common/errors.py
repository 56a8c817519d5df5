"""The one exception for a user's mistake: commands print it as one sentence and exit with 2."""


class UserError(ValueError):
    """What was wrong, where, and what would be right, in one sentence."""
