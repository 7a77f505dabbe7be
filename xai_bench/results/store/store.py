"""The results of all runs: content-addressed files of attributions and per-sample scores.

    <root>/store/<cell>/                cell.json machine.json groups.safetensors inputs.safetensors
                                        elements.json predictions.safetensors
                                        texts.json tokens.json (of texts: words, vocabulary)
                                        attention.safetensors (of a few texts)
    <root>/store/<cell>/<explanation>/  explanation.json attribution.safetensors
                                        measured.safetensors (curves, to be drawn)
                                        scores.parquet (repeats exactly) costs.parquet (does not)
    <root>/studies/<study>/<cell>.json  which explanations and metrics belong to a study

Each of these folders has an index, `SHA256SUMS`, with the digest of every file in it. What is not
as it was written is said and read as absent, so that the same command computes it again. A folder
without an index, as version 0.1.0 wrote, is read as it is and gets one when it is next used.

A name never decides what is read: explanations and metrics are found by their content addresses, so
studies with other settings of the same explainer or metric share a store and never mix.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from xai_bench.core.spelling import suggest
from xai_bench.core.system.disk import writable
from xai_bench.results.settings import order
from xai_bench.results.store import codec, digests, files
from xai_bench.results.store.manifest import StudyManifest, studies
from xai_bench.results.store.reader import Reader
from xai_bench.results.values import Cell, ExplainerResult, Predictions, Scores
from xai_bench.types import Element, Inputs

if TYPE_CHECKING:
    from pandas import DataFrame

_SCORES = {True: "scores.parquet", False: "costs.parquet"}
_MEASURED = "measured.safetensors"
_OF_INPUTS = ("inputs.safetensors", "elements.json", "predictions.safetensors")
"""What a cell has besides, unless its model could not be had."""
_OF_TEXTS = ("texts.json", "attention.safetensors", "tokens.json")
"""What texts have besides; see `store.text_samples`."""


@dataclass(frozen=True)
class Store:
    """A folder of results. Everything is written whole or not at all, under a lock per cell."""

    root: Path
    reader: Reader = field(default_factory=Reader, repr=False, compare=False)

    def folder(self, cell_key: str, explanation_key: str = "") -> Path:
        """The folder of a cell, or of one explanation in it."""
        return self.root / "store" / cell_key / explanation_key

    def write_cell(self, cell: Cell) -> None:
        """Store a cell. Like every writer here, raises ValueError where nothing can be written."""
        folder = self.folder(cell.key)
        contents = {
            "machine.json": files.dumps(dict(cell.environment)),
            "groups.safetensors": codec.tensors(cell.groups),
            "cell.json": files.dumps(codec.cell_fields(cell)),
        }
        with self._writing(folder):
            kept = {*contents, *_OF_INPUTS, *_OF_TEXTS}
            files.write(folder, contents, removed=_stray(folder, kept))

    def read_cell(self, key: str, *, whole: bool = False) -> Cell | None:
        """The cell of this content address; None where it is absent or damaged.

        With `whole`, None also where its inputs or predictions are: then it is prepared again.
        """
        folder = self.folder(key)
        fields = self.reader.json(folder / "cell.json", dict)
        environment = self.reader.json(folder / "machine.json", dict)
        groups = self.reader.tensors(folder / "groups.safetensors")
        if fields is None or environment is None or groups is None:
            return None
        cell = self.reader.decoded(
            folder / "cell.json", lambda _: codec.cell_from(key, fields, environment, groups)
        )
        if cell is None or not whole:
            return cell
        return cell if self.reader.whole(folder) and self._has_inputs(cell) else None

    def _has_inputs(self, cell: Cell) -> bool:
        """Whether the inputs are there, unless the cell has none; a killed run may lack them."""
        folder = self.folder(cell.key)
        return cell.outcome.status != "ok" or all((folder / name).exists() for name in _OF_INPUTS)

    def write_inputs(
        self,
        cell_key: str,
        inputs: Inputs,
        unit_names: Iterable[str] = (),
        elements: Iterable[Element] = (),
    ) -> None:
        """Store the explained inputs, for pictures and for reading the attributions later."""
        values = {"x": inputs.x, "units": inputs.units, "index": inputs.index}
        contents = {
            "inputs.safetensors": codec.tensors(values, unit_names),
            "elements.json": files.dumps([asdict(e) for e in elements]),
        }
        self.put(cell_key, contents)

    def read_inputs(self, cell_key: str) -> dict[str, Tensor] | None:
        """`x`, `units` and `index`; None where they are not stored."""
        return self.reader.tensors(self.folder(cell_key) / "inputs.safetensors")

    def unit_names(self, cell_key: str) -> list[str]:
        """One name per unit, where all samples share them; else empty."""
        return self.reader.names(self.folder(cell_key) / "inputs.safetensors")

    def elements(self, cell_key: str) -> list[Element]:
        """One per element of x in the units of the file, for tables; else empty."""
        path = self.folder(cell_key) / "elements.json"
        stored = self.reader.json(path, list) or []
        return self.reader.decoded(path, lambda _: [Element(**fields) for fields in stored]) or []

    def put(self, cell_key: str, contents: Mapping[str, bytes]) -> None:
        """Write files beside those of a cell, all or none."""
        folder = self.folder(cell_key)
        with self._writing(folder):
            files.write(folder, contents)

    def write_predictions(self, cell_key: str, predictions: Predictions) -> None:
        """Store the outputs, targets and labels of the explained samples."""
        names = ("outputs", "targets", "labels")
        values = {name: getattr(predictions, name) for name in names}
        content = codec.tensors(values, predictions.class_names)
        self.put(cell_key, {"predictions.safetensors": content})

    def read_predictions(self, cell_key: str) -> Predictions | None:
        """The stored predictions; None where they are not stored."""
        path = self.folder(cell_key) / "predictions.safetensors"
        values = self.reader.tensors(path)
        if values is None:
            return None
        names = tuple(self.reader.names(path))
        return self.reader.decoded(path, lambda _: Predictions(**values, class_names=names))

    def write(self, cell_key: str, result: ExplainerResult) -> None:
        """Store a result; scores of other metrics that are stored already stay."""
        folder = self.folder(cell_key, result.key)
        contents = {
            "attribution.safetensors": codec.tensors(codec.result_tensors(result)),
            "explanation.json": files.dumps(codec.result_fields(result)),
        }
        with self._writing(self.folder(cell_key)):
            for reproducible, name in _SCORES.items():
                new = [s for s in result.scores.values() if s.reproducible == reproducible]
                # As in `read`: scores whose measurements are damaged are made again.
                kept = not reproducible or self._measured(folder)
                old = self._scores(folder / name, result.index) if kept else []
                merged = {(s.metric, s.key): s for s in [*old, *new]}
                contents[name] = codec.parquet(merged.values(), result.index)
            measured = codec.flat({**self.measured(cell_key, result.key), **result.measured})
            if measured:
                contents[_MEASURED] = codec.tensors(measured)
            files.write(folder, contents, removed=_stray(folder, contents))

    def measured(self, cell_key: str, explanation_key: str) -> dict[str, dict[str, Tensor]]:
        """The stored `ExplainerResult.measured`; empty where nothing is stored."""
        path = self.folder(cell_key, explanation_key) / _MEASURED
        return codec.nested(self.reader.tensors(path) or {})

    def read(
        self,
        cell_key: str,
        explanation_key: str,
        metrics: Mapping[str, str] | None = None,
        *,
        attribution: bool = True,
        whole: bool = False,
    ) -> ExplainerResult | None:
        """One result with the scores of `metrics` (name -> key), or with all scores.

        A metric may be stored under several settings; only the key says which one is meant. Without
        `attribution`, the explanation is left out. None where it is absent or damaged. With
        `whole`, scores whose measurements are damaged are absent too: then both are made again.
        """
        folder = self.folder(cell_key, explanation_key)
        fields = self.reader.json(folder / "explanation.json", dict)
        wanted = None if attribution else ("index",)
        values = self.reader.tensors(folder / "attribution.safetensors", wanted)
        if fields is None or values is None or "index" not in values:
            return None
        names = _SCORES.values() if not whole or self._measured(folder) else [_SCORES[False]]
        scores = [s for name in names for s in self._scores(folder / name, values["index"])]
        return self.reader.decoded(
            folder / "explanation.json",
            lambda _: codec.result_from(explanation_key, fields, values, _wanted(scores, metrics)),
        )

    def _measured(self, folder: Path) -> bool:
        """Whether the measurements of an explanation are there, if it has any."""
        path = folder / _MEASURED
        return path.name not in (self.reader.listed(folder) or ()) or self.reader.intact(path)

    def _scores(self, path: Path, index: Tensor) -> list[Scores]:
        """The scores in one file; none where it is absent or damaged."""
        return self.reader.decoded(path, lambda p: codec.scores(p.read_bytes(), index)) or []

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

        What leaves the study, and stays in the store: a cell of the same configuration, from older
        code, data or libraries; and failures, of a cell or an explainer, that were mended by this
        run, which has the same names and other settings. Failures of one command, such as a sweep,
        do not mend each other.

        Raises:
            ValueError: the study's name cannot be a folder's.
        """
        if not re.fullmatch(r"\w[\w.-]*", study):
            raise ValueError(f"study '{study}' must be letters, digits, '_', '-' and '.' only")
        path = self.root / "studies" / study / f"{cell.key}.json"
        self._mend(cell, results)
        with self._writing(path.parent):
            manifest = self.study_manifest(study, cell.key)
            if command not in manifest.commands:
                manifest = self._without_mended(manifest, cell, results)
            manifest = manifest.extended(results, metrics, command)
            content = files.dumps({"cell": cell.key, **asdict(manifest)})
            superseded = self._superseded(study, cell, command)
            files.write(path.parent, {path.name: content}, removed=superseded)

    def _mend(self, cell: Cell, results: Sequence[ExplainerResult]) -> None:
        """Write again what is damaged though nothing had to be computed; list what is not listed.

        Such a file holds nothing that these results lack: no score of a clock, for example.
        """
        for result in results:
            if not self.reader.whole(self.folder(cell.key, result.key)):
                self.write(cell.key, result)
        with self._writing(self.folder(cell.key)):
            for key in ("", *(result.key for result in results)):
                files.list_all(self.folder(cell.key, key))

    def _without_mended(
        self, manifest: StudyManifest, cell: Cell, results: Sequence[ExplainerResult]
    ) -> StudyManifest:
        """A manifest without earlier failures of explainers that have a result now."""
        mended = {result.explainer for result in results if result.outcome.status == "ok"}

        def failed(key: str) -> bool:
            result = self.read(cell.key, key, attribution=False)
            return result is not None and result.outcome.status == "failed"

        explanations = {
            name: {r: key for r, key in keys.items() if name not in mended or not failed(key)}
            for name, keys in manifest.explanations.items()
        }
        return replace(manifest, explanations=explanations)

    def _superseded(self, study: str, cell: Cell, command: str) -> list[str]:
        """The files of cells that differ in code, data or libraries, or failed and were mended."""
        superseded = []
        for path in (self.root / "studies" / study).glob("*.json"):
            if path.stem == cell.key or not self._may_have_seed(path.stem, cell.seed):
                continue
            other = self.read_cell(path.stem)
            if other is None:
                continue
            mended = _mends(cell, other)
            mended = mended and command not in self.study_manifest(study, other.key).commands
            if mended or other.config == cell.config:
                superseded.append(path.name)
        return superseded

    def _may_have_seed(self, key: str, seed: int) -> bool:
        """Whether a cell may have a seed, by a look that takes a tenth of reading the cell.

        Every cell of a study looks at all others, of which most have other seeds.
        """
        try:
            content = (self.folder(key) / "cell.json").read_bytes()
        except OSError:
            return True
        return f'"seed": {seed}'.encode() in content

    def study_manifest(self, study: str, cell_key: str) -> StudyManifest:
        """The study's manifest of a cell; an empty one where the cell is not part of the study."""
        path = self.root / "studies" / study / f"{cell_key}.json"
        fields = self.reader.json(path, dict) or {}
        manifest = self.reader.decoded(path, lambda _: StudyManifest.of(fields))
        return manifest or StudyManifest({}, {}, (), {})

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
            if (result := self._listed(cell_key, key, manifest.metrics, attributions))
        ]

    def _listed(
        self, cell_key: str, key: str, metrics: Mapping[str, str], attributions: bool
    ) -> ExplainerResult | None:
        """A result that a study lists; says so where all of it is gone."""
        folder = self.folder(cell_key, key)
        if not folder.is_dir():
            self.reader.damaged(folder, "it is missing")
        return self.read(cell_key, key, metrics, attribution=attributions)

    def studies(self) -> list[str]:
        """The names of all studies with at least one cell, in alphabetical order."""
        return studies(self.root)

    def cells(
        self, study: str, *, attributions: bool = True
    ) -> list[tuple[Cell, list[ExplainerResult]]]:
        """The study's cells by data, model, seed and settings, each with its stored results.

        Raises:
            ValueError: there is no such study.
        """
        if study not in self.studies():
            raise ValueError(_no_study(study, self.studies()))
        keys = [path.stem for path in (self.root / "studies" / study).glob("*.json")]
        for folder in map(self.folder, keys):
            if not folder.is_dir():
                self.reader.damaged(folder, "it is missing")
        cells = [cell for key in keys if (cell := self.read_cell(key))]
        return [
            (cell, self.explanations(study, cell.key, attributions=attributions))
            for cell in sorted(
                cells, key=lambda cell: (*_named(cell), order(cell.config), cell.key)
            )
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
        """Hold the lock of `folder`; where nothing can be written, the results folder is named."""
        with writable(self.root), files.writing(folder):
            yield


def _stray(folder: Path, names: Collection[str]) -> list[str]:
    """What the index of a folder lists besides `names`, by damage or because it is superseded."""
    return [name for name in digests.read(folder) or () if name not in names]


def _mends(cell: Cell, other: Cell) -> bool:
    """Whether a cell succeeds where another of the same names and seed failed."""
    outcomes = (cell.outcome.status, other.outcome.status)
    return outcomes == ("ok", "failed") and _named(cell) == _named(other)


def _named(cell: Cell) -> tuple[str | int, ...]:
    names = (cell.view, cell.target, cell.baseline_explain, cell.baseline_measure)
    return (cell.data, cell.model, cell.seed, *names)


def _wanted(scores: Iterable[Scores], metrics: Mapping[str, str] | None) -> dict[str, Scores]:
    if metrics is None:
        return {s.metric: s for s in scores}
    return {s.metric: s for s in scores if metrics.get(s.metric) == s.key}


def _no_study(study: str, studies: list[str]) -> str:
    advice = suggest(study, studies) if studies else "nothing has been recorded yet"
    return f"there is no study '{study}' in the results; {advice}"
