"""Landlock: after `restrict`, this process reads and writes only below the given folders."""

import ctypes
import os
import stat
from collections.abc import Iterable

from batchmill.sandbox.syscalls import syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_ALL_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
_TCP_ABI, _SCOPE_ABI = 4, 6
_ALL_TCP, _ALL_SCOPES = 0b11, 0b11

# The rights that mean something for a rule on a file; the kernel refuses any other.
_OF_A_FILE = _READ_FILE | _WRITE_FILE | _TRUNCATE
_READ = _READ_FILE | _READ_DIR
# No symbolic links, sockets, pipes or devices: the parent will open what is written here.
_WRITE = (
    _READ | _WRITE_FILE | _TRUNCATE | _MAKE_DIR | _MAKE_REG | _REMOVE_DIR | _REMOVE_FILE | _REFER
)


class _Ruleset(ctypes.Structure):
    _fields_ = [
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    ]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [
        ("allowed_access", ctypes.c_uint64),
        ("parent_fd", ctypes.c_int32),
    ]


def abi() -> int:
    """Return the kernel's Landlock version.

    Raises:
        SyscallError: the kernel has no Landlock, or it is switched off.
    """
    return syscall("landlock", _CREATE_RULESET, None, 0, _VERSION_FLAG)


def restrict(readable: Iterable[str], writable: Iterable[str]) -> int:
    """Confine this thread and all it will start, for good; return the version in force.

    Paths that do not exist are passed over. Must run before other threads exist.

    Raises:
        SyscallError: not possible here; nothing is confined.
    """
    version = abi()
    handled = _ALL_BY_ABI[max(known for known in _ALL_BY_ABI if known <= version)]
    attributes = _Ruleset(
        handled, _ALL_TCP * (version >= _TCP_ABI), _ALL_SCOPES * (version >= _SCOPE_ABI)
    )
    size = 24 if version >= _SCOPE_ABI else 16 if version >= _TCP_ABI else 8
    ruleset = syscall("landlock", _CREATE_RULESET, ctypes.byref(attributes), size, 0)
    try:
        for paths, access in ((readable, _READ), (writable, _WRITE)):
            for path in paths:
                _allow(ruleset, path, access & handled)
        syscall("landlock", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            access &= _OF_A_FILE
        rule = _PathBeneath(access, fd)
        syscall("landlock", _ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(fd)
