"""What do metrics cost beside the rows they need, on a network of real size?

    python benchmarks/metric_suite.py             # one image, and ten metrics on eight
    python benchmarks/metric_suite.py --quick     # one image, and ten metrics on two

EfficientNet-Lite0 on 224 x 224 pixels in 196 patches, by `workbench(...).judge` without a setting,
CPU seconds of the process on one thread. Needed are the different rows that go through the module,
each at the time of the bare module at its best batch size: forward, or forward and back where the
explanations need it. `benchmarks/metrics.py` compares with Quantus on small models.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from explainers import seconds_per_row
from torch import Tensor, nn
from worlds import World, world

SUITE = (
    "abpc", "deletion", "insertion", "faithfulness_correlation", "infidelity", "max_sensitivity",
    "average_sensitivity", "completeness_gap", "gini", "entropy",
)  # fmt: skip
CASES = (("max_sensitivity",), ("deletion",), ("faithfulness_correlation",))


class Rows:
    """Counts what goes through a module, and what of it is new."""

    def __init__(self) -> None:
        self.all, self.forward, self.backward = 0, set[int](), set[int]()

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        x = args[0]
        self.all += len(x)
        rows = {hash(row.numpy().tobytes()) for row in x.detach()}
        if x.requires_grad:
            self.backward |= rows
        else:
            self.forward |= rows


def judged(at: World, metrics: tuple[str, ...], n: int) -> tuple[float, Rows]:
    """CPU seconds of scoring saliency, and the rows, which a second call counts."""
    from xai_bench import workbench

    def bench() -> Any:
        return workbench(at.module, at.x[:n], background=at.background, units=at.units)

    first, second = bench(), bench()
    first.judge("saliency", "gini")  # which imports what is needed
    start = time.process_time()
    first.judge("saliency", list(metrics))
    seconds, rows = time.process_time() - start, Rows()
    with at.module.register_forward_pre_hook(rows):
        second.judge("saliency", list(metrics))
    return seconds, rows


def shown(at: World, metrics: tuple[str, ...], n: int) -> None:
    floors = [seconds_per_row(at, 16, backward=backward) for backward in (False, True)]
    seconds, rows = judged(at, metrics, n)
    needed = len(rows.forward - rows.backward) * floors[0] + len(rows.backward) * floors[1]
    name = metrics[0] if len(metrics) == 1 else f"{len(metrics)} metrics"
    print(
        f"{name:<26} {n:>3} {seconds:>8.2f} s {rows.all:>7} rows, "
        f"{len(rows.forward):>6} + {len(rows.backward)} different {seconds / needed:>6.2f} floors",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the suite on two images")
    args = parser.parse_args()
    torch.set_num_threads(1)
    at = world("efficientnet", 8)
    for metrics in CASES:
        shown(at, metrics, 1)
    shown(at, SUITE, 2 if args.quick else 8)


if __name__ == "__main__":
    main()
