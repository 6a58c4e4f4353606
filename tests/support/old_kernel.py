"""Makes this process believe that its kernel has neither Landlock nor filters of calls."""

import ctypes
import errno
import os
import struct

from batchmill.sandbox.syscalls import PR_SET_NO_NEW_PRIVS, prctl, syscall

SECCOMP = {"x86_64": 317, "aarch64": 277}
LANDLOCK_CREATE_RULESET = 444


class Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def refuse_calls() -> None:
    """Answer "not implemented" to both calls, for good and for all children."""
    seccomp = SECCOMP[os.uname().machine]
    refuse = 0x00050000 | errno.ENOSYS
    instructions = (
        (0x20, 0, 0, 0),
        (0x15, 0, 1, LANDLOCK_CREATE_RULESET),
        (0x06, 0, 0, refuse),
        (0x15, 0, 1, seccomp),
        (0x06, 0, 0, refuse),
        (0x06, 0, 0, 0x7FFF0000),
    )
    packed = b"".join(struct.pack("=HBBI", *each) for each in instructions)
    prctl("no new privileges", PR_SET_NO_NEW_PRIVS, 1)
    program = Program(len(instructions), packed)
    syscall("seccomp", seccomp, 1, 0, ctypes.byref(program))
