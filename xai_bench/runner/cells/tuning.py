"""Settings of explainers, chosen on the validation part with as many trials for each, by Optuna.

The trials see other samples than the study and other random draws; the budget is never tuned. The
only module that imports optuna, and only inside functions, because it is an extra.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from xai_bench.core.seeds import Seeds
from xai_bench.core.system.disk import writable
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.loop import evaluate
from xai_bench.results.regimes import PAPER, TUNED
from xai_bench.results.store import files
from xai_bench.results.store.reader import Reader
from xai_bench.runner.cells import provenance
from xai_bench.types import Choice, Range, Unsupported, tags_of

VERSION = 1
"""Raised whenever the same tuning job would choose other settings."""

Space = Mapping[str, Range | Choice]
Make = Callable[[str, Mapping[str, Any]], ConfiguredExplainer]


@dataclass(frozen=True)
class Trial:
    """One setting that was evaluated; `score` is None where no sample could be scored."""

    settings: Mapping[str, Any]
    score: float | None
    n_scored: int = 0
    reason: str = ""


@dataclass(frozen=True, eq=False)
class TuningJob:
    """What all explainers of a cell are tuned by.

    Attributes:
        cell: the content address of what is explained.
        metric: its mean over the validation samples decides.
        context: makes the context of the validation part, when it is needed.
        make: the explainer of a name and a configuration.
        folder: where results are kept by content address.
        on_trial: called after every trial with the explainer's name, the number of trials so far
            and the best score.
    """

    cell: str
    metric: ConfiguredMetric
    n_trials: int
    n_samples: int
    context: Callable[[], EvaluationContext]
    make: Make
    folder: Path
    on_trial: Callable[[str, int, float | None], None]

    def tune(self, explainers: Sequence[ConfiguredExplainer]) -> list[ConfiguredExplainer]:
        """One explainer, at one budget or more, with the settings that are best at the largest.

        Raises `Unsupported` where there is nothing to tune, or nothing to tune by.
        """
        tuning = self._tuning(explainers[-1])
        regime = (
            f"{TUNED}{tuning['n_samples']} validation samples, {tuning['n_trials']} trials each, "
            f"by {tuning['metric']}"
        )
        made = [self.make(e.name, {**e.config, **tuning["best"]}) for e in explainers]
        return [
            replace(new, regime=_joined(old.regime, regime), tuning=tuning)
            for new, old in zip(made, explainers, strict=True)
        ]

    def _tuning(self, explainer: ConfiguredExplainer) -> dict[str, Any]:
        """The summary of the trials; from the cache where the same ones were made before."""
        space = spaces(explainer)
        if not space:
            raise Unsupported("no settings to tune")
        path = self.folder / f"{self._key(explainer, space)}.json"
        tuning: dict[str, Any] | None = Reader().json(path, dict)
        if tuning is None:
            trials = self._trials(explainer, space)
            tuning = self._summary(explainer, trials)
            with writable(self.folder), files.writing(self.folder):
                files.write(self.folder, {path.name: files.dumps(tuning)})
        return tuning

    def _key(self, explainer: ConfiguredExplainer, space: Space) -> str:
        content = {
            "cell": self.cell,
            "explainer": explainer.key,
            "space": {name: repr(values) for name, values in space.items()},
            "metric": self.metric.key,
            "n_trials": self.n_trials,
            "n_samples": self.n_samples,
            "optuna": provenance.installed("optuna"),
            "version": VERSION,
        }
        return provenance.digest(content)

    def _trials(self, explainer: ConfiguredExplainer, space: Space) -> list[Trial]:
        context = self.context()
        shipped = {name: explainer.config[name] for name in space}
        trials: list[Trial] = []
        higher = self.metric.metric.higher_is_better

        def evaluated(settings: Mapping[str, Any]) -> float | None:
            # The search suggests settings again, at the latest when they are rounded.
            earlier = next((trial for trial in trials if trial.settings == settings), None)
            made = self.make(explainer.name, {**explainer.config, **settings})
            trials.append(earlier or _trial(context, made, self.metric, settings))
            # The shipped settings come first; without their score nothing can be compared.
            if trials[0].score is None:
                raise Unsupported(f"as shipped it has no {self.metric.name}: {trials[0].reason}")
            best = trials[best_of(trials, higher)].score
            self.on_trial(explainer.name, len(trials), best)
            return trials[-1].score

        seed = context.seeds.number("trials", explainer.name)
        search(space, shipped, evaluated, n_trials=self.n_trials, higher=higher, seed=seed)
        return trials

    def _summary(self, explainer: ConfiguredExplainer, trials: Sequence[Trial]) -> dict[str, Any]:
        best = trials[best_of(trials, self.metric.metric.higher_is_better)]
        budget = explainer.config.get("budget")
        return {
            "metric": self.metric.name,
            "higher_is_better": self.metric.metric.higher_is_better,
            "n_samples": len(self.context().inputs),
            "n_trials": len(trials),
            "best": dict(best.settings),
            "score": best.score,
            "shipped_score": trials[0].score,
            **({} if budget is None else {"budget": budget}),
            "trials": [{**asdict(trial), "settings": dict(trial.settings)} for trial in trials],
        }


class TuningProgress(Protocol):
    """What is called as the trials proceed, to show them."""

    def expect(self, total: int) -> None:
        """So many trials lie ahead, of all explainers together."""
        ...

    def tuned(self, name: str, tuning: Mapping[str, Any]) -> None:
        """The trials of one explainer are over; `tuning` is their summary."""
        ...

    def untuned(self, name: str, reason: str) -> None:
        """An explainer keeps its configured settings."""
        ...


def tune_all(
    groups: Sequence[Sequence[ConfiguredExplainer]], tuning_job: TuningJob, progress: TuningProgress
) -> list[ConfiguredExplainer]:
    """All explainers, tuned where they can be; a group is one explainer at its budgets."""
    progress.expect(tuning_job.n_trials * sum(bool(spaces(group[-1])) for group in groups))
    explainers: list[ConfiguredExplainer] = []
    untuned: dict[str, list[str]] = {}
    for group in groups:
        try:
            tuned = tuning_job.tune(group)
        except Unsupported as reason:
            explainers += group
            # That controls have nothing to tune is no news.
            if group[-1].explainer.category != "controls":
                untuned.setdefault(str(reason), []).append(group[-1].name)
            continue
        progress.tuned(tuned[-1].name, tuned[-1].tuning or {})
        explainers += tuned
    for sentence, names in untuned.items():
        progress.untuned(", ".join(names), sentence)
    return explainers


def validation(context: EvaluationContext, n_samples: int) -> EvaluationContext:
    """The same model on the first validation rows, with random draws of their own.

    Raises `Unsupported` where the validation part is not at hand.
    """
    if context.variants is None:
        raise Unsupported("tuning needs the validation part of the data")
    inputs, targets, labels = context.variants.split("valid")
    rows = torch.arange(min(n_samples, len(inputs)))
    return replace(
        context,
        inputs=inputs.take(rows),
        targets=targets[rows],
        labels=labels[rows],
        seeds=Seeds(context.seeds.number("tuning")),
        # Those of the test part say nothing of these rows.
        groups={},
        rationale=None,
        shared={},
    )


def spaces(configured: ConfiguredExplainer) -> Space:
    """The settings of an explainer that may be tuned: its `search`, but never its budget."""
    search: Space = tags_of(configured.explainer).search
    return {name: values for name, values in search.items() if name != "budget"}


def best_of(trials: Sequence[Trial], higher_is_better: bool) -> int:
    """The index of the best mean among the trials that score most samples; of ties, the first."""
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
    evaluated: Callable[[Mapping[str, Any]], float | None],
    *,
    n_trials: int,
    higher: bool,
    seed: int,
) -> None:
    """Evaluate the shipped settings, then what the tree-structured Parzen estimator suggests.

    `evaluated` gives the score of some settings, or None where they have none. Bergstra+ 2011.
    Raises `Unsupported` where Optuna is not installed.
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
        # First, so that what is chosen is never worse on these samples.
        study.enqueue_trial(dict(shipped))
        distributions = {n: _distribution(optuna, v, shipped[n]) for n, v in space.items()}
        for _ in range(n_trials):
            trial = study.ask(distributions)
            score = evaluated({name: _rounded(value) for name, value in trial.params.items()})
            if score is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, score)


def _distribution(optuna: Any, values: Range | Choice, shipped: Any) -> Any:
    """Optuna's distribution, widened where the shipped setting lies outside."""
    kinds = optuna.distributions
    if isinstance(values, Choice):
        return kinds.CategoricalDistribution(list(dict.fromkeys([*values.options, shipped])))
    low, high = min(values.low, shipped), max(values.high, shipped)
    if values.whole:
        return kinds.IntDistribution(int(low), int(high), log=values.log)
    return kinds.FloatDistribution(low, high, log=values.log)


def _rounded(value: Any) -> Any:
    """A number rounded to four digits, so that what a table shows is what was run."""
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _trial(
    context: EvaluationContext,
    explainer: ConfiguredExplainer,
    metric: ConfiguredMetric,
    settings: Mapping[str, Any],
) -> Trial:
    scores = evaluate(context, explainer, [metric]).scores[metric.name]
    finite = scores.values[scores.values.isfinite()]
    if not len(finite):
        return Trial(settings, None, reason=scores.outcome.reason or "no sample is scored")
    return Trial(settings, finite.mean().item(), len(finite))


def _joined(regime: str, tuned: str) -> str:
    """A regime besides the tuning, such as an equal budget, is named too."""
    return tuned if regime == PAPER else f"{regime}, {tuned}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log lines about every trial."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
