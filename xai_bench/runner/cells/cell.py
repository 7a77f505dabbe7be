"""What a cell is evaluated in: its model trained or loaded, its inputs under the view."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from xai_bench.core.calls.model_outputs import own_outputs
from xai_bench.core.seeds import Seeds
from xai_bench.data.bundle import Bundle
from xai_bench.evaluation.context import EvaluationContext
from xai_bench.explainers.glassbox.glassbox import GlassBox
from xai_bench.explainers.glassbox.structure import is_glass_box
from xai_bench.models.base import Explained, Predictor, TorchPredictor, Trained, prepared_for
from xai_bench.models.checks.row_check import require_independent_rows
from xai_bench.models.fitting.cache import trained
from xai_bench.models.precision import deviation
from xai_bench.models.sizing import samples_at_once, sized
from xai_bench.models.training import scores as quality
from xai_bench.models.variants import TrainedVariants
from xai_bench.results import Cell, Outcome
from xai_bench.runner.cells import provenance
from xai_bench.runner.cells.language_model import with_language_model
from xai_bench.runner.cells.plan import Plan
from xai_bench.runner.sweeps.progress import Progress
from xai_bench.types import Inputs, Unsupported

log = logging.getLogger(__name__)


def prepare_cell(
    plan: Plan, cell: Cell, bundle: Bundle, progress: Progress
) -> tuple[Cell, EvaluationContext | None]:
    """Train or load the model and set up what its explainers are evaluated in.

    Data, model, view and target that do not go together skip the whole cell: the context is then
    None and the outcome of the cell states the reason.
    """
    cell = replace(cell, environment=provenance.environment(plan.device))
    if "device" in cell.environment:
        log.info("networks are trained and asked on %s", cell.environment["device"])
    try:
        context, history, scores = _context(plan, bundle, progress)
    except Unsupported as reason:
        return replace(cell, outcome=Outcome("skipped", str(reason))), None
    scored = replace(cell, model_scores=scores, history=history, groups=context.groups)
    return replace(scored, group_names=bundle.group_names), context


def evaluated_inputs(plan: Plan, bundle: Bundle) -> Inputs:
    """The samples that are explained, with what the target needs, before any view."""
    settings = plan.config["evaluation"]
    inputs = bundle.evaluation(settings["n_samples"], settings["n_background"])
    return prepared_for(plan.component("target"), inputs)


def _context(
    plan: Plan, bundle: Bundle, progress: Progress
) -> tuple[EvaluationContext, tuple[Mapping[str, float], ...], Mapping[str, float]]:
    """The context, the numbers of every training epoch, and the model's scores on its test part."""
    target = plan.component("target")
    inputs = with_language_model(plan, bundle, evaluated_inputs(plan, bundle), _weights(plan))
    model = _model(plan, bundle, progress)
    settings = plan.config["evaluation"]
    predictor, inputs = plan.component("view").look(model.predictor, inputs)
    if isinstance(model.predictor, TorchPredictor):  # others answer row by row by their making
        require_independent_rows(predictor, inputs)
    explained = sized(predictor, target, inputs, memory=_bytes(settings), most=settings["max_rows"])
    outputs = own_outputs(explained, inputs)
    context = EvaluationContext(
        model=explained,
        inputs=_with_truth(explained, inputs) if target.follows_output else inputs.without_truth(),
        targets=target.choose(outputs, bundle.test.y[: len(inputs)], bundle.task),
        seeds=Seeds(plan.config["seed"]),
        groups={name: codes[: len(inputs)] for name, codes in bundle.test.groups.items()},
        labels=bundle.test.y[: len(inputs)],
        rationale=None if bundle.test.rationale is None else bundle.test.rationale[: len(inputs)],
        variants=_variants(plan, bundle, model.predictor, explained),
        batch_size=samples_at_once(inputs, settings["batch_size"], _bytes(settings)),
        strict=plan.strict,
    )
    scores = quality(model.predictor, bundle.test, bundle.task)
    return context, model.history, {**scores, **_deviation(plan, bundle, model, progress)}


def _model(plan: Plan, bundle: Bundle, progress: Progress) -> Trained:
    return trained(
        plan.component("model"),
        plan.config["model"],
        bundle,
        seed=plan.config["seed"],
        folder=_weights(plan),
        on_epoch=progress.epoch,
    )


def _deviation(
    plan: Plan, bundle: Bundle, model: Trained, progress: Progress
) -> Mapping[str, float]:
    """How far the outputs are from those of the network as it was trained; empty where it is."""
    if bundle.precision is None:
        return {}
    before = _model(plan, replace(bundle, precision=None), progress).predictor
    gap = deviation(
        before, model.predictor, evaluated_inputs(plan, replace(bundle, precision=None))
    )
    return {"precision_deviation": gap}


def _with_truth(model: Explained, inputs: Inputs) -> Inputs:
    """With the structure of a glass box as the truth, where the task does not bring one."""

    def own(inputs: Inputs, targets: Tensor) -> Tensor:
        rng = Seeds(0).stream("truth", samples=inputs.index)
        return GlassBox().explain(model, inputs, targets, rng=rng).attribution

    if inputs.domain.truth is not None or not is_glass_box(model):
        return inputs
    return replace(inputs, domain=replace(inputs.domain, truth=own))


def _bytes(settings: Mapping[str, Any]) -> int | None:
    """Of `evaluation.memory`, which is in MB (10^6 bytes); None where it is left to us."""
    megabytes = settings.get("memory")
    return None if megabytes is None else int(megabytes) * 10**6


def _variants(
    plan: Plan, bundle: Bundle, predictor: Predictor, explained: Explained
) -> TrainedVariants:
    """The other models that metrics may ask for; trained only when one does."""
    settings = plan.config["evaluation"]
    return TrainedVariants(
        recipe=plan.component("model"),
        config=plan.config["model"],
        bundle=bundle,
        seed=plan.config["seed"],
        folder=_weights(plan),
        view=plan.component("view"),
        target=plan.component("target"),
        predictor=predictor,
        n_background=settings["n_background"],
        max_rows=explained.max_rows,
        n_workers=settings["n_workers"],
    )


def _weights(plan: Plan) -> Path:
    return plan.results / "cache" / "models"
