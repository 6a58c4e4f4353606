"""An executor for tests: each step of a job names one way to behave, or to misbehave.

It runs inside a child. A job whose steps all behave copies its source to `out/copy`.
"""

import ctypes
import hashlib
import os
import resource
import signal
import socket
import stat
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchmill.errors.item import UnreadableFileError
from batchmill.model.item import Output, SkipReason
from batchmill.sandbox.messages import Job, JobStep, Report, StepProgress, encode

ReportProgress = Callable[[StepProgress], None]


def warm() -> None:
    pass


def warm_more() -> None:
    pass


def execute(job: Job, report_progress: ReportProgress) -> Report:
    found: dict[str, Any] = dict(job.data)
    if any(step.condition for step in job.steps):
        return Report(skipped=SkipReason.FILTERED)
    for step in job.steps:
        report_progress(StepProgress(0.0, step.id))
        found |= BEHAVIOURS[step.use](job, step, report_progress) or {}
    return replace(_copied(job, int(found.pop("copies", 1))), data=found)


def _copied(job: Job, copies: int) -> Report:
    body = Path(job.source).read_bytes()
    out = Path(job.folder, "out")
    out.mkdir(parents=True, exist_ok=True)
    names = ["copy", *(f"copy{number}" for number in range(1, copies))][:copies]
    for name in names:
        (out / name).write_bytes(body)
    facts = (len(body), "image/jpeg", hashlib.sha256(body).hexdigest(), zlib.crc32(body))
    return Report(outputs=tuple(Output(name, *facts) for name in names))


def make(job: Job, step: JobStep, report_progress: ReportProgress) -> dict[str, Any]:
    return {"copies": step.options["copies"]}


def tell_pid(job: Job, step: JobStep, report_progress: ReportProgress) -> dict[str, Any]:
    return {"pid": os.getpid()}


def tell_parent(job: Job, step: JobStep, report_progress: ReportProgress) -> dict[str, Any]:
    return {"parent": os.getppid()}


def tell_environment(job: Job, step: JobStep, report_progress: ReportProgress) -> dict[str, Any]:
    return {"environment": dict(os.environ)}


def wait(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    time.sleep(step.options["seconds"])


def count(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    steps = int(step.options["seconds"] * 100)
    for number in range(steps):
        time.sleep(0.01)
        report_progress(StepProgress(number / steps, step.id))


def refuse(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    raise UnreadableFileError(job.name, "it ends in the middle")


def fail(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    raise RuntimeError(f"secret of {job.source}")


def segfault(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    ctypes.string_at(0)


def abort(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    os.abort()


def exit_zero(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    os._exit(0)


def leave(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    sys.exit("enough")


def spin(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    while True:
        pass


def burn(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    until = time.process_time() + step.options["seconds"]
    while time.process_time() < until:
        pass


def hang(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        time.sleep(60)


def hog(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    held = []
    while True:
        held.append(bytearray(16 * 2**20))


def hog_in_native_code(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    os.write(2, b"GLib-ERROR **: failed to allocate 268435456 bytes\n")
    os.abort()


def print_to_stdout(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    print("a library is talking", flush=True)
    os.write(1, b'{"report": "not mine"}\n')


def write_garbage(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    _write_to_the_line(b"\xff\x00 no JSON at all\n")
    time.sleep(60)


def write_wrong_report(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    _write_to_the_line(b'{"report": {"outputs": 7}}\n')
    time.sleep(60)


def write_deep_nesting(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    _write_to_the_line(b'{"report": ' + b"[" * 100_000 + b"\n")
    time.sleep(60)


def write_huge_line(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    while True:
        _write_to_the_line(b"x" * 65536)


def write_after_report(job: Job, step: JobStep, report_progress: ReportProgress) -> dict[str, Any]:
    """Answer at once, so that the child's own answer comes while the next job runs."""
    _write_to_the_line(encode("report", Report(warnings=("false",), number=job.number)))
    time.sleep(0.1)
    return {"late": True}


def write_more_after_report(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    """Answer, and begin another line that would spoil the next job's."""
    _write_to_the_line(encode("report", Report(number=job.number)) + b'{"report": ')
    time.sleep(60)


def answer_for_the_next(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    """Answer for a job that was sent ahead, before its own."""
    _write_to_the_line(encode("report", Report(number=job.number + 1)))
    time.sleep(60)


_KEPT: list[int] = []


def keep_open(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    """Keep descriptors of the output that is about to be written, and of its folder."""
    output = Path(job.folder, "out", "copy")
    output.write_bytes(b"")
    _KEPT.extend((os.open(output, os.O_WRONLY), os.open(output.parent, os.O_RDONLY)))


def spoil(job: Job, step: JobStep, report_progress: ReportProgress) -> dict[str, Any]:
    """Write over what an earlier job was answered for."""
    file, folder = _KEPT
    again = os.open("copy", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=folder)
    return {"spoilt": [os.pwrite(each, b"SPOILT!!!", 0) for each in (file, again)]}


def flood_stderr(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    for _ in range(64):
        os.write(2, b"warning: " * 10_000)


def close_line(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    for fd in range(3, 64):
        try:
            os.close(fd)
        except OSError:
            continue
    time.sleep(60)


def remove_own_folder(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    Path(job.folder).rmdir()


def lock_a_folder(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    Path(job.folder, "open", "shut").mkdir(parents=True)
    Path(job.folder, "shut").mkdir(mode=0)


def leave_temporary_files(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    tempfile.mkstemp()


def breed(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    """Fork where that is allowed, and hang on."""
    pid = os.fork()
    if pid:
        Path(job.folder, "offspring").write_text(str(pid))
    time.sleep(60)


def escape(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    """Leave group and parent, as far as that is allowed, and hang on.

    Not `setsid` after it: that would make it the leader of a group with its own id again.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    libc = ctypes.CDLL(None)
    libc.prctl(1, 0)
    libc.setpgid(0, os.getpgid(os.getppid()))
    while True:
        time.sleep(60)


def breed_far(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    """Fork a chain of processes, each in a session of its own, one of them stopped; hang on."""
    for depth in range(4):
        pid = os.fork()
        if pid and depth:
            with Path(job.folder, "offspring").open("a") as file:
                file.write(f"{os.getpid()} ")
        if pid:
            break
        os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        if depth == 1 and os.fork():  # the parent of the rest ends: they are orphans already
            os._exit(0)
    else:
        with Path(job.folder, "offspring").open("a") as file:
            file.write(f"{os.getpid()} ")
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)


def stop_itself(job: Job, step: JobStep, report_progress: ReportProgress) -> None:
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(60)


def report_nan(job: Job, step: JobStep, report_progress: ReportProgress) -> dict[str, Any]:
    return {"value": float("nan")}


def try_out(job: Job, step: JobStep, report_progress: ReportProgress) -> dict[str, Any]:
    """Try what `options.what` names; say `done`, or the error's name."""
    try:
        FORBIDDEN[step.options["what"]](job, step.options)
    except OSError as error:
        return {"outcome": type(error).__name__}
    return {"outcome": "done"}


def _fork(job: Job, options: dict[str, Any]) -> None:
    if os.fork() == 0:
        os._exit(0)


def _fork_by_clone3(job: Job, options: dict[str, Any]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = (ctypes.c_uint64 * 11)()
    answer = libc.syscall(435, ctypes.byref(arguments), 88)
    if answer == 0:
        os._exit(0)
    if answer < 0:
        raise OSError(ctypes.get_errno(), "clone3")


def _share_memory(job: Job, options: dict[str, Any]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.shmget(0, 4096, 0o600) < 0:
        raise OSError(ctypes.get_errno(), "shmget")


def _raise_limit(job: Job, options: dict[str, Any]) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (10**6, resource.RLIM_INFINITY))
    except ValueError as error:
        raise OSError(str(error)) from error


def _libc(name: str, *arguments: object) -> None:
    if ctypes.CDLL(None, use_errno=True)[name](*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def _leave_session(job: Job, options: dict[str, Any]) -> None:
    """The leader of a group may not, so try to be none first."""
    ctypes.CDLL(None).setpgid(0, os.getpgid(os.getppid()))
    _libc("setsid")


def _change_mode(job: Job, options: dict[str, Any]) -> None:
    Path(options["path"]).chmod(0o777)


FORBIDDEN: dict[str, Callable[[Job, dict[str, Any]], object]] = {
    "inet": lambda job, options: socket.socket(socket.AF_INET),
    "inet6": lambda job, options: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
    "unix": lambda job, options: socket.socket(socket.AF_UNIX),
    "netlink": lambda job, options: socket.socket(16, socket.SOCK_RAW),
    "fork": _fork,
    "clone3": _fork_by_clone3,
    "exec": lambda job, options: os.execv("/bin/true", ["true"]),  # noqa: S606
    "read": lambda job, options: Path(options["path"]).read_bytes(),
    "list": lambda job, options: list(Path(options["path"]).iterdir()),
    "write": lambda job, options: Path(options["path"]).write_bytes(b"owned"),
    "delete": lambda job, options: Path(options["path"]).unlink(),
    "overwrite_source": lambda job, options: Path(job.source).write_bytes(b"owned"),
    "symlink": lambda job, options: Path(job.folder, "link").symlink_to("/etc"),
    "change_mode": _change_mode,
    "signal": lambda job, options: os.kill(options["pid"], 0),
    "raise_limit": _raise_limit,
    "share_memory": _share_memory,
    "setsid": _leave_session,
    "setpgid": lambda job, options: _libc("setpgid", 0, os.getpgid(os.getppid())),
    "outlive_parent": lambda job, options: _libc("prctl", 1, 0, 0, 0, 0),
    "name_thread": lambda job, options: _libc("prctl", 15, ctypes.c_char_p(b"decoder")),
    "temporary_file": lambda job, options: tempfile.mkstemp(),
}

BEHAVIOURS: dict[str, Callable[[Job, JobStep, ReportProgress], dict[str, Any] | None]] = {
    function.__name__: function
    for function in (
        *(
            tell_pid,
            tell_parent,
            tell_environment,
            make,
            wait,
            count,
            refuse,
            fail,
            segfault,
            abort,
            exit_zero,
        ),
        *(leave, spin, burn, hang, hog, hog_in_native_code, print_to_stdout, write_garbage),
        *(write_wrong_report, write_deep_nesting, write_huge_line, write_after_report),
        *(write_more_after_report, answer_for_the_next, keep_open, spoil),
        *(flood_stderr, close_line, remove_own_folder, report_nan, try_out),
        *(lock_a_folder, leave_temporary_files, breed, breed_far, escape, stop_itself),
    )
} | {"copy": lambda job, step, report_progress: None}


def _write_to_the_line(body: bytes) -> None:
    """Write to whatever socket is open: it leads to the worker."""
    for fd in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.write(fd, body)
                return
        except OSError:
            continue
