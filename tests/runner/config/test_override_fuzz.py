"""Thousands of overrides, random and mutated: a sentence or a run, never a traceback or a hang."""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path

import pytest

from tests.support.command_line import run, small_run
from tests.support.fuzz import unclear
from xai_bench.runner.cells import job
from xai_bench.runner.commands import exit_summary
from xai_bench.runner.config.catalogue import GROUPS, conf_dir, options
from xai_bench.runner.config.preflight import NODES, SETTINGS

pytestmark = pytest.mark.slow  # whole commands, or a whole folder of results

MARK = "executed"
KEYS = [
    *SETTINGS, *GROUPS, *NODES, "baseline", "evaluation", "tuning", "explainer.random",
    "explainer.random.seed", "metric.entropy", "model.seed", "model.floor", "data.name",
    "data.path",
    "data.fractions", "data._target_", "model._target_", "recorder._target_",
    "explainer.random._target_",
    "hydra", "hydra.run.dir", "hydra.mode", "hydra.sweeper.params", "hydra.callbacks.x",
    "hydra.job.env_set", "hydra.searchpath", "hydra.verbose", "hydra/launcher", "hydra/job_logging",
    "baseline@baseline.explain", "baseline@baseline.measure", "nothing", "", "a.b.c", "_target_",
]  # fmt: skip
NODE = f"{{_target_: os.system, command: touch {MARK}}}"
VALUES = [
    "", "null", "0", "-1", "1", "1.5", "1e999", "nan", "true", "9" * 30, "a", "..", ".", "-x", "~",
    "~/x", "a b", "größe", "'", '"', "[", "]", "{}", "[]", "[[]]", "[1,2]", "[a,b]", "a,b",
    "{a: 1}",
    "{a: {b: [1, {c: 2}]}}", "???", "${seed}", "${nothing}", "${oc.env:HOME}", "${oc.env:SECRET}",
    "${oc.env:NO_SUCH}", "${oc.decode:'{'}", "${", "${hydra:runtime.cwd}", "${.a}", "${..}", NODE,
    f"[{NODE}]", "os.system", "xai_bench.cli.main", "xai_bench.models.networks.MLP",
    "builtins.exec",
    "all", "default", "random", "entropy", "linear", "mlp", "iris", "none", "inputs", "mean",
    "../x",
    "/etc/passwd", "a" * 300, "\\", "a=b", "range(1,3)", "glob(*)", "choice(a,b)", "sort(a)",
    "interval(0,1)", "int(3)", "str(x)", "json_str({})", "!!python/name:os.system", "\t", "#x", "@",
    "https://me:pw@host",
]  # fmt: skip
N_INPUTS = 2000 if os.environ.get("XAI_BENCH_FUZZ") == "full" else 100
"""`make test-fuzz` tries all of them."""


def choices(rng: random.Random) -> list[str]:
    """One to three overrides, and sometimes a flag."""
    overrides = [override(rng) for _ in range(rng.randint(1, 3))]
    return [*overrides, *(["-m"] if rng.random() < 0.2 else [])]


def override(rng: random.Random) -> str:
    """A key and a value that may or may not belong together, some with letters changed."""
    group = rng.choice(list(GROUPS))
    names = list(options(group, [conf_dir()])) or ["x"]
    valid = f"{group}={rng.choice(names)}"
    wild = f"{rng.choice(['', '', '', '+', '++', '~'])}{rng.choice(KEYS)}={rng.choice(VALUES)}"
    text = rng.choice([valid, wild, wild, wild])
    for _ in range(rng.choice([0, 0, 1, 2])):
        place = rng.randrange(len(text) + 1)
        text = text[:place] + rng.choice("=,.[]{}'\"$~+@: aé0-") + text[place + rng.randint(0, 1) :]
    return text if not text.startswith("-") else f"x{text}"


@pytest.mark.parametrize("seed", [pytest.param(0), pytest.param(1, marks=pytest.mark.exhaustive)])
def test_every_override_is_answered_clearly(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "job", lambda cfg, **_: "ok")
    monkeypatch.setattr(exit_summary, "finish", lambda *_: 0)
    monkeypatch.setenv("SECRET", "s3cr3t")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    rng = random.Random(seed)
    tried = [choices(rng) for _ in range(N_INPUTS if seed else 20)]
    wrong = {}
    for each in tried:
        if problem := unclear(partial(run, tmp_path, *small_run(*each))):
            wrong[str(each)] = problem
    assert wrong == {}
    assert not list(tmp_path.rglob(f"*{MARK}*"))
    assert not list(tmp_path.rglob("*s3cr3t*"))
