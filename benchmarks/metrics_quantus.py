"""Quantus' side of `benchmarks/metrics.py`, run by the Python that has Quantus.

Reads a folder that the other side wrote, scores the same maps of the same model with the same
number of perturbations, and writes seconds and forward rows per explainer and metric.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import quantus
import torch

from xai_bench.core.seeds import Seeds
from xai_bench.models.base import Explained, TorchPredictor
from xai_bench.models.targets import PredictedLogit
from xai_bench.types import Domain, Inputs


def built(node: Any) -> Any:
    """What a `_target_` says, without Hydra."""
    if not isinstance(node, dict):
        return node
    fields = {key: built(value) for key, value in node.items() if key != "_target_"}
    module, _, name = node["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), name)(**fields)


class Explaining:
    """An explainer of ours as Quantus calls it, for the metrics that explain anew."""

    def __init__(self, explainer: Any, model: Any, data: dict[str, torch.Tensor]) -> None:
        self.explainer, self.model, self.data = explainer, model, data

    def __call__(self, model: Any, inputs: Any, targets: Any, **_: Any) -> Any:
        x = torch.as_tensor(np.asarray(inputs), dtype=torch.float32)
        shape = x.shape
        x = x.reshape(len(x), *self.data["x"].shape[1:])
        units = self.data["units"][:1].expand(x.shape)
        domain = Domain(self.data["background"], self.data["scale"])
        batch = Inputs(x=x, units=units, index=torch.arange(len(x)), domain=domain)
        rng = Seeds(0).stream("explain", samples=batch.index)
        labels = torch.as_tensor(np.asarray(targets)).long()
        found = self.explainer.explain(self.model, batch, labels, rng=rng).attribution
        return found.detach().float().reshape(shape).numpy()


def step(n_units: int, n_steps: int) -> int:
    """The least that divides `n_units`, as Quantus wants it, and makes no more than `n_steps`."""
    return next(k for k in range(1, n_units + 1) if n_units % k == 0 and n_units // k <= n_steps)


def metrics(n_units: int, n_draws: int, n_near: int, *, image: bool) -> dict[str, Any]:
    """Our name -> Quantus' metric, with as many perturbations as ours makes."""
    quiet = {"disable_warnings": True, "display_progressbar": False}
    near = {"nr_samples": n_near, **quiet}
    fifth = max(1, round(0.2 * n_units))
    found = {
        "faithfulness_correlation": quantus.FaithfulnessCorrelation(
            nr_runs=n_draws, subset_size=fifth, return_aggregate=False, **quiet
        ),
        "faithfulness_estimate": quantus.FaithfulnessEstimate(features_in_step=1, **quiet),
        "deletion": quantus.PixelFlipping(features_in_step=step(n_units, 14), **quiet),
        "monotonicity_arya": quantus.Monotonicity(features_in_step=step(n_units, 32), **quiet),
        "monotonicity_correlation": quantus.MonotonicityCorrelation(nr_samples=1, **quiet),
        "infidelity": quantus.Infidelity(
            n_perturb_samples=n_draws, perturb_patch_sizes=[1], **quiet
        ),
        "completeness_gap": quantus.Completeness(**quiet),
        "non_sensitivity": quantus.NonSensitivity(features_in_step=1, **quiet),
        "max_sensitivity": quantus.MaxSensitivity(lower_bound=0.1, **near),
        "average_sensitivity": quantus.AvgSensitivity(lower_bound=0.1, **near),
        "local_lipschitz": quantus.LocalLipschitzEstimate(perturb_std=0.1, **near),
        "relative_input_stability": quantus.RelativeInputStability(**near),
        "relative_output_stability": quantus.RelativeOutputStability(**near),
        "entropy": quantus.Complexity(**quiet),
        "gini": quantus.Sparseness(**quiet),
    }
    if image:
        regions = -(-3 * n_units // 10)
        found["region_perturbation"] = quantus.RegionPerturbation(
            patch_size=1, regions_evaluation=regions, **quiet
        )
        found["selectivity"] = quantus.Selectivity(patch_size=1, **quiet)
    return found


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    settings = json.loads((folder / "settings.json").read_text())
    torch.set_num_threads(settings["threads"])
    data = torch.load(folder / "data.pt")
    module = torch.load(folder / "model.pt", weights_only=False).eval()
    rows = [0]
    module.register_forward_pre_hook(lambda _, args: rows.__setitem__(0, rows[0] + len(args[0])))
    n_units = int(data["units"].max()) + 1
    explained = Explained(
        TorchPredictor(module, settings["n_outputs"]), PredictedLogit(), settings["max_rows"]
    )
    x = data["x"] if settings["image"] else data["x"][:, None]  # tables: defect D04 needs an axis
    done = []
    for name, node in settings["explainers"].items():
        explain = Explaining(built(node), explained, data)
        map_ = data[f"map.{name}"].float().reshape(x.shape).numpy()
        chosen = metrics(n_units, settings["n_draws"], settings["n_near"], image=settings["image"])
        for label in settings["metrics"]:
            if label not in chosen:
                continue
            np.random.seed(0)  # noqa: NPY002, what Quantus draws from
            rows[0], start, failure = 0, time.perf_counter(), ""
            try:
                chosen[label](
                    model=module,
                    x_batch=x.numpy(),
                    y_batch=data["targets"].numpy(),
                    a_batch=map_,
                    explain_func=explain,
                    explain_func_kwargs={},
                    device="cpu",
                    batch_size=settings["n_samples"],
                )
            except Exception as error:
                failure = " ".join(f"{type(error).__name__}: {error}".split())[:120]
            spent = {"seconds": time.perf_counter() - start, "rows": rows[0], "failure": failure}
            done.append({"explainer": name, "metric": label, **spent})
    (folder / "quantus.json").write_text(json.dumps(done))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
