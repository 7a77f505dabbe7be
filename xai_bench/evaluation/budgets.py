"""One explainer at several budgets from one run: the answers that a curve is made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor

from xai_bench.core.cost import Metered, timed
from xai_bench.evaluation.context import Bench, Candidate, Judge
from xai_bench.evaluation.failures import attempt
from xai_bench.evaluation.loop import Course, OnStep, checked, cost_of, prepare
from xai_bench.results.values import Explanation
from xai_bench.types import Answer, Anytime, Cost, Inputs


def climb(
    bench: Bench, candidates: Sequence[Candidate], judges: Sequence[Judge], *, on_step: OnStep
) -> list[Explanation]:
    """The same explainer at rising budgets, every batch explained once, at the largest.

    Each explanation is what a run at its budget alone gives, and costs what had been spent when it
    was given. A budget that cannot be had is left out, for a run of its own to tell why.
    `on_step` hears of every finished answer and judgement.
    """
    courses = [one for one in (_ready(bench, c, judges, on_step) for c in candidates) if one]
    for number, rows in enumerate(bench.batches()):
        inputs, targets = bench.inputs.take(rows), bench.targets[rows]
        reached = []
        for course, answer, cost in list(_answers(bench, courses, inputs, targets)):
            course.judged(number, rows, answer, cost)
            on_step(1)
            reached.append(course)
        courses = reached
    return [course.result() for course in courses]


def _ready(
    bench: Bench, candidate: Candidate, judges: Sequence[Judge], on_step: OnStep
) -> Course | None:
    """Fitted and warmed up; None where that fails or the explainer knows no `anytime`."""
    ready, outcome = attempt(bench.strict, lambda: prepare(bench, candidate, True))
    if ready is None or not isinstance(ready[0], Anytime):
        return None
    course = Course(bench, candidate, tuple(judges), on_step, outcome)
    course.explainer, course.fit = ready
    return course


def _answers(
    bench: Bench, courses: Sequence[Course], inputs: Inputs, targets: Tensor
) -> Iterator[tuple[Course, Answer, Cost]]:
    """One run over all budgets; where one of them breaks, another over those above it."""
    left = list(courses)
    while left:
        explainer = left[-1].explainer
        assert isinstance(explainer, Anytime), "only such are made ready"
        budgets = [int(course.candidate.config["budget"]) for course in left]
        rng = bench.stream("explain", inputs=inputs)
        with timed(bench.model) as metered:
            steps = explainer.anytime(metered, inputs, targets, budgets, rng=rng)
            n_tried = 0
            for course in left:
                n_tried += 1
                step = partial(_next, steps, metered, inputs, course)
                found, _ = attempt(bench.strict, step)
                if found is None:
                    break
                yield course, *found
        left = left[n_tried:]


def _next(
    steps: Iterator[Answer], metered: Metered, inputs: Inputs, course: Course
) -> tuple[Answer, Cost]:
    answer = next(steps, None)
    bill = metered.bill.so_far()
    name = course.candidate.name
    if answer is None:
        raise ValueError(f"explainer '{name}' gave fewer answers than there are budgets")
    attribution = checked(answer.attribution, inputs, name)
    return replace(answer, attribution=attribution), cost_of(bill, inputs, course.fit)
