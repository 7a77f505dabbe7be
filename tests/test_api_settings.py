"""The Python door's settings: exact bits, threads, memory, and no row that nobody needs."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import xai_bench


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


class Squeezed(nn.Module):
    """Takes a batch of one for none, as many a hand-written network does."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = net()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.squeeze(0))


X = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
BACKGROUND = torch.randn(20, 6, generator=torch.Generator().manual_seed(2))


def bench(model: nn.Module | None = None, x: Tensor = X, **settings: Any) -> xai_bench.Workbench:
    return xai_bench.workbench(model or net(), x, background=BACKGROUND, **settings)


@pytest.mark.parametrize("explainer", ["kernel_shap", "integrated_gradients"])
def test_exact_bits_do_not_depend_on_the_batch(explainer: str) -> None:
    together = bench(exact=True).explain(explainer).attribution
    alone = bench(x=X[:1], exact=True).explain(explainer).attribution
    assert torch.equal(together[:1], alone)
    torch.testing.assert_close(
        bench().explain(explainer).attribution, together, rtol=1e-5, atol=1e-6
    )


def test_scores_of_two_threads_are_those_of_one_and_the_number_is_recorded() -> None:
    before = torch.get_num_threads()
    one, two = bench(threads=1), bench(threads=2)
    metrics = ["abpc", "infidelity", "max_sensitivity"]
    first, second = (b.compare(["gradient", "kernel_shap"], metrics) for b in (one, two))
    assert (first - second).abs().max().max() < 1e-6
    assert (one.threads, two.threads, second.attrs["threads"]) == (1, 2, 2)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"threads": 0}, "threads=0; expected a whole number"),
        ({"threads": 2, "exact": True}, "leave out one of the two"),
        ({"memory": 5}, "memory=5; expected a number of bytes"),
        ({"memory": "2GB"}, "memory='2GB'; expected a number of bytes"),
    ],
)
def test_a_setting_that_cannot_be_is_one_sentence(settings: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        bench(**settings)


def test_memory_bounds_the_rows_of_a_call_and_changes_no_score() -> None:
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Linear(6, 4000), nn.ReLU(), nn.Linear(4000, 3)).eval()
    small, large = bench(wide, memory=1e6 + 5e4), bench(wide)
    assert small.context.model.max_rows < 20 < large.context.model.max_rows
    torch.testing.assert_close(
        small.explain("kernel_shap").attribution,
        large.explain("kernel_shap").attribution,
        rtol=1e-4,
        atol=1e-6,
    )


def test_no_row_is_computed_that_nobody_needs() -> None:
    module, rows = net(), list[int]()
    one = bench(module, x=X[:1])
    handle = module.register_forward_hook(lambda module, args, out: rows.append(len(out)))
    one.explain("integrated_gradients", budget=8)
    handle.remove()
    probed = 1  # one sample shows that the model answers as it did
    assert sum(rows) == 8 + probed


def test_a_module_that_squeezes_is_asked_several_rows() -> None:
    torch.testing.assert_close(
        bench(Squeezed(), x=X[:1]).explain("gradient").attribution,
        bench(x=X[:1]).explain("gradient").attribution,
    )


class Slow(nn.Module):
    """Takes long, counts its calls, and multiplies by a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.factor, self.n_calls = net(), 2.0, 0

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.006)
        self.n_calls += 1
        return self.factor * self.inner(x)


def test_a_slow_module_may_count_its_calls_but_not_change_its_answers() -> None:
    module = Slow()
    one = bench(module)
    one.explain("gradient")
    module.factor = 3.0
    with pytest.raises(ValueError, match="the model has changed"):
        one.explain("gradient")
    module.factor = 2.0
    one.explain("gradient")
    with torch.no_grad():
        module.inner[0].weight.data[0, 0] += 1  # type: ignore[index]
    with pytest.raises(ValueError, match="the model has changed"):
        one.explain("gradient")
