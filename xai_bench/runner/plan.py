"""From a composed configuration to the components of one cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric
from xai_bench.models.cache import Fingerprinted
from xai_bench.results import regimes
from xai_bench.results.values import Cell
from xai_bench.runner import provenance
from xai_bench.runner.config.catalogue import SETS, conf_dir, options
from xai_bench.types import tags_of

GROUPS = ("data", "model", "view", "target")


@dataclass(frozen=True, eq=False)
class Plan:
    """One cell as configured: plain values, and the options that were chosen by name in `conf/`.

    `folders` are where options come from, the user's own among them.
    """

    config: Mapping[str, Any]
    names: Mapping[str, str]
    folders: tuple[Path, ...] = (conf_dir(),)

    @classmethod
    def of(cls, cfg: DictConfig, names: Mapping[str, str] | None = None) -> Plan:
        """`names` left out, Hydra is asked which options were chosen."""
        config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        plain = cast(dict[str, Any], config)
        return cls(plain, chosen(), sources()) if names is None else cls(plain, names)

    @property
    def title(self) -> str:
        return f"{self.names['data']} · {self.names['model']} · seed {self.config['seed']}"

    @property
    def strict(self) -> bool:
        return bool(self.config["strict"])

    @property
    def results(self) -> Path:
        return Path(self.config["results"]).expanduser().resolve()

    @property
    def identity(self) -> dict[str, Any]:
        """The part of the configuration that decides what the cell computes."""
        evaluation = self.config["evaluation"]
        return {
            **{name: self.config[name] for name in (*GROUPS, "baseline", "seed")},
            "n_samples": evaluation["n_samples"],
            "n_background": evaluation["n_background"],
        }

    def component(self, group: str) -> Any:
        """The one configured component of a group, ready to use."""
        return instantiate(self.config[group], _convert_="all")

    @property
    def budgets(self) -> tuple[int, ...]:
        """What explainers may spend: one for all, several for a curve, or none: as each ships."""
        budget = self.config.get("budget")
        return tuple(self.config.get("anytime") or ()) if budget is None else (budget,)

    def candidates(self) -> list[ConfiguredExplainer]:
        """The explainers, once per budget where they have one and one is asked for."""
        return [
            self.candidate(name, at_budget)
            for name, config in self.config["explainer"].items()
            for at_budget in regimes.at_budgets(config, self.budgets)
        ]

    def candidate(self, name: str, config: Mapping[str, Any]) -> ConfiguredExplainer:
        """One explainer; one by one, for Hydra would turn a map of dataclasses into configs."""
        made = instantiate(config, _convert_="all")
        key = provenance.component(config, tags_of(made).version)
        shipped = self.shipped("explainer", name)
        regime = regimes.describe(config, shipped, equal=bool(self.budgets))
        return ConfiguredExplainer(name, made, key, config, regime)

    def judges(self) -> list[ConfiguredMetric]:
        """The metrics."""
        return [self.judge(name) for name in self.config["metric"]]

    def judge(self, name: str) -> ConfiguredMetric:
        """One metric; as it ships where it is not among the study's."""
        config = self.config["metric"].get(name) or self.shipped("metric", name)
        made = instantiate(config, _convert_="all")
        return ConfiguredMetric(name, made, provenance.component(config, tags_of(made).version))

    def shipped(self, group: str, name: str) -> dict[str, Any]:
        """What an option's YAML says, with this cell's baselines; empty where there is none."""
        path = options(group, self.folders).get(name)
        if path is None:
            return {}
        frame = {key: value for key, value in self.config.items() if key not in SETS}
        nodes = {**frame, group: OmegaConf.load(path)}
        found = OmegaConf.to_container(OmegaConf.create(nodes)[group], resolve=True)
        return dict(cast(dict[str, Any], found).get(name, {}))

    @property
    def metric_keys(self) -> dict[str, str]:
        """Metric name -> content address: what the study asks of every explanation."""
        return {judge.name: judge.key for judge in self.judges()}

    def cell(self, fingerprint: str = "") -> Cell:
        """The cell and its content address; how good the model is comes later."""
        recipe = self.component("model")
        content = {
            "config": self.identity,
            "fingerprint": fingerprint,
            "code": provenance.code_version(),
            "libraries": provenance.libraries(),
            "files": recipe.fingerprint() if isinstance(recipe, Fingerprinted) else "",
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


def sources() -> tuple[Path, ...]:
    """The folders that Hydra composed from, ours first."""
    from hydra.core.hydra_config import HydraConfig

    found = HydraConfig.get().runtime.config_sources
    return tuple(Path(one.path) for one in found if one.schema == "file")


def chosen() -> dict[str, str]:
    """The option of every group of a cell, as Hydra composed it."""
    from hydra.core.hydra_config import HydraConfig

    choices = HydraConfig.get().runtime.choices
    names = {name: str(choices[name]) for name in GROUPS}
    for slot in ("explain", "measure"):
        names[f"baseline.{slot}"] = str(choices[f"baseline@baseline.{slot}"])
    return names
