"""A run that a component ends from inside, such as by `os._exit(0)`, is no success."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
from contextlib import suppress

_PARENT_DIED = 1
"""`PR_SET_PDEATHSIG`: the signal that a process gets when its parent has died."""

_PASSED_ON = (signal.SIGINT, signal.SIGTERM)


def go_on_in_child() -> None:
    """Return in a child process; its parent waits for it here, and exits as it does.

    The child leaves a mark when Python ends in order. Where there is none, something inside ended
    the process, and the exit code is not 0 whatever it was. Does nothing outside Linux, which alone
    ends a child together with its parent.
    """
    if sys.platform != "linux":
        return
    read, write = os.pipe()
    parent, child = os.getpid(), os.fork()
    if child:
        os.close(write)
        sys.exit(_exit_code(_wait(child), read))
    os.close(read)
    ctypes.CDLL(None).prctl(_PARENT_DIED, signal.SIGKILL)
    if os.getppid() != parent:  # it died before this could be asked for
        os.kill(os.getpid(), signal.SIGKILL)
    atexit.register(os.write, write, b"1")


def _wait(child: int) -> int:
    """The exit code of the child, minus the number of a signal that killed it.

    What is sent to the parent is passed on, but for Ctrl-C, which a terminal sends to both.
    """
    signals = {*_PASSED_ON, signal.SIGCHLD}
    # Blocked, they wait for `sigwaitinfo`: none is lost between a look and the next wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        sent = signal.sigwaitinfo(signals)
        if sent.si_signo in _PASSED_ON and sent.si_code <= 0:  # by a process, not the kernel
            with suppress(ProcessLookupError):
                os.kill(child, sent.si_signo)


def _exit_code(code: int, read: int) -> int:
    if code < 0:
        sys.stderr.write(f"xai-bench: the run was killed by signal {-code}\n")
        # As a shell says it: 128 and the number of the signal.
        return 128 - code
    if code == 0 and not _marked(read):
        sys.stderr.write(
            "xai-bench: the run stopped before its end: something in it, such as an explainer, "
            "ended the process; what was finished is stored, and the same command does the rest\n"
        )
        return 1
    return code


def _marked(read: int) -> bool:
    """Whether the mark of an orderly end is there; workers may hold the pipe open."""
    os.set_blocking(read, False)
    try:
        return os.read(read, 1) == b"1"
    except BlockingIOError:
        return False
