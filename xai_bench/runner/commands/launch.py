"""`xai-bench run`: check everything, then let Hydra start the jobs."""

from __future__ import annotations

import logging
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from xai_bench.core.system.disk import writable
from xai_bench.core.system.printable import printable
from xai_bench.core.system.secrets import without_passwords
from xai_bench.runner.commands.known import Known
from xai_bench.runner.config.catalogue import ALL, SETS
from xai_bench.runner.config.command import Command, parse
from xai_bench.runner.config.compose import Jobs, composed
from xai_bench.runner.config.hydra_settings import folders
from xai_bench.runner.config.messages import UsageError
from xai_bench.runner.finished import job_record
from xai_bench.runner.sweeps.sweep import Sweep

if TYPE_CHECKING:
    from xai_bench.results import Cell, ExplainerResult, Status
    from xai_bench.runner.cells.plan import Plan
    from xai_bench.runner.sweeps.progress import Display

_ROOM = 1 << 20
"""Bytes that have to be free before a run starts: the least that one cell takes."""

log = logging.getLogger(__name__)


def run(arguments: Sequence[str]) -> None:
    """Check the configuration of every job, then run them. Raises `UsageError` before any work."""
    command = parse(arguments)
    # Hydra reads it, and so does the record of commands.
    sys.argv = ["xai-bench run", *command.flags, *command.overrides]
    if command.parsed.shell_completion:
        _start(command)
        return
    with composed(command) as jobs:
        if command.runs and _is_ours(jobs):
            sys.exit(_run(jobs, arguments))
        _check(command, jobs)
    end = _start(command)
    if end is not None:
        sys.exit(_finish(end.config, _statuses(end.folder)))


def _run(jobs: Jobs, arguments: Sequence[str]) -> int:
    """Do what is not finished of the jobs; the exit code."""
    known = Known.of(jobs, folders(jobs.first))
    overrides = jobs.overrides()
    records = known.finished(overrides)
    if len(records) < len(overrides):
        _check(jobs.command, jobs)
    statuses = Sweep(jobs, partial(job, known=known), records).run()
    if "failed" not in statuses:
        report = OmegaConf.to_container(jobs.first.report, resolve=True)
        known.keep_command(arguments, overrides, str(jobs.first.study), report)
    return _finish(jobs.first, statuses)


def _is_ours(jobs: Jobs) -> bool:
    """Whether the jobs are started here; other launchers than the basic one are Hydra's."""
    choices = jobs.first.hydra.runtime.choices
    return choices.get("hydra/launcher") == "basic" and not jobs.command.parsed.experimental_rerun


def job(
    cfg: DictConfig,
    overrides: Sequence[str] = (),
    note: str = "",
    display: Display | None = None,
    known: Known | None = None,
) -> str:
    """One run. Returns its status; raises only for a bug, or for any failure where `strict`."""
    from xai_bench.runner.cells.job import job as run_cell

    def keep(plan: Plan, cell: Cell, results: Sequence[ExplainerResult], status: Status) -> None:
        from xai_bench.runner.commands.keeping import record_of

        record = record_of(plan, cell, results, status)
        if known is not None and record is not None:
            job_record.save(plan.results, known.key(overrides), asdict(record))

    # On a full disk, each line of the log would else be a traceback on the terminal.
    logging.raiseExceptions = False
    # Below the folder where the command was started, wherever the job is now.
    cfg.results = str(Path(HydraConfig.get().runtime.cwd, cfg.results))
    return run_cell(cfg, display=display, note=note, on_end=keep)


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


def _finish(cfg: DictConfig, statuses: Sequence[str]) -> int:
    from xai_bench.runner.commands import exit_summary

    settings: Any = OmegaConf.to_container(cfg.report, resolve=True)
    return exit_summary.finish(Path(cfg.results).absolute(), cfg.study, statuses, settings)


def _statuses(folder: Path) -> list[str]:
    """The status of every job with a folder in this one."""
    # One of a job that died has its configuration alone.
    jobs = {path.parent for name in ("status", ".hydra") for path in folder.glob(f"**/{name}")}
    return [_status(job / "status") for job in sorted(jobs)]


def _status(file: Path) -> str:
    """What a job wrote at its end; `failed` where it did not get so far."""
    status = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    return status or "failed"


def _check(command: Command, jobs: Jobs) -> None:
    """Raise `UsageError` with all mistakes of all jobs, each once; print what is worth a note."""
    problems: dict[str, None] = {}
    places: dict[str, None] = {}
    notes: dict[str, None] = {}
    first, *_ = jobs.checked()
    for overrides in jobs.checked():
        cfg = jobs.config(overrides)
        problems.update(dict.fromkeys(_hidden(command, cfg)))
        if command.runs:
            from xai_bench.runner.config import preflight

            places[str(cfg.results)] = None
            changed = set(overrides).difference(first)
            # It has the components of the first job, which take long to check.
            same = bool(changed) and all(map(preflight.is_setting, changed))
            of_job = preflight.check(cfg, components_too=not same)
            problems.update(dict.fromkeys(of_job))
            notes.update(dict.fromkeys([] if of_job or same else preflight.notes(cfg)))
    if problems:
        raise UsageError("\n".join(problems))
    for place in places:
        _expect_room(Path(place))
    for note in notes:
        sys.stderr.write(f"note: {printable(note)}\n")


def _expect_room(folder: Path) -> None:
    """Raise `UsageError` where the results folder cannot be written, or its disk is full."""
    try:
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(_ROOM))
    except ValueError as error:
        raise UsageError(str(error)) from None


def _hidden(command: Command, cfg: DictConfig) -> list[str]:
    """Options in a user's folder that an option of ours with the same name would hide."""
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
