"""The libraries' side of `benchmarks/text_libraries.py`, run by the Python that has one of them.

Reads the model, sentences and settings that the other side wrote to a folder; explains every
sentence with the library's own explainers, scores its explanations with the library's own metrics,
and writes rows through the model and seconds of each.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Steps = Iterator[tuple[str, Callable[[], Any]]]


def ferret(model: Any, tokenizer: Any, settings: Mapping[str, Any]) -> Steps:
    """Explainers of tokens, one sentence at a time, as in the library's `Benchmark`."""
    from ferret.evaluators import faithfulness_measures as measures
    from ferret.explainers.gradient import GradientExplainer, IntegratedGradientExplainer
    from ferret.explainers.lime import LIMEExplainer
    from ferret.explainers.shap import SHAPExplainer

    budget, n_steps = settings["budget"], settings["n_steps"]
    explainers = {
        "saliency": (GradientExplainer(model, tokenizer, multiply_by_inputs=False), {}),
        "input_x_gradient": (GradientExplainer(model, tokenizer, multiply_by_inputs=True), {}),
        "integrated_gradients": (
            IntegratedGradientExplainer(model, tokenizer),
            {"n_steps": n_steps},
        ),
        "lime": (LIMEExplainer(model, tokenizer), {"num_samples": budget}),
        # It has no Kernel SHAP: Shapley values from as many evaluations.
        "kernel_shap": (SHAPExplainer(model, tokenizer), {"max_evals": budget}),
    }
    metrics = {
        "comprehensiveness": measures.AOPC_Comprehensiveness_Evaluation,
        "sufficiency": measures.AOPC_Sufficiency_Evaluation,
        "tau_loo": measures.TauLOO_Evaluation,
    }
    for name, (explainer, call) in explainers.items():
        made = []

        def explain(explainer: Any = explainer, call: Any = call, made: Any = made) -> None:
            for text, target in zip(settings["texts"], settings["targets"], strict=True):
                made.append(explainer(text, target, call_args=call))

        yield name, explain
        for metric, kind in metrics.items():
            scorer = kind(model, tokenizer)

            def score(scorer: Any = scorer, made: Any = made) -> None:
                for explanation in made:
                    scorer.compute_evaluation(explanation, explanation.target)

            yield f"{name}: {metric}", score


def interpreto(model: Any, tokenizer: Any, settings: Mapping[str, Any]) -> Steps:
    """Explainers of words; batches of four, unless asked for more."""
    from interpreto import Granularity, attributions
    from interpreto.attributions.metrics.insertion_deletion import Deletion, Insertion

    budget, n_steps = settings["budget"], settings["n_steps"]
    kinds = {
        "saliency": (attributions.Saliency, {"input_x_gradient": False}),
        "input_x_gradient": (attributions.Saliency, {"input_x_gradient": True}),
        "integrated_gradients": (attributions.IntegratedGradients, {"n_perturbations": n_steps}),
        "leave_one_out": (attributions.Occlusion, {}),
        "kernel_shap": (attributions.KernelShap, {"n_perturbations": budget}),
        "lime": (attributions.Lime, {"n_perturbations": budget}),
    }
    common = {"batch_size": settings["batch_size"]}
    metrics = {"deletion": Deletion, "insertion": Insertion}
    targets = [int(target) for target in settings["targets"]]
    for name, (kind, own) in kinds.items():
        explainer = kind(model, tokenizer, granularity=Granularity.WORD, **common, **own)
        made: list[Any] = []

        def explain(explainer: Any = explainer, made: Any = made) -> None:
            made.extend(explainer.explain(list(settings["texts"]), list(targets)))

        yield name, explain
        for metric, measure in metrics.items():
            scorer = measure(model, tokenizer, n_perturbations=settings["n_points"], **common)
            yield f"{name}: {metric}", lambda scorer=scorer, made=made: scorer.evaluate(made)


LIBRARIES = {"ferret": ferret, "interpreto": interpreto}


def main(folder: Path, library: str) -> None:
    warnings.simplefilter("ignore")
    settings = json.loads((folder / "settings.json").read_text())
    torch.set_num_threads(1)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "model")
    rows = [0]

    def count(module: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
        given = kwargs.get("input_ids")
        given = kwargs.get("inputs_embeds") if given is None else given
        rows[0] += len(args[0] if given is None else given)

    model.base_model.register_forward_pre_hook(count, with_kwargs=True)
    clock = CLOCKS[settings["clock"]]
    with torch.no_grad():  # the first call of a model takes longer than others
        model(**tokenizer(settings["texts"][:1], return_tensors="pt"))
    done: list[dict[str, Any]] = []
    failed: set[str] = set()
    for name, work in LIBRARIES[library](model, tokenizer, settings):
        if name.partition(":")[0] in failed:
            continue  # of an explainer that failed on the way
        rows[0], start, failure = 0, clock(), ""
        try:
            work()
        except Exception as error:
            failed.add(name)
            failure = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        spent = {"seconds": clock() - start, "rows": rows[0], "failure": failure}
        done.append({"name": name, **spent})
    (folder / "library.json").write_text(json.dumps(done))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
