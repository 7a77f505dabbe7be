"""Which jobs of a command are finished, and whether all of it is."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xai_bench.runner.finished import job_record
from xai_bench.runner.finished.intact import IntactFolders
from xai_bench.runner.finished.job_record import JobRecord
from xai_bench.runner.finished.surroundings import digest, surroundings

if TYPE_CHECKING:
    from xai_bench.runner.config.compose import Jobs


@dataclass(frozen=True)
class Known:
    """What a results folder knows of finished jobs of commands like this one.

    Attributes:
        around: the digest of all that a job depends on besides its overrides.
        command: as the studies list it.
    """

    results: Path
    around: str
    command: str

    @classmethod
    def of(cls, jobs: Jobs, own: Sequence[Path]) -> Known:
        """For the jobs of a command; `own` are the user's folders of options."""
        command = jobs.command
        name = [str(command.conf), command.config_name]
        around = digest({"surroundings": surroundings([command.conf, *own]), "name": name})
        return cls(jobs.results, around, command_line(sys.argv[1:]))

    def finished(self, jobs: Sequence[Sequence[str]]) -> dict[int, JobRecord]:
        """Number of a job -> its record, for those that need not be done again."""
        intact = IntactFolders(self.results)
        records = {n: job_record.read(self.results, self.key(job)) for n, job in enumerate(jobs)}
        return {n: job for n, job in records.items() if job and job.holds(intact, self.command)}

    def key(self, overrides: Sequence[str]) -> str:
        """What the record of a job is kept under."""
        return job_record.key(self.around, overrides)

    def keep_command(
        self, arguments: Sequence[str], jobs: Iterable[Sequence[str]], study: str, report: Any
    ) -> None:
        """Remember that all jobs of a command are finished."""
        own = own_folders(arguments)
        if own is None or not all(job_record.read(self.results, self.key(job)) for job in jobs):
            return
        content = {
            "command": self.command,
            "study": study,
            "report": report,
            "jobs": [self.key(job) for job in jobs],
        }
        job_record.save(self.results, _of_command(own, arguments), content)


def command_line(arguments: Sequence[str]) -> str:
    """A command as the studies list it."""
    return shlex.join(["xai-bench", "run", *arguments])


def again(arguments: Sequence[str]) -> int | None:
    """The exit code of a command that is finished, once it was told; None where it is not."""
    known_job = None
    with suppress(OSError, ValueError, RuntimeError):  # whatever is wrong is told by the run itself
        known_job = _finished(_results(arguments), arguments)
    if known_job is None:
        return None
    record, finished = known_job
    for job in finished:
        _tell(job)
    from xai_bench.runner.commands import exit_summary

    statuses = [job.status for job in finished]
    return exit_summary.finish(_results(arguments), record["study"], statuses, record["report"])


def _finished(
    results: Path, arguments: Sequence[str]
) -> tuple[Mapping[str, Any], list[JobRecord]] | None:
    """What is known of a command all of whose jobs are finished, and of these."""
    own = own_folders(arguments)
    if own is None or not (results / job_record.FOLDER).is_dir():
        return None
    record = job_record.load(results, _of_command(own, arguments))
    if record is None:
        return None
    intact = IntactFolders(results)
    jobs = [job_record.read(results, key) for key in record["jobs"]]
    finished = [job for job in jobs if job is not None and job.holds(intact, record["command"])]
    return (record, finished) if len(finished) == len(jobs) else None


def own_folders(arguments: Sequence[str]) -> list[Path] | None:
    """The user's folder of options, if any; None where something else than jobs is asked for."""
    folders, left = [], list(arguments)
    while left:
        argument = left.pop(0)
        flag, _, value = argument.partition("=")
        if flag in ("--config-dir", "-cd") and (value or left):
            folders.append(Path(value or left.pop(0)).absolute())
        elif (argument.startswith("-") and argument not in ("-m", "--multirun")) or "hydra" in flag:
            return None
    return folders


def _results(arguments: Sequence[str]) -> Path:
    """The folder that a command names, or that of our configuration."""
    # Of several, the last one counts, as in Hydra.
    named = [a.partition("=")[2] for a in arguments if a.startswith("results=")]
    return Path(named[-1] if named else "results").expanduser().absolute()


def _of_command(own: Sequence[Path], arguments: Sequence[str]) -> str:
    return digest({"surroundings": surroundings(own), "arguments": list(arguments)})


def _tell(record: JobRecord) -> None:
    """As the run itself would; without a terminal, what draws on one need not be loaded."""
    if sys.stderr.isatty():
        from xai_bench.runner.sweeps.display import Screen
        from xai_bench.runner.sweeps.sweep import tell

        tell(Screen(), record)
        return
    lines = [f"{record.title}  {record.scores}".rstrip()]
    lines += [f"  {_MARKS[status]} {name}  {note}".rstrip() for status, name, note in record.lines]
    sys.stderr.write("\n".join(lines) + "\n")


_MARKS: Mapping[str, str] = {"ok": "✓", "skipped": "–"}
