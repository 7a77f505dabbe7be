"""All that a report says of a study, before anyone decides how it looks. Read from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from xai_bench.results.report.cards import Card
from xai_bench.results.report.options import ReportOptions
from xai_bench.results.report.sections import (
    agreement,
    baselines,
    budgets,
    critical_differences,
    fairness,
    fidelity_cost,
    overview,
    plausibility,
    ranks,
    regression,
    removal,
    scores,
    tuning,
)
from xai_bench.results.report.summary import Block, blocks
from xai_bench.results.report.table import Section, title
from xai_bench.results.report.verdict.standings import comparisons
from xai_bench.results.report.verdict.verdict import Verdict, verdicts
from xai_bench.results.store.store import Store


@dataclass(frozen=True, eq=False)
class StudyReport:
    """Attributes:
    verdicts: the answers to what people ask, in order.
    main, full: the scores, a few and all of them.
    details: sections that a reader opens.
    unscored: what has no score anywhere, where, and why.
    commands: those that made the study.
    cards: name -> what there is to know of an explainer or metric.
    """

    study: str
    blocks: tuple[Block, ...]
    verdicts: tuple[Verdict, ...]
    main: Section
    full: Section
    details: tuple[Section, ...]
    unscored: tuple[tuple[str, str, str], ...]
    commands: tuple[str, ...]
    cards: Mapping[str, Card] = field(default_factory=dict)

    @property
    def sections(self) -> tuple[Section, ...]:
        """All sections, in the order of the report."""
        return (self.main, self.full, *self.details)

    @property
    def plausibility(self) -> Section:
        """Agreement with what people marked, which has a place of its own."""
        return next(section for section in self.details if plausibility.FRAME in section.frames)

    @property
    def headline(self) -> str:
        """The answer to the first question, in one line."""
        if not self.verdicts:
            return "nothing can be compared"
        first = self.verdicts[0]
        return f"{first.question.asked} {first.headline}"


def study_report(
    store: Store, study: str, options: ReportOptions, cards: Mapping[str, Card]
) -> StudyReport:
    """Raises ValueError where there is no such study."""
    shown = blocks(store, study)
    compared = comparisons(shown)
    answers = tuple(verdicts(compared))
    details = (
        overview.section(answers),
        tuning.section(study, shown),
        budgets.section(study, shown),
        fairness.section(study, shown),
        baselines.section(study, shown),
        ranks.section(study, shown),
        critical_differences.section(compared),
        fidelity_cost.section(shown),
        plausibility.section(store, study, shown),
        removal.section(store, shown),
        regression.section(store, shown),
        agreement.section(store, shown),
    )
    return StudyReport(
        study=study,
        blocks=tuple(shown),
        verdicts=answers,
        main=scores.main(shown, options.metrics),
        full=scores.full(shown),
        details=details,
        unscored=tuple(scores.unscored(shown)),
        commands=tuple(_commands(store, study, shown)),
        cards=cards,
    )


def places(blocks_: Sequence[Block]) -> list[str]:
    """The title of every block."""
    return [title(block) for block in blocks_]


def _commands(store: Store, study: str, blocks_: Sequence[Block]) -> list[str]:
    keys = [cell.key for block in blocks_ for cell in block.cells]
    return list(dict.fromkeys(c for key in keys for c in store.study_manifest(study, key).commands))
