"""The jobs of a command: those that are finished are told of, the others are done.

Hydra's own launcher composes every configuration three times and does one job after the other; it
is used where a command asks for another launcher than the basic one.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.utils import run_job
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict

from xai_bench.core.system.disk import writable
from xai_bench.runner.config.compose import Jobs
from xai_bench.runner.config.messages import UsageError
from xai_bench.runner.finished.job_record import JobRecord
from xai_bench.runner.sweeps import workers
from xai_bench.runner.sweeps.display import Lane, Screen
from xai_bench.runner.sweeps.progress import MARKS, Display, explainer_line, headline

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Sweep:
    """What is done of a command.

    Attributes:
        task: does one job: configuration, its first line's note, where its progress is shown.
        records: number of a job -> what is known of it, where it is finished.
    """

    jobs: Jobs
    task: Any
    records: Mapping[int, JobRecord] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where the logs of all jobs go."""
        hydra = self.jobs.first.hydra
        return Path(str(hydra.sweep.dir if self.jobs.is_sweep else hydra.run.dir)).absolute()

    def run(self) -> list[str]:
        """Do what is left to do; the status of every job."""
        overrides = self.jobs.overrides()
        left = [number for number in range(len(overrides)) if number not in self.records]
        n_workers = n_parallel(self.jobs.first, len(left))
        work = partial(self.work, overrides, self.folder)
        if n_workers > 1:  # what every worker needs is loaded once, before there are several
            import_module("xai_bench.runner.cells.job")
        with Screen(len(overrides), len(self.records), n_workers) as screen:
            for record in self.records.values():
                tell(screen, record)
            with one_thread() if len(overrides) > 1 else nullcontext():
                statuses = (
                    _one_by_one(work, left, screen)
                    if n_workers == 1
                    else workers.spread(work, left, n_workers, screen)
                )
        return [*(record.status for record in self.records.values()), *statuses.values()]

    def work(
        self,
        overrides: Sequence[tuple[str, ...]],
        folder: Path,
        number: int,
        note: str,
        display: Display,
    ) -> str:
        """Do one job; its status, also where its configuration cannot be composed."""
        try:
            cfg = self.jobs.config(overrides[number])
        except UsageError as mistake:
            display.line(f"{MARKS['failed']} run {number + 1}: {mistake}")
            return "failed"
        place = "hydra.sweep.dir" if self.jobs.is_sweep else "hydra.run.dir"
        with open_dict(cfg):
            OmegaConf.update(cfg, place, str(folder))
            if self.jobs.is_sweep:
                cfg.hydra.job.id, cfg.hydra.job.num = str(number), number
        context = HydraContext(GlobalHydra.instance().config_loader(), Callbacks(cfg))
        subfolder = "hydra.sweep.subdir" if self.jobs.is_sweep else None
        task = partial(self.task, overrides=overrides[number], note=note, display=display)
        try:
            with writable(folder), _cause_of_logging():
                return str(run_job(task, cfg, place, subfolder, context).return_value)
        except ValueError as mistake:
            if not isinstance(mistake.__cause__, OSError):  # not of the disk, so a bug
                raise
            display.line(f"{MARKS['failed']} run {number + 1}: {mistake}")
            return "failed"


@contextmanager
def _cause_of_logging() -> Iterator[None]:
    """Where the file of a log cannot be made, raise why, which logging names as the cause only."""
    try:
        yield
    except ValueError as error:
        if isinstance(error.__cause__, OSError):
            raise error.__cause__ from None
        raise


def n_parallel(cfg: DictConfig, n_jobs: int) -> int:
    """How many jobs are done at the same time: `n_jobs` of the configuration, or one per core."""
    # Only on Linux a worker ends together with its parent.
    if n_jobs <= 1 or sys.platform != "linux":
        return 1
    wanted: int | None = OmegaConf.select(cfg, "n_jobs")
    if not wanted:
        # It knows how many cores a container or a scheduler leaves to this process.
        from joblib import cpu_count

        wanted = int(cpu_count())
    return max(min(wanted, n_jobs), 1)


def tell(screen: Screen, record: JobRecord) -> None:
    """The lines of a job that was finished before."""
    screen.write(headline(record.title, record.scores))
    for status, name, note in record.lines:
        screen.write(explainer_line(status, name, note))


def _one_by_one(work: workers.Work, left: Sequence[int], screen: Screen) -> dict[int, str]:
    statuses, lane = {}, Lane(screen)
    for number in left:
        started = time.monotonic()
        statuses[number] = work(number, screen.note(), lane)
        screen.ended(started)
    return statuses


@contextmanager
def one_thread() -> Iterator[None]:
    """Whatever the number of workers: with other threads, sums may round differently."""
    import torch
    from threadpoolctl import threadpool_limits

    n_threads = torch.get_num_threads()
    # Libraries that are imported later read these.
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(n_threads)
