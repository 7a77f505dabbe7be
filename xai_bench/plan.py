"""From a composed configuration to the components of one cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from xai_bench import identity
from xai_bench.evaluate import Candidate, Judge
from xai_bench.models.cache import Fingerprinted
from xai_bench.outcomes import Cell

GROUPS = ("data", "model", "view", "target")


@dataclass(frozen=True, eq=False)
class Plan:
    """One cell as configured: plain values, and the options that were chosen by name in `conf/`."""

    config: Mapping[str, Any]
    names: Mapping[str, str]

    @classmethod
    def of(cls, cfg: DictConfig, names: Mapping[str, str] | None = None) -> Plan:
        """`names` left out, Hydra is asked which options were chosen."""
        config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
        return cls(cast(dict[str, Any], config), chosen() if names is None else names)

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

    def candidates(self) -> list[Candidate]:
        """The explainers; one by one, for Hydra would turn a map of dataclasses into configs."""
        return [
            Candidate(name, made, identity.component(config, made.version), config)
            for name, config in self.config["explainer"].items()
            for made in [instantiate(config, _convert_="all")]
        ]

    def judges(self) -> list[Judge]:
        """The metrics."""
        return [
            Judge(name, made, identity.component(config, made.version))
            for name, config in self.config["metric"].items()
            for made in [instantiate(config, _convert_="all")]
        ]

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
            "code": identity.code_version(),
            "libraries": identity.libraries(),
            "files": recipe.fingerprint() if isinstance(recipe, Fingerprinted) else "",
        }
        return Cell(
            key=identity.digest(content),
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


def chosen() -> dict[str, str]:
    """The option of every group of a cell, as Hydra composed it."""
    from hydra.core.hydra_config import HydraConfig

    choices = HydraConfig.get().runtime.choices
    names = {name: str(choices[name]) for name in GROUPS}
    for slot in ("explain", "measure"):
        names[f"baseline.{slot}"] = str(choices[f"baseline@baseline.{slot}"])
    return names
