"""How much memory do explainers and metrics take? On tables of many columns and large images.

    python benchmarks/memory.py             # every row
    python benchmarks/memory.py --quick     # 10,000 columns and an image

Each row runs in a process of its own, by `workbench` without a setting. What is shown is the
highest resident memory above that of the process with its model and samples, beside the bound: a
quarter of what is free, at most 2 GiB. `refused` is a method that says it does not fit, before it
computes anything.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

ROOT = Path(__file__).parents[1]


class Row(NamedTuple):
    """A shape of x, the number of samples, an explainer and a metric, or none."""

    shape: tuple[int, ...]
    n: int
    explainer: str
    metric: str = ""
    options: dict[str, Any] = {}  # noqa: RUF012
    quick: bool = False


ROWS = (
    Row((2_500,), 4, "leave_one_out"),
    Row((10_000,), 4, "leave_one_out", quick=True),
    Row((100_000,), 1, "leave_one_out"),
    Row((10_000,), 4, "occlusion"),
    Row((1_000,), 4, "kernel_shap", options={"budget": 4_000}),
    Row((10_000,), 1, "kernel_shap", options={"budget": 20_000}, quick=True),
    Row((2_000,), 1, "permutation_shapley", options={"budget": 8_000}),
    Row((10_000,), 16, "rise_units", options={"budget": 1_000}),
    Row((10_000,), 16, "integrated_gradients"),
    Row((100_000,), 16, "integrated_gradients"),
    Row((10_000,), 4, "growing_spheres"),
    Row((10_000,), 4, "wachter"),
    Row((10_000,), 64, "input_x_gradient", "abpc", quick=True),
    Row((100_000,), 64, "input_x_gradient", "abpc"),
    Row((10_000,), 64, "input_x_gradient", "faithfulness_correlation"),
    Row((100_000,), 16, "input_x_gradient", "faithfulness_correlation"),
    Row((1, 28, 28), 2_000, "input_x_gradient", "abpc"),
    Row((1, 28, 28), 64, "input_x_gradient", "faithfulness_estimate"),
    Row((3, 224, 224), 64, "integrated_gradients", quick=True),
    Row((3, 224, 224), 4, "kernel_shap"),
    Row((3, 224, 224), 4, "leave_one_out"),
    Row((3, 224, 224), 1, "occlusion_patches", options={"patch": 16, "stride": 16}),
    Row((3, 224, 224), 64, "input_x_gradient", "abpc"),
    Row((3, 224, 224), 64, "input_x_gradient", "max_sensitivity"),
)


def workbench_of(row: Row) -> Any:
    """A small network on random numbers; units of an image of 224 pixels are patches of 16."""
    from xai_bench import workbench

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(row.n + 16, *row.shape, generator=generator)
    torch.manual_seed(0)
    module: nn.Module
    units: Tensor | None = None
    if len(row.shape) == 1:
        module = nn.Sequential(nn.Linear(row.shape[0], 32), nn.ReLU(), nn.Linear(32, 2))
    else:
        module = nn.Sequential(
            nn.Conv2d(row.shape[0], 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2),
            nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 10),
        )  # fmt: skip
    if row.shape[-1] == 224:
        cell = torch.arange(224) // 16
        units = (14 * cell[:, None] + cell).expand(row.shape)
    return workbench(module.eval(), x[: row.n], background=x[row.n :], units=units)


def measured(row: Row) -> dict[str, Any]:
    """Peak memory in bytes, seconds, and why nothing came of it."""
    from xai_bench.core.calls.row_memory import default_memory
    from xai_bench.types import Unsupported

    bench, reason = workbench_of(row), ""
    Path("/proc/self/clear_refs").write_text("5")
    before, start = _resident("VmRSS"), time.perf_counter()
    try:
        if row.metric:
            attribution = bench.explain(row.explainer, row.options)
            if row.metric == "max_sensitivity":
                bench.judge(row.explainer, row.metric)
            else:
                bench.score(attribution, row.metric)
        else:
            bench.explain(row.explainer, row.options)
    except Unsupported as error:
        reason = str(error)
    peak = _resident("VmHWM") - before
    return {
        "peak": peak,
        "bound": default_memory(),
        "seconds": time.perf_counter() - start,
        "reason": reason,
    }


def _resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) * 1024


def asked(number: int) -> dict[str, Any]:
    """The same in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, __file__, "--inside", str(number)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        return {"reason": done.stderr.strip().splitlines()[-1], "peak": float("nan"), "bound": 0.0}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="10,000 columns and an image")
    parser.add_argument("--inside", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.inside is not None:
        print(json.dumps(measured(ROWS[args.inside])))
        return
    print(f"{'x':<18} {'n':>5} {'what':<46} {'MiB':>7} {'bound':>6} {'s':>6}")
    above = 0
    for number, row in enumerate(ROWS):
        if args.quick and not row.quick:
            continue
        found = asked(number)
        what = " ".join(filter(None, [row.explainer, row.metric, *map(str, row.options.values())]))
        shape = " x ".join(map(str, row.shape))
        note = f"  refused: {found['reason'][:60]}" if found["reason"] else ""
        print(
            f"{shape:<18} {row.n:>5} {what:<46} {found['peak'] / 2**20:>7.0f} "
            f"{found['bound'] / 2**20:>6.0f} {found.get('seconds', 0):>6.1f}{note}",
            flush=True,
        )
        above += not found["peak"] <= found["bound"]
    print("every row is within its bound" if not above else f"{above} rows are above their bound")
    sys.exit(bool(above))


if __name__ == "__main__":
    main()
