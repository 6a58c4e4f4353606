"""System calls that the standard library does not offer, by ctypes."""

import ctypes
import os
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38


class SyscallError(OSError):
    """The kernel refused; `what` names the facility."""

    def __init__(self, what: str, number: int) -> None:
        super().__init__(number, f"{what}: {os.strerror(number)}")


def syscall(what: str, number: int, *arguments: Any) -> int:  # noqa: ANN401 - C has no types
    """Call the kernel by number and return its answer.

    Raises:
        SyscallError: the answer is negative.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    typed = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    answer = int(libc.syscall(ctypes.c_long(number), *typed))
    if answer < 0:
        raise SyscallError(what, ctypes.get_errno())
    return answer


def prctl(what: str, option: int, *arguments: int) -> None:
    """Change a property of this process.

    Raises:
        SyscallError: the kernel refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)][:4]
    if libc.prctl(option, *words) != 0:
        raise SyscallError(what, ctypes.get_errno())
