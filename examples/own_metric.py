"""A metric of your own beside ours, without a YAML; docs/how-to/metric.md says the rest."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

import xai_bench
from xai_bench.metrics.common import pooled
from xai_bench.types import Case


@dataclass(frozen=True)
class TopShare:
    """Share of the absolute attribution that the `k` largest units hold; NaN for a map of zeros."""

    category: ClassVar[str] = "complexity"
    higher_is_better: ClassVar[bool] = True

    k: int = 2

    def score(self, case: Case) -> Tensor:
        size = pooled(case).abs()
        return size.topk(self.k).values.sum(1) / size.sum(1)


# A model of which everything is known: contributions at ones are the weights themselves.
model = nn.Linear(4, 1, bias=False)
with torch.no_grad():
    model.weight.copy_(torch.tensor([[4.0, -3.0, 2.0, 1.0]]))
bench = xai_bench.workbench(model, torch.ones(8, 4), background=torch.zeros(16, 4))

score = bench.judge("integrated_gradients", [TopShare()])["TopShare"]
print(f"integrated gradients: {score[0]:.3f}, by hand (4 + 3) / (4 + 3 + 2 + 1) = 0.700\n")

table = bench.compare(
    ["integrated_gradients", "saliency", "random"], [TopShare(), "entropy", "abpc"]
)
path = Path("results", "own_metric.csv")
path.parent.mkdir(exist_ok=True)
table.to_csv(path)
print(f"{table.round(3).to_string()}\n\nthe table is in {path}")
