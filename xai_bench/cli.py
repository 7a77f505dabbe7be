"""The command line. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from xai_bench.core.spelling import suggest
from xai_bench.core.system.printable import printable
from xai_bench.runner.config.messages import UsageError, no_folder

USAGE = """\
xai-bench: how good are explanations of machine-learning models?

  xai-bench run        train, explain and score (`xai-bench run --help`)
  xai-bench inspect    what was understood of your data, before any work
  xai-bench list       all explainers, metrics, data, models and other options
  xai-bench show       one of them: its settings, its paper, what to type
  xai-bench check      test a metric or an explainer on small problems with known answers
  xai-bench report     tables and figures of the stored results
  xai-bench compare    scores that changed between two studies; exit code 1 where one got worse
  xai-bench recommend  which method to use, by the stored results, and how sure that is
  xai-bench verify     run some cells of a study again and compare every number
  xai-bench ui         open the runs in MLflow
  xai-bench sync       bring MLflow in line with the stored results, without running anything
  xai-bench doctor     check everything in the results folder, and repair it

Try: xai-bench run experiment=demo
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. Exit codes: 0 success, 1 something failed, 2 a mistake in the command line."""
    command, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if arguments is None and command == "run" and not {"--help", "-h"} & set(rest):
        from xai_bench.runner.sweeps.supervision import go_on_in_child

        go_on_in_child()
    try:
        if command in ("--help", "-h", "help"):
            sys.stdout.write(USAGE)
        elif command == "--version":
            sys.stdout.write(f"{_version()}\n")
        elif command in COMMANDS:
            COMMANDS[command](rest)
        else:
            raise UsageError(f"there is no command '{command}'; {suggest(command, COMMANDS)}")
    except UsageError as mistake:
        for sentence in str(mistake).splitlines():
            sys.stderr.write(f"xai-bench: {printable(sentence)}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("\nxai-bench: stopped; the same command does the rest\n")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)


def run(arguments: Sequence[str]) -> None:
    """Check the configuration, then hand everything after `run` to Hydra."""
    if {"--help", "-h"} & set(arguments):
        from xai_bench.runner.config.listing import run_help

        width = min(shutil.get_terminal_size().columns, 100)
        sys.stdout.write(run_help(_folders(_config_dir(arguments)), width) + "\n")
        return
    from xai_bench.runner.commands import known

    code = known.again(arguments)
    if code is not None:
        sys.exit(code)
    from xai_bench.runner.commands import launch

    launch.run(arguments)


def inspect(arguments: Sequence[str]) -> None:
    """Read the data of a configuration and print what was understood; nothing is trained."""
    parser = _Parser("inspect", "What was understood of your data, before any work.")
    parser.add_argument("overrides", nargs="*", help="as for run: data=custom data.path=...")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--config-dir", metavar="DIR", help="your own folder of groups")
    options = parser.parse_intermixed_args(list(arguments))
    _folders(options.config_dir)
    from xai_bench.runner.commands import inspection

    inspected = inspection.inspect(options.overrides, options.config_dir)
    if options.json:
        sys.stdout.write(inspection.as_json(inspected) + "\n")
        return
    from rich.console import Console

    inspection.show(inspected, Console(soft_wrap=False))


def show_list(arguments: Sequence[str]) -> None:
    """Print all options of some groups, or of all."""
    from xai_bench.runner.config import listing

    parser = _Parser("list", "All options, read from conf/ and the classes.")
    parser.add_argument("kind", nargs="*", help="explainers, metrics, data, models, ...; or all")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--markdown", action="store_true", help="for the documentation")
    parser.add_argument("--config-dir", metavar="DIR", help="your own folder of groups")
    options = parser.parse_intermixed_args(list(arguments))
    groups, folders = listing.groups_of(options.kind), _folders(options.config_dir)
    if options.json or options.markdown:
        write = listing.as_json if options.json else listing.as_markdown
        sys.stdout.write(write(groups, folders) + "\n")
        return
    from rich.console import Console

    listing.show(groups, folders, Console(soft_wrap=False))


def show(arguments: Sequence[str]) -> None:
    """Print what there is to know of one component."""
    parser = _Parser("show", "One component: its settings, its paper, what to type.")
    parser.add_argument("name", help="as in `xai-bench list`")
    parser.add_argument("--config-dir", metavar="DIR", help="your own folder of groups")
    options = parser.parse_intermixed_args(list(arguments))
    from xai_bench.runner.config import component_page

    sys.stdout.write(component_page.text(options.name, _folders(options.config_dir)) + "\n")


def check(arguments: Sequence[str]) -> None:
    """Certify metrics and explainers on problems with known answers; exit code 1 for a fault."""
    parser = _Parser("check", "Test metrics and explainers on small problems with known answers.")
    parser.add_argument("overrides", nargs="*", help="metric=NAME, 'explainer=[a,b]'; or all")
    parser.add_argument("--markdown", action="store_true", help="docs/metrics.md, all metrics")
    parser.add_argument("--config-dir", metavar="DIR", help="your own folder of groups")
    options = parser.parse_intermixed_args(list(arguments))
    _folders(options.config_dir)
    from xai_bench.certify import certificate_page, command
    from xai_bench.certify.check_result import faults
    from xai_bench.core.system.determinism import canonical

    with canonical():
        certified = (
            command.all_metrics()
            if options.markdown
            else command.certified(options.overrides, options.config_dir)
        )
    text = (
        certificate_page.markdown(certified)
        if options.markdown
        else "\n\n".join(map(certificate_page.text, certified))
    )
    sys.stdout.write(text + "\n")
    all_faults = [fault for certificate in certified for fault in faults(certificate.results)]
    for fault in all_faults:
        sys.stderr.write(f"xai-bench: {fault}\n")
    sys.exit(1 if all_faults else 0)


def ui(arguments: Sequence[str]) -> None:
    """Open the runs in MLflow."""
    parser = _Parser("ui", "Open the runs in MLflow; stop it with Ctrl-C.")
    parser.add_argument("--port", type=int, default=5000, help="the next free one is taken")
    _add_results(parser)
    options = parser.parse_args(arguments)
    root, studies = _studies(options)
    from xai_bench.runner.commands.ui import start

    with _in_one_sentence():
        start(root, studies, options.port)


def report(arguments: Sequence[str]) -> None:
    """Write the tables and figures of one study, or of all, and print the verdict."""
    parser = _Parser("report", "Verdict, tables and figures of the stored results.")
    parser.add_argument("settings", nargs="*", help="such as report.metrics=[abpc,seconds]")
    _add_results(parser)
    options = parser.parse_args(arguments)
    root, studies = _studies(options)
    from xai_bench.runner.commands import report as written

    chosen = written.options_of(options.settings)
    for study in studies:
        with _in_one_sentence():
            written.show(root, study, chosen)


def compare(arguments: Sequence[str]) -> None:
    """Scores that changed between two studies beyond noise; exit code 1 where one got worse."""
    parser = _Parser("compare", "Which scores changed between two studies, beyond noise.")
    parser.add_argument("before", help="a study, or FOLDER:STUDY for one of other results")
    parser.add_argument("after", help="the same")
    parser.add_argument("--results", default="results", help="the folder that runs write to")
    options = parser.parse_args(arguments)
    from xai_bench.results.statistics import changes

    frames = [_scores(place, options.results) for place in (options.before, options.after)]
    changed = changes.compare(*frames)
    if not changed.changes:
        raise UsageError(
            f"{options.before} and {options.after} have no score in common, nothing is compared: "
            "compare studies of the same data, model, explainers and metrics"
        )
    sys.stdout.write("\n".join(changes.lines(changed)) + "\n")
    sys.exit(1 if changed.regressed else 0)


def verify(arguments: Sequence[str]) -> None:
    """Run some cells of a study again; exit code 1 where a number differs."""
    parser = _Parser(
        "verify",
        "Run some cells of a study again, by the commands that the study lists, and compare every "
        "number. Same versions: the same bits. Other versions: within the tolerance.",
    )
    parser.add_argument("name", metavar="STUDY", help="a study in the results folder")
    parser.add_argument("--results", default="results", help="the folder that runs write to")
    parser.add_argument("--share", type=float, default=0.2, help="of the cells (0.2: a fifth)")
    parser.add_argument("--tolerance", type=float, default=1e-5, help="relative, other versions")
    parser.add_argument("--allow", default="", metavar="PACKAGES", help="as in run: a,b")
    options = parser.parse_args(arguments)
    if not 0 < options.share <= 1:
        raise UsageError(f"--share {options.share} is no share: write a number above 0, up to 1")
    if not options.tolerance >= 0:
        raise UsageError(f"--tolerance {options.tolerance} is no bound: write a number from 0 on")
    root, [study] = _studies(argparse.Namespace(results=options.results, study=options.name))
    from xai_bench.runner.commands import verification

    allow = [name for name in options.allow.split(",") if name]
    with _in_one_sentence():
        verified = verification.verify(root, study, options.share, options.tolerance, allow)
        sys.exit(verification.show(study, verified))


def recommend(arguments: Sequence[str]) -> None:
    """Print which method to use, and how sure that is."""
    parser = _Parser("recommend", "Which method to use, by the stored results.")
    parser.add_argument("wishes", nargs="*", help="question=faithful data=NAME budget=ROWS")
    _add_results(parser)
    options = parser.parse_args(arguments)
    wishes = dict(wish.partition("=")[::2] for wish in options.wishes)
    unknown = [name for name in wishes if name not in ("question", "data", "budget")]
    if unknown:
        raise UsageError(f"recommend knows no '{unknown[0]}'; write question=, data= or budget=")
    budget = wishes.get("budget")
    if budget is not None and not budget.isdigit():
        raise UsageError(f"budget={budget} is not a number of model rows per sample")
    from xai_bench.results.statistics.recommend import recommend as ask

    studies = [_scores(study, options.results) for study in _studies(options)[1]]
    import pandas as pd

    try:
        advice = ask(
            pd.concat(studies),
            wishes.get("question", "faithful"),
            data=wishes.get("data"),
            budget=float(budget) if budget else None,
        )
    except ValueError as error:
        raise UsageError(str(error)) from None
    sys.stdout.write(advice.sentence() + "\n")


def sync(arguments: Sequence[str]) -> None:
    """Bring MLflow in line with the store: what is missing comes back, what is stale goes."""
    parser = _Parser("sync", "Bring MLflow in line with the stored results; no job is run.")
    _add_results(parser)
    parser.add_argument("--tracking-uri", metavar="URI", help="the server, where it is not ours")
    root, studies = _studies(parser.parse_args(arguments))
    uri = parser.parse_args(arguments).tracking_uri
    from xai_bench.results.store.store import Store
    from xai_bench.results.tracking.mlflow import MlflowRecorder

    for study in studies:
        with _in_one_sentence():
            done = MlflowRecorder(uri).sync(Store(root), study)
        for sentence in done or ["nothing to do"]:
            sys.stdout.write(f"{study}: {sentence}\n")


def doctor(arguments: Sequence[str]) -> None:
    """Check and repair a results folder; exit code 1 where something has to be computed again."""
    parser = _Parser(
        "doctor",
        "Check everything in the results folder by its digests, and repair it. Exit code 1: "
        "something has to be computed again or, with --dry-run, repaired.",
    )
    parser.add_argument("--results", default="results", help="the folder that runs write to")
    parser.add_argument("--dry-run", action="store_true", help="say what is wrong, write nothing")
    options = parser.parse_args(arguments)
    from xai_bench.runner.commands.doctor import Doctor

    lost, n_found = False, 0
    with _in_one_sentence():
        for finding in Doctor(_root(options.results), options.dry_run).examine():
            n_found += 1
            lost = lost or finding.state != "repaired" or options.dry_run
            sys.stdout.write(f"{finding.sentence}\n")
    sys.stdout.write(f"{n_found or 'no'} {'fault' if n_found == 1 else 'faults'}\n")
    sys.exit(1 if lost else 0)


def _scores(place: str, results: str) -> Any:
    """The frame of scores of `STUDY` or `FOLDER:STUDY`."""
    from xai_bench.results.statistics.load import load

    folder, _, study = place.rpartition(":")
    try:
        return load(folder or results, study).scores
    except ValueError as error:
        raise UsageError(str(error)) from None


COMMANDS: Mapping[str, Callable[[Sequence[str]], None]] = {
    "run": run,
    "inspect": inspect,
    "list": show_list,
    "show": show,
    "check": check,
    "report": report,
    "compare": compare,
    "recommend": recommend,
    "verify": verify,
    "ui": ui,
    "sync": sync,
    "doctor": doctor,
}


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence, without the usage."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(prog=f"xai-bench {command}", description=description)

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`."""
        raise UsageError(f"{message}; `{self.prog} --help` shows what can be written")


def _add_results(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--results", default="results", help="the folder that runs write to")
    parser.add_argument("--study", help="one study only")


def _studies(options: argparse.Namespace) -> tuple[Path, list[str]]:
    """The results folder, and the study that is named or all of its studies."""
    root = _root(options.results)
    from xai_bench.results.store import manifest

    studies = manifest.studies(root)
    if options.study is None and studies:
        return root, studies
    if options.study not in studies:
        raise UsageError(
            f"--study {options.study}: no such study in {root}; {suggest(options.study, studies)}"
            if studies
            else f"nothing has been run yet in {root}; try `xai-bench run experiment=demo`"
        )
    return root, [options.study]


@contextmanager
def _in_one_sentence() -> Iterator[None]:
    """Show a value error, whose text is written for users, without its traceback."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from None


def _root(results: str) -> Path:
    root = Path(results).absolute()
    if problem := no_folder(root):
        raise UsageError(f"--results {results}: {problem}")
    return root


def _config_dir(arguments: Sequence[str]) -> str | None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--config-dir", "-cd")
    folder: str | None = parser.parse_known_args(list(arguments))[0].config_dir
    return folder


def _folders(own: str | None) -> list[Path]:
    from xai_bench.runner.config.catalogue import conf_dir

    if own is not None and not Path(own).is_dir():
        raise UsageError(f"--config-dir {own}: there is no such folder")
    return [conf_dir(), *([Path(own)] if own else [])]


def _version() -> str:
    from importlib.metadata import version

    return version("xai-bench")
