"""What the harness costs besides training, explaining and scoring: CPU seconds of commands.

    python benchmarks/harness.py            # some minutes on a quiet machine
    python benchmarks/harness.py --quick    # fewer cells, a smaller report, no demo

Every number is user and system time of a command and all its processes. Floors are measured in the
same run, before and after: a machine that others use is slower, and its ratios are the same.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xai_bench.results import ExplainerResult

ONE = ("data=iris", "model=linear", "explainer=[saliency,random]")
SWEEP = (*ONE, "metric=[entropy,abpc]", "-m")
COMPOSE = """
from hydra import compose, initialize_config_dir
from xai_bench.runner.config.catalogue import conf_dir
with initialize_config_dir(str(conf_dir()), version_base="1.3"):
    compose("config")
"""
FLOORS = {
    "import torch": "import torch",
    "import scikit-learn": "import sklearn.linear_model",  # which fits the linear model
    "import mlflow": "import mlflow",
    "Hydra and one composition": COMPOSE,
}
N_METRICS, N_EXPLAINERS, N_SAMPLES = 12, 10, 64


@dataclass
class Bench:
    """Runs commands in one folder. `rows`: what, CPU seconds, wall seconds, megabytes."""

    folder: Path
    rows: list[tuple[str, float, float, float]] = field(default_factory=list)

    def run(self, what: str, *command: str) -> float:
        """CPU seconds of a command. Raises `CalledProcessError` where it fails."""
        started = time.perf_counter()
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.folder / "caches")}
        process = subprocess.Popen(
            command, cwd=self.folder, env=environment, stdout=-1, stderr=subprocess.STDOUT
        )
        assert process.stdout is not None, "it is a pipe"
        text = process.stdout.read()
        # Of this process and those that it waited for; getrusage has the largest of all so far.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.stderr.write(text.decode())
            raise subprocess.CalledProcessError(process.returncode, command)
        seconds = usage.ru_utime + usage.ru_stime
        wall = time.perf_counter() - started
        self.rows.append((what, seconds, wall, usage.ru_maxrss / 1024))
        sys.stderr.write(f"{what}: {seconds:.2f} s CPU, {wall:.2f} s\n")
        return seconds

    def xai_bench(self, what: str, *arguments: str) -> float:
        """The same for our own command line."""
        return self.run(what, sys.executable, "-m", "xai_bench", *arguments)


def main() -> None:
    """Measure everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="fewer cells, a smaller report, no demo"
    )
    parser.add_argument("--write", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        write_study(args.write[0], "many", int(args.write[1]))
        return
    quick = args.quick
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        floors(bench)
        single(bench)
        sweeps(bench, 8 if quick else 20)
        reports(bench, 500 if quick else 5000)
        if not quick:
            bench.xai_bench("demo", "run", "experiment=demo", "results=demo")
        floors(bench)
        show(bench.rows)


def floors(bench: Bench) -> None:
    """What nothing can be faster than."""
    for name, code in FLOORS.items():
        bench.run(f"floor: {name}", sys.executable, "-c", code)


def single(bench: Bench) -> None:
    """One cell of a small table and a linear model, fresh and finished."""
    # Once before, so that compiled Python and the tables of MLflow are there.
    bench.xai_bench("first of all, MLflow", "run", *ONE, "results=warm")
    for name, recorder in (("", ("recorder=none",)), (", MLflow", ())):
        for state in ("fresh", "finished"):
            results = f"results=one{len(recorder)}"
            bench.xai_bench(f"run, {state}{name}", "run", *ONE, results, *recorder)


def sweeps(bench: Bench, n_cells: int) -> None:
    """Cells that differ in their seed, on one core and on all."""
    seeds = f"seed=range({n_cells})"
    for name, recorder in (("", ("recorder=none",)), (", MLflow", ())):
        for jobs in ("n_jobs=1", "n_jobs=null"):
            results = f"results=sweep{len(recorder)}{jobs.replace('=', '_')}"
            for state in ("fresh", "finished"):
                what = f"{n_cells} cells, {jobs}, {state}{name}"
                bench.xai_bench(what, "run", *SWEEP, seeds, jobs, results, *recorder)
    # More seeds of the same study: what a cell costs beside the start of a command.
    more = (*SWEEP, f"seed=range({5 * n_cells})", "n_jobs=1", "results=sweep1n_jobs_1")
    for state in ("fresh", "finished"):
        what = f"{5 * n_cells} cells, of which {4 * n_cells if state == 'fresh' else 0} new"
        bench.xai_bench(what, "run", *more, "recorder=none")


def reports(bench: Bench, n_explanations: int) -> None:
    """The report of a study that was written for this; then the same again."""
    # By another process: what this one holds in memory, those that it starts would be said to hold.
    n_cells = str(n_explanations // N_EXPLAINERS)
    bench.run(
        "(write a study)", sys.executable, str(Path(__file__).resolve()), "--write", "many", n_cells
    )
    for state in ("first", "unchanged"):
        bench.xai_bench(
            f"report of {n_explanations} explanations, {state}", "report", "--results", "many"
        )


def write_study(folder: str, study: str, n_cells: int) -> None:
    """Cells of ten data sets with as many explainers, drawn scores and small attributions."""
    from xai_bench.results import Cell
    from xai_bench.results.store.store import Store

    store = Store(Path(folder))
    for number in range(n_cells):
        cell = Cell(
            key=f"{number:016x}",
            data=f"data{number % 10}",
            model="mlp",
            seed=number // 10,
            view="inputs",
            target="predicted_logit",
            baseline_explain="mean",
            baseline_measure="marginal",
            config={"data": {"name": number % 10}, "seed": number // 10},
            model_scores={"accuracy": 0.9},
        )
        store.write_cell(cell)
        results = list(explained(number))
        for result in results:
            store.write(cell.key, result)
        metrics = {s.metric: s.key for s in results[0].scores.values()}
        store.add_to_study(study, cell, results, "xai-bench run", metrics)


def explained(number: int) -> Iterator[ExplainerResult]:
    """The explanations of one cell."""
    import torch

    from xai_bench.results import ExplainerResult, Scores
    from xai_bench.types import Explanation

    generator = torch.Generator().manual_seed(number)
    index = torch.arange(N_SAMPLES)
    for explainer in range(N_EXPLAINERS):
        attribution = torch.randn(N_SAMPLES, 8, generator=generator)
        scores = {
            f"metric{metric}": Scores(
                f"metric{metric}",
                f"{metric:016x}",
                "fidelity",
                metric % 2 == 0,
                True,
                torch.randn(N_SAMPLES, generator=generator).double() + explainer / 10,
            )
            for metric in range(N_METRICS)
        }
        # Its settings are those of every cell, or each would be a method of its own.
        name, key = f"explainer{explainer}", f"{explainer:016x}"
        yield ExplainerResult(
            name, key, "contribution", "gradient", {}, index, Explanation(attribution), scores
        )


def show(rows: list[tuple[str, float, float, float]]) -> None:
    """The table, in Markdown; the floor is the mean of both measurements."""
    torch_seconds = [cpu for what, cpu, _, _ in rows if what == "floor: import torch"]
    floor = sum(torch_seconds) / len(torch_seconds)
    lines = ["| | CPU s | over `import torch` | wall s | MB |", "|---|---|---|---|---|"]
    lines += [
        f"| {what} | {cpu:.2f} | {cpu / floor:.2f} | {wall:.1f} | {memory:.0f} |"
        for what, cpu, wall, memory in rows
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
