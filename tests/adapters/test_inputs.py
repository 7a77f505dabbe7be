"""Proves that whatever a caller brings is explained as it was meant: what a linear model gives to
each input is known, in every form in which rows may come.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import xai_bench
from xai_bench.adapters.forms import TensorForm
from xai_bench.evaluation.preparation import background
from xai_bench.models.text.predictor import TokenPredictor

WEIGHT = torch.tensor([3.0, -1.0, 0.5])
X = torch.tensor([[1.0, 2.0, 4.0], [0.0, -2.0, 6.0]])
ZERO = torch.zeros(4, 3)
EXACT = (WEIGHT * X).double().numpy()


def linear() -> nn.Module:
    net = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(WEIGHT)
    return net


def frame(rows: Tensor, dtype: str = "float64") -> pd.DataFrame:
    return pd.DataFrame(rows.numpy().astype(dtype), columns=["a", "b", "c"])


def of_frame(rows: Any) -> Any:
    assert isinstance(rows, pd.DataFrame)
    return 3 * rows.a - rows.b + rows.c / 2


def of_array(rows: Any) -> Any:
    assert isinstance(rows, np.ndarray)
    return rows @ WEIGHT.numpy()


def of_tensor(rows: Any) -> Any:
    assert isinstance(rows, Tensor)
    return rows @ WEIGHT.to(rows.dtype)


FORMS: dict[str, tuple[Any, Callable[[Tensor], Any]]] = {
    "module, tensor": (linear(), lambda rows: rows),
    "module, float64 tensor": (linear(), lambda rows: rows.double()),
    "float64 module, tensor": (linear().double(), lambda rows: rows),
    "module, whole numbers": (linear(), lambda rows: rows.long()),
    "module, array": (linear(), lambda rows: rows.numpy().astype(float)),
    "module, lists": (linear(), lambda rows: rows.tolist()),
    "module, frame": (linear(), frame),
    "module, frame of whole numbers": (linear(), lambda rows: frame(rows, "int64")),
    "function of tensors": (of_tensor, lambda rows: rows),
    "function of tensors, given arrays": (of_tensor, lambda rows: rows.numpy()),
    "function of arrays": (of_array, lambda rows: rows.numpy()),
    "function of arrays of whole numbers": (of_array, lambda rows: rows.numpy().astype(int)),
    "function of big-endian arrays": (of_array, lambda rows: rows.numpy().astype(">f8")),
    "function of frames": (of_frame, frame),
    "function of frames of whole numbers": (of_frame, lambda rows: frame(rows, "int32")),
}


@pytest.mark.sample(3, others="slow")
@pytest.mark.parametrize("form", FORMS)
def test_rows_in_any_form_are_the_same_rows(form: str) -> None:
    model, given = FORMS[form]
    bench = xai_bench.workbench(model, given(X), background=given(ZERO), baselines="zero")
    found = bench.explain("leave_one_out")
    np.testing.assert_allclose(found.numpy(), EXACT, atol=1e-6)
    np.testing.assert_allclose(np.asarray(found), found.numpy())
    assert found.frame().shape == (2, 3)
    assert list(found.cost) == ["forward_rows", "gradient_rows", "seconds"]
    assert found.cost["forward_rows"].tolist() == [4.0, 4.0]


def mixed(image: Tensor, kind: Tensor, number: Tensor) -> Tensor:
    assert kind.dtype == torch.int64
    table = torch.tensor([0.0, 10.0, 20.0])
    return 2 * image.sum((1, 2)) + table[kind[:, 0]] + 5 * number


def test_numbers_between_whole_ones_are_rounded_for_a_model_of_whole_ones() -> None:
    form = TensorForm(torch.float32, torch.int64)
    assert form.decode(torch.tensor([[1.6, -0.6, 2.4]])).tolist() == [[2, -1, 2]]


SEVERAL = {
    "image": torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]),
    "kind": torch.tensor([[2]]),
    "number": torch.tensor([0.5]),
}


@pytest.mark.parametrize("as_array", [False, True])
def test_several_inputs_have_their_own_shapes_types_and_units(as_array: bool) -> None:
    def model(image: Any, kind: Any, number: Any) -> Any:
        given = [torch.as_tensor(part) for part in (image, kind, number)]
        return mixed(*given)

    x: Any = {name: v.numpy() if as_array else v for name, v in SEVERAL.items()}
    zero = {name: part * 0 for name, part in x.items()}
    units = {"image": xai_bench.patches(2, 2, 2)}
    bench = xai_bench.workbench(model, x, background=zero, units=units, baselines="zero")
    parts = bench.explain("leave_one_out").parts
    assert {name: tuple(p.shape) for name, p in parts.items()} == {
        "image": (1, 2, 2), "kind": (1, 1), "number": (1,)
    }  # fmt: skip
    assert parts["image"].sum().item() == pytest.approx(20)
    assert parts["kind"].item() == pytest.approx(20)
    assert parts["number"].item() == pytest.approx(2.5)
    mine = {name: part.numpy() for name, part in parts.items()}
    assert torch.equal(
        bench.score(mine, "gini")["gini"], bench.judge("leave_one_out", "gini")["gini"]
    )


def test_a_module_takes_several_inputs_by_the_names_of_its_parameters_or_as_one_mapping() -> None:
    class ByName(nn.Module):
        def forward(self, first: Tensor, second: Tensor) -> Tensor:
            return first.sum(1) + 2 * second.sum(1)

    class ByMapping(nn.Module):
        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return batch["first"].sum(1) + 2 * batch["second"].sum(1)

    x = {"first": torch.ones(3, 2), "second": torch.ones(3, 1)}
    for model, rows in ((ByName(), x), (ByMapping(), x), (ByName(), tuple(x.values()))):
        parts = xai_bench.workbench(model, rows, background=rows).explain("gradient").parts
        assert (parts["first"] == 1).all()
        assert (parts["second"] == 2).all()


class Bag(nn.Module):
    """The sum of what each token says; token 0 is padding."""

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(6, 1, padding_idx=0)
        with torch.no_grad():
            self.emb.weight.copy_(torch.tensor([0.0, 1, 2, 4, 8, 16])[:, None])

    def forward(self, ids: Tensor) -> Tensor:
        summed: Tensor = self.emb(ids).sum(1)
        return summed


@pytest.mark.slow
def test_tokens_are_removed_as_ids_and_differentiated_as_embeddings() -> None:
    ids = torch.tensor([[1, 5, 3], [4, 2, 0]])
    bench = xai_bench.workbench(Bag(), ids, embedding="emb")
    assert isinstance(bench.caller.predictor, TokenPredictor)
    exact = torch.tensor([[1.0, 16, 4], [8, 2, 0]]).double()
    for name in ("leave_one_out", "input_x_gradient", "integrated_gradients"):
        torch.testing.assert_close(bench.explain(name).attribution, exact, rtol=1e-6, atol=1e-6)
    assert bench.context.inputs.units.tolist() == [[0, 1, 2], [0, 1, -1]]
    assert bench.explain("leave_one_out", baseline="zero_embedding").shape == (2, 3)
    table = bench.compare(["leave_one_out", "random"], ["deletion"])
    assert table["deletion"].notna().all()


class Squeezing(nn.Module):
    """A network that takes a batch of one row for a row."""

    def __init__(self, n_outputs: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.emb, self.head = nn.Embedding(6, 4), nn.Linear(4, n_outputs)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.head(self.emb(ids).mean(1)).squeeze()
        return out


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_a_network_of_tokens_that_squeezes_is_asked_for_rows_in_company(n_outputs: int) -> None:
    ids = torch.tensor([[1, 5, 3], [4, 2, 0]])
    settings = {"embedding": "emb", "background": ids}
    if n_outputs == 1:
        settings["task"] = "regression"
    model = Squeezing(n_outputs)
    alone = xai_bench.workbench(model, ids[:1], **settings)  # type: ignore[arg-type]
    both = xai_bench.workbench(model, ids, **settings)  # type: ignore[arg-type]
    found = alone.explain("leave_one_out").attribution
    torch.testing.assert_close(found, both.explain("leave_one_out").attribution[:1])


def test_a_table_keeps_its_columns_categories_and_gaps() -> None:
    rows = pd.DataFrame({"age": [30.0, np.nan, 50], "job": ["smith", "nurse", "smith"]})

    def score(given: Any) -> Any:
        assert given.job.isin(["smith", "nurse"]).all()
        return given.age.fillna(7) + 100 * (given.job == "nurse")

    bench = xai_bench.workbench(
        score, rows.iloc[:2], background=rows, baselines=rows.iloc[[2]], groups=["job"]
    )
    found = bench.explain("leave_one_out")
    np.testing.assert_allclose(found.numpy(), [[-20, 0], [-43, 100]])
    assert list(found.frame().columns) == ["age", "job"]
    assert bench.context.groups["job"].tolist() == [1, 0]
    assert bench.judge("leave_one_out", "sensitive_share")["sensitive_share"].tolist() == [
        0, pytest.approx(100 / 143)
    ]  # fmt: skip


def test_baselines_may_be_rows_numbers_and_objects() -> None:
    each = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    bench = xai_bench.workbench(linear(), X, background=torch.eye(3), baselines=(each, 0))
    np.testing.assert_allclose(
        bench.explain("leave_one_out").numpy(), (WEIGHT * (X - each)).numpy(), atol=1e-6
    )
    assert bench.judge("saliency", "deletion")["deletion"].isfinite().all()
    near = bench.judge("leave_one_out", "max_sensitivity")["max_sensitivity"]
    assert near.max() < 0.5  # neighbours of a sample have the baseline of that sample
    rows = background(bench.context.inputs)
    rng = bench.context.stream("b", inputs=rows)
    with pytest.raises(xai_bench.Unsupported, match="each sample of x has its own"):
        bench.baselines["explain"].references(rows, rng=rng)
    one = xai_bench.workbench(linear(), X, background=ZERO, baselines=np.array([1.0, 0, 0]))
    expected = WEIGHT * (X - torch.tensor([1.0, 0, 0]))
    np.testing.assert_allclose(one.explain("leave_one_out").numpy(), expected.numpy(), atol=1e-6)


def test_what_is_explained_is_said_in_any_way() -> None:
    net = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.stack([WEIGHT, -2 * WEIGHT]))

    def slopes(**given: Any) -> list[float]:
        bench = xai_bench.workbench(net, X, background=ZERO, **given)
        return [round(v, 5) for v in bench.explain("gradient").attribution[:, 0].tolist()]

    named = ["no", "yes"]
    assert slopes() == [3.0, 3.0]  # the largest output of each
    assert slopes(target=1) == slopes(target=np.int64(1)) == [-6.0, -6.0]
    assert slopes(target="yes", classes=named) == [-6.0, -6.0]
    assert slopes(target=torch.tensor([1, 0])) == slopes(target=[1, 0]) == [-6.0, 3.0]
    assert slopes(target=["yes", "no"], classes=named) == [-6.0, 3.0]
    assert slopes(target=lambda out: out[:, 0] - out[:, 1]) == [9.0, 9.0]
    assert slopes(target="true_label", labels=["yes", "no"], classes=named) == [-6.0, 3.0]
    assert slopes(task="regression", target=1) == [-6.0, -6.0]


def test_truth_and_rationale_reach_the_metrics() -> None:
    exact, flags = WEIGHT * X, torch.tensor([[True, False, False], [False, False, True]])
    bench = xai_bench.workbench(
        linear(), X, background=ZERO, baselines="zero", truth=exact, rationale=flags.numpy()
    )
    scores = bench.judge("leave_one_out", ["rank_correlation", "pointing_game"])
    torch.testing.assert_close(scores["rank_correlation"], torch.ones(2).double())
    assert scores["pointing_game"].tolist() == [1.0, 1.0]
    inputs, truth = bench.context.inputs, bench.context.inputs.domain.truth
    assert truth is not None
    second = inputs.take(torch.tensor([1]))
    assert torch.equal(truth(second, bench.context.targets[1:]), exact[1:].double())
    function = xai_bench.workbench(linear(), X, background=ZERO, truth=lambda rows: WEIGHT * rows)
    assert torch.equal(function.explain("oracle").attribution, exact.double())


def test_the_seed_decides_the_draws() -> None:
    seeds = (0, 0, 1)
    first, again, other = (
        xai_bench.workbench(linear(), X, background=ZERO, seed=s).explain("random").numpy()
        for s in seeds
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_token_ids_whose_layer_is_not_named_say_how_to_name_it() -> None:
    ids = torch.randint(0, 5, (4, 3))
    with pytest.raises(xai_bench.Unsupported, match="name the layer that embeds them"):
        xai_bench.workbench(Bag(), ids, background=ids).explain("saliency")
