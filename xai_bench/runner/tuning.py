"""Settings of explainers, chosen on the validation part with as many trials for each, by Optuna.

The trials see other samples than the study and other random draws; the budget is never among what
is tried. The only module that imports optuna, and only inside functions: it is an extra.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from xai_bench.core.seeds import Seeds
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.loop import evaluate
from xai_bench.results.regimes import PAPER, TUNED
from xai_bench.results.store import files
from xai_bench.runner import provenance
from xai_bench.types import Choice, Range, Unsupported, tags_of

VERSION = 1
"""Raised whenever the same request would find other settings."""

Space = Mapping[str, Range | Choice]
Make = Callable[[str, Mapping[str, Any]], ConfiguredExplainer]


@dataclass(frozen=True)
class Trial:
    """One setting that was tried; `score` is None where no sample could be scored."""

    settings: Mapping[str, Any]
    score: float | None
    n_scored: int = 0
    reason: str = ""


@dataclass(frozen=True, eq=False)
class TuningJob:
    """What is the same for every explainer that is tuned.

    Attributes:
        cell: the content address of what is explained.
        judge: the metric whose mean decides.
        bench: makes the bench of the validation part, when it is needed.
        make: the explainer of that name and configuration.
        folder: where results are kept by content.
        on_trial: hears of every trial: the explainer's name, how many were made, the best score.
    """

    cell: str
    judge: ConfiguredMetric
    n_trials: int
    n_samples: int
    bench: Callable[[], EvaluationContext]
    make: Make
    folder: Path
    on_trial: Callable[[str, int, float | None], None]

    def tuned(self, candidates: Sequence[ConfiguredExplainer]) -> list[ConfiguredExplainer]:
        """One explainer, at one budget or more, with the settings found at the largest.

        Raises `Unsupported` where there is nothing to tune, or nothing to tune by.
        """
        found = self._found(candidates[-1])
        told = (
            f"{TUNED}{found['n_samples']} validation samples, {found['n_trials']} trials each, "
            f"by {found['metric']}"
        )
        made = [self.make(c.name, {**c.config, **found["best"]}) for c in candidates]
        return [
            replace(new, regime=_joined(old.regime, told), tuning=found)
            for new, old in zip(made, candidates, strict=True)
        ]

    def _found(self, candidate: ConfiguredExplainer) -> dict[str, Any]:
        """What the trials say; from the cache where the same was asked before."""
        space = spaces(candidate)
        if not space:
            raise Unsupported("no settings to tune")
        path = self.folder / f"{self._key(candidate, space)}.json"
        known: dict[str, Any] | None = files.loads(path)
        if known is None:
            trials = self._trials(candidate, space)
            known = self._summary(candidate, trials)
            with files.writable(self.folder):
                files.write(path, files.dumps(known))
        return known

    def _key(self, candidate: ConfiguredExplainer, space: Space) -> str:
        content = {
            "cell": self.cell,
            "explainer": candidate.key,
            "space": {name: repr(one) for name, one in space.items()},
            "judge": self.judge.key,
            "n_trials": self.n_trials,
            "n_samples": self.n_samples,
            "optuna": provenance.installed("optuna"),
            "version": VERSION,
        }
        return provenance.digest(content)

    def _trials(self, candidate: ConfiguredExplainer, space: Space) -> list[Trial]:
        bench = self.bench()
        shipped = {name: candidate.config[name] for name in space}
        trials: list[Trial] = []
        higher = self.judge.metric.higher_is_better

        def tried(settings: Mapping[str, Any]) -> float | None:
            known = next((one for one in trials if one.settings == settings), None)
            made = self.make(candidate.name, {**candidate.config, **settings})
            trials.append(known or _trial(bench, made, self.judge, settings))
            if trials[0].score is None:
                raise Unsupported(f"as shipped it has no {self.judge.name}: {trials[0].reason}")
            best = trials[best_of(trials, higher)].score
            self.on_trial(candidate.name, len(trials), best)
            return trials[-1].score

        seed = bench.seeds.number("trials", candidate.name)
        search(space, shipped, tried, n_trials=self.n_trials, higher=higher, seed=seed)
        return trials

    def _summary(self, candidate: ConfiguredExplainer, trials: Sequence[Trial]) -> dict[str, Any]:
        best = trials[best_of(trials, self.judge.metric.higher_is_better)]
        budget = candidate.config.get("budget")
        return {
            "metric": self.judge.name,
            "higher_is_better": self.judge.metric.higher_is_better,
            "n_samples": len(self.bench().inputs),
            "n_trials": len(trials),
            "best": dict(best.settings),
            "score": best.score,
            "shipped_score": trials[0].score,
            **({} if budget is None else {"budget": budget}),
            "trials": [
                {
                    "settings": dict(one.settings),
                    "score": one.score,
                    "n_scored": one.n_scored,
                    "reason": one.reason,
                }
                for one in trials
            ],
        }


class Told(Protocol):
    """Who shows what comes of the trials."""

    def expect(self, total: int) -> None: ...

    def tuned(self, name: str, found: Mapping[str, Any]) -> None: ...

    def untuned(self, name: str, reason: str) -> None: ...


def tuned(
    groups: Sequence[Sequence[ConfiguredExplainer]], contest: TuningJob, progress: Told
) -> list[ConfiguredExplainer]:
    """All explainers, each group one of them; those that cannot be tuned compete as they are."""
    progress.expect(contest.n_trials * sum(bool(spaces(group[-1])) for group in groups))
    found: list[ConfiguredExplainer] = []
    left: dict[str, list[str]] = {}
    for group in groups:
        try:
            ready = contest.tuned(group)
        except Unsupported as reason:
            found += group
            if group[-1].explainer.category != "controls":
                left.setdefault(str(reason), []).append(group[-1].name)
            continue
        progress.tuned(ready[-1].name, ready[-1].tuning or {})
        found += ready
    for told, names in left.items():
        progress.untuned(", ".join(names), told)
    return found


def validation(bench: EvaluationContext, n_samples: int) -> EvaluationContext:
    """The same model on the first validation rows, with random draws of their own."""
    if bench.variants is None:
        raise Unsupported("tuning needs the validation part of the data")
    inputs, targets, labels = bench.variants.split("valid")
    rows = torch.arange(min(n_samples, len(inputs)))
    return replace(
        bench,
        inputs=inputs.take(rows),
        targets=targets[rows],
        labels=labels[rows],
        seeds=Seeds(bench.seeds.number("tuning")),
        groups={},
        rationale=None,
        shared={},
    )


def spaces(candidate: ConfiguredExplainer) -> Space:
    """What of an explainer may be tuned: its `search`, but never its budget."""
    found: Space = tags_of(candidate.explainer).search
    return {name: one for name, one in found.items() if name != "budget"}


def best_of(trials: Sequence[Trial], higher_is_better: bool) -> int:
    """The place of the best mean among the trials that score most samples; of equals, the first."""
    most = max(trial.n_scored for trial in trials)
    sign = 1 if higher_is_better else -1
    worth = [
        sign * trial.score if trial.n_scored == most and trial.score is not None else -torch.inf
        for trial in trials
    ]
    return worth.index(max(worth))


def search(
    space: Space,
    shipped: Mapping[str, Any],
    tried: Callable[[Mapping[str, Any]], float | None],
    *,
    n_trials: int,
    higher: bool,
    seed: int,
) -> None:
    """Try the shipped settings, then what the tree-structured Parzen estimator suggests.

    Bergstra+ 2011. Raises `Unsupported` where Optuna is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise Unsupported("tuning needs Optuna: pip install 'xai-bench[tune]'") from error
    with _quiet():
        study = optuna.create_study(
            direction="maximize" if higher else "minimize",
            sampler=optuna.samplers.TPESampler(seed=seed),
        )
        study.enqueue_trial(dict(shipped))
        kinds = {name: _distribution(optuna, one, shipped[name]) for name, one in space.items()}
        for _ in range(n_trials):
            trial = study.ask(kinds)
            score = tried({name: _short(value) for name, value in trial.params.items()})
            if score is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, score)


def _distribution(optuna: Any, one: Range | Choice, shipped: Any) -> Any:
    """Optuna's word for it, widened where the shipped setting lies outside."""
    kinds = optuna.distributions
    if isinstance(one, Choice):
        return kinds.CategoricalDistribution(list(dict.fromkeys([*one.options, shipped])))
    low, high = min(one.low, shipped), max(one.high, shipped)
    if one.whole:
        return kinds.IntDistribution(int(low), int(high), log=one.log)
    return kinds.FloatDistribution(low, high, log=one.log)


def _short(value: Any) -> Any:
    """Four digits: what a table shows is what was run."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _trial(
    bench: EvaluationContext,
    candidate: ConfiguredExplainer,
    judge: ConfiguredMetric,
    settings: Mapping[str, Any],
) -> Trial:
    found = evaluate(bench, candidate, [judge]).scores[judge.name]
    finite = found.values[found.values.isfinite()]
    if not len(finite):
        return Trial(settings, None, reason=found.outcome.reason or "no sample is scored")
    return Trial(settings, finite.mean().item(), len(finite))


def _joined(regime: str, told: str) -> str:
    """A regime besides the tuning, such as an equal budget, is named too."""
    return told if regime == PAPER else f"{regime}, {told}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's own account of itself."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
