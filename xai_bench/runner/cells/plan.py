"""From a composed configuration to the components of one cell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf

from xai_bench.core.system.devices import CPU, device_named
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric
from xai_bench.models.fitting.cache import Fingerprinted
from xai_bench.models.precision import precision_named
from xai_bench.results import Cell, regimes
from xai_bench.runner.cells import provenance
from xai_bench.runner.components import build, locate
from xai_bench.runner.config.catalogue import SETS, conf_dir, options
from xai_bench.runner.config.environment import without_environment
from xai_bench.types import tags_of

GROUPS = ("data", "model", "view", "target")
LANGUAGE_MODEL = "language_model"
"""The setting of a baseline, explainer or metric that says how its language model comes about."""


@dataclass(frozen=True, eq=False)
class Plan:
    """One cell as configured: plain values, and the options that were chosen by name in `conf/`.

    Attributes:
        names: group -> chosen option, with `baseline.explain` and `baseline.measure` for the two.
        folders: where options come from, ours first, then the user's own.
    """

    config: Mapping[str, Any]
    names: Mapping[str, str]
    folders: tuple[Path, ...] = (conf_dir(),)

    @classmethod
    def of(cls, cfg: DictConfig, names: Mapping[str, str] | None = None) -> Plan:
        """`names` left out, Hydra is asked which options were chosen."""
        plain = _resolved(cfg)
        own = names_of_data(plain["data"])
        if names is not None:
            return cls(plain, {**names, **own})
        return cls(plain, {**chosen(), **own}, sources())

    @property
    def title(self) -> str:
        """Data, model and seed in one line, for people."""
        return f"{self.names['data']} · {self.names['model']} · seed {self.config['seed']}"

    @property
    def strict(self) -> bool:
        """Whether the first failure is raised with its traceback."""
        return bool(self.config["strict"])

    @property
    def results(self) -> Path:
        """The absolute path of the folder that everything is written to."""
        return Path(self.config["results"]).expanduser().resolve()

    @cached_property
    def device(self) -> torch.device:
        """Where the network is; the CPU for a model that is none. Raises ValueError for a device
        that this machine does not have.
        """
        recipe = locate(self.config["model"]["_target_"], self.config.get("allow") or ())
        asked = self.config.get("device") or "cpu"
        return device_named(asked) if getattr(recipe, "differentiable", True) else CPU

    @cached_property
    def precision(self) -> torch.dtype | None:
        """Of the network's weights; None where they are left as they are."""
        return precision_named(self.config.get("precision"))

    @property
    def identity(self) -> dict[str, Any]:
        """The part of the configuration that decides what the cell computes."""
        evaluation = self.config["evaluation"]
        return {
            **{name: self.config[name] for name in (*GROUPS, "baseline", "seed")},
            "n_samples": evaluation["n_samples"],
            "n_background": evaluation["n_background"],
            # Other devices round otherwise. The CPU is not said, as it was not before.
            **({} if self.device == CPU else {"device": self.device.type}),
            **({} if self.precision is None else {"precision": self.config["precision"]}),
        }

    def component(self, group: str) -> Any:
        """The one configured component of a group, ready to use."""
        return self.built(self.config[group])

    def built(self, node: Mapping[str, Any]) -> Any:
        """What a node stands for, ready to use."""
        return build(node, self.config.get("allow") or ())

    @property
    def budgets(self) -> tuple[int, ...]:
        """Model rows per sample that every explainer gets; empty where each keeps its own."""
        budget = self.config.get("budget")
        return tuple(self.config.get("anytime") or ()) if budget is None else (budget,)

    def explainers(self) -> list[ConfiguredExplainer]:
        """All explainers; one with a `budget` once for each of `budgets`."""
        return list(self._explainers)

    @cached_property
    def _explainers(self) -> list[ConfiguredExplainer]:
        return [
            self.explainer(name, at_budget)
            for name, config in self.config["explainer"].items()
            for at_budget in regimes.at_budgets(config, self.budgets)
        ]

    def explainer(self, name: str, config: Mapping[str, Any]) -> ConfiguredExplainer:
        """The explainer of a name with these settings, its address and its regime."""
        explainer = self.built(config)
        key = provenance.component(config, tags_of(explainer).version)
        shipped = self.shipped("explainer", name)
        regime = regimes.describe(config, shipped, equal=bool(self.budgets))
        return ConfiguredExplainer(name, explainer, key, config, regime)

    @cached_property
    def metrics(self) -> list[ConfiguredMetric]:
        """All metrics of the study."""
        return [self.metric(name) for name in self.config["metric"]]

    def metric(self, name: str) -> ConfiguredMetric:
        """The metric of a name; as its YAML ships it where it is not among the study's."""
        config = self.config["metric"].get(name) or self.shipped("metric", name)
        metric = self.built(config)
        return ConfiguredMetric(name, metric, provenance.component(config, tags_of(metric).version))

    def shipped(self, group: str, name: str) -> dict[str, Any]:
        """The settings in an option's YAML, with this cell's baselines; empty without a YAML."""
        path = self._options[group].get(name)
        if path is None:
            return {}
        # In place of all the others, so that `${baseline.explain}` is that of this cell.
        self._frame[group] = OmegaConf.load(path)
        resolved = OmegaConf.to_container(self._frame[group], resolve=True)
        return dict(cast(dict[str, Any], resolved).get(name, {}))

    @cached_property
    def _frame(self) -> DictConfig:
        """All settings but explainers and metrics, which take long to set up again."""
        return OmegaConf.create({k: v for k, v in self.config.items() if k not in SETS})

    @cached_property
    def _options(self) -> Mapping[str, Mapping[str, Path]]:
        """Explainers and metrics -> option -> its file."""
        return {group: options(group, self.folders) for group in SETS}

    @property
    def language_models(self) -> list[Mapping[str, Any]]:
        """The recipe that each baseline, explainer or metric names that asks for a model."""
        groups = ("baseline", "explainer", "metric")
        nodes = [node for group in groups for node in self.config[group].values()]
        nodes = [node for node in nodes if isinstance(node, Mapping)]
        return [node[LANGUAGE_MODEL] for node in nodes if node.get(LANGUAGE_MODEL)]

    @property
    def metric_keys(self) -> dict[str, str]:
        """Metric name -> content address, of all metrics of the study."""
        return {metric.name: metric.key for metric in self.metrics}

    def cell(self, fingerprint: str = "") -> Cell:
        """The cell and its content address, before its model is trained and scored."""
        recipe = self.component("model")
        content = {
            "config": self.identity,
            "fingerprint": fingerprint,
            "code": provenance.code_version(),
            "libraries": provenance.libraries(),
            "files": "".join(_fingerprints([recipe, *map(self.built, self.language_models)])),
        }
        return Cell(
            key=provenance.digest(content),
            data=self.names["data"],
            model=self.names["model"],
            view=self.names["view"],
            target=self.names["target"],
            seed=self.config["seed"],
            baseline_explain=self.names["baseline.explain"],
            baseline_measure=self.names["baseline.measure"],
            config=self.identity,
            fingerprint=fingerprint,
        )


def _fingerprints(recipes: Iterable[object]) -> Iterator[str]:
    """Of the files that these depend on.

    One that cannot be read stops nothing here: a failed cell has an address, too, and whoever needs
    the file says what is wrong with it.
    """
    for recipe in recipes:
        if isinstance(recipe, Fingerprinted):
            try:
                yield recipe.fingerprint()
            except (ValueError, OSError):
                yield "unreadable"


def names_of_data(node: Mapping[str, Any]) -> dict[str, str]:
    """What results call a user's own data, `{data: name}`; empty where the option has the name."""
    name = node.get("name") if "path" in node else None
    return {"data": str(name)} if name else {}


def _resolved(cfg: DictConfig) -> dict[str, Any]:
    """Plain values; only the recorder's, which are not kept, may be read from the environment."""
    recorder = OmegaConf.to_container(cfg.recorder, resolve=True, throw_on_missing=True)
    others = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "recorder"])
    with without_environment():
        config = OmegaConf.to_container(others, resolve=True, throw_on_missing=True)
    return {**cast(dict[str, Any], config), "recorder": recorder}


def sources() -> tuple[Path, ...]:
    """The folders that Hydra composed from, ours first."""
    from hydra.core.hydra_config import HydraConfig

    config_sources = HydraConfig.get().runtime.config_sources
    return tuple(Path(source.path) for source in config_sources if source.schema == "file")


def chosen() -> dict[str, str]:
    """The option of every group of a cell, as Hydra composed it."""
    from hydra.core.hydra_config import HydraConfig

    choices = HydraConfig.get().runtime.choices
    names = {name: str(choices[name]) for name in GROUPS}
    for slot in ("explain", "measure"):
        names[f"baseline.{slot}"] = str(choices[f"baseline@baseline.{slot}"])
    return names
