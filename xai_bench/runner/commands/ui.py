"""`xai-bench ui`: MLflow's own server on the runs of a results folder."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from xai_bench.results.tracking import database, server
from xai_bench.runner.config.messages import UsageError


def start(root: Path, studies: Sequence[str], port: int) -> None:
    """Print the address of each study and become the server; does not return.

    Raises `UsageError` where no port is free, and where its database cannot be opened.
    """
    free, in_view = free_port(port), server.experiments(root)
    opened = {study: in_view.get(study) or _asked(root, study) for study in studies}
    if problem := server.problem(root):
        raise UsageError(
            f"{database.path(root)} cannot be opened: {problem}; make room, or copy it"
        )
    for study, experiment in opened.items():
        address = server.address(f"http://127.0.0.1:{free}", experiment)
        sys.stdout.write(f"{study}: {address}\n")
    sys.stdout.write("MLflow starts, which takes some seconds; stop it with Ctrl-C\n")
    sys.stdout.flush()
    command = server.command(database.address(root), free)
    _clean_when_stopped(root)
    os.chdir(root.resolve().anchor)  # its processes import what lies where they are started
    os.execvpe(command[0], command, {**os.environ, **server.ENVIRONMENT})


def _asked(root: Path, study: str) -> str:
    from xai_bench.results.tracking.mlflow import MlflowRecorder  # takes as long as the server

    return MlflowRecorder().experiment(root, study)


def _clean_when_stopped(root: Path) -> None:
    """Leave a process behind that takes the server's stray folders away when this one ends."""
    server_process, stray = os.getpid(), database.stray_folders(root)
    if not stray or os.name != "posix" or os.fork():
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # Ctrl-C reaches both
        signal.signal(number, signal.SIG_IGN)
    while os.getppid() == server_process:
        time.sleep(0.2)
    database.remove(stray)
    os._exit(0)


def free_port(wanted: int) -> int:
    """`wanted` or the first port after it that nobody listens on at the loopback address."""
    for port in range(wanted, wanted + 100):
        with socket.socket() as probe:
            # Connections of a server that was stopped keep a port for a while, and do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise UsageError(f"--port {wanted}: this port and the 99 after it are taken; name another one")
