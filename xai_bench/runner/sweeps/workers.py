"""The jobs of a sweep over several processes, each of which does one after the other.

Every process uses one thread, and every job is what it would be alone, so that the results are the
same to the last byte in whatever order and place the jobs are done.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any

from rich.markup import escape

from xai_bench.runner.sweeps.display import Lane, Screen, Sender
from xai_bench.runner.sweeps.progress import MARKS, Display

Work = Callable[[int, str, Display], str]
"""Does the job of a number, with a note for its first line; returns its status."""

_PARENT_DIED = 1
"""`PR_SET_PDEATHSIG`: the signal that a process gets when its parent has died."""

_PATIENCE = 10.0
"""Seconds in which a process has to end once it was asked to."""


class Worker:
    """A process that does the jobs it is given."""

    def __init__(self, work: Work, screen: Screen) -> None:
        # Forked, so that no worker imports or composes again what is there already.
        context: Any = multiprocessing.get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.lane = Lane(screen)
        self.job: int | None = None
        self.started = 0.0
        self.process = context.Process(target=_serve, args=(theirs, work))
        self.process.start()
        # While this end is open here too, the end of the process would not be heard.
        theirs.close()

    def give(self, job: int, note: str) -> None:
        """Let it do a job."""
        self.job, self.started = job, time.monotonic()
        self.pipe.send((job, note))

    def hear(self) -> str | None:
        """Take one message; the status of its job where that has ended, also by its own end."""
        try:
            name, *content = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(_PATIENCE)
            self.lane.stop()
            return "failed"
        if name == "ended":
            return str(content[0])
        getattr(self.lane, name)(*content[0], **content[1])
        return None

    @property
    def died(self) -> str:
        """How the process ended, in words; empty while it runs."""
        code = self.process.exitcode
        if code is None:
            return ""
        return f"killed by signal {-code}" if code < 0 else "ended by something in it"

    def stop(self, *, at_once: bool) -> None:
        """End the process; `at_once` in the middle of its job."""
        with suppress(OSError):
            self.pipe.send(None)
        self.pipe.close()
        if at_once and self.process.is_alive():
            with suppress(ProcessLookupError):
                # As Ctrl-C does, so that it can take its locks and drafts away.
                os.kill(self.process.pid, signal.SIGINT)
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def spread(work: Work, jobs: Sequence[int], n_workers: int, screen: Screen) -> dict[int, str]:
    """Do all jobs; job -> status. One that ends its process fails, and stops no other."""
    waiting, statuses = list(jobs), dict[int, str]()
    workers: list[Worker] = []
    try:
        while waiting or workers:
            while waiting and len(workers) < n_workers:
                workers.append(Worker(work, screen))
                workers[-1].give(waiting.pop(0), screen.note())
            ready = wait([worker.pipe for worker in workers])
            for worker in [w for w in workers if w.pipe in ready]:
                status = worker.hear()
                if status is None:
                    continue
                assert worker.job is not None, "only a worker with a job sends messages"
                statuses[worker.job] = status
                screen.ended(worker.started)
                if worker.died:
                    _tell(screen, worker)
                if waiting and not worker.died:
                    worker.give(waiting.pop(0), screen.note())
                else:
                    workers.remove(worker)
                    worker.stop(at_once=False)
    finally:
        for worker in workers:
            worker.stop(at_once=True)
    return statuses


def _tell(screen: Screen, worker: Worker) -> None:
    title = worker.lane.title or f"run {worker.job}"
    screen.write(
        f"{MARKS['failed']} [bold]{escape(title)}[/]  its process was {worker.died}; "
        "the same command does it again"
    )


def _serve(pipe: Connection, work: Work) -> None:
    """What a worker does: job after job, until there is none or its parent is gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DIED, signal.SIGKILL)
    display = Sender(pipe.send)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        while (given := pipe.recv()) is not None:
            job, note = given
            pipe.send(("ended", work(job, note, display)))
