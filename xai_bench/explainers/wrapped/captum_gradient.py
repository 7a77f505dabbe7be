"""Captum's explainers that go backwards through the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from xai_bench.explainers.gradient.integrated import steps
from xai_bench.explainers.stated_rows import OneBackwardPass, in_equal_shares
from xai_bench.explainers.wrapped import captum_library as captum
from xai_bench.explainers.wrapped.common import (
    Halves,
    Sample,
    SampleBySample,
    require_needs,
    rows_of_pairs,
)
from xai_bench.types import Baseline, Explanation, Inputs, Kind, Model, Rng, Rows, Unsupported

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class _InBatches(OneBackwardPass):
    """Base of methods of captum that send every sample once through the model, and back.

    Attributes:
        method: the name of the class in captum.
    """

    method: ClassVar[str]

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Captum's attribution of whole batches; raises `Unsupported` without what it needs."""
        require_needs(self, model)
        return Explanation(captum.in_batches(self.method, model, inputs, targets))


@dataclass(frozen=True)
class CaptumSaliency(_InBatches):
    """The size of the gradient, by captum. Simonyan+ 2014."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Simonyan+ 2014, arXiv:1312.6034"
    library: ClassVar[str] = "captum"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("linearity",)  # sizes do not add up

    method: ClassVar[str] = "Saliency"


@dataclass(frozen=True)
class CaptumInputXGradient(_InBatches):
    """Input times gradient, by captum. Shrikumar+ 2016."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Shrikumar+ 2016, arXiv:1605.01713"
    library: ClassVar[str] = "captum"

    method: ClassVar[str] = "InputXGradient"


@dataclass(frozen=True)
class CaptumIntegratedGradients(SampleBySample):
    """Integrated gradients, by captum. Sundararajan+ 2017.

    `budget` is in rows per sample, shared by the references: captum's `n_steps` against each.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Sundararajan+ 2017, arXiv:1703.01365"
    library: ClassVar[str] = "captum"

    baseline: Baseline
    budget: int = 50

    def attribution(self, sample: Sample) -> Tensor:
        """`[1, *S]`, the mean over references; raises `Unsupported` for too small a budget."""
        explainer = captum.method("IntegratedGradients")(sample.scalar)
        starts = sample.references(self.baseline)[:, None]
        n_steps = steps(self.budget, len(starts))
        parts = [explainer.attribute(sample.x, baselines=s, n_steps=n_steps) for s in starts]
        return torch.stack(parts).mean(0)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """As many points for every reference as the budget allows, forward and back."""
        spent = in_equal_shares(self.budget, n_references)
        return Rows(spent, spent)


@dataclass(frozen=True)
class CaptumGradientShap(SampleBySample):
    """Expected gradients over the background, by captum. Erion+ 2021."""

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Lundberg & Lee 2017; Erion+ 2021, arXiv:1906.10670"
    library: ClassVar[str] = "captum"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)  # rows in which columns differ

    # Captum's default, at which two runs differ by more than half of their size.
    budget: int = 5
    noise: float = 0.0

    def attribution(self, sample: Sample) -> Tensor:
        """`[1, *S]`, the mean over `budget` draws of a background row and a place on the line."""
        explainer = captum.method("GradientShap")(sample.scalar)
        mean: Tensor = explainer.attribute(
            sample.x, baselines=sample.background, n_samples=self.budget, stdevs=self.noise
        )
        return mean

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row per draw, forward and back."""
        return Rows(self.budget, self.budget)


@dataclass(frozen=True)
class CaptumDeepLIFT(SampleBySample):
    """DeepLIFT with the rescale rule, by captum, which does not check that it adds up.

    Shrikumar+ 2017.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Shrikumar+ 2017, arXiv:1704.02685"
    library: ClassVar[str] = "captum"

    baseline: Baseline

    def attribution(self, sample: Sample) -> Tensor:
        """`[1, *S]`, the mean over references."""
        explainer = captum.method("DeepLift")(Halves(sample.scalar))
        starts = sample.references(self.baseline)[:, None]
        return torch.stack([explainer.attribute(sample.x, baselines=s) for s in starts]).mean(0)

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """The sample beside every reference, forward and back."""
        return Rows(2 * n_references, 2 * n_references)


@dataclass(frozen=True)
class CaptumDeepLIFTShap(SampleBySample):
    """DeepLIFT against `n_samples` background rows, by captum. Lundberg & Lee 2017.

    Rows are filled up to a multiple of 16, so that captum's pairs stay together.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "one_call")
    paper: ClassVar[str] = "Lundberg & Lee 2017, arXiv:1705.07874"
    library: ClassVar[str] = "captum"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("symmetry",)  # rows in which columns differ

    n_samples: int = 32

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """The mean over rows; raises ValueError for fewer than two of them."""
        if self.n_samples < 2:
            raise ValueError(f"found n_samples {self.n_samples}; captum wants at least 2 baselines")
        return super().explain(model, inputs, targets, rng=rng)

    def attribution(self, sample: Sample) -> Tensor:
        """`[1, *S]`, the mean over background rows drawn at random."""
        explainer = captum.method("DeepLiftShap")(Halves(sample.scalar))
        mean: Tensor = explainer.attribute(sample.x, baselines=sample.drawn(self.n_samples))
        return mean

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """All pairs of the sample and a row, forward and back."""
        n_rows = rows_of_pairs(self.n_samples)
        return Rows(n_rows, n_rows)


@dataclass(frozen=True)
class CaptumGuidedBackprop(_InBatches):
    """The gradient, stopped at every ReLU where it is negative, by captum.

    Springenberg+ 2015.
    """

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Springenberg+ 2015, arXiv:1412.6806"
    library: ClassVar[str] = "captum"

    method: ClassVar[str] = "GuidedBackprop"


@dataclass(frozen=True)
class CaptumDeconvolution(_InBatches):
    """The gradient, with every ReLU applied to it in the backward pass instead, by captum.

    Zeiler & Fergus 2014.
    """

    kind: ClassVar[Kind] = "sensitivity"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module")
    paper: ClassVar[str] = "Zeiler & Fergus 2014, arXiv:1311.2901"
    library: ClassVar[str] = "captum"

    method: ClassVar[str] = "Deconvolution"


@dataclass(frozen=True)
class CaptumGuidedGradCAM:
    """Guided backpropagation times Grad-CAM of the last convolution, by captum.

    Selvaraju+ 2017.
    """

    kind: ClassVar[Kind] = "ranking"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "convolution")
    paper: ClassVar[str] = "Selvaraju+ 2017, arXiv:1610.02391"
    library: ClassVar[str] = "captum"

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` where no convolution lies over the input."""
        require_needs(self, model)
        assert model.module is not None
        layers = [layer for layer in model.module.modules() if isinstance(layer, CONVOLUTIONS)]
        if not layers or inputs.x.dim() < 3:
            raise Unsupported("Grad-CAM needs a convolution of an input that has axes in space")
        return Explanation(captum.guided_gradcam(model, inputs, targets, layers[-1]))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row forward and back for each of the two."""
        return Rows(2, 2)


@dataclass(frozen=True)
class CaptumLRP:
    """Layer-wise relevance propagation with captum's rules: epsilon for every layer it knows.

    Bach+ 2015.
    """

    kind: ClassVar[Kind] = "contribution"
    category: ClassVar[str] = "backprop"
    needs: ClassVar[tuple[str, ...]] = ("gradient", "module", "captum_lrp")
    paper: ClassVar[str] = "Bach+ 2015, doi:10.1371/journal.pone.0130140"
    library: ClassVar[str] = "captum"
    # A sum of networks is another network.
    breaks_axioms: ClassVar[tuple[str, ...]] = ("linearity",)

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported` where captum has no rule for a layer."""
        require_needs(self, model)
        return Explanation(captum.lrp(model, inputs, targets))

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """A pass to record what the layers are given, and one to propagate."""
        return Rows(2, 1)


@dataclass(frozen=True)
class CaptumNoiseTunnel(SampleBySample):
    """Saliency averaged over copies with noise, by captum. Smilkov+ 2017."""

    kind: ClassVar[Kind] = "relevance"
    category: ClassVar[str] = "gradient"
    needs: ClassVar[tuple[str, ...]] = ("gradient",)
    paper: ClassVar[str] = "Smilkov+ 2017, arXiv:1706.03825"
    library: ClassVar[str] = "captum"
    breaks_axioms: ClassVar[tuple[str, ...]] = ("linearity",)  # sizes do not add up

    budget: int = 5
    # Captum's defaults: five copies, with noise as wide as unit-scaled data.
    noise: float = 1.0

    def attribution(self, sample: Sample) -> Tensor:
        """`[1, *S]`, the mean over `budget` copies."""
        explainer = captum.method("NoiseTunnel")(captum.method("Saliency")(sample.scalar))
        mean: Tensor = explainer.attribute(sample.x, nt_samples=self.budget, stdevs=self.noise)
        return mean

    def rows(self, n_units: int, n_references: int = 1) -> Rows | None:
        """One row per copy, forward and back."""
        return Rows(self.budget, self.budget)
