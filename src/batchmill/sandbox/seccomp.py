"""Seccomp: after `install`, the kernel refuses what no decoder needs.

No sockets of any kind, no new processes or programs, no other group or session, no limits raised,
no signals to others, no looking into other processes, no memory or queues shared with them, no
outliving the parent. Threads are allowed. Changes
of modes, owners and times pretend to succeed: Landlock does not confine them, and copying
functions of the standard library would fail if they were refused.
"""

import ctypes
import errno
import os
import struct
import sys
from dataclasses import dataclass

from batchmill.sandbox.syscalls import PR_SET_PDEATHSIG, syscall

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _ARCHITECTURE, _FIRST, _THIRD = 0, 4, 16, 32
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000
_SET_MODE_FILTER, _ALL_THREADS = 1, 1


@dataclass(frozen=True, slots=True)
class _Machine:
    """The numbers of one architecture; see the kernel's syscall tables."""

    audit: int
    seccomp: int
    refused: tuple[int, ...]
    ignored: tuple[int, ...]
    signals: tuple[int, ...]
    clone: int
    prlimit: int
    prctl: int


_CLONE3 = 435
# io_uring_setup, pidfd_send_signal, pidfd_getfd, open_tree … fsmount: the same everywhere
_NEW_REFUSED = (425, 424, 438, 428, 429, 430, 431, 432, 442)
_FCHMODAT2 = 452

_MACHINES = {
    "x86_64": _Machine(
        audit=0xC000003E,
        seccomp=317,
        refused=(
            *(41, 57, 58, 59, 322),  # socket fork vfork execve execveat
            *(109, 112),  # setpgid setsid
            *(101, 310, 311, 312, 200, 129, 297),  # ptrace process_vm_* kcmp tkill sigqueue*
            *(160, 272, 308, 304, 135),  # setrlimit unshare setns open_by_handle_at personality
            *(248, 249, 250, 321, 298, 323),  # keys bpf perf_event_open userfaultfd
            *(29, 30, 64, 68, 240),  # shmget shmat semget msgget mq_open
        ),
        ignored=(*(90, 91, 268, 92, 93, 94, 260), *(132, 235, 261, 280, 188, 189, 190)),
        signals=(62, 234),
        clone=56,
        prlimit=302,
        prctl=157,
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        seccomp=277,
        refused=(
            *(198, 221, 281),  # socket execve execveat
            *(154, 157),  # setpgid setsid
            *(117, 270, 271, 272, 130, 138, 240),  # ptrace process_vm_* kcmp tkill sigqueue*
            *(164, 97, 268, 265, 92),  # setrlimit unshare setns open_by_handle_at personality
            *(217, 218, 219, 280, 241, 282),  # keys bpf perf_event_open userfaultfd
            *(194, 196, 190, 186, 180),  # shmget shmat semget msgget mq_open
        ),
        ignored=(52, 53, 54, 55, 88, 5, 6, 7),
        signals=(129, 131),
        clone=220,
        prlimit=261,
        prctl=167,
    ),
}

_Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = [
        ("length", ctypes.c_ushort),
        ("filter", ctypes.c_char_p),
    ]


def install() -> None:
    """Put the filter over all threads of this process, for good.

    `no_new_privs` must be set before.

    Raises:
        OSError: the kernel or the architecture has no filters; nothing is refused.
    """
    machine = _MACHINES.get(os.uname().machine)
    if machine is None or sys.maxsize < 2**32:
        raise OSError(errno.ENOSYS, f"seccomp: no filter for {os.uname().machine}")
    instructions = _filter(machine, os.getpid())
    packed = b"".join(struct.pack("=HBBI", *each) for each in instructions)
    program = _Program(len(instructions), packed)
    syscall("seccomp", machine.seccomp, _SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(program))


def _filter(machine: _Machine, pid: int) -> list[_Instruction]:
    refuse = _ERRNO | errno.EPERM
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL_PROCESS),
        *(step for each in machine.refused + _NEW_REFUSED for step in _on(each, refuse)),
        *(step for each in (*machine.ignored, _FCHMODAT2) for step in _on(each, _ERRNO)),
        # glibc falls back to clone(), whose flags a filter can read
        *_on(_CLONE3, _ERRNO | errno.ENOSYS),
        *_unless(machine.clone, (_FIRST, _JUMP_SET, _CLONE_THREAD)),
        *(s for each in machine.signals for s in _unless(each, (_FIRST, _JUMP_EQUAL, pid))),
        # reading a limit passes no new one: both words of that pointer are zero
        # PR_SET_PDEATHSIG is 1, and there is no 0
        *_unless(machine.prctl, (_FIRST, _JUMP_AT_LEAST, PR_SET_PDEATHSIG + 1)),
        *_unless(machine.prlimit, (_THIRD, _JUMP_EQUAL, 0), (_THIRD + 4, _JUMP_EQUAL, 0)),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _on(number: int, action: int) -> list[_Instruction]:
    return [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, action)]


def _unless(number: int, *checks: tuple[int, int, int]) -> list[_Instruction]:
    """Refuse call `number` unless the word at each offset passes its comparison."""
    body: list[_Instruction] = []
    for done, (offset, comparison, operand) in enumerate(checks, start=1):
        to_refusal = 2 * (len(checks) - done) + 1
        body += [(_LOAD, 0, 0, offset), (comparison, 0, to_refusal, operand)]
    body += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | errno.EPERM)]
    return [(_JUMP_EQUAL, 0, len(body), number), *body]
