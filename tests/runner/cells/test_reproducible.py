"""Scores do not depend on kills, batch sizes, or which other explainers run.

What is compared with comes from a process of its own; the others run in this one, which is faster
and shows that nothing depends on the process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.support import command_line

pytestmark = pytest.mark.slow

EXPLAINERS = ["saliency", "smoothgrad", "permutation_shapley", "lime", "random"]
BASE = [
    "data=breast_cancer",
    "model=mlp",
    "recorder=none",
    "evaluation.n_samples=8",
    "report.figures=[]",
    "study=same",
    # one of every kind of draw and probe; tests/metrics/test_certificate.py tries each
    "metric=[abpc,faithfulness_correlation,infidelity,max_sensitivity,repeatability,seconds]",
]


def arguments(results: Path, *overrides: str, explainers: list[str] = EXPLAINERS) -> list[str]:
    chosen = f"explainer=[{','.join(explainers)}]"
    return ["run", *BASE, chosen, f"results={results}", *overrides]


def run(results: Path, *overrides: str, explainers: list[str] = EXPLAINERS) -> str:
    words = arguments(results, *overrides, explainers=explainers)
    return command_line.succeed(results.parent, *words)


def process(results: Path) -> list[str]:
    """The command that starts a run in a process of its own."""
    return [sys.executable, "-m", "xai_bench", *arguments(results)]


def repeatable(results: Path) -> dict[str, bytes]:
    """Every byte of the store but for clocks and the machine's name."""
    root = results / "store"
    changing = {"costs.parquet", "machine.json", "SHA256SUMS"}
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in files
        if path.name not in changing and path.suffix != ".lock"
    }


def assert_same_store(results: Path, expected: Path) -> None:
    """Byte for byte; says which files differ, and in which scores."""
    own, other = repeatable(results), repeatable(expected)
    assert sorted(own) == sorted(other)
    differing = [name for name in own if own[name] != other[name]]
    details = [_scores(root / "store" / name) for name in differing for root in (results, expected)]
    assert not differing, "\n".join([*differing, *details])


def _scores(path: Path) -> str:
    if path.suffix != ".parquet":
        return path.read_text(errors="replace")[:2000]
    frame = pd.read_parquet(path).groupby(["metric", "status", "reason"], observed=True)
    return str(frame.score.agg(["count", "mean"]))


def samples(results: Path) -> pd.DataFrame:
    """The per-sample scores that clocks have no part in, in a fixed order."""
    from xai_bench.results.store.store import Store

    frame = Store(results).frame("same")
    frame = frame[~frame.metric.isin(["seconds", "fit_seconds", "peak_memory"])]
    order = ["explainer", "metric", "index"]
    return frame.sort_values(order)[[*order, "score"]].reset_index(drop=True)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("reference") / "results"
    subprocess.run(process(results), capture_output=True, cwd=results.parent, check=True)
    return results


@pytest.mark.exhaustive
def test_the_same_command_twice_gives_the_same_bytes(reference: Path, tmp_path: Path) -> None:
    run(tmp_path / "results")
    assert_same_store(tmp_path / "results", reference)


def test_a_second_run_recomputes_nothing(reference: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (reference / "store").rglob("*.parquet")}
    assert run(reference).count("already in the store") == len(EXPLAINERS)
    assert {p: p.stat().st_mtime_ns for p in before} == before


@pytest.mark.exhaustive
def test_batch_and_chunk_size_change_no_score(reference: Path, tmp_path: Path) -> None:
    run(tmp_path / "results", "evaluation.batch_size=7", "evaluation.max_rows=100")
    pd.testing.assert_frame_equal(
        samples(tmp_path / "results"), samples(reference), check_exact=True
    )


def test_other_explainers_change_no_score(reference: Path, tmp_path: Path) -> None:
    fewer = ["random", "gradient", "lime"]
    run(tmp_path / "results", explainers=fewer)
    both = ["random", "lime"]
    own, other = samples(tmp_path / "results"), samples(reference)
    pd.testing.assert_frame_equal(
        own[own.explainer.isin(both)].reset_index(drop=True),
        other[other.explainer.isin(both)].reset_index(drop=True),
        check_exact=True,
    )


@pytest.mark.exhaustive
def test_a_killed_run_is_finished_by_the_same_command(reference: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    started = subprocess.Popen(
        process(results), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path
    )
    deadline = time.monotonic() + 120
    while len(list(results.glob("store/*/*/explanation.json"))) < 2:
        assert started.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "the run wrote nothing"
        time.sleep(0.005)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    done = {p: p.stat().st_mtime_ns for p in results.glob("store/*/*/explanation.json")}
    assert 2 <= len(done) < len(EXPLAINERS)
    assert run(results).count("already in the store") == len(done)
    assert {p: p.stat().st_mtime_ns for p in done} == done
    assert_same_store(results, reference)


@pytest.mark.exhaustive
def test_metrics_added_later_give_the_same_scores(reference: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    run(results, "metric=[infidelity]")
    run(results)
    pd.testing.assert_frame_equal(samples(results), samples(reference), check_exact=True)
