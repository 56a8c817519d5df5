"""Importing packages that take long, or that an installation may lack."""

import importlib
import importlib.util
import sys
from types import ModuleType

from ttfs_cupy.common.command.interruption import uninterrupted
from ttfs_cupy.common.errors import UserError
from ttfs_cupy.common.machine import address_space
from ttfs_cupy.common.shown import message_of


def imported(module: str, package: str, install: str) -> ModuleType:
    """The module of a package. install: the command that brings the package. Raises UserError.

    An import may also fail for want of memory, or of a library, while the package is there: then to install it is no
    help.
    """
    top = module.partition(".")[0]
    try:
        if top not in sys.modules and not address_space.has_room():
            raise MemoryError(f"less than {address_space.ROOM >> 20} MiB of address space are left")
        with uninterrupted():
            return importlib.import_module(module)
    # a library that cannot be mapped into memory is an ImportError, too, or an OSError
    except (ImportError, OSError, MemoryError) as error:
        if _is_missing(top):
            raise UserError(f"{package} is not installed: {install}") from error
        if address_space.is_behind(error):
            remedy = "end other programs, or raise the limit that is set (ulimit -v)"
            raise UserError(
                f"the memory does not suffice to import {package} ({message_of(error)}): {remedy}"
            ) from error
        raise UserError(
            f"{package} is installed, but cannot be imported ({message_of(error)}): install it anew, {install}"
        ) from error


def _is_missing(top: str) -> bool:
    try:
        return importlib.util.find_spec(top) is None
    except (ImportError, ValueError):
        # a module that is there without a spec: whoever put it there knows
        return False
