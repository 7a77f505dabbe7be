"""How fast and frugal is a study of texts? Against ferret and interpreto, on the same model.

    python benchmarks/text_libraries.py --library ferret=PYTHON --library interpreto=PYTHON

MiniLM with a head of random weights, generated sentences; explainers and metrics that both have,
with as many perturbations; every side explains and then scores its own explanations. Rows through
the model are counted by a hook on all sides, seconds are CPU time of one thread. A `PYTHON` is that
of an environment with `pip install ferret-xai==0.4.2 "pyarrow<17" "datasets<3"`, or
`interpreto==0.5.2`, and the same torch. `--quick` takes fewer sentences and a smaller budget.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from text import CLOCKS, component, counting, timed

from xai_bench.core.seeds import Seeds
from xai_bench.core.system.determinism import canonical
from xai_bench.data.bundle import Bundle
from xai_bench.data.text.corpus import Example, TextOptions
from xai_bench.data.text.pretrained import place_of
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.guard import Copies
from xai_bench.evaluation.loop import evaluate
from xai_bench.models.base import Explained
from xai_bench.models.targets import PredictedProbability

COMPARED: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ferret": (
        ("saliency", "input_x_gradient", "integrated_gradients", "lime", "kernel_shap"),
        ("comprehensiveness", "sufficiency", "tau_loo"),
    ),
    "interpreto": (
        (
            "saliency", "input_x_gradient", "integrated_gradients",
            "leave_one_out", "kernel_shap", "lime",
        ),
        ("deletion", "insertion"),
    ),
}  # fmt: skip
"""Library -> explainers and metrics that it and we have."""
N_POINTS = 14
"""Removals of a curve of ours, both ends included."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--library", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--n-samples", type=int, default=32)
    parser.add_argument("--budget", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4, help="of interpreto, whose own it is")
    parser.add_argument("--clock", choices=list(CLOCKS), default="cpu")
    args = parser.parse_args()
    if args.quick:
        args.n_samples, args.budget = min(args.n_samples, 4), min(args.budget, 64)
    torch.set_num_threads(1)
    for given in args.library or ["ferret=", "interpreto="]:
        library, _, python = given.partition("=")
        compare(library, python, args)


def compare(library: str, python: str, args: argparse.Namespace) -> None:
    """Print both sides, by explainers and by metrics."""
    with tempfile.TemporaryDirectory() as folder:
        texts, context = world(Path(folder) / "model", args)
        settings = {
            "texts": texts,
            "targets": context.targets.tolist(),
            "budget": args.budget,
            "n_steps": 32,
            "n_points": N_POINTS,
            "batch_size": args.batch_size,
            "clock": args.clock,
        }
        own = ours(library, context, args)
        print(f"{library}: {args.n_samples} sentences, {args.budget} rows of Shapley values, LIME")
        if not python:
            print(f"  ours alone, {_line(own)}; give --library {library}=PYTHON for the other side")
            return
        (Path(folder) / "settings.json").write_text(json.dumps(settings))
        script = Path(__file__).with_name("text_libraries_peer.py")
        subprocess.run([python, script, folder, library], check=True)
        peer = theirs(json.loads((Path(folder) / "library.json").read_text()))
    for part in ("explainers", "metrics", "both"):
        (rows, seconds), (their_rows, their_seconds) = own[part], peer[part]
        print(
            f"  {part}: {rows:,} rows, {seconds:.1f} s; {library} {their_rows:,} rows, "
            f"{their_seconds:.1f} s: {their_rows / max(rows, 1):.1f} times our rows, "
            f"{their_seconds / seconds:.1f} times our {args.clock} time"
        )


def world(folder: Path, args: argparse.Namespace) -> tuple[list[str], EvaluationContext]:
    """The sentences, and the model that is written to `folder` as transformers writes it."""
    import transformers

    generated = component("data", "sentiment", n_rows=400).load()
    pairs = zip(generated.train.texts.strings, generated.train.y.tolist(), strict=True)
    examples = [Example(text, str(label)) for text, label in pairs]
    bundle: Bundle = TextOptions(tokenizer="minilm").bundle({"train": examples})
    torch.manual_seed(0)
    place = place_of("minilm")
    kind = transformers.AutoModelForSequenceClassification
    kind.from_pretrained(place, num_labels=bundle.n_outputs).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(place).save_pretrained(folder)
    recipe = component("model", "hf_model", path=str(folder))
    predictor = recipe.train(bundle, seed=0, on_epoch=lambda _: None).predictor
    model = Explained(predictor, PredictedProbability(), max_rows=2048)
    inputs = bundle.evaluation(args.n_samples, 32)
    with torch.no_grad():
        targets = model.outputs(inputs).argmax(1)
    texts = [bundle.test.texts.strings[int(i)] for i in inputs.index]
    context = EvaluationContext(model, inputs, targets, Seeds(0), batch_size=args.n_samples)
    return texts, context


Spent = Mapping[str, tuple[int, float]]


def ours(library: str, context: EvaluationContext, args: argparse.Namespace) -> Spent:
    """Rows and seconds of our explainers and metrics: with metrics, less without them."""
    names, metric_names = COMPARED[library]
    clock, network = CLOCKS[args.clock], context.model.module
    budgets = {
        "kernel_shap": args.budget, "lime": args.budget, "integrated_gradients": 32,
    }  # fmt: skip

    def run(context: EvaluationContext, metrics: list[ConfiguredMetric]) -> None:
        for name in names:
            changes = {"budget": budgets[name]} if name in budgets else {}
            made = component("explainer", name, **changes)
            result = evaluate(context, ConfiguredExplainer(name, made), metrics)
            assert result.outcome.status != "failed", result.outcome.reason

    metrics = [ConfiguredMetric(name, component("metric", name)) for name in metric_names]
    spent: dict[str, tuple[int, float]] = {}
    for part, chosen in (("explainers", []), ("both", metrics)):
        # Anew, since what has been computed for one part may be used again.
        anew = replace(context, shared={}, copies=Copies(), domains={})
        with canonical(), counting(network) as counted:  # type: ignore[arg-type]
            seconds, _ = timed(clock, lambda anew=anew, chosen=chosen: run(anew, chosen))
        spent[part] = (counted.rows, seconds)
    pairs = zip(spent["both"], spent["explainers"], strict=True)
    rows, seconds = (whole - part for whole, part in pairs)
    return {**spent, "metrics": (int(rows), seconds)}


def theirs(steps: list[dict[str, Any]]) -> Spent:
    """The same of the other side; prints what it could not do."""
    for step in steps:
        if step["failure"]:
            print(f"  {step['name']} failed there: {step['failure']}")
    parts = {
        "explainers": [step for step in steps if ":" not in step["name"]],
        "metrics": [step for step in steps if ":" in step["name"]],
        "both": steps,
    }
    return {
        part: (sum(s["rows"] for s in of), sum(s["seconds"] for s in of))
        for part, of in parts.items()
    }


def _line(spent: Spent) -> str:
    return ", ".join(f"{part} {rows:,} rows {s:.1f} s" for part, (rows, s) in spent.items())


if __name__ == "__main__":
    main()
