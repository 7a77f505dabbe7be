"""The masked language model of a cell, for all that fills gaps in texts or judges them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from xai_bench.core.system.devices import CPU
from xai_bench.data.bundle import Bundle
from xai_bench.models.fitting.cache import trained
from xai_bench.runner.cells.plan import LANGUAGE_MODEL, Plan
from xai_bench.types import Inputs


def with_language_model(plan: Plan, bundle: Bundle, inputs: Inputs, folder: Path) -> Inputs:
    """With the model as `Symbols.infill`, where a component asks for one and the data has tokens.

    It is trained on the training texts, or read from `folder`. Raises ValueError where components
    ask for different ones.
    """
    symbols = inputs.domain.symbols
    asked = plan.language_models
    if not asked or symbols is None:
        return inputs
    if any(config != asked[0] for config in asked):
        raise ValueError(
            "a run has one masked language model, and different ones are configured; set "
            f"{LANGUAGE_MODEL} of baselines, explainers and metrics to the same values"
        )
    # Gaps are filled on the CPU, wherever the explained network is, and in whatever precision.
    plain = bundle.device == CPU and bundle.precision is None
    model = trained(
        plan.built(asked[0]),
        asked[0],
        bundle if plain else replace(bundle, device=CPU, precision=None),
        seed=plan.config["seed"],
        folder=folder,
        on_epoch=lambda _: None,
    )
    filling: Any = model.predictor
    return replace(inputs, domain=replace(inputs.domain, symbols=replace(symbols, infill=filling)))
