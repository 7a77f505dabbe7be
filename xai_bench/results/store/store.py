"""The truth: content-addressed files of attributions and per-sample scores.

    <root>/store/<cell>/                cell.json machine.json groups.safetensors inputs.safetensors
                                        elements.json predictions.safetensors
    <root>/store/<cell>/<explanation>/  explanation.json attribution.safetensors
                                        measured.safetensors (curves, to be drawn)
                                        scores.parquet (repeats exactly) costs.parquet (does not)
    <root>/studies/<study>/<cell>.json  which explanations and metrics belong to a study

A name never decides what is read: explanations and metrics are found by their content addresses, so
studies with other settings of the same explainer or metric share a store and never mix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock
from torch import Tensor

from xai_bench.core.spelling import suggest
from xai_bench.results.regimes import TUNED
from xai_bench.results.store import codec, files
from xai_bench.results.values import Cell, ExplainerResult, Predictions, Scores
from xai_bench.types import Element, Inputs

if TYPE_CHECKING:
    from pandas import DataFrame

_SCORES = {True: "scores.parquet", False: "costs.parquet"}


@dataclass(frozen=True)
class StudyManifest:
    """What one study asks of one cell, and the commands that asked.

    Attributes:
        explanations: name -> regime -> content address.
        metrics: name -> content address.
        tuning: content address -> how the settings were found, where they were tuned.
    """

    explanations: Mapping[str, Mapping[str, str]]
    metrics: Mapping[str, str]
    commands: tuple[str, ...]
    tuning: Mapping[str, Mapping[str, Any]]

    def wanted(self) -> Iterator[tuple[str, str, str, bool]]:
        """Name, content address, regime, and whether the settings were tuned.

        Settings that were tuned to what ships compete under both regimes.
        """
        for name, keys in self.explanations.items():
            regimes: dict[tuple[str, bool], list[str]] = {}
            for regime, key in keys.items():
                regimes.setdefault((key, TUNED in regime and key in self.tuning), []).append(regime)
            for (key, tuned), names in regimes.items():
                yield name, key, "; ".join(names), tuned

    def with_(self, found: Sequence[ExplainerResult]) -> StudyManifest:
        """With more explanations; the same name under the same regime is replaced."""
        explanations = {name: dict(keys) for name, keys in self.explanations.items()}
        for one in found:
            explanations.setdefault(one.explainer, {}).pop("", None)
            explanations[one.explainer][one.regime] = one.key
        tuned = {one.key: one.tuning for one in found if one.tuning is not None}
        return replace(self, explanations=explanations, tuning={**self.tuning, **tuned})


@dataclass(frozen=True)
class Store:
    """A folder of results. Everything is written whole or not at all, under a lock per cell."""

    root: Path

    def folder(self, cell_key: str, explanation_key: str = "") -> Path:
        return self.root / "store" / cell_key / explanation_key

    def write_cell(self, cell: Cell) -> None:
        """Raises ValueError where the folder cannot be written; so do all writers here."""
        folder = self.folder(cell.key)
        with self._writing(folder):
            files.write(folder / "machine.json", files.dumps(dict(cell.environment)))
            files.write(folder / "groups.safetensors", codec.tensors(cell.groups))
            files.write(folder / "cell.json", files.dumps(codec.cell_fields(cell)))

    def read_cell(self, key: str) -> Cell | None:
        folder = self.folder(key)
        fields = files.loads(folder / "cell.json")
        if fields is None:
            return None
        environment = files.loads(folder / "machine.json")
        groups = files.tensors(folder / "groups.safetensors") or {}
        try:
            return codec.cell_from(fields, environment or {}, groups)
        except files.TORN as error:
            files.torn(folder / "cell.json", error)
            return None

    def write_inputs(
        self,
        cell_key: str,
        inputs: Inputs,
        unit_names: Iterable[str] = (),
        elements: Iterable[Element] = (),
    ) -> None:
        """Keep what was explained, for pictures and for whoever reads the attributions later."""
        folder = self.folder(cell_key)
        values = {"x": inputs.x, "units": inputs.units, "index": inputs.index}
        with self._writing(folder):
            files.write(folder / "inputs.safetensors", codec.tensors(values, unit_names))
            files.write(folder / "elements.json", files.dumps([asdict(e) for e in elements]))

    def read_inputs(self, cell_key: str) -> dict[str, Tensor] | None:
        """`x`, `units` and `index`; None where they were not kept."""
        return files.tensors(self.folder(cell_key) / "inputs.safetensors")

    def unit_names(self, cell_key: str) -> list[str]:
        return files.names(self.folder(cell_key) / "inputs.safetensors")

    def elements(self, cell_key: str) -> list[Element]:
        found = files.loads(self.folder(cell_key) / "elements.json")
        return [Element(**fields) for fields in found or []]

    def write_predictions(self, cell_key: str, predictions: Predictions) -> None:
        """Keep what the model says of the explained samples, and what was true of them."""
        names = ("outputs", "targets", "labels")
        values = {name: getattr(predictions, name) for name in names}
        folder = self.folder(cell_key)
        with self._writing(folder):
            content = codec.tensors(values, predictions.class_names)
            files.write(folder / "predictions.safetensors", content)

    def read_predictions(self, cell_key: str) -> Predictions | None:
        """None where they were not kept."""
        path = self.folder(cell_key) / "predictions.safetensors"
        values = files.tensors(path)
        if values is None:
            return None
        return Predictions(**values, class_names=tuple(files.names(path)))

    def write(self, cell_key: str, result: ExplainerResult) -> None:
        """Add an explanation; scores already there under other content addresses stay."""
        folder = self.folder(cell_key, result.key)
        values = codec.result_tensors(result)
        fields = codec.result_fields(result)
        with self._writing(self.folder(cell_key)):
            files.write(folder / "attribution.safetensors", codec.tensors(values))
            for reproducible, name in _SCORES.items():
                new = [s for s in result.scores.values() if s.reproducible == reproducible]
                old = _stored(folder / name, result.index)
                merged = {(one.metric, one.key): one for one in [*old, *new]}
                files.write(folder / name, codec.parquet(merged.values(), result.index))
            measured = codec.flat({**self.measured(cell_key, result.key), **result.measured})
            if measured:
                files.write(folder / "measured.safetensors", codec.tensors(measured))
            files.write(folder / "explanation.json", files.dumps(fields))

    def measured(self, cell_key: str, explanation_key: str) -> dict[str, dict[str, Tensor]]:
        """What was measured of an explanation to be drawn, as in `ExplainerResult.measured`."""
        path = self.folder(cell_key, explanation_key) / "measured.safetensors"
        return codec.nested(files.tensors(path) or {})

    def read(
        self,
        cell_key: str,
        explanation_key: str,
        metrics: Mapping[str, str] | None = None,
        *,
        attribution: bool = True,
    ) -> ExplainerResult | None:
        """One explanation with the scores of `metrics` (name -> key); all scores without.

        Of several settings of one metric that are stored, only `metrics` tells which is meant.
        """
        folder = self.folder(cell_key, explanation_key)
        fields = files.loads(folder / "explanation.json")
        wanted = None if attribution else ("index",)
        values = files.tensors(folder / "attribution.safetensors", wanted)
        if fields is None or values is None:
            return None
        found = [s for name in _SCORES.values() for s in _stored(folder / name, values["index"])]
        try:
            return codec.result_from(fields, values, _wanted(found, metrics))
        except files.TORN as error:
            files.torn(folder / "explanation.json", error)
            return None

    def add_to_study(
        self,
        study: str,
        cell: Cell,
        explanations: Sequence[ExplainerResult],
        command: str,
        metrics: Mapping[str, str],
    ) -> None:
        """Say which explanations and metrics (name -> key) a study is about, besides earlier ones.

        An explainer may be there under several regimes, such as budgets; of one regime the later
        one counts.

        A cell of the same configuration, from older code, data or libraries, leaves the study; its
        results stay in the store.

        Raises:
            ValueError: the study's name cannot be a folder's.
        """
        if not re.fullmatch(r"\w[\w.-]*", study):
            raise ValueError(f"study '{study}' must be letters, digits, '_', '-' and '.' only")
        path = self.root / "studies" / study / f"{cell.key}.json"
        with self._writing(path.parent):
            earlier = self.study_manifest(study, cell.key)
            asked = earlier.with_(explanations)
            fields = {
                "cell": cell.key,
                "explanations": asked.explanations,
                "metrics": {**earlier.metrics, **metrics},
                "commands": list(dict.fromkeys([*earlier.commands, command])),
                "tuning": asked.tuning,
            }
            files.write(path, files.dumps(fields))
            self._supersede(path, cell)

    def _supersede(self, path: Path, cell: Cell) -> None:
        for other in path.parent.glob("*.json"):
            older = None if other == path else self.read_cell(other.stem)
            if older is not None and older.config == cell.config:
                other.unlink()

    def study_manifest(self, study: str, cell_key: str) -> StudyManifest:
        """What the study asks of a cell; nothing where it was never enlisted."""
        fields = files.loads(self.root / "studies" / study / f"{cell_key}.json") or {}
        known = fields.get("explanations", {})
        return StudyManifest(
            {name: {"": keys} if isinstance(keys, str) else keys for name, keys in known.items()},
            fields.get("metrics", {}),
            tuple(fields.get("commands", ())),
            fields.get("tuning", {}),
        )

    def explanations(
        self, study: str, cell_key: str, *, attributions: bool = True
    ) -> list[ExplainerResult]:
        """What is known of the explanations that a study asks of one cell, under its names."""
        asked = self.study_manifest(study, cell_key)
        return [
            replace(one, explainer=name, regime=regime, tuning=asked.tuning[key] if tuned else None)
            for name, key, regime, tuned in asked.wanted()
            if (one := self.read(cell_key, key, asked.metrics, attribution=attributions))
        ]

    def studies(self) -> list[str]:
        folders = (self.root / "studies").glob("*/")
        return sorted(folder.name for folder in folders if any(folder.glob("*.json")))

    def cells(
        self, study: str, *, attributions: bool = True
    ) -> list[tuple[Cell, list[ExplainerResult]]]:
        """The study's cells by data, model and seed, each with what is known of its explanations.

        Raises:
            ValueError: there is no such study.
        """
        if study not in self.studies():
            raise ValueError(_no_study(study, self.studies()))
        keys = [path.stem for path in (self.root / "studies" / study).glob("*.json")]
        cells = [cell for key in keys if (cell := self.read_cell(key))]
        return [
            (cell, self.explanations(study, cell.key, attributions=attributions))
            for cell in sorted(cells, key=_order)
        ]

    def frame(self, study: str) -> DataFrame:
        """Long, one row per scored sample: cell x explainer x metric x index."""
        from xai_bench.results.store.frames import samples

        return samples(self.cells(study, attributions=False))

    def outcomes(self, study: str) -> DataFrame:
        """One row per cell x explainer x metric: status, reason and how many samples are scored."""
        from xai_bench.results.store.frames import outcomes

        return outcomes(self.cells(study, attributions=False))

    @contextmanager
    def _writing(self, folder: Path) -> Iterator[None]:
        """One writer at a time in `folder`, where nothing is left half done by an earlier one."""
        with files.writable(self.root):
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock"):
                files.sweep(folder)
                yield


def _stored(path: Path, index: Tensor) -> list[Scores]:
    """The scores in one file; none where it is absent or torn."""
    if not path.exists():
        return []
    try:
        return codec.scores(path.read_bytes(), index)
    except files.TORN as error:
        files.torn(path, error)
        return []


def _order(cell: Cell) -> tuple[str | int, ...]:
    names = (cell.view, cell.target, cell.baseline_explain, cell.baseline_measure, cell.key)
    return (cell.data, cell.model, cell.seed, *names)


def _wanted(found: Iterable[Scores], metrics: Mapping[str, str] | None) -> dict[str, Scores]:
    if metrics is None:
        return {one.metric: one for one in found}
    return {one.metric: one for one in found if metrics.get(one.metric) == one.key}


def _no_study(study: str, known: list[str]) -> str:
    there = suggest(study, known) if known else "nothing has been recorded yet"
    return f"there is no study '{study}' in the results; {there}"
