"""Hundreds of experiment files, right and wrong: a sentence or a run, never a traceback."""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.support.command_line import run, small_run
from tests.support.fuzz import unclear
from xai_bench.runner.cells import job
from xai_bench.runner.commands import exit_summary

pytestmark = pytest.mark.slow  # twenty commands

MARK = "executed"
NODE = {"_target_": "os.system", "command": f"touch {MARK}"}
DEFAULTS: list[object] = [
    {"override /explainer": ["random", "constant"]}, {"override /metric": "default"},
    {"override /data": "wine"}, {"override /baseline@baseline.explain": "zero"}, "_self_",
    {"explainer": "random"}, {"/explainer": "random"}, {"override explainer": "random"},
    {"override /explainer": None}, {"override /explainer": "nothing"}, {"override /nothing": "a"},
    {"override /explainer": [["random"]]}, {"override /explainer": {"random": 1}}, "nothing", None,
    1, [], {}, {"a": 1, "b": 2}, "/explainer/random", "../config", "config", {"optional x": "y"},
    {"override hydra/launcher": "joblib"}, {"override /hydra/launcher": "nothing"}, "/etc/passwd",
    {"override hydra/job_logging": "none"}, {"experiment": "demo"}, "odd", {"/experiment": "odd"},
    {"override /model": "${seed}"}, {"/metric@explainer": "entropy"}, True, {1: 2}, {"": ""},
    {"override /data@metric": "iris"}, {"override /target": 1}, {"override /experiment": "odd"},
]  # fmt: skip
"""Entries of a defaults list."""

SECTIONS: dict[object, object] = {
    "study": "own", "seed": 3, "results": "results", "evaluation": {"n_samples": 5},
    "report": {"tables": ["main"]}, "tuning": {"n_trials": 2}, "budget": 9, "allow": [],
    "data": {"fractions": [0.6, 0.2, 0.2]}, "model": {"floor": 0.5}, "view": None,
    "target": {"_target_": "xai_bench.models.targets.PredictedLogit"}, "recorder": None,
    "explainer": {"random": {"seed": 1}}, "metric": {"entropy": {}}, "device": "cpu",
    "baseline": {"explain": {"value": 0.0}}, "n_jobs": 1, "anytime": [4, 8], "tune": False,
    "hydra": {"mode": "MULTIRUN", "sweeper": {"params": {"seed": "0,1", "model": "linear,mlp"}}},
    "nothing": 1, "_target_": "os.system", 5: 6, True: False, None: 1, "": 2, "a.b": 3, "größe": 4,
    "experiment": {"a": 1}, "defaults": [], "evaluation.n_samples": 7, "strict": True,
}  # fmt: skip
"""What the sections of a file may hold."""

VALUES: list[object] = [
    None, [], {}, [1], [[]], "a", "", 0, -1, 1.5, float("inf"), float("nan"), True, "???",
    "${nothing}", "${seed}", "${.a}", "${oc.env:SECRET}", "${oc.env:NO_SUCH}", "${", "${oc.decode:",
    NODE, [NODE], {"a": NODE}, {"_target_": 1}, {"_target_": None}, {"_target_": []}, {"_args_": 1},
    {"_target_": "os"}, {"_target_": ""}, {"_target_": "."}, {"_target_": "xai_bench.cli.main"},
    {"_partial_": True}, {"_recursive_": False}, {"_convert_": "all"}, {1: {2: 3}}, {"": ""},
    {"_target_": "xai_bench.explainers.controls.Random", "_partial_": True}, "9" * 400, 10**40,
    {"a": {"b": {"c": [{"d": None}]}}}, {"_target_": "${oc.env:SECRET}"}, "x" * 300, "\n", "a\0b",
    {"value": "${..explain}"}, "2020-01-01", b"\xff", {"params": "seed=0,1"}, {"params": ["a"]},
]  # fmt: skip
"""What stands where something else belongs."""

LINES = [
    "\tseed: 1", "seed: 1\nseed: 2", "a: &a [*a]", "a: &a {b: *a}", "b: *nothing", "<<: {seed: 4}",
    "<<: 5", "a: &a {seed: 1}\n<<: *a", "? [a, b]\n: 1", "? {a: 1}\n: 2", "--- \nseed: 1", "...",
    "seed: !!python/object/apply:os.system ['touch executed']", "seed: !!int x", "seed: !own 1",
    "seed: !!binary x", "a: !!set {b, c}", "a: !!omap [b: 1]", "a: !!timestamp x", "%YAML 1.2",
    "%TAG ! x", "seed: '", "seed: [", "{", "]", ": :", "- a", "  seed: 1", "seed:1", "@a: 1",
    "`a`: 1", "a: |\n  b", "a: >\n\n", "# @package own", "# @package _group_", "# @package a.b",
    "# @package", "hydra:\n  sweeper:\n    params: {a: {b: 1}}", "a: 1_000", "a: 0o7", "a: 1:30:00",
    "seed: 2020-02-30", "a: 2020-01-01", "\x00", "\x1b", "\u2028", "a: \ufeffb", "a: \ud7ff",
    "evaluation: {n_samples: 4, n_samples: 5}", "defaults: [_self_]\ndefaults: []",
]  # fmt: skip
"""What no dumper writes."""

COMMANDS = [
    small_run("--config-dir", "own", "experiment=odd"),
    ["run", "--config-dir", "own", "experiment=odd", "recorder=none"],
]
"""With most options from the command line, or from the file."""

N_INPUTS = 2000 if os.environ.get("XAI_BENCH_FUZZ") == "full" else 140


def body(rng: random.Random) -> bytes:
    """An experiment: a defaults list and sections, of which some are odd, and odd lines."""
    content: dict[object, object] = {}
    if rng.random() < 0.6:
        entries: object = rng.sample(DEFAULTS, rng.choice([0, 1, 1, 2, 3]))
        content["defaults"] = rng.choice(VALUES) if rng.random() < 0.15 else entries
    for key in rng.sample(list(SECTIONS), rng.choice([0, 1, 1, 2, 4])):
        content[key] = odd(rng, SECTIONS[key])
    text = dumped(content) if content else rng.choice(["", "42", "[]", "a", "{}"])
    lines = text.splitlines()
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        lines.insert(rng.randint(0, len(lines)), rng.choice(LINES))
    head = ["# @package _global_"] if rng.random() < 0.95 else []
    return encoded(rng, rng.choice(["\n"] * 9 + ["\r\n"]).join([*head, *lines, ""]))


def dumped(content: object) -> str:
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False)


def odd(rng: random.Random, value: object) -> object:
    """The value, or at some depth of it another one."""
    if rng.random() < 0.4:
        return value
    if isinstance(value, dict) and value and rng.random() < 0.7:
        key = rng.choice([*value, rng.choice(list(SECTIONS))])
        return {**value, key: odd(rng, value.get(key))}
    return rng.choice(VALUES)


def encoded(rng: random.Random, text: str) -> bytes:
    encoding = rng.choice(["utf-8"] * 20 + ["utf-8-sig", "latin-1", "utf-16", "utf-32"])
    content = bytearray(text.encode(encoding, errors="replace"))
    for _ in range(rng.choice([0] * 12 + [1, 2])):
        place = rng.randrange(len(content) + 1)
        content[place : place + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
    return bytes(content)


@pytest.fixture
def tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which commands do everything but their jobs."""
    monkeypatch.setattr(job, "job", lambda cfg, **_: "ok")
    monkeypatch.setattr(exit_summary, "finish", lambda *_: 0)
    monkeypatch.setenv("SECRET", "s3cr3t")
    (tmp_path / "own/experiment").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("seed", "n_inputs"), [(0, 20), pytest.param(1, N_INPUTS, marks=pytest.mark.exhaustive)]
)
def test_every_experiment_is_answered_clearly(seed: int, n_inputs: int, tried: Path) -> None:
    rng, wrong = random.Random(seed), {}
    for _ in range(n_inputs):
        content = body(rng)
        (tried / "own/experiment/odd.yaml").write_bytes(content)
        if problem := unclear(partial(run, tried, *rng.choice(COMMANDS))):
            wrong[content] = problem
    assert wrong == {}
    assert not list(tried.rglob(f"*{MARK}*"))
    assert not list(tried.rglob("*s3cr3t*"))
