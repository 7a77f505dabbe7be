"""Captum's explainers that go backwards through the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xai_bench.explainers.wrapped import captum_library as captum
from xai_bench.explainers.wrapped.common import Halves, Sample, filled, one_by_one
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported

LIBRARY = "captum"

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def require_gradient(model: Model) -> None:
    if not model.differentiable:
        raise Unsupported("gradients need a differentiable model, and this one is not")


def require_module(model: Model) -> nn.Module:
    require_gradient(model)
    if model.module is None:
        raise Unsupported("captum hooks the layers of a torch module, and this model has none")
    return model.module


@dataclass(frozen=True)
class CaptumSaliency:
    """The size of the gradient, by captum. Simonyan+ 2014."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Simonyan+ 2014, arXiv:1312.6034"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        require_gradient(model)
        return Explanation(captum.at_once("Saliency", model, inputs, targets))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class CaptumInputXGradient:
    """Input times gradient, by captum. Shrikumar+ 2016."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Shrikumar+ 2016, arXiv:1605.01713"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        require_gradient(model)
        return Explanation(captum.at_once("InputXGradient", model, inputs, targets))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class CaptumIntegratedGradients:
    """Integrated gradients, by captum. Sundararajan+ 2017.

    `budget` is in rows per sample, shared by the references: captum's `n_steps` against each.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Sundararajan+ 2017, arXiv:1703.01365"

    baseline: Baseline
    budget: int = 50

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        require_gradient(model)
        return Explanation(one_by_one(self._ask, model, inputs, targets, rng=rng))

    def _ask(self, sample: Sample) -> Tensor:
        made = captum.method("IntegratedGradients")(sample.scalar)
        starts = sample.references(self.baseline)[:, None]
        n_steps = self.budget // len(starts)
        if n_steps < 1:
            raise Unsupported(
                f"a budget of {self.budget} rows is too small for {len(starts)} references; "
                f"give at least {len(starts)}"
            )
        found = [made.attribute(sample.x, baselines=s, n_steps=n_steps) for s in starts]
        return torch.stack(found).mean(0)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        spent = self.budget // n_references * n_references
        return Rows(spent, spent)


@dataclass(frozen=True)
class CaptumGradientShap:
    """Expected gradients over the background, by captum. Erion+ 2021."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Lundberg & Lee 2017; Erion+ 2021, arXiv:1906.10670"

    budget: int = 5
    noise: float = 0.0

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        require_gradient(model)
        return Explanation(one_by_one(self._ask, model, inputs, targets, rng=rng))

    def _ask(self, sample: Sample) -> Tensor:
        made = captum.method("GradientShap")(sample.scalar)
        found: Tensor = made.attribute(
            sample.x, baselines=sample.background, n_samples=self.budget, stdevs=self.noise
        )
        return found

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(self.budget, self.budget)


@dataclass(frozen=True)
class CaptumDeepLIFT:
    """DeepLIFT with the rescale rule, by captum, which does not check that it adds up.

    Shrikumar+ 2017.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Shrikumar+ 2017, arXiv:1704.02685"

    baseline: Baseline

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        require_module(model)
        return Explanation(one_by_one(self._ask, model, inputs, targets, rng=rng))

    def _ask(self, sample: Sample) -> Tensor:
        made = captum.method("DeepLift")(Halves(sample.scalar))
        starts = sample.references(self.baseline)[:, None]
        return torch.stack([made.attribute(sample.x, baselines=s) for s in starts]).mean(0)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(2 * n_references, 2 * n_references)


@dataclass(frozen=True)
class CaptumDeepLIFTShap:
    """DeepLIFT against `n_samples` background rows, by captum. Lundberg & Lee 2017.

    Rows are filled up to a multiple of 16, so that captum's pairs stay together.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Lundberg & Lee 2017, arXiv:1705.07874"

    n_samples: int = 32

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        require_module(model)
        if self.n_samples < 2:
            raise ValueError(f"found n_samples {self.n_samples}; captum wants at least 2 baselines")
        return Explanation(one_by_one(self._ask, model, inputs, targets, rng=rng))

    def _ask(self, sample: Sample) -> Tensor:
        made = captum.method("DeepLiftShap")(Halves(sample.scalar))
        found: Tensor = made.attribute(sample.x, baselines=sample.drawn(self.n_samples))
        return found

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(filled(self.n_samples), filled(self.n_samples))


@dataclass(frozen=True)
class CaptumGuidedBackprop:
    """The gradient, stopped at every ReLU where it is negative, by captum.

    Springenberg+ 2015.
    """

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Springenberg+ 2015, arXiv:1412.6806"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        require_module(model)
        return Explanation(captum.at_once("GuidedBackprop", model, inputs, targets))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class CaptumDeconvolution:
    """The gradient with every ReLU applied on the way back instead, by captum.

    Zeiler & Fergus 2014.
    """

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Zeiler & Fergus 2014, arXiv:1311.2901"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        require_module(model)
        return Explanation(captum.at_once("Deconvolution", model, inputs, targets))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(1, 1)


@dataclass(frozen=True)
class CaptumGuidedGradCAM:
    """Guided backpropagation times Grad-CAM of the last convolution, by captum.

    Selvaraju+ 2017.
    """

    kind: ClassVar[Kind] = "ranking"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Selvaraju+ 2017, arXiv:1610.02391"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        layers = [m for m in require_module(model).modules() if isinstance(m, CONVOLUTIONS)]
        if not layers or inputs.x.dim() < 3:
            raise Unsupported("Grad-CAM needs a convolution of an input that has axes in space")
        return Explanation(captum.guided_gradcam(model, inputs, targets, layers[-1]))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(2, 2)


@dataclass(frozen=True)
class CaptumLRP:
    """Layer-wise relevance propagation with captum's rules: epsilon for every layer it knows.

    Bach+ 2015.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Bach+ 2015, doi:10.1371/journal.pone.0130140"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        require_module(model)
        return Explanation(captum.lrp(model, inputs, targets))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(2, 1)


@dataclass(frozen=True)
class CaptumNoiseTunnel:
    """Saliency averaged over copies with noise, by captum. Smilkov+ 2017."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Smilkov+ 2017, arXiv:1706.03825"

    budget: int = 5
    noise: float = 1.0

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        require_gradient(model)
        return Explanation(one_by_one(self._ask, model, inputs, targets, rng=rng))

    def _ask(self, sample: Sample) -> Tensor:
        made = captum.method("NoiseTunnel")(captum.method("Saliency")(sample.scalar))
        found: Tensor = made.attribute(sample.x, nt_samples=self.budget, stdevs=self.noise)
        return found

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        return Rows(self.budget, self.budget)
