"""What a study lists of one cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xai_bench.results.regimes import TUNED
from xai_bench.results.values import ExplainerResult


def studies(root: Path) -> list[str]:
    """The names of all studies in a results folder with at least one cell, in order."""
    folders = (root / "studies").glob("*/")
    return sorted(folder.name for folder in folders if any(folder.glob("*.json")))


@dataclass(frozen=True)
class StudyManifest:
    """Which explanations and metrics of one cell belong to a study, and the commands that ran.

    Attributes:
        explanations: name -> regime -> content address.
        metrics: name -> content address.
        tuning: content address -> how the settings were found, where they were tuned.
    """

    explanations: Mapping[str, Mapping[str, str]]
    metrics: Mapping[str, str]
    commands: tuple[str, ...]
    tuning: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> StudyManifest:
        """The manifest in a file. Version 0.1.0 wrote an address without a regime."""
        listed = fields.get("explanations", {})
        return cls(
            {name: {"": keys} if isinstance(keys, str) else keys for name, keys in listed.items()},
            dict(fields.get("metrics", {})),
            tuple(fields.get("commands", ())),
            dict(fields.get("tuning", {})),
        )

    def wanted(self) -> Iterator[tuple[str, str, str, bool]]:
        """Name, content address, regime, and whether the settings were tuned.

        Where tuning chose the shipped settings, one address competes under both regimes.
        """
        for name, keys in self.explanations.items():
            regimes: dict[tuple[str, bool], list[str]] = {}
            for regime, key in keys.items():
                regimes.setdefault((key, TUNED in regime and key in self.tuning), []).append(regime)
            for (key, tuned), names in regimes.items():
                yield name, key, "; ".join(names), tuned

    def extended(
        self, results: Sequence[ExplainerResult], metrics: Mapping[str, str], command: str
    ) -> StudyManifest:
        """With more explanations, metrics and a command.

        The same name under the same regime is replaced.
        """
        explanations = {name: dict(keys) for name, keys in self.explanations.items()}
        for result in results:
            # Manifests of version 0.1.0 have an address without a regime: it is superseded.
            explanations.setdefault(result.explainer, {}).pop("", None)
            explanations[result.explainer][result.regime] = result.key
        tuned = {r.key: r.tuning for r in results if r.tuning is not None}
        return StudyManifest(
            explanations,
            {**self.metrics, **metrics},
            tuple(dict.fromkeys([*self.commands, command])),
            {**self.tuning, **tuned},
        )
