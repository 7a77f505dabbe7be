"""What an explainer promises, tried on five kinds of input: one keeps it, one does not."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from xai_bench.certify.explainer import contract
from xai_bench.core.system.determinism import canonical
from xai_bench.explainers.gradient.engine import gradient
from xai_bench.types import Explanation, Inputs, Kind, Model, Rng


@dataclass(frozen=True)
class NoisyGradient:
    """The mean gradient at noisy copies of x; the noise of each sample is its own."""

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)

    n_draws: int = 4

    def explain(self, model: Model, inputs: Inputs, targets, *, rng: Rng) -> Explanation:
        total = torch.zeros_like(inputs.x)
        for draw in range(self.n_draws):
            noise = rng.child("noise", draw).normal(*inputs.x.shape[1:]).to(inputs.x)
            total += gradient(model, inputs.with_x(inputs.x + 0.1 * noise), targets)
        return Explanation(torch.where(inputs.units < 0, 0, total / self.n_draws))


@dataclass(frozen=True)
class Careless(NoisyGradient):
    """The same with the global generator of torch, as it is often written."""

    def explain(self, model: Model, inputs: Inputs, targets, *, rng: Rng) -> Explanation:
        noisy = inputs.with_x(inputs.x + 0.1 * torch.randn_like(inputs.x))
        return Explanation(gradient(model, noisy, targets))


lines = []
for explainer in (NoisyGradient(), Careless()):
    name = type(explainer).__name__
    with canonical():  # one thread, deterministic algorithms, as in every run
        results = contract(name, explainer)
    lines += [name, *(f"  {result.title:<30}{result.shown}" for result in results)]
    lines += [f"  {result.fault}" for result in results if result.fault]
print(*lines, sep="\n")

path = Path("results", "certificates.txt")
path.parent.mkdir(exist_ok=True)
path.write_text("\n".join(lines) + "\n", encoding="utf-8")
print(f"\nthis is in {path}; for an explainer with a YAML: xai-bench check explainer=NAME")
