"""A command over several processes, from their meeting to their common end."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from ttfs_cupy.common.command import command_line, interruption
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.shown import message_of
from ttfs_cupy.ranks.group import ALONE, Group
from ttfs_cupy.ranks.place import place

if TYPE_CHECKING:
    from ttfs_cupy.ranks.star import Star
    from ttfs_cupy.ranks.watch import Seconds, Watch


def together(command: Callable[[Group], int | None], seconds: "Seconds | None" = None) -> int | None:
    """Calls a command with the group of this process, and returns its exit code: for `command_line.run`, as in
    `command_line.run(lambda: together(lambda group: train(group, parsed)))`. Outermost, around all that claims folders.

    A process that no launcher started calls command(ALONE), and that is all. With several:

    - In order: ranks > 0 wait until rank 0 has ended, say nothing, and return rank 0's exit code.
    - The command raises at rank 0: the others are told at once, end within some seconds, silently, with its code.
    - The command raises at another rank: this one says nothing of what a command tells in a sentence, and all others
      end by a LostRankError, "rank 2 (node1, process 123) has ended: <its sentence>", which the lowest rank that lives
      tells. A bug's traceback is also printed where it comes from. KeyboardInterrupt at any rank interrupts all: rank 0
      says the word, and the exit code is that of one signal.
    - A rank dies, or is silent: LostRankError at all others, from whatever call of the group waits or comes next; a
      process that has not ended ten seconds later is ended (os._exit), with the sentence said.

    A rank in a call of C that keeps Python's lock neither beats nor hears: after ten seconds it counts as lost, and
    only what started it can end it. Libraries that compute or wait give the lock free.

    What the command raises is raised through its own `finally` and `except` clauses first, as ever. It should let
    LostRankError through: nothing can be exchanged any more.
    """
    here = place(os.environ)
    if here.size == 1:
        return command(ALONE)
    # most runs are of one process, and need none of what is behind this
    from ttfs_cupy.ranks.meeting import SECONDS, RefusedError, join

    try:
        group = join(here, os.environ, seconds or SECONDS)
    except RefusedError:
        # rank 0 tells it
        return command_line.USER_ERROR
    except KeyboardInterrupt:
        if here.rank:
            # rank 0 says the word
            raise interruption.ToldInterrupt from None
        raise
    return _run(command, group)


@contextmanager
def said_once() -> Iterator[None]:
    """What a command says in this block, before its ranks have met, is said by rank 0 alone where mpirun or srun has
    given all the same arguments. By an address they meet as whoever it was has started each."""
    try:
        here = place(os.environ)
    except UserError:
        # which they are told as they are to meet
        here = ALONE.place
    if here.rank == 0 or here.meeting == "address":
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def _run(command: Callable[[Group], int | None], group: "Star") -> int | None:
    watch = group.watch
    try:
        code = watch.end_in_order(command(group) or 0)
        # now, since all are there: what one rank still does as its process ends would keep the others waiting
        group.finalize()
        return code
    except BaseException as error:
        # what follows, from outside, is no reason to leave others without a word
        interruption.arrived()
        return _end_at_rank_0(error, watch) if group.rank == 0 else _end_elsewhere(error, group)


def _end_at_rank_0(error: BaseException, watch: "Watch") -> int:
    """Tells the others why rank 0 ends. Raises the error, unless a loss is behind it, whose sentence has been said."""
    loss = watch.loss
    if loss is not None:
        watch.settle()
        if not loss.is_interrupted and not isinstance(error, KeyboardInterrupt):
            watch.end_badly(loss.sentence, loss.code)
            return loss.code
        if loss.is_interrupted:
            interruption.of_another_process(watch.interrupted_by)
    is_interrupted = isinstance(error, KeyboardInterrupt) or loss is not None
    code = 128 + interruption.number() if is_interrupted else _code_of(error)
    watch.end_badly(_sentence_of(error), code, is_interrupted=is_interrupted)
    if is_interrupted and not isinstance(error, KeyboardInterrupt):
        # a signal at another rank has ended all
        raise KeyboardInterrupt from None
    raise error


def _end_elsewhere(error: BaseException, group: "Star") -> int:
    """Has rank 0 tell why this rank ends, unless that is a matter of all ranks, which rank 0 tells of itself."""
    watch, until_gone = group.watch, group.place.meeting == "address"
    is_interrupted = isinstance(error, KeyboardInterrupt)
    watch.wait_for_rank_0()
    loss = watch.loss
    if loss is not None:
        watch.settle()
        watch.linger(until_gone=until_gone)
        return loss.code
    code = 128 + interruption.number() if is_interrupted else _code_of(error)
    watch.end_badly(_sentence_of(error), code, is_interrupted=is_interrupted)
    watch.linger(until_gone=until_gone)
    if watch.interrupted_by:
        # rank 0 has got one, too, whose code is that of all
        return 128 + watch.interrupted_by
    if not is_interrupted and command_line.refusal(error) is None:
        raise error
    return code


def _code_of(error: BaseException) -> int:
    """The exit code of a command that ends by this error."""
    if isinstance(error, command_line.OutputClosedError | BrokenPipeError):
        return command_line.OUTPUT_CLOSED
    return 1 if command_line.refusal(error) is None else command_line.USER_ERROR


def _sentence_of(error: BaseException) -> str:
    return command_line.refusal(error) or f"{type(error).__name__}: {message_of(error, command_line.MOST)}"
