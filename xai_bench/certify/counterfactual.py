"""What a metric must say of counterfactuals of a linear classifier, whose nearest is known.

The classifier's border is `w . x = 0`. Seen from x, the cheapest way there (a sum of absolute
changes, each in median absolute deviations) changes one element only: the one with the largest
`|w| * deviation`.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from xai_bench.certify.check_result import Verdict, format_number
from xai_bench.certify.metric_under_test import MetricUnderTest
from xai_bench.certify.toy_worlds import World, normal, unrestricted, world

N_SAMPLES, WIDTH = 12, 6

STEP_OVER = 1.01
"""Length of a counterfactual's step, in distances to the border."""


def linear_border() -> World:
    """Six columns, two classes that part where `w . x = 0`; the last column is immutable."""
    head = nn.Linear(WIDTH, 2, bias=False).double()
    weight = torch.tensor([3.0, -2.0, 1.5, 1.0, -0.5, 2.5], dtype=torch.float64)
    with torch.no_grad():
        # Halves, so that the lead of the first class is `w . x` itself.
        head.weight.copy_(torch.stack([weight / 2, -weight / 2]))
    # Columns of different spread: a distance that forgets the deviations is another number.
    rows = normal(80, WIDTH, seed=2) * torch.arange(1, WIDTH + 1)
    free = world(head, normal(N_SAMPLES, WIDTH, seed=1), torch.arange(WIDTH), rows)
    rules = unrestricted(codes=torch.zeros(WIDTH, dtype=torch.bool))
    rules.fixed[-1] = True
    domain = replace(free.inputs.domain, actionability=rules)
    return replace(free, inputs=replace(free.inputs, domain=domain))


def margin_weight(world: World) -> Tensor:
    """`[F]`: of the margin between the first class and the second."""
    module = world.model.module
    assert module is not None
    first, second = next(iter(module.parameters())).detach()
    weight: Tensor = first - second
    return weight


def single_change(world: World, column: int, step: float = STEP_OVER) -> Tensor:
    """`[B, 1, F]`: x with one column changed, by `step` times its distance to the border."""
    weight, x = margin_weight(world), world.inputs.x
    changed = x.clone()
    # The border is where `w . x` is 0: a change of one column that takes it there.
    changed[:, column] -= step * (x @ weight) / weight[column]
    return changed[:, None]


def check_nothing_found(subject: MetricUnderTest) -> Verdict:
    """Where no counterfactual was found there is nothing to praise: the worst value, or NaN."""
    nothing = torch.full((N_SAMPLES, 2, WIDTH), torch.nan, dtype=torch.float64)
    return _never_good(subject, nothing, "where no counterfactual was found it is")


def check_unchanged_class(subject: MetricUnderTest) -> Verdict:
    """Points that did not leave the class are not taken for counterfactuals."""
    border = linear_border()
    short = torch.cat([single_change(border, column, 0.5) for column in (0, 1)], dim=1)
    return _never_good(subject, short, "points of the same class score")


def _never_good(subject: MetricUnderTest, counterfactuals: Tensor, what: str) -> Verdict:
    """All scores have to be NaN, or worse than those of two right counterfactuals."""
    scores, best = _scores(subject, counterfactuals), _scores(subject, _two_changes())
    value = format_number(scores.nanmean().item())
    # A score is no praise where it is worse than that of two right counterfactuals, everywhere.
    good = not scores.isnan().all() and not (subject.sign * scores < subject.sign * best).all()
    return Verdict(value, f"{subject.name}: {what} {value}" if good else "")


def check_one_less(subject: MetricUnderTest) -> Verdict:
    """To find the farther of two counterfactuals is no worse than not to find it."""
    both = _two_changes()
    one_missing = both.clone()
    # The farther of the two, so that the distance of the nearest stays.
    one_missing[:, 0] = torch.nan
    complete, part = _scores(subject, both), _scores(subject, one_missing)
    right = (part.isnan() | (subject.sign * part <= subject.sign * complete + 1e-9)).all()
    return Verdict("yes", "" if right else f"{subject.name} is better with a counterfactual less")


def _two_changes() -> Tensor:
    """`[B, 2, F]`: two counterfactuals of one change each, the nearer one last."""
    border = linear_border()
    return torch.cat([single_change(border, column) for column in (0, 1)], dim=1)


def _scores(subject: MetricUnderTest, counterfactuals: Tensor) -> Tensor:
    border = linear_border()
    any_map = torch.ones_like(border.inputs.x)
    return subject.score(border.case(any_map, counterfactuals=counterfactuals))
