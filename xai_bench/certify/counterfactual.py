"""What a metric must say of counterfactuals of a linear classifier, whose nearest is known.

The classifier's border is `w . x = 0`. Seen from x, the cheapest way there (a sum of absolute
changes, each in median absolute deviations) changes one element only: the one with the largest
`|w| * deviation`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from xai_bench.certify.finding import CheckResult, number, verdict
from xai_bench.certify.metric_under_test import MetricUnderTest
from xai_bench.certify.toy_worlds import World, actions, normal, world

N, WIDTH = 12, 6
BEYOND = 1.01
"""How much further than the border the counterfactuals go."""


def border() -> World:
    """Six columns, two classes that part where `w . x = 0`; the last column never changes."""
    head = nn.Linear(WIDTH, 2, bias=False).double()
    weight = torch.tensor([3.0, -2.0, 1.5, 1.0, -0.5, 2.5], dtype=torch.float64)
    with torch.no_grad():
        head.weight.copy_(torch.stack([weight / 2, -weight / 2]))
    rows = normal(80, WIDTH, seed=2) * torch.arange(1, WIDTH + 1)
    found = world(head, normal(N, WIDTH, seed=1), torch.arange(WIDTH), rows)
    rules = actions(codes=torch.zeros(WIDTH, dtype=torch.bool))
    rules.fixed[-1] = True
    domain = replace(found.inputs.domain, actionability=rules)
    return replace(found, inputs=replace(found.inputs, domain=domain))


def weight_of(world: World) -> Tensor:
    """`[F]`: of the margin between the first class and the second."""
    module = world.model.module
    assert module is not None
    first, second = next(iter(module.parameters())).detach()
    weight: Tensor = first - second
    return weight


def nearest(world: World, place: int, beyond: float = BEYOND) -> Tensor:
    """`[B, 1, F]`: over the border by a change of one element."""
    weight, x = weight_of(world), world.inputs.x
    moved = x.clone()
    moved[:, place] -= beyond * (x @ weight) / weight[place]
    return moved[:, None]


def nothing_found(subject: MetricUnderTest) -> CheckResult:
    """Where nothing was found there is nothing to praise: the worst value, or NaN."""
    place, around = border(), torch.full((N, 2, WIDTH), torch.nan, dtype=torch.float64)
    found = _score(subject, place, around)
    best = _score(subject, place, _pair(place))
    fault = f"{subject.name}: where nothing was found it is {number(found.nanmean().item())}"
    right = found.isnan().all() or _worse(subject, found, best)
    return verdict("nothing found", number(found.nanmean().item()), "" if right else fault)


def unchanged_class(subject: MetricUnderTest) -> CheckResult:
    """Points that did not leave the class are not taken for counterfactuals."""
    place = border()
    short = torch.cat([nearest(place, 0, 0.5), nearest(place, 1, 0.5)], dim=1)
    found, best = _score(subject, place, short), _score(subject, place, _pair(place))
    value = number(found.nanmean().item())
    fault = f"{subject.name}: points of the same class score {value}"
    right = found.isnan().all() or _worse(subject, found, best)
    return verdict("points of the same class", value, "" if right else fault)


def one_less(subject: MetricUnderTest) -> CheckResult:
    """To find the farther of two counterfactuals is no worse than not to find it."""
    place = border()
    both = _pair(place)
    one = both.clone()
    one[:, 0] = torch.nan
    whole, part = _score(subject, place, both), _score(subject, place, one)
    way = 1 if subject.metric.higher_is_better else -1
    right = (part.isnan() | (way * part <= way * whole + 1e-9)).all()
    fault = f"{subject.name} is better with a counterfactual less"
    return verdict("one less is no better", "yes", "" if right else fault)


def _pair(place: World) -> Tensor:
    """`[B, 2, F]`: two counterfactuals of one change each, the nearer one last."""
    return torch.cat([nearest(place, 0), nearest(place, 1)], dim=1)


def _score(subject: MetricUnderTest, place: World, found: Tensor) -> Tensor:
    return subject.score(place.case(torch.ones_like(place.inputs.x), counterfactuals=found))


def _worse(subject: MetricUnderTest, found: Tensor, best: Tensor) -> bool:
    way = 1 if subject.metric.higher_is_better else -1
    return bool((way * found < way * best).all())
