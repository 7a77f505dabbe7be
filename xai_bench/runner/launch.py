"""`xai-bench run`: check everything, then let Hydra start the jobs."""

from __future__ import annotations

import logging
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from xai_bench.core.secrets import without_passwords
from xai_bench.runner.config.catalogue import ALL, SETS
from xai_bench.runner.config.compose import Command, configurations, parse
from xai_bench.runner.config.messages import UsageError

_ROOM = 1 << 20
"""Bytes that have to be free before a run starts: the least that one cell takes."""

log = logging.getLogger(__name__)


def run(arguments: Sequence[str]) -> None:
    """Check the configuration of every job, then run them. Raises `UsageError` before any work."""
    command = parse(arguments)
    if not command.parsed.shell_completion:
        _check(command)
    end = _start(command)
    if end is not None:
        sys.exit(_finish(end))


def job(cfg: DictConfig) -> str:
    """One run. Returns its status; raises only for a bug, or for any failure where `strict`."""
    from xai_bench.runner.job import job as run_cell

    # On a full disk, each line of the log would else be a traceback on the terminal.
    logging.raiseExceptions = False
    cfg.results = str(Path(HydraConfig.get().runtime.cwd, cfg.results))
    return run_cell(cfg)


class JobStatusCallback(Callback):
    """Writes the status of each job beside its log; `run` reads them for the exit summary.

    A job that raises would keep Hydra from calling the end of a sweep, so its traceback is logged
    here and it becomes a failed one.
    """

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Write the status; a job that raised becomes a completed one with status `failed`."""
        status = str(job_return._return_value)
        if job_return.status is JobStatus.FAILED:
            error = job_return._return_value
            trace = "".join(traceback.format_exception(error))
            log.error("this run stopped with an error\n%s", without_passwords(trace))
            status = "failed"
            job_return.status, job_return.return_value = JobStatus.COMPLETED, status
        file = Path(config.hydra.runtime.output_dir, "status")
        # A job without a status counts as failed, so a full disk needs no more than that.
        with suppress(OSError):
            file.write_text(f"{status}\n", encoding="utf-8")

    def on_run_end(self, config: DictConfig, **_: Any) -> None:
        """Leave Hydra with the folder of the single job."""
        raise JobsFinished(config, Path(config.hydra.runtime.output_dir))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Leave Hydra with the folder of the sweep."""
        raise JobsFinished(config, Path(config.hydra.sweep.dir))


class JobsFinished(SystemExit):
    """All jobs are done. The one kind of exception that Hydra lets out of a callback."""

    def __init__(self, config: DictConfig, folder: Path) -> None:
        super().__init__(1)
        self.config, self.folder = config, folder


def _start(command: Command) -> JobsFinished | None:
    """Start Hydra; None where it only shows something."""
    sys.argv = ["xai-bench run", *command.flags, *command.overrides]
    start = hydra.main(
        version_base="1.3", config_path=str(command.conf), config_name=command.config_name
    )
    try:
        start(job)()
    except JobsFinished as end:
        return end
    return None


def _finish(end: JobsFinished) -> int:
    from xai_bench.runner import exit_summary

    # One of a job that died has its configuration alone.
    jobs = {path.parent for name in ("status", ".hydra") for path in end.folder.glob(f"**/{name}")}
    statuses = [_status(job / "status") for job in sorted(jobs)]
    settings: Any = OmegaConf.to_container(end.config.report, resolve=True)
    results = Path(end.config.results).absolute()
    return exit_summary.finish(results, end.config.study, statuses, settings)


def _status(file: Path) -> str:
    """What a job wrote at its end; `failed` where it did not get so far."""
    status = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    return status or "failed"


def _check(command: Command) -> None:
    """Raise `UsageError` with all mistakes of all jobs, each once; print what is worth a note."""
    problems: dict[str, None] = {}
    folders: dict[str, None] = {}
    notes: dict[str, None] = {}
    for cfg in configurations(command):
        problems.update(dict.fromkeys(_hidden(command, cfg)))
        if command.runs:
            from xai_bench.runner.config import preflight

            folders[str(cfg.results)] = None
            of_job = preflight.check(cfg)
            problems.update(dict.fromkeys(of_job))
            notes.update(dict.fromkeys([] if of_job else preflight.notes(cfg)))
    if problems:
        raise UsageError("\n".join(problems))
    for folder in folders:
        _expect_room(Path(folder))
    for note in notes:
        sys.stderr.write(f"note: {note}\n")


def _expect_room(folder: Path) -> None:
    """Raise `UsageError` where the results folder cannot be written, or its disk is full."""
    from xai_bench.results.store import files

    try:
        with files.writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(_ROOM))
    except ValueError as error:
        raise UsageError(str(error)) from None


def _hidden(command: Command, cfg: DictConfig) -> list[str]:
    """Options in a user's folder that an option of ours with the same name would hide."""
    from xai_bench.runner.config.preflight import folders

    return [
        f"{path} is hidden by an option of the same name in {command.conf}; give it another name"
        for folder in folders(cfg)
        for path in sorted(folder.glob("**/*.yaml"))
        if _is_taken(command.conf, path.relative_to(folder))
    ]


def _is_taken(conf: Path, option: Path) -> bool:
    """Whether an option is one of ours; `all` is, though it lies in no file."""
    of_all = option.stem == ALL and str(option.parent) in SETS
    return of_all or (conf / option).is_file()
