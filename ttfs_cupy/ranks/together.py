"""A command over several processes, from their meeting to their common end."""

from collections.abc import Callable

from ttfs_cupy.ranks.group import ALONE, Group


def together(command: Callable[[Group], int | None]) -> int | None:
    """Calls a command with the group of this process, and returns its exit code: for `command_line.run`, as in
    `command_line.run(lambda: together(lambda group: train(group, parsed)))`. Outermost, around all that claims folders.

    A process that no launcher started calls command(ALONE), and that is all. With several:

    - In order: ranks > 0 wait until rank 0 has ended, say nothing, and return rank 0's exit code.
    - The command raises at rank 0: the others are told at once, end within some seconds, silently, with its code.
    - The command raises at another rank: this one says nothing of a UserError, and all others end by a LostRankError,
      "rank 2 (node1, process 123) has ended: <its sentence>", which the lowest rank that lives tells. A bug's traceback
      is also printed where it comes from. KeyboardInterrupt at any rank interrupts all: rank 0 says the word.
    - A rank dies, or is silent: LostRankError at all others, from whatever call of the group waits or comes next; a
      process that has not ended ten seconds later is ended (os._exit), with the sentence said.

    What the command raises is raised through its own `finally` and `except` clauses first, as ever. It should let
    LostRankError through: nothing can be exchanged any more.
    """
    return command(ALONE)
