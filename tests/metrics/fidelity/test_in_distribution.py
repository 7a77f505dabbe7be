"""F-Fidelity: what is trained on, what is removed, and scores of a model that is linear anyway."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from xai_bench.certify import toy_worlds
from xai_bench.core import units
from xai_bench.core.baselines import Constant
from xai_bench.metrics.fidelity.in_distribution import FFidelity, first_of
from xai_bench.types import Case, Inputs, Model, Unsupported

WEIGHT = [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.25]


@dataclass
class SameModel:
    """Variants whose retrained model is the model itself; keeps what it was trained on."""

    model: Model
    inputs: Inputs
    n_classes: int = 0
    trained: list[Tensor] = field(default_factory=list)

    def split(self, name: str) -> tuple[Inputs, Tensor, Tensor]:
        nothing = torch.zeros(len(self.inputs))
        return self.inputs, nothing, nothing

    def degraded(self, train: Tensor, valid: Tensor) -> Model:
        self.trained += [train, valid]
        return self.model


def case(attribution: Tensor, n: int = 40) -> tuple[Case, SameModel]:
    world = toy_worlds.linear(WEIGHT, n=n)
    variants = SameModel(world.model, world.inputs)
    one = world.case(attribution.expand(n, -1))
    return replace(one, variants=variants), variants  # type: ignore[arg-type]


def test_a_linear_model_has_the_mean_worth_of_the_top_less_that_of_the_rest() -> None:
    """Top 3 of ten, of which two go at a time: two thirds of 21, against 2/7 of 15.75."""
    weight = torch.tensor(WEIGHT, dtype=torch.float64)
    one, _ = case(weight)
    found = FFidelity(Constant(0.0), n_draws=200).score(one).mean().item()
    assert found == pytest.approx(21 * 2 / 3 - 15.75 * 2 / 7, rel=0.03)
    reverse, _ = case(-weight)
    found = FFidelity(Constant(0.0), n_draws=200).score(reverse).mean().item()
    assert found == pytest.approx(1.75 * 2 / 3 - 35 * 2 / 7, rel=0.03)


def test_the_training_inputs_lack_up_to_beta_and_one_model_serves_all_batches() -> None:
    one, variants = case(torch.tensor(WEIGHT).double())
    metric = FFidelity(Constant(0.0), beta=0.3)
    metric.score(one)
    metric.score(one)
    assert len(variants.trained) == 2, "train and valid, once"
    gone = (variants.trained[0] == 0).sum(1)
    assert gone.max() == 3
    assert 0 < gone.double().mean() < 2.5
    assert not torch.equal(*variants.trained)


def test_as_many_as_asked_for_and_only_from_the_side() -> None:
    among = torch.tensor([[True, True, False, True], [False, True, False, False]])
    order = toy_worlds.normal(2, 5, 4, seed=2)
    found = first_of(among, torch.tensor([[2], [1]]), order)
    assert (found.sum(2) == torch.tensor([[2], [1]])).all()
    assert not (found & ~among[:, None]).any()
    assert len({tuple(row) for row in found[0].tolist()}) > 1


def test_without_a_recipe_there_is_no_score() -> None:
    plain = toy_worlds.linear(WEIGHT).case(torch.ones(3, 10))
    with pytest.raises(Unsupported, match="needs its data and recipe"):
        FFidelity(Constant(0.0)).score(plain)
    assert units.count(plain.inputs.units).tolist() == [10, 10, 10]


def test_no_more_is_removed_than_the_smaller_side_has() -> None:
    """Top 9 of ten: one of them at a time, worth 36.5 / 9, against the one that is left."""
    one, _ = case(torch.tensor(WEIGHT, dtype=torch.float64))
    found = FFidelity(Constant(0.0), fraction=0.9, n_draws=200).score(one).mean().item()
    assert found == pytest.approx(36.5 / 9 - 0.25, rel=0.03)
