"""What a second core gives: wall seconds of one call with more threads, and of a sweep.

    python benchmarks/cores.py            # some minutes; nothing else should run meanwhile
    python benchmarks/cores.py --quick    # fewer rows and cells

Each pair is timed in turn, and the ratio is the median of the pairs. The bare network says how much
its rows gain from a second thread at all.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch
from worlds import World, world

import xai_bench

SWEEP = ("data=digits", "model=cnn", "explainer=[kernel_shap,lime]", "metric=[abpc,deletion]")


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def gain(one: Callable[[], object], both: Callable[[], object], n_pairs: int) -> float:
    """How many times as long the first takes."""
    return statistics.median(seconds(one) / seconds(both) for _ in range(n_pairs))


def calls(here: World, n_pairs: int, budget: int) -> None:
    """The bare network, and explanations of one sample with one thread and with two."""

    def bare(threads: int) -> None:
        torch.set_num_threads(threads)
        with torch.no_grad():
            for _ in range(4):
                here.module(here.x[:8])

    def explain(name: str, threads: int) -> Callable[[], object]:
        bench = xai_bench.workbench(
            here.module, here.x[:1], background=here.background, units=here.units, threads=threads
        )
        bench.explain(name, {"budget": 2})  # what the first call alone costs
        return lambda: bench.explain(name, {"budget": budget})

    bare(1)
    print(f"{here.name}: the network alone {gain(lambda: bare(1), lambda: bare(2), n_pairs):.2f}")
    name = "integrated_gradients"
    print(f"  {name}: {gain(explain(name, 1), explain(name, 2), n_pairs):.2f}")


def sweep(n_cells: int, n_pairs: int) -> None:
    """The same cells one after the other, and on all cores; no results are there before."""
    with tempfile.TemporaryDirectory() as folder:
        number = count()

        def run(n_jobs: str) -> None:
            command = (sys.executable, "-m", "xai_bench", "run", "-m", *SWEEP, "recorder=none")
            own = (f"seed=range({n_cells})", n_jobs, f"results=r{next(number)}")
            environment = {**os.environ, "XDG_CACHE_HOME": str(Path(folder) / str(next(number)))}
            subprocess.run(
                (*command, *own), cwd=folder, env=environment, check=True, capture_output=True
            )

        both = gain(lambda: run("n_jobs=1"), lambda: run("n_jobs=null"), n_pairs)
        print(f"sweep of {n_cells} cells on {os.cpu_count()} cores: {both:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    n_pairs = 1 if args.quick else 3
    calls(world("efficientnet", 8), n_pairs, 16 if args.quick else 64)
    sweep(4 if args.quick else 8, n_pairs)


if __name__ == "__main__":
    main()
