"""`xai-bench ui`: MLflow's own server on the runs of a results folder."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from xai_bench.results.tracking.mlflow import UI_ENVIRONMENT, MlflowRecorder
from xai_bench.runner.config.messages import UsageError


def start(root: Path, studies: Sequence[str], port: int) -> None:
    """Print the address of each study and become the server; does not return.

    Raises `UsageError` where no port is free.
    """
    recorder, free = MlflowRecorder(), free_port(port)
    for study in studies:
        sys.stdout.write(f"{study}: {recorder.deep_link(root, study, free)}\n")
    sys.stdout.write("MLflow starts, which takes some seconds; stop it with Ctrl-C\n")
    sys.stdout.flush()
    command = recorder.ui_command(root, free)
    os.execvpe(command[0], list(command), {**os.environ, **UI_ENVIRONMENT})


def free_port(wanted: int) -> int:
    """`wanted` or the first port after it that nobody listens on at the loopback address."""
    for port in range(wanted, wanted + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise UsageError(f"--port {wanted}: this port and the 99 after it are taken; name another one")
