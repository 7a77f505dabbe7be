"""How fast, frugal and exact are the sampling explainers? Against captum, shap and lime.

    python benchmarks/sampling.py            # everything: an hour, most of it theirs
    python benchmarks/sampling.py --quick    # a few samples, one budget

One run: KernelSHAP, LIME and permutation sampling, a network on 30 columns and a CNN on 49
superpixels, at equal rows through the model. Rows are counted by a hook on the module, on all
sides, and every contender runs in a process of its own, on one thread, so that peak memory is its
own. Ours runs in the setting of every run of ours (`canonical`: one thread, deterministic, freed
memory kept); the libraries are called bare, as their users call them, or with `--same-setting` in
ours. They are slow, so they explain fewer samples (`--n-slow`), and seconds are per sample.

Over the 8 x 8 pixels of a digit lies a grid of 7 x 7 superpixels: pixel `i` of a row belongs to
cell `7 i // 8`. `--worlds large` enlarges digits to 28 x 28, with superpixels of 4 x 4, where
nearly all time is the network's own.

The error is the relative L2 distance to Shapley values from 20,000 random orders, the median over
samples; LIME estimates something else, so that its error only tells like from like. The floor is
the time of as many rows through the bare module at its best batch size, measured in our process
before every run of ours. On a machine that others use, too, `--clock cpu` tells more than the
wall's.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from xai_bench.core.baselines import Mean
from xai_bench.core.seeds import Seeds
from xai_bench.core.system import memory
from xai_bench.core.system.determinism import canonical
from xai_bench.models.base import Explained, TorchPredictor
from xai_bench.models.targets import PredictedLogit
from xai_bench.types import Domain, Inputs

ROOT = Path(__file__).parents[1]
METHODS = {
    "kernel_shap": ("ours", "shap", "shap no l1", "captum", "captum batched"),
    "lime": ("ours", "captum", "captum batched", "lime"),
    "permutation_shapley": ("ours", "captum", "shap"),
}
"""Beside the defaults: shap's regression without its selection of ten features, and captum with a
whole budget in one call. Captum's permutations explain all samples in one batch, as they can."""
TARGETS = {
    ("kernel_shap", "shap"): 15, ("kernel_shap", "captum"): 50,
    ("lime", "captum"): 40, ("lime", "lime"): 10,
    ("permutation_shapley", "captum"): 5, ("permutation_shapley", "shap"): 15,
}  # fmt: skip
FLOOR = 1.5
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
BATCHES = (64, 256, 1024, 4096)
MAX_ROWS = {"table": 8192}
"""Rows in one of our calls; 2,048 elsewhere, as in `conf/config.yaml`."""
Values = Callable[[Any], Any]


@dataclass
class World:
    """What a contender gets: a module, `x [B, *S]`, units `[*S]`, a mean reference `[1, *S]`."""

    module: nn.Module
    x: Tensor
    units: Tensor
    mean: Tensor
    background: Tensor
    targets: Tensor

    @property
    def n_units(self) -> int:
        return int(self.units.max()) + 1

    def masked(self, row: int, kept: Tensor) -> Tensor:
        """`kept [n, U] -> [n, *S]`."""
        return torch.where(kept[:, self.units], self.x[row], self.mean)

    @torch.no_grad()
    def answers(self, row: int, points: Tensor) -> Tensor:
        """`[n, *S] -> [n]`: the logit explained."""
        return self.module(points.to(self.x.dtype))[:, self.targets[row]]

    def game(self, row: int) -> Values:
        """Numpy, `[n, U]` of 0 and 1 `-> [n]`."""

        def values(kept: Any) -> Any:
            points = self.masked(row, torch.from_numpy(np.asarray(kept)) > 0.5)
            return self.answers(row, points).double().numpy()

        return values


def component(group: str, name: str, **changes: Any) -> Any:
    node = OmegaConf.load(ROOT / "conf" / group / f"{name}.yaml")
    return instantiate(OmegaConf.merge(node.get(name, node), changes), _convert_="all")


def prepared(name: str, args: argparse.Namespace) -> World:
    """Trained on an even split, so that tables have samples enough."""
    if name == "table":
        bundle = component("data", "breast_cancer", fractions=[0.4, 0.1, 0.5]).load()
        model = "mlp"
    else:
        size = 28 if name == "large" else 8
        bundle, model = _gridded(component("data", "digits").load(), size), "cnn"
    trained = component("model", model).train(bundle, seed=0, on_epoch=lambda _: None)
    inputs = bundle.evaluation(args.n_samples, 256)
    with torch.no_grad():
        targets = trained.predictor.module(inputs.x).argmax(1)
    background = inputs.domain.background
    units = inputs.units[0].clone()
    return World(
        trained.predictor.module, inputs.x, units, background.mean(0)[None], background, targets
    )


def _gridded(bundle: Any, size: int) -> Any:
    """Digits enlarged to `size`, under 7 x 7 superpixels."""
    cell = torch.arange(size) * 7 // size
    grid = (7 * cell[:, None] + cell)[None]

    def part(split: Any) -> Any:
        x = split.x
        if size != x.shape[-1]:
            x = nn.functional.interpolate(x, size=(size, size), mode="bilinear")
        return replace(split, x=x, units=grid.expand(len(x), 1, size, size))

    train, valid, test = map(part, (bundle.train, bundle.valid, bundle.test))
    return replace(bundle, train=train, valid=valid, test=test, unit_names=())


@cache
def made_ready(method: str, budget: int) -> Any:
    """Our explainer, read from its YAML once."""
    return replace(component("explainer", method, baseline=None, budget=budget), baseline=Mean())


# Contenders: world, rows of samples, budget, seed -> [n, U]


def ours(world: World, rows: range, budget: int, seed: int, method: str) -> Tensor:
    from xai_bench.core.units import pool

    explainer = made_ready(method, budget)
    predictor = TorchPredictor(world.module, world.module(world.x[:1]).shape[1])
    model = Explained(predictor, PredictedLogit(), OPTIONS["max_rows"])
    domain = Domain(world.background, torch.ones_like(world.x[0]))
    found = []
    for part in torch.arange(rows.start, rows.stop).split(OPTIONS["batch_size"]):
        x = world.x[part]
        units = world.units.expand(x.shape)
        inputs = Inputs(x=x, units=units, index=part, domain=domain)
        rng = Seeds(seed).stream("explain", samples=part)
        map_ = explainer.explain(model, inputs, world.targets[part], rng=rng).attribution
        found.append(pool(map_.double(), units))
    return torch.cat(found)


def shap_kernel(world: World, rows: range, budget: int, seed: int, **settings: Any) -> Tensor:
    import shap

    np.random.seed(seed)  # noqa: NPY002
    ones, zeros = np.ones((1, world.n_units)), np.zeros((1, world.n_units))
    found = []
    for row in rows:
        made = shap.KernelExplainer(world.game(row), zeros)
        found.append(made.shap_values(ones, nsamples=budget - 2, silent=True, **settings)[0])
    return torch.from_numpy(np.stack(found))


def shap_permutation(world: World, rows: range, budget: int, seed: int) -> Tensor:
    import shap

    ones, zeros = np.ones((1, world.n_units)), np.zeros((1, world.n_units))
    found = []
    for row in rows:
        masker = shap.maskers.Independent(zeros)
        made = shap.PermutationExplainer(world.game(row), masker, seed=seed)
        found.append(made(ones, max_evals=budget, silent=True).values[0])
    return torch.from_numpy(np.stack(found))


def captum_one_by_one(
    world: World, rows: range, budget: int, seed: int, method: str, per_call: int = 1
) -> Tensor:
    import captum.attr

    torch.manual_seed(seed)
    made, found = getattr(captum.attr, method)(world.module), []
    for row in rows:
        map_ = made.attribute(
            world.x[row : row + 1],
            baselines=world.mean,
            target=int(world.targets[row]),
            feature_mask=world.units[None],
            n_samples=budget,
            perturbations_per_eval=per_call,
        )
        found.append(_unit_values(world, map_))
    return torch.cat(found)


def captum_permutations(world: World, rows: range, budget: int, seed: int) -> Tensor:
    import captum.attr

    torch.manual_seed(seed)
    made, some = captum.attr.ShapleyValueSampling(world.module), slice(rows.start, rows.stop)
    map_ = made.attribute(
        world.x[some],
        baselines=world.mean.expand_as(world.x[some]).contiguous(),
        target=world.targets[some],
        feature_mask=world.units[None].contiguous(),
        n_samples=(budget - 1) // world.n_units,
    )
    return _unit_values(world, map_)


def _unit_values(world: World, map_: Tensor) -> Tensor:
    """`[n, *S] -> [n, U]`: captum gives all elements of a unit the same credit."""
    first = (world.units.flatten() == torch.arange(world.n_units)[:, None]).int().argmax(1)
    return map_.detach().flatten(1)[:, first].double()


def lime_library(world: World, rows: range, budget: int, seed: int) -> Tensor:
    found = torch.zeros(len(rows), world.n_units, dtype=torch.float64)
    for at, row in enumerate(rows):
        pairs = (_lime_row if world.x.dim() == 2 else _lime_image)(world, row, budget, seed)
        for unit, weight in pairs:
            found[at, unit] = weight
    return found


def _lime_row(world: World, row: int, budget: int, seed: int) -> Any:
    from lime.lime_tabular import LimeTabularExplainer

    made = LimeTabularExplainer(world.background.numpy(), mode="regression", random_state=seed)
    return made.explain_instance(
        world.x[row].numpy(),
        lambda rows: world.answers(row, torch.from_numpy(rows)).numpy(),
        num_features=world.n_units,
        num_samples=budget,
    ).local_exp[1]


def _lime_image(world: World, row: int, budget: int, seed: int) -> Any:
    from lime import lime_image

    def values(images: Any) -> Any:
        points = torch.from_numpy(images).movedim(3, 1)[:, :1]
        return world.answers(row, points)[:, None].numpy()

    made = lime_image.LimeImageExplainer(random_state=seed)
    image = world.x[row].expand(3, -1, -1).movedim(0, 2).numpy()
    return made.explain_instance(
        image, values, labels=(0,), top_labels=None, num_samples=budget,
        segmentation_fn=lambda _: world.units[0].numpy(),
    ).local_exp[0]  # fmt: skip


OPTIONS = {"max_rows": 2048, "batch_size": 256}


def contender(method: str, who: str) -> Callable[[World, range, int, int], Tensor]:
    """By name."""
    captum = {"kernel_shap": "KernelShap", "lime": "Lime"}.get(method, "")
    found: dict[str, Any] = {
        "ours": lambda *a: ours(*a, method=method),
        "shap": shap_kernel if method == "kernel_shap" else shap_permutation,
        "shap no l1": lambda *a: shap_kernel(*a, l1_reg=False),
        "captum": (lambda *a: captum_one_by_one(*a, captum)) if captum else captum_permutations,
        "captum batched": lambda w, r, b, s: captum_one_by_one(w, r, b, s, captum, per_call=b),
        "lime": lime_library,
    }
    chosen: Callable[[World, range, int, int], Tensor] = found[who]
    return chosen


# One contender in a process of its own


def measured(folder: Path, method: str, who: str, budget: int, args: argparse.Namespace) -> None:
    """Writes seconds of each run, rows, peak memory and what was found."""
    OPTIONS.update(max_rows=args.max_rows, batch_size=args.batch_size)
    world: World = torch.load(folder / "world.pt", weights_only=False)
    ask, n = contender(method, who), len(world.x)
    slow = who not in ("ours", "captum") or (who == "captum" and method != "permutation_shapley")
    rows = range(min(args.n_slow, n) if slow else n)
    ask(world, range(1), 2 * world.n_units + 2, 0)  # imports, compilation
    counted = [0]
    hook = world.module.register_forward_pre_hook(
        lambda _, inputs: counted.__setitem__(0, counted[0] + len(inputs[0]))
    )
    seconds, floors, peaks, found = [], [], [], Tensor()
    memory.give_back()
    while len(seconds) < args.repeats and (who == "ours" or sum(seconds) < args.patience):
        if who == "ours" and seconds:  # after the run whose memory is measured
            floors.append(seconds_per_row(world, CLOCKS[args.clock]))
        Path("/proc/self/clear_refs").write_text("5")
        before, counted[0], start = _resident("VmRSS"), 0, CLOCKS[args.clock]()
        found = ask(world, rows, budget, len(seconds))
        seconds.append(CLOCKS[args.clock]() - start)
        peaks.append((_resident("VmHWM") - before) / 2**20)
    hook.remove()
    told = {
        "seconds": [s / len(rows) for s in seconds],
        "floors": floors,
        "rows": counted[0] / len(rows),
        "peak": max(peaks),
        "found": found.tolist(),
        "n": len(rows),
    }
    (folder / "told.json").write_text(json.dumps(told))


def _resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) * 1024


def asked(folder: Path, method: str, who: str, budget: int, argv: list[str]) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment.pop("MKL_CBWR", None)  # set by our setting
    command = [sys.executable, __file__, *argv, "--inside", str(folder), method, who, str(budget)]
    subprocess.run(command, check=True, env=environment, stderr=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads((folder / "told.json").read_text())
    return found


# What they are held against


def shapley(world: World, row: int, n_orders: int) -> Tensor:
    """`[U]`: the mean gain over random orders, each also backwards."""
    n, generator = world.n_units, torch.Generator().manual_seed(row)
    total, done = torch.zeros(n, dtype=torch.float64), 0
    while done < n_orders:
        rank = torch.rand(max(4096 // n, 1), n, generator=generator).argsort(1)
        rank = torch.cat([rank, n - 1 - rank])
        kept = rank[:, None] < torch.arange(n + 1)[:, None]
        points = world.masked(row, kept.flatten(0, 1))
        values = torch.cat([world.answers(row, part) for part in points.split(1024)]).double()
        gain = values.view(len(rank), n + 1).diff(dim=1).gather(1, rank)
        total, done = total + gain.sum(0), done + len(rank)
    return total / done


def seconds_per_row(world: World, clock: Callable[[], float]) -> float:
    """At the best batch size."""
    found = []
    for size in BATCHES:
        batch = world.x[torch.arange(size) % len(world.x)]
        with torch.no_grad():
            world.module(batch)
            times = []
            for _ in range(9):
                start = clock()
                world.module(batch)
                times.append(clock() - start)
        found.append(statistics.median(times) / size)
    return min(found)


def error(found: list[list[float]], exact: Tensor) -> float:
    """The median of the relative L2 distances, over the samples that both have."""
    n = min(len(found), len(exact))
    gap = torch.tensor(found[:n]).double() - exact[:n]
    return float((gap.norm(dim=1) / exact[:n].norm(dim=1)).median())


def compared(name: str, args: argparse.Namespace, argv: list[str]) -> list[str]:
    """Prints a table; what was missed at the headline budget."""
    world, missed = prepared(name, args), list[str]()
    exact = torch.stack([shapley(world, row, args.orders) for row in range(args.n_slow)])
    print(
        f"\n{name}: {len(world.x)} samples ({args.n_slow} for those called one by one), "
        f"{world.n_units} units\n"
        f"{'method':<20} {'rows':>5} {'who':<15} {'ms/sample':>10} {'theirs/ours':>11} "
        f"{'counted':>8} {'/floor':>7} {'error':>7} {'MiB':>7} runs",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        torch.save(world, folder / "world.pt")
        for method in args.methods:
            for budget in args.budgets:
                missed += _row_group(world, folder, method, budget, exact, args, argv, name)
    return missed


def _rows_per_call(name: str, args: argparse.Namespace) -> list[str]:
    return [] if args.max_rows else ["--max-rows", str(MAX_ROWS.get(name, 2048))]


def _row_group(
    world: World, folder: Path, method: str, budget: int, exact: Tensor,
    args: argparse.Namespace, argv: list[str], name: str,
) -> list[str]:  # fmt: skip
    """All contenders for one method at one budget."""
    per_row, own, missed = 0.0, 0.0, []
    for who in METHODS[method]:
        told = asked(folder, method, who, budget, [*argv, *_rows_per_call(name, args)])
        seconds = statistics.median(told["seconds"])
        own, per_row = own or seconds, per_row or statistics.median(told["floors"])
        floor = seconds / (told["rows"] * per_row)
        print(
            f"{method:<20} {budget:>5} {who:<15} {1000 * seconds:>10.2f} {seconds / own:>11.1f} "
            f"{told['rows']:>8,.0f} {floor:>7.2f} {error(told['found'], exact):>7.3f} "
            f"{told['peak']:>7.1f} {len(told['seconds'])}",
            flush=True,
        )
        target = TARGETS.get((method, who))
        if budget == args.headline and target and seconds / own < target:
            missed.append(f"{name}: {method} {seconds / own:.1f}x {who}, wanted {target}x")
        if budget >= 512 and who == "ours" and floor > FLOOR:
            missed.append(f"{name}: {method} at {budget} rows takes {floor:.2f} floors")
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few samples, one budget, rough truth")
    parser.add_argument("--worlds", nargs="+", default=["table", "digits"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--budgets", nargs="+", type=int, default=[128, 512, 2048])
    parser.add_argument("--headline", type=int, default=512, help="the budget of the targets")
    parser.add_argument("--n-samples", type=int, default=256)
    parser.add_argument("--n-slow", type=int, default=16, help="for those called one by one")
    parser.add_argument("--orders", type=int, default=20_000, help="of the truth")
    parser.add_argument("--repeats", type=int, default=5, help="2 or more")
    parser.add_argument("--patience", type=float, default=60, help="seconds for one of theirs")
    parser.add_argument("--max-rows", type=int, help="rows in one of our calls")
    parser.add_argument("--batch-size", type=int, default=256, help="samples we explain at a time")
    parser.add_argument("--same-setting", action="store_true", help="theirs in our setting, too")
    parser.add_argument("--clock", default="wall", choices=list(CLOCKS))
    parser.add_argument("--inside", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.n_samples, args.n_slow, args.orders = 64, 2, 500
        args.budgets, args.repeats, args.patience = [args.headline], 3, 3.0
    if args.inside:
        folder, method, who, budget = args.inside
        with canonical() if who == "ours" or args.same_setting else nullcontext():
            measured(Path(folder), method, who, int(budget), args)
        return
    with canonical():
        missed = [m for w in args.worlds for m in compared(w, args, sys.argv[1:])]
    print("\nevery target is met" if not missed else "\nmissed:\n  " + "\n  ".join(missed))


if __name__ == "__main__":
    main()
