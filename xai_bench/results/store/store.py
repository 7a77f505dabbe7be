"""The results of all runs: content-addressed files of attributions and per-sample scores.

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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock
from torch import Tensor

from xai_bench.core.spelling import suggest
from xai_bench.results.regimes import TUNED
from xai_bench.results.store import codec, files
from xai_bench.results.values import Cell, ExplainerResult, Predictions, Scores
from xai_bench.types import Element, Inputs

if TYPE_CHECKING:
    from pandas import DataFrame

T = TypeVar("T")

_SCORES = {True: "scores.parquet", False: "costs.parquet"}


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


@dataclass(frozen=True)
class Store:
    """A folder of results. Everything is written whole or not at all, under a lock per cell."""

    root: Path

    def folder(self, cell_key: str, explanation_key: str = "") -> Path:
        """The folder of a cell, or of one explanation in it."""
        return self.root / "store" / cell_key / explanation_key

    def write_cell(self, cell: Cell) -> None:
        """Store a cell. Like every writer here, raises ValueError where nothing can be written."""
        folder = self.folder(cell.key)
        with self._writing(folder):
            files.write(folder / "machine.json", files.dumps(dict(cell.environment)))
            files.write(folder / "groups.safetensors", codec.tensors(cell.groups))
            files.write(folder / "cell.json", files.dumps(codec.cell_fields(cell)))

    def read_cell(self, key: str) -> Cell | None:
        """The cell of this content address; None where it is absent or damaged."""
        folder = self.folder(key)
        fields = files.loads(folder / "cell.json")
        if fields is None:
            return None
        environment = files.loads(folder / "machine.json")
        groups = files.tensors(folder / "groups.safetensors") or {}
        return _decoded(
            lambda: codec.cell_from(fields, environment or {}, groups), folder / "cell.json"
        )

    def write_inputs(
        self,
        cell_key: str,
        inputs: Inputs,
        unit_names: Iterable[str] = (),
        elements: Iterable[Element] = (),
    ) -> None:
        """Store the explained inputs, for pictures and for reading the attributions later."""
        folder = self.folder(cell_key)
        values = {"x": inputs.x, "units": inputs.units, "index": inputs.index}
        with self._writing(folder):
            files.write(folder / "inputs.safetensors", codec.tensors(values, unit_names))
            files.write(folder / "elements.json", files.dumps([asdict(e) for e in elements]))

    def read_inputs(self, cell_key: str) -> dict[str, Tensor] | None:
        """`x`, `units` and `index`; None where they are not stored."""
        return files.tensors(self.folder(cell_key) / "inputs.safetensors")

    def unit_names(self, cell_key: str) -> list[str]:
        """One name per unit, where all samples share them; else empty."""
        return files.names(self.folder(cell_key) / "inputs.safetensors")

    def elements(self, cell_key: str) -> list[Element]:
        """One per element of x in the units of the file, for tables; else empty."""
        stored = files.loads(self.folder(cell_key) / "elements.json")
        return [Element(**fields) for fields in stored or []]

    def write_predictions(self, cell_key: str, predictions: Predictions) -> None:
        """Store the outputs, targets and labels of the explained samples."""
        names = ("outputs", "targets", "labels")
        values = {name: getattr(predictions, name) for name in names}
        folder = self.folder(cell_key)
        with self._writing(folder):
            content = codec.tensors(values, predictions.class_names)
            files.write(folder / "predictions.safetensors", content)

    def read_predictions(self, cell_key: str) -> Predictions | None:
        """The stored predictions; None where they are not stored."""
        path = self.folder(cell_key) / "predictions.safetensors"
        values = files.tensors(path)
        if values is None:
            return None
        return Predictions(**values, class_names=tuple(files.names(path)))

    def write(self, cell_key: str, result: ExplainerResult) -> None:
        """Store a result; scores of other metrics that are stored already stay."""
        folder = self.folder(cell_key, result.key)
        values = codec.result_tensors(result)
        fields = codec.result_fields(result)
        with self._writing(self.folder(cell_key)):
            files.write(folder / "attribution.safetensors", codec.tensors(values))
            for reproducible, name in _SCORES.items():
                new = [s for s in result.scores.values() if s.reproducible == reproducible]
                old = _stored(folder / name, result.index)
                merged = {(s.metric, s.key): s for s in [*old, *new]}
                files.write(folder / name, codec.parquet(merged.values(), result.index))
            measured = codec.flat({**self.measured(cell_key, result.key), **result.measured})
            if measured:
                files.write(folder / "measured.safetensors", codec.tensors(measured))
            files.write(folder / "explanation.json", files.dumps(fields))

    def measured(self, cell_key: str, explanation_key: str) -> dict[str, dict[str, Tensor]]:
        """The stored `ExplainerResult.measured`; empty where nothing is stored."""
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
        """One result with the scores of `metrics` (name -> key), or with all scores.

        A metric may be stored under several settings; only the key says which one is meant. Without
        `attribution`, the explanation is left out. None where it is absent or damaged.
        """
        folder = self.folder(cell_key, explanation_key)
        fields = files.loads(folder / "explanation.json")
        wanted = None if attribution else ("index",)
        values = files.tensors(folder / "attribution.safetensors", wanted)
        if fields is None or values is None:
            return None
        scores = [s for name in _SCORES.values() for s in _stored(folder / name, values["index"])]
        return _decoded(
            lambda: codec.result_from(fields, values, _wanted(scores, metrics)),
            folder / "explanation.json",
        )

    def add_to_study(
        self,
        study: str,
        cell: Cell,
        results: Sequence[ExplainerResult],
        command: str,
        metrics: Mapping[str, str],
    ) -> None:
        """Add results and metrics (name -> key) to the study's manifest of a cell.

        An explainer may be in it under several regimes, such as budgets; under one regime the later
        result counts.

        A cell of the same configuration, from older code, data or libraries, leaves the study; its
        results stay in the store.

        Raises:
            ValueError: the study's name cannot be a folder's.
        """
        if not re.fullmatch(r"\w[\w.-]*", study):
            raise ValueError(f"study '{study}' must be letters, digits, '_', '-' and '.' only")
        path = self.root / "studies" / study / f"{cell.key}.json"
        with self._writing(path.parent):
            manifest = self.study_manifest(study, cell.key).extended(results, metrics, command)
            files.write(path, files.dumps({"cell": cell.key, **asdict(manifest)}))
            self._remove_older(path, cell)

    def _remove_older(self, path: Path, cell: Cell) -> None:
        """Remove the manifests of cells that differ from this one in code, data or libraries."""
        for other in path.parent.glob("*.json"):
            older = None if other == path else self.read_cell(other.stem)
            if older is not None and older.config == cell.config:
                other.unlink()

    def study_manifest(self, study: str, cell_key: str) -> StudyManifest:
        """The study's manifest of a cell; an empty one where the cell is not part of the study."""
        fields = files.loads(self.root / "studies" / study / f"{cell_key}.json") or {}
        listed = fields.get("explanations", {})
        return StudyManifest(
            {name: {"": keys} if isinstance(keys, str) else keys for name, keys in listed.items()},
            fields.get("metrics", {}),
            tuple(fields.get("commands", ())),
            fields.get("tuning", {}),
        )

    def explanations(
        self, study: str, cell_key: str, *, attributions: bool = True
    ) -> list[ExplainerResult]:
        """The stored results that belong to a study in one cell, under the study's names."""
        manifest = self.study_manifest(study, cell_key)
        return [
            replace(
                result,
                explainer=name,
                regime=regime,
                tuning=manifest.tuning[key] if tuned else None,
            )
            for name, key, regime, tuned in manifest.wanted()
            if (result := self.read(cell_key, key, manifest.metrics, attribution=attributions))
        ]

    def studies(self) -> list[str]:
        """The names of all studies with at least one cell, in alphabetical order."""
        folders = (self.root / "studies").glob("*/")
        return sorted(folder.name for folder in folders if any(folder.glob("*.json")))

    def cells(
        self, study: str, *, attributions: bool = True
    ) -> list[tuple[Cell, list[ExplainerResult]]]:
        """The study's cells by data, model and seed, each with its stored results.

        Raises:
            ValueError: there is no such study.
        """
        if study not in self.studies():
            raise ValueError(_no_study(study, self.studies()))
        keys = [path.stem for path in (self.root / "studies" / study).glob("*.json")]
        cells = [cell for key in keys if (cell := self.read_cell(key))]
        return [
            (cell, self.explanations(study, cell.key, attributions=attributions))
            for cell in sorted(cells, key=_sort_key)
        ]

    def frame(self, study: str) -> DataFrame:
        """Long format, one row per scored sample: cell x explainer x metric x index."""
        from xai_bench.results.store.frames import samples

        return samples(self.cells(study, attributions=False))

    def outcomes(self, study: str) -> DataFrame:
        """One row per cell x explainer x metric: status, reason and how many samples are scored."""
        from xai_bench.results.store.frames import outcomes

        return outcomes(self.cells(study, attributions=False))

    @contextmanager
    def _writing(self, folder: Path) -> Iterator[None]:
        """Hold the lock of `folder`, and remove what a killed writer left in it."""
        with files.writable(self.root):
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / ".lock"):
                files.sweep(folder)
                yield


def _stored(path: Path, index: Tensor) -> list[Scores]:
    """The scores in one file; none where it is absent or damaged."""
    if not path.exists():
        return []
    return _decoded(lambda: codec.scores(path.read_bytes(), index), path) or []


def _decoded(decode: Callable[[], T], path: Path) -> T | None:
    """The decoded content; None, with a warning about `path`, where it is damaged."""
    try:
        return decode()
    except files.DAMAGED as error:
        files.warn_damaged(path, error)
        return None


def _sort_key(cell: Cell) -> tuple[str | int, ...]:
    names = (cell.view, cell.target, cell.baseline_explain, cell.baseline_measure, cell.key)
    return (cell.data, cell.model, cell.seed, *names)


def _wanted(scores: Iterable[Scores], metrics: Mapping[str, str] | None) -> dict[str, Scores]:
    if metrics is None:
        return {s.metric: s for s in scores}
    return {s.metric: s for s in scores if metrics.get(s.metric) == s.key}


def _no_study(study: str, studies: list[str]) -> str:
    advice = suggest(study, studies) if studies else "nothing has been recorded yet"
    return f"there is no study '{study}' in the results; {advice}"
