"""Your own fitted models, read from the files of their libraries."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from xai_bench.core.spelling import listed
from xai_bench.core.system.permissions import ImportPath, RunsPickle
from xai_bench.data.bundle import Bundle
from xai_bench.data.tables.encoding import TableEncoding
from xai_bench.models import skops_types
from xai_bench.models.base import OnEpoch, Predictor, ReadablePredictor, Trained
from xai_bench.models.libraries import catboost, lightgbm, onnx, xgboost
from xai_bench.models.libraries.recognise import Reading, predictor_of
from xai_bench.models.libraries.table_model import FLOOR
from xai_bench.types import Column, Element, Structure, TreeStructure, Unsupported

_PICKLES = (".joblib", ".pkl", ".pickle")
_UNREADABLE = (
    ImportError, AttributeError, EOFError, IndexError, KeyError, TypeError, ValueError,
    pickle.UnpicklingError,
)  # fmt: skip
"""What unpickling raises where classes are missing or of other versions."""
_N_TRIED = 64


@dataclass(frozen=True)
class ModelFile(ABC):
    """A fitted model in a file: nothing is trained.

    Attributes:
        path: the file.
        raw: the model was fitted on the columns of the data's file: numbers as they stand there,
            texts and all. False: on x as networks get it, standardised and in one-hot form.
    """

    differentiable: ClassVar[bool] = False
    trains: ClassVar[bool] = False
    path: str
    raw: bool = True

    @abstractmethod
    def read(self) -> Any:
        """The model. Raises ValueError where the file holds none."""

    def reading(self) -> Reading:
        """How its answers become outputs."""
        return Reading()

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        """Nothing is trained. Raises ValueError where the model does not fit the data."""
        return Trained(fitted_to(self.read(), bundle, self.raw, self.reading()))

    def save(self, predictor: Predictor, folder: Path) -> None:
        """Nothing: the model stays where it is."""
        return

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        """As `train`: the model stays where it is."""
        return self.train(bundle, seed=0, on_epoch=lambda row: None).predictor

    def fingerprint(self) -> str:
        """A hash of the file."""
        return hashlib.sha256(self.file().read_bytes()).hexdigest()[:16]

    def file(self) -> Path:
        """The path, with `~` expanded. Raises ValueError where there is no file."""
        path = Path(self.path).expanduser()
        if not path.is_file():
            raise ValueError(f"model.path {self.path!r} is not a file (looked in {Path.cwd()})")
        return path


@dataclass(frozen=True)
class SklearnFile(ModelFile):
    """Your own fitted scikit-learn estimator or pipeline, from a skops file.

    Attributes:
        path: what `skops.io.dump(model, path)` wrote; or a joblib or pickle file, if
            `allow_pickle_to_run_code`.
        trust: the full names of types beside scikit-learn's that may be in a skops file.
        allow_pickle_to_run_code: reading a pickle runs whatever its writer put into it. Say true
            only where you would run a program of the same origin.
        floor: what is mixed into every class probability whose logarithm is an output.
    """

    trust: Sequence[ImportPath] = ()
    allow_pickle_to_run_code: RunsPickle = False
    floor: float = FLOOR

    def read(self) -> Any:
        """The model in the file. Raises ValueError where it cannot be read."""
        path = self.file()
        if path.suffix not in _PICKLES:
            return _read_skops(path, self.trust)
        if self.allow_pickle_to_run_code:
            return _unpickled(path)
        raise ValueError(
            f"{path} is a pickle, and reading one runs whatever code its writer put into it: write "
            "the model with skops.io.dump(model, 'model.skops'), or, where you would run a program "
            "of the same origin, set model.allow_pickle_to_run_code=true"
        )

    def reading(self) -> Reading:
        """How its answers become outputs."""
        return Reading(self.floor)


@dataclass(frozen=True)
class XGBoostFile(ModelFile):
    """Your own XGBoost model, as `model.save_model` wrote it (JSON or UBJSON).

    Attributes:
        margin: of a regressor whose prediction is a function of the sum of its trees, take the sum.
    """

    margin: bool = False

    def read(self) -> Any:
        """The model in the file. Raises ValueError where it cannot be read."""
        return xgboost.read(self.file())

    def reading(self) -> Reading:
        """How its answers become outputs."""
        return Reading(margin=self.margin)


@dataclass(frozen=True)
class LightGBMFile(ModelFile):
    """Your own LightGBM model, as `booster.save_model` wrote it (text). `margin` as for XGBoost."""

    margin: bool = False

    def read(self) -> Any:
        """The model in the file. Raises ValueError where it cannot be read."""
        return lightgbm.read(self.file())

    def reading(self) -> Reading:
        """How its answers become outputs."""
        return Reading(margin=self.margin)


@dataclass(frozen=True)
class CatBoostFile(ModelFile):
    """Your own CatBoost model, as `model.save_model` wrote it (cbm, or json). `margin` as for
    XGBoost.
    """

    margin: bool = False

    def read(self) -> Any:
        """The model in the file. Raises ValueError where it cannot be read."""
        return catboost.read(self.file())

    def reading(self) -> Reading:
        """How its answers become outputs."""
        return Reading(margin=self.margin)


@dataclass(frozen=True)
class OnnxFile(ModelFile):
    """Your own model in an ONNX file, run by onnxruntime: a black box.

    Images and series are fed as the data have them, whatever `raw` says.

    Attributes:
        output: of a model with several outputs, the name of the one to explain.
        floor: what is mixed into every class probability whose logarithm is an output.
    """

    gives: ClassVar[tuple[str, ...]] = ()
    output: str | None = None
    floor: float = FLOOR

    def read(self) -> Any:
        """The model in the file. Raises ValueError where it cannot be read."""
        return onnx.session_of(self.file())

    def reading(self) -> Reading:
        """How its answers become outputs."""
        return Reading(self.floor, output=self.output)


def fitted_to(model: Any, bundle: Bundle, raw: bool, reading: Reading) -> Predictor:
    """A predictor of a brought model for these data. Raises ValueError where they do not fit."""
    part = bundle.test
    context = {name: value[:_N_TRIED] for name, value in part.context.items()}
    if context and not onnx.is_onnx(model):
        raise Unsupported(f"this model takes x alone, and the data come with {listed(context)}")
    encoding = TableEncoding.of_bundle(bundle) if raw else None
    predictor = predictor_of(
        model, part.x[:_N_TRIED], encoding=encoding, reading=reading, context=context
    )
    _require_task(getattr(predictor, "class_names", ()), bundle)
    if bundle.task == "classification" or not raw or bundle.y_element == Element():
        return predictor
    return InScaleOfData(predictor, bundle.y_element.mean, bundle.y_element.scale)


@dataclass(frozen=True, eq=False)
class InScaleOfData:
    """A regressor that answers in the words of the file, for data whose target is standardised."""

    predictor: Predictor
    mean: float
    scale: float
    differentiable: bool = False
    module: None = None

    @property
    def n_outputs(self) -> int:
        return self.predictor.n_outputs

    def __call__(self, x: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        return (self.predictor(x, context) - self.mean) / self.scale

    def structure(self, column: Column) -> Structure | None:
        predictor = self.predictor
        trees = predictor.structure(column) if isinstance(predictor, ReadablePredictor) else None
        if not isinstance(trees, TreeStructure):
            return trees
        start = torch.zeros(1, dtype=torch.float64) if trees.base is None else trees.base
        base = (start - self.mean) / self.scale
        return replace(trees, value=trees.value / self.scale, base=base)


def _require_task(names: Sequence[str], bundle: Bundle) -> None:
    """Classes are known by their names, or by number where the model has no others."""
    numbered = list(names) == [str(k) for k in range(len(names))]
    if len(names) != len(bundle.class_names):
        kinds = [f"{len(n)} classes" if n else "a number" for n in (names, bundle.class_names)]
        raise ValueError(
            f"the model predicts {kinds[0]}, and the target of the data is {kinds[1]}: set "
            "data.task, or take another model"
        )
    if names and not numbered and list(names) != list(bundle.class_names):
        raise ValueError(
            f"the model knows the classes {listed(names)}, and the data have "
            f"{listed(bundle.class_names)}: recode the target (data.recode)"
        )


def _read_skops(path: Path, trust: Sequence[str]) -> Any:
    """The estimator of a skops file, if every type in it is trusted."""
    try:
        strange = skops_types.untrusted(path, trust)
    # A skops file is a zip with a schema in it; what is missing decides which error comes.
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise ValueError(
            f"{path} is no skops file ({_one_line(error)}); write it with "
            "skops.io.dump(model, 'model.skops')"
        ) from error
    if strange:
        packages = sorted({name.partition(".")[0] for name in strange})
        raise ValueError(
            f"{path} holds types from beyond scikit-learn; where you trust them all, set "
            f"'model.trust=[{','.join(strange)}]' 'allow=[{','.join(packages)}]'"
        )
    return skops_types.load(path)


def _unpickled(path: Path) -> Any:
    """Runs what the file says."""
    import joblib

    try:
        return joblib.load(path)
    except _UNREADABLE as error:
        raise ValueError(
            f"{path} cannot be unpickled here ({_one_line(error)}); read it where it was written, "
            "with the same versions, and write it with skops.io.dump"
        ) from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
