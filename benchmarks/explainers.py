"""How fast and how frugal are the explainers? Against captum, and against the floor.

    python benchmarks/explainers.py             # every row
    python benchmarks/explainers.py --quick     # one repetition of the rows that say most
    python benchmarks/explainers.py --truth     # which KernelSHAP map is nearer the truth

Ours are called as a user of Python calls them, `workbench(module, x, background=...)` without a
setting. The floor is the time of the rows that a method needs through the bare module, at its best
batch size of at most so many rows, measured before and after every repetition. Every contender runs
in a process of its own, on one thread; times are CPU seconds of the process, medians. Memory is the
highest resident memory above that of the process with its model and samples.

`benchmarks/sampling.py` compares with shap and lime on small models.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from worlds import WORLDS, World, world

from xai_bench.core.system import memory

ROOT = Path(__file__).parents[1]


class Row(NamedTuple):
    """A method, its settings, the number of samples, and the rows it needs for one of them."""

    world: str
    method: str
    n: int
    forward: int
    backward: int = 0
    options: dict[str, Any] = {}  # noqa: RUF012
    quick: bool = False


ROWS = (
    Row("table", "saliency", 64, 0, 1),
    Row("table", "integrated_gradients", 64, 0, 32, {"budget": 32}, True),
    Row("table", "kernel_shap", 64, 512, 0, {"budget": 512}, True),
    Row("table", "lime", 64, 512, 0, {"budget": 512}),
    Row("table", "permutation_shapley", 64, 466, 0, {"budget": 512}),
    Row("digits", "integrated_gradients", 64, 0, 32, {"budget": 32}),
    Row("digits", "kernel_shap", 64, 512, 0, {"budget": 512}, True),
    Row("digits", "grad_cam", 1, 0, 1),
    Row("digits", "grad_cam", 64, 0, 1),
    Row("pixels", "kernel_shap", 1, 4096, 0, {"budget": 4096}, True),
    Row("pixels", "lime", 1, 4096, 0, {"budget": 4096}),
    Row("pixels", "permutation_shapley", 1, 4094, 0, {"budget": 4096}),
    Row("efficientnet", "saliency", 1, 0, 1),
    Row("efficientnet", "saliency", 8, 0, 1),
    Row("efficientnet", "integrated_gradients", 1, 0, 32, {"budget": 32}),
    Row("efficientnet", "integrated_gradients", 8, 0, 32, {"budget": 32}, True),
    Row("efficientnet", "grad_cam", 1, 0, 1, {}, True),
    Row("efficientnet", "grad_cam", 8, 0, 1, {}, True),
    Row("efficientnet", "layer_cam", 1, 0, 1),
    Row("efficientnet", "kernel_shap", 1, 512, 0, {"budget": 512}, True),
    Row("efficientnet", "lime", 1, 512, 0, {"budget": 512}),
    Row("efficientnet", "permutation_shapley", 1, 392, 0, {"budget": 512}),
    Row("efficientnet", "occlusion_patches", 1, 197, 0, {"patch": 16, "stride": 16}, True),
    Row("efficientnet", "leave_one_out", 1, 197),
    Row("minilm", "saliency", 1, 0, 1),
    Row("minilm", "saliency", 8, 0, 1),
    Row("minilm", "integrated_gradients", 1, 0, 32, {"budget": 32}),
    Row("minilm", "integrated_gradients", 8, 0, 32, {"budget": 32}, True),
    Row("minilm", "kernel_shap", 1, 512, 0, {"budget": 512}, True),
    Row("minilm", "kernel_shap", 8, 512, 0, {"budget": 512}),
    Row("minilm", "leave_one_out", 8, 33),
)
TARGETS = {"grad_cam": 1.15, "layer_cam": 1.15}
TARGET = {"table": 1.5, "pixels": 2.0}
"""Floors at most, by method, else by world; 1.1 elsewhere."""

Explain = Callable[[], Tensor]


def ours(at: World, row: Row) -> Explain:
    from xai_bench import workbench

    bench = workbench(at.module, at.x[: row.n], background=at.background, units=at.units)
    return lambda: bench.explain(row.method, row.options).attribution


def captum(at: World, row: Row) -> Explain | None:
    """At a number of rows in one call that suits the network; None where it has no such method."""
    import captum.attr as methods

    x, targets, mean = at.x[: row.n], at.targets[: row.n], at.background.mean(0, keepdim=True)
    layer = next((m for m in reversed([*at.module.modules()]) if isinstance(m, CONVOLUTION)), None)
    given = {"target": targets}
    one_by_one = {"feature_mask": at.units[None], "perturbations_per_eval": at.batches[-1]}
    n = row.options.get("budget", 0)
    calls: dict[str, Explain] = {
        "saliency": lambda: methods.Saliency(at.module).attribute(x.clone(), **given),
        "integrated_gradients": lambda: methods.IntegratedGradients(at.module).attribute(
            x, mean.expand_as(x), n_steps=n, internal_batch_size=max(at.batches[-1], row.n), **given
        ),
        "grad_cam": lambda: methods.LayerAttribution.interpolate(
            methods.LayerGradCam(at.module, layer).attribute(x, **given), x.shape[2:], "bilinear"
        ),
        "occlusion_patches": lambda: methods.Occlusion(at.module).attribute(
            x, (x.shape[1], 16, 16), (x.shape[1], 16, 16), mean, perturbations_per_eval=8, **given
        ),
        "leave_one_out": lambda: methods.FeatureAblation(at.module).attribute(
            x, mean, feature_mask=at.units[None], perturbations_per_eval=8, **given
        ),
        "kernel_shap": lambda: _each(methods.KernelShap(at.module), at, row, one_by_one),
        "lime": lambda: _each(methods.Lime(at.module), at, row, one_by_one),
        "permutation_shapley": lambda: methods.ShapleyValueSampling(at.module).attribute(
            x, mean.expand_as(x).contiguous(), feature_mask=at.units[None].contiguous(),
            n_samples=max(n // at.n_units, 1), perturbations_per_eval=8, **given
        ),
    }  # fmt: skip
    return calls.get(row.method)


CONVOLUTION = torch.nn.modules.conv._ConvNd


def _each(method: Any, at: World, row: Row, settings: dict[str, Any]) -> Tensor:
    """Captum's samplers explain one sample at a time."""
    mean = at.background.mean(0, keepdim=True)
    maps = [
        method.attribute(
            at.x[k : k + 1], mean, target=int(at.targets[k]),
            n_samples=row.options["budget"], **settings,
        )
        for k in range(row.n)
    ]  # fmt: skip
    return torch.cat(maps)


CONTENDERS = {"ours": ours, "captum": captum}


def seconds_per_row(at: World, most: int, *, backward: bool) -> float:
    """CPU seconds of the bare module, at its best batch size of at most `most` rows."""
    sizes = [size for size in at.batches if size <= most] or [most]
    return min(_call_seconds(at, size, backward) / size for size in sizes)


def _call_seconds(at: World, size: int, backward: bool) -> float:
    rows = at.x[torch.arange(size) % len(at.x)].clone()
    times = []
    while len(times) < 3 or (sum(times) < 0.2 and len(times) < 50):
        start = time.process_time()
        x = rows.clone().requires_grad_(backward)
        with torch.set_grad_enabled(backward):
            out = at.module(x)
        if backward:
            torch.autograd.grad(out[:, 0].sum(), x)
        times.append(time.process_time() - start)
    return statistics.median(times)


def measured(row: Row, who: str, repeats: int) -> dict[str, Any]:
    """Seconds, floors and peak memory of one contender, in this process."""
    at = world(row.world, max(row.n, 4))
    explain = CONTENDERS[who](at, row)
    if explain is None:
        return {}
    first = CONTENDERS[who](at, row._replace(method="saliency", n=1, options={}))
    assert first is not None
    first()  # which imports what is needed
    floors, seconds = [_floor(at, row)], []
    memory.give_back()  # what earlier calls left at hand
    Path("/proc/self/clear_refs").write_text("5")
    before, once = _resident("VmRSS"), _seconds(explain)
    peak = _resident("VmHWM") - before
    # The first call asks the system for memory anew, which takes as long again as a short call.
    if once > _LONG:
        seconds.append(once)
        floors.append(_floor(at, row))
    for _ in range(repeats - len(seconds)):
        seconds.append(_seconds(explain))
        floors.append(_floor(at, row))
    return {"seconds": seconds, "floors": floors, "peak": peak}


_LONG = 5.0
"""Seconds from which on the first call counts as a repetition."""


def _seconds(explain: Explain) -> float:
    start = time.process_time()
    explain()
    return time.process_time() - start


def _floor(at: World, row: Row) -> float:
    found = 0.0
    for rows, backward in ((row.forward, False), (row.backward, True)):
        if rows:
            n = rows * row.n
            found += n * seconds_per_row(at, n, backward=backward)
    return found


def _resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) * 1024


def asked(number: int, who: str, repeats: int) -> dict[str, Any] | str:
    """The same in a process of its own; a sentence where it fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--inside", str(number), who, "--repeats", str(repeats)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:100]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(args: argparse.Namespace) -> Iterator[str]:
    """Prints every row; yields what was missed."""
    print(
        f"{'world':<13} {'method':<21} {'n':>3} {'floor s':>8} {'ours':>6} {'captum':>7} "
        f"{'target':>6} {'MiB':>6} {'theirs':>7}"
    )
    for number, row in enumerate(ROWS):
        if row.world not in args.worlds or (args.quick and not row.quick):
            continue
        if args.methods and row.method not in args.methods:
            continue
        found = {who: asked(number, who, args.repeats) for who in ("ours", "captum")}
        yield from _shown(row, found)


def _shown(row: Row, found: dict[str, Any]) -> list[str]:
    mine, theirs = found["ours"], found["captum"]
    if isinstance(mine, str):
        print(f"{row.world:<13} {row.method:<21} {row.n:>3} failed: {mine}", flush=True)
        return [f"{row.world} {row.method}: {mine}"]
    ratios = {who: _ratio(each) for who, each in found.items()}
    target = TARGETS.get(row.method, TARGET.get(row.world, 1.1))
    peaks = [_mib(mine), _mib(theirs)]
    print(
        f"{row.world:<13} {row.method:<21} {row.n:>3} {statistics.median(mine['floors']):>8.3f} "
        f"{ratios['ours']:>6} {ratios['captum']:>7} {target:>6.2f} {peaks[0]:>6} {peaks[1]:>7}",
        flush=True,
    )
    missed = float(ratios["ours"]) > target
    return [f"{row.world} {row.method} n={row.n}: {ratios['ours']} floors"] if missed else []


def _ratio(found: Any) -> str:
    """Each repetition over the floor around it; the median."""
    if not isinstance(found, dict) or not found:
        return "-" if found == {} else "failed"
    around = zip(found["floors"], found["floors"][1:], strict=False)
    pairs = zip(found["seconds"], around, strict=True)
    return f"{statistics.median(s / statistics.mean(floor) for s, floor in pairs):.2f}"


def _mib(found: Any) -> str:
    return f"{found['peak'] / 2**20:.0f}" if isinstance(found, dict) and found else "-"


def truth(args: argparse.Namespace) -> None:
    """Ours and captum's KernelSHAP at 512 rows for 196 units, against a long run of ours."""
    from xai_bench import workbench
    from xai_bench.core.baselines import Mean
    from xai_bench.core.seeds import Seeds
    from xai_bench.core.units import pool
    from xai_bench.explainers.removal.shapley import KernelSHAP, PermutationShapley

    at = world("efficientnet", 1)
    bench = workbench(at.module, at.x[:1], background=at.background, units=at.units)
    model, inputs, targets = bench.context.model, bench.context.inputs, bench.context.targets

    def explained(method: Any, seed: int) -> Any:
        rng = Seeds(seed).stream("explain", samples=inputs.index)
        return method.explain(model, inputs, targets, rng=rng)

    def by_unit(values: Tensor) -> Tensor:
        return pool(values.double(), inputs.units)[0]

    exact = explained(PermutationShapley(Mean(), args.rows), 99)
    best, error = by_unit(exact.attribution), by_unit(exact.standard_error)
    noise = float(error.square().sum().sqrt() / best.norm())
    print(f"truth: {args.rows} rows of permutation sampling, relative standard error {noise:.2f}")
    print(f"{'who':<8} {'seed':>4} {'cosine':>7} {'relative error':>15} {'stated error':>13}")
    first = (at.units[None] == torch.arange(at.n_units)[:, None, None, None]).flatten(1)
    place = first.int().argmax(1)
    for seed in range(args.repeats):
        mine = explained(KernelSHAP(Mean(), 512), seed)
        torch.manual_seed(seed)
        row = Row("efficientnet", "kernel_shap", 1, 512, options={"budget": 512})
        call = captum(at, row)
        assert call is not None
        theirs = call().flatten(1)[0, place].double()
        stated = float(by_unit(mine.standard_error).square().sum().sqrt() / best.norm())
        for who, found, own in (("ours", by_unit(mine.attribution), stated), ("captum", theirs, 0)):
            cosine = float(torch.nn.functional.cosine_similarity(found, best, dim=0))
            gap = float((found - best).norm() / best.norm())
            said = f"{own:.2f}" if own else "none"
            print(f"{who:<8} {seed:>4} {cosine:>7.2f} {gap:>15.2f} {said:>13}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the rows that say most, once each")
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--truth", action="store_true", help="which KernelSHAP map is nearer")
    parser.add_argument("--rows", type=int, default=20_000, help="of the truth")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.inside:
        found = measured(ROWS[int(args.inside[0])], args.inside[1], args.repeats)
        print(json.dumps(found))
        return
    if args.truth:
        truth(args)
        return
    args.repeats = 1 if args.quick else args.repeats
    missed = list(table(args))
    print("\nevery target is met" if not missed else "\nmissed:\n  " + "\n  ".join(missed))


if __name__ == "__main__":
    main()
