"""Without Hydra: your own torch model and tensors, our explainers and metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from xai_bench.core.seeds import Seeds
from xai_bench.core.spelling import suggest
from xai_bench.data.bundle import Task
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.loop import evaluate
from xai_bench.models.base import Explained, Target, TorchPredictor
from xai_bench.models.targets import PredictedLogit
from xai_bench.results import ExplainerResult
from xai_bench.runner.config.catalogue import conf_dir, members, options
from xai_bench.types import Domain, Explainer, Explanation, Inputs, Kind, Metric, Rng, Unsupported

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Workbench:
    """A model and samples on which explanations are made and scored; made by `workbench`.

    Attributes:
        context: the model, the samples and the random seeds.
        baselines: `explain` and `measure` -> the configuration of that baseline.
    """

    context: EvaluationContext
    baselines: Mapping[str, Any]

    def explain(
        self, explainer: str | Explainer, options: Mapping[str, Any] | None = None
    ) -> Tensor:
        """`[N, *S]` float64 attributions by an explainer, named as in `xai-bench list explainers`.

        `options` override what its YAML says, such as `{"budget": 2000}`. Raises `Unsupported`
        where the explainer cannot work with this model.
        """
        result = self._evaluate(self._explainer(explainer, options), [], None)
        if result.explanation is None:
            raise Unsupported(result.outcome.reason)
        return result.explanation.attribution

    def score(
        self, attribution: Tensor, metrics: Sequence[str | Metric], kind: Kind = "contribution"
    ) -> dict[str, Tensor]:
        """Metric name -> `[N]` scores of your own attributions `[N, *S]`; NaN is "not scored".

        Metrics that explain other inputs, such as max_sensitivity, need `judge` and an explainer;
        here they raise `Unsupported`. Raises ValueError for attributions of another shape.
        """
        if attribution.shape != self.context.inputs.x.shape:
            raise ValueError(
                f"attributions have shape {tuple(attribution.shape)}; "
                f"expected that of x, {tuple(self.context.inputs.x.shape)}"
            )
        given = cast(Explainer, _Given(kind))
        result = self._evaluate(given, metrics, attribution.detach().double())
        return _values(result, required=metrics)

    def judge(
        self, explainer: str | Explainer, metrics: Sequence[str | Metric]
    ) -> dict[str, Tensor]:
        """Metric name -> `[N]` scores of an explainer, by any metric or set of metrics.

        A metric that cannot work with this model is NaN as part of a set; one that is named by
        itself raises `Unsupported`.
        """
        result = self._evaluate(self._explainer(explainer, None), metrics, None)
        return _values(result, required=metrics)

    def compare(
        self, explainers: Sequence[str | Explainer], metrics: Sequence[str | Metric]
    ) -> pd.DataFrame:
        """Mean scores, a row per explainer and a column per metric; all face the same draws.

        Sets stand for their members: `compare(["default"], ["fidelity"])`. What cannot work with
        this model is NaN as part of a set; what is named by itself raises `Unsupported`.
        """
        import pandas as pd

        rows = {}
        for name, explainer in self._components("explainer", explainers).items():
            result = self._evaluate(explainer, metrics, None)
            alone = name in explainers or explainer in explainers
            rows[name] = _values(result, required=metrics if alone else ())
        return pd.DataFrame(
            {name: {m: v.nanmean().item() for m, v in row.items()} for name, row in rows.items()}
        ).T

    def _evaluate(
        self, explainer: Explainer, metrics: Sequence[str | Metric], attribution: Tensor | None
    ) -> ExplainerResult:
        named = self._components("metric", metrics)
        configured_metrics = [ConfiguredMetric(name, metric) for name, metric in named.items()]
        configured = ConfiguredExplainer(type(explainer).__name__, explainer)
        given = None if attribution is None else Explanation(attribution)
        return evaluate(self.context, configured, configured_metrics, given=given)

    def _explainer(
        self, explainer: str | Explainer, options: Mapping[str, Any] | None
    ) -> Explainer:
        if isinstance(explainer, str):
            return cast(Explainer, self._component("explainer", explainer, options))
        return explainer

    def _components(self, group: str, chosen: Sequence[Any]) -> dict[str, Any]:
        """Name -> component, of names of options, names of sets, and components of your own."""
        made: dict[str, Any] = {}
        for each in chosen:
            if isinstance(each, str):
                names = members(group, each, [conf_dir()])
                made |= {name: self._component(group, name, None) for name in names}
            else:
                made[type(each).__name__] = each
        return made

    def _component(self, group: str, name: str, options: Mapping[str, Any] | None) -> Any:
        from hydra.utils import instantiate

        node = OmegaConf.merge(_load(group, name)[name], dict(options or {}))
        config = OmegaConf.create({"baseline": self.baselines, "node": node})
        plain = cast(dict[str, Any], OmegaConf.to_container(config, resolve=True))
        return instantiate(plain["node"], _convert_="all")


def workbench(
    model: nn.Module | Callable[[Tensor], Tensor],
    x: Tensor,
    *,
    background: Tensor,
    units: Tensor | None = None,
    target: Target | None = None,
    labels: Tensor | None = None,
    baselines: tuple[str, str] = ("mean", "marginal"),
) -> Workbench:
    """A torch module `x [N, *S] -> [N, C]` and samples, ready to be explained and scored.

    `background [M, *S]` are training rows. `units [*S]` says which elements are removed as one;
    left out, every element is its own unit. `target` is the scalar explained, the predicted logit
    by default; targets of true labels and losses need `labels [N]`. `baselines` are the options
    for explaining and for measuring. Raises ValueError for shapes that do not fit.
    """
    if background.shape[1:] != x.shape[1:]:
        raise ValueError(
            f"background rows have shape {tuple(background.shape[1:])}; "
            f"expected that of one sample, {tuple(x.shape[1:])}"
        )
    chosen = target or PredictedLogit()
    inputs = _inputs(x, background, units)
    with torch.no_grad():
        outputs = model(inputs.x[:1])
    n_outputs = outputs.shape[1] if outputs.dim() == 2 else 1
    module = model if isinstance(model, nn.Module) else _Function(model)
    explained = Explained(TorchPredictor(module, n_outputs), chosen)
    with torch.no_grad():
        outputs = explained.outputs(inputs)
    task: Task = "classification" if n_outputs > 1 else "regression"
    labels = outputs.argmax(1) if labels is None else labels
    context = EvaluationContext(
        explained, inputs, chosen.choose(outputs, labels, task), Seeds(0), strict=True
    )
    names = dict(zip(("explain", "measure"), baselines, strict=True))
    return Workbench(context, {slot: _load("baseline", name) for slot, name in names.items()})


def _inputs(x: Tensor, background: Tensor, units: Tensor | None) -> Inputs:
    if units is None:
        units = torch.arange(x[0].numel()).view(x.shape[1:])
    scale = background.std(0, correction=0)
    return Inputs(
        x=x.detach(),
        units=units.expand(len(x), *units.shape) if units.dim() < x.dim() else units,
        index=torch.arange(len(x)),
        domain=Domain(background.detach(), torch.where(scale > 0, scale, 1.0)),
    )


def _load(group: str, name: str) -> Any:
    """The YAML of one option, or one sentence with the near misses."""
    paths = options(group, [conf_dir()])
    if name not in paths:
        raise ValueError(f"there is no {group} '{name}'; {suggest(name, paths)}")
    return OmegaConf.load(paths[name])


def _values(result: ExplainerResult, *, required: Sequence[str | Metric]) -> dict[str, Tensor]:
    """Metric name -> `[N]` scores, NaN where skipped. A required metric raises `Unsupported`."""
    skipped = {m: s for m, s in result.scores.items() if s.outcome.status == "skipped"}
    names = [each if isinstance(each, str) else type(each).__name__ for each in required]
    for name, scores in skipped.items():
        if name in names:
            raise Unsupported(f"{name}: {scores.outcome.reason}")
    unscored = torch.full((len(result.index),), torch.nan, dtype=torch.float64)
    return {m: unscored if m in skipped else s.values for m, s in result.scores.items()}


class _Function(nn.Module):
    """A plain function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Call the function."""
        return self.function(x)


@dataclass(frozen=True, eq=False)
class _Given:
    """Stands in for the explainer of attributions that the user computed elsewhere."""

    kind: Kind
    category: str = "given"
    needs: tuple[str, ...] = ()
    paper: str = ""
    version: int = 1

    def explain(self, model: object, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        """Raises `Unsupported`: there is nothing here that could explain other inputs."""
        raise Unsupported(
            "the metric explains other inputs; use judge(explainer, metrics) instead of score"
        )
