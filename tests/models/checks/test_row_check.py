"""Models that cannot be explained sample by sample are found out before anything is explained."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import xai_bench

X, BACKGROUND = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.eye(4)


class Code(nn.Module):
    """A linear layer, some code, and another linear layer."""

    def __init__(self, code: Callable[[Tensor], Any], last: nn.Module | None = None) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), last or nn.Linear(6, 3)
        self.code = code

    def forward(self, x: Tensor) -> Any:
        return self.last(self.code(self.first(x)))


class AlwaysTraining(nn.Dropout):
    """Dropout that does not go away, as for Monte Carlo estimates."""

    def train(self, mode: bool = True) -> AlwaysTraining:
        return super().train(True)


class Attention(nn.Module):
    """Attention whose first axis should have been that of the samples."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x[:, None].repeat(1, 2, 1)
        return self.head(self.attention(tokens, tokens, tokens)[0].mean(1))


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False)),
         "depends on the other samples.*layer '1', BatchNorm1d"),
        (Attention(), "depends on the other samples.*layer 'attention', MultiheadAttention"),
        (Code(lambda h: h - h.mean(0)), "depends on the other samples.*code before layer 'last'"),
        (Code(lambda h: h.cumsum(0)), "depends on the other samples.*code before layer 'last'"),
        (lambda z: z.softmax(0), "depends on the other samples"),
        (Code(functional.dropout), "when asked the same twice.*code before layer 'last'"),
        (nn.Sequential(AlwaysTraining(), nn.Linear(4, 2)), "same twice.*layer '0', AlwaysTrain"),
        (lambda z: z + 0.01 * torch.randn_like(z), "differently when asked the same twice"),
        (lambda z: (z + 0.1 * torch.randn_like(z)).bfloat16(), "when asked the same twice"),
        (lambda z: (z, z), "gives a tuple of 2; expected a tensor"),
        (lambda z: {"logits": z}, "gives a dict with 'logits'; expected a tensor"),
        (lambda z: None, "gives a NoneType; expected a tensor"),
        (lambda z: z[:, :, None], r"shape \[16, 4, 1\]; expected \[N, C\]"),
        (lambda z: z.sum(), r"shape \[\]; expected"),
        (lambda z: z.sum(0), r"shape \[4, 1\] for 16 samples"),
        (lambda z: z.argmax(1), "gives torch.int64; expected real numbers"),
        (nn.Linear(3, 2), r"cannot take x of shape \[16, 4\] in torch.float32: mat1"),
        (nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 2).double()), "its weights are|cannot take x"),
        (lambda z: z.nothing_of_this_name, "cannot take x"),
        ("a path", "the model is a str; expected a torch module"),
    ],
)  # fmt: skip
def test_a_model_without_independent_rows_is_refused_in_one_sentence(
    model: Any, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        xai_bench.workbench(model, X, background=BACKGROUND)


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 3)).train(),
        Code(functional.relu),
        torch.jit.script(nn.Sequential(nn.Linear(4, 5), nn.Dropout(), nn.ReLU(), nn.Linear(5, 3))),
        nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)),
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double().float(),
        lambda z: SimpleNamespace(logits=z),
        lambda z: z.sum(1),
        lambda z: z.mul_(2) + 1,
    ],
)
def test_a_model_with_independent_rows_is_accepted(model: Any) -> None:
    bench = xai_bench.workbench(model, X.clone(), background=BACKGROUND)
    assert torch.equal(bench.context.inputs.x, X)
    assert bench.explain("gradient").attribution.isfinite().all()


def test_a_forward_that_writes_into_its_argument_changes_no_number() -> None:
    def writing(z: Tensor) -> Tensor:
        return z.mul_(2).relu_().sum(1, keepdim=True) * torch.tensor([1.0, -1.0])

    def reading(z: Tensor) -> Tensor:
        return (z * 2).relu().sum(1, keepdim=True) * torch.tensor([1.0, -1.0])

    x, background = X.repeat(4, 1)[:16].clone(), BACKGROUND.clone()
    benches = [xai_bench.workbench(model, x, background=background) for model in (writing, reading)]
    tables = [bench.compare(["gradient", "kernel_shap"], ["abpc", "gini"]) for bench in benches]
    assert tables[0].equals(tables[1])
    assert torch.equal(x, X.repeat(4, 1)[:16])
    assert torch.equal(background, BACKGROUND)


def test_a_single_sample_is_tried_in_the_company_of_the_background() -> None:
    with pytest.raises(ValueError, match="depends on the other samples"):
        xai_bench.workbench(lambda z: z - z.mean(0), X[:1], background=BACKGROUND)


def test_a_function_without_gradients_is_explained_by_removal_only() -> None:
    bench = xai_bench.workbench(
        lambda z: torch.from_numpy(z.numpy() @ torch.ones(4, 2).numpy()), X, background=BACKGROUND
    )
    assert bench.explain("leave_one_out").shape == X.shape
    with pytest.raises(xai_bench.Unsupported, match="differentiable"):
        bench.explain("gradient")
