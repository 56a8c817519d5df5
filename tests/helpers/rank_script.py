"""A command of several ranks that does as it is told, by RANK:ACT or all:ACT; its seconds are short."""

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from ttfs_cupy.common.command import command_line
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.ranks.group import Group
from ttfs_cupy.ranks.together import together
from ttfs_cupy.ranks.watch import Seconds

SECONDS = Seconds(meeting=30.0, beat=0.2, silence=2.0, grace=1.0, common=0.5)
# what ranks exchange before one of them acts
ROUNDS = 10


def command(group: Group) -> int:
    acts = dict(item.split(":") for item in sys.argv[1:] if ":" in item)
    for number in range(ROUNDS):
        assert group.gather(number) == [number] * group.size
    mine = acts.get(str(group.rank), acts.get("all", "nothing"))
    if mine == "differs":
        group.require_same({"data set": "mnist"})
    elif "differs" in acts.values():
        group.require_same({"data set": "fmnist"})
    ACTS[mine]()
    for number in range(ROUNDS):
        group.gather(number)
        time.sleep(0.02)
    if group.rank == 0:
        print(json.dumps([vars(group.place), [member.process for member in group.members]]))
    return 7


def _fail() -> None:
    raise UserError("the data are not here")


def _err() -> None:
    raise ZeroDivisionError("a bug")


def _interrupt() -> None:
    signal.raise_signal(signal.SIGTERM)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _leave() -> None:
    """Ends with a word to nobody, while its children live: a forked one, and a program."""
    child = os.fork()
    if not child:
        # whoever reads what the parent says is not to wait for this one
        os.closerange(0, 3)
        time.sleep(30)
        os._exit(0)
    null = subprocess.DEVNULL
    program = subprocess.Popen(["sleep", "30"], stdin=null, stdout=null, stderr=null, close_fds=False)
    print(f"children {child} {program.pid}", flush=True)
    _die()


def _linger() -> None:
    """Has work left after the end, which takes longer than SECONDS.grace."""
    atexit.register(time.sleep, 3 * SECONDS.grace)


def _hang() -> None:
    """Looks at nothing, as in a library's call."""
    time.sleep(60)


ACTS: dict[str, Callable[[], object]] = {
    "nothing": lambda: None,
    "differs": lambda: None,
    "hangs": _hang,
    "fails": _fail,
    "errs": _err,
    "is_interrupted": _interrupt,
    "dies": _die,
    "stops": _stop,
    "leaves": _leave,
    "lingers": _linger,
}

if __name__ == "__main__":
    sys.exit(command_line.run(lambda: together(command, SECONDS), process_ends=True))
