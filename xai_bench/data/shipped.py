"""The small data sets that come with scikit-learn, read from its files.

Importing scikit-learn takes as long as a small run, and its files need none of it. Where they are
not where they were, scikit-learn is asked.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_FILES = {"iris": "iris.csv", "wine": "wine_data.csv", "breast_cancer": "breast_cancer.csv"}
_MEASURED = (
    "radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity",
    "concave points", "symmetry", "fractal dimension",
)  # fmt: skip
_COLUMNS = {
    "iris": ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"),
    "wine": (
        "alcohol", "malic_acid", "ash", "alcalinity_of_ash", "magnesium", "total_phenols",
        "flavanoids", "nonflavanoid_phenols", "proanthocyanins", "color_intensity", "hue",
        "od280/od315_of_diluted_wines", "proline",
    ),
    "breast_cancer": (
        *(f"mean {name}" for name in _MEASURED),
        *(f"{name} error" for name in _MEASURED),
        *(f"worst {name}" for name in _MEASURED),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class ShippedData:
    """`x [N, d]` float64, and `y [N]`: long classes that index `class_names`, or float64 values."""

    x: npt.NDArray[np.float64]
    y: npt.NDArray[Any]
    columns: tuple[str, ...]
    class_names: tuple[str, ...] = ()


def table(name: str) -> ShippedData:
    """`iris`, `wine`, `breast_cancer` or `diabetes`, as `sklearn.datasets.load_<name>` gives it."""
    file = _file(_FILES[name]) if name in _FILES else None
    if file is None:
        return _asked(name)
    # The first line: the numbers of rows and columns, and the names of the classes.
    (_, n_columns, *class_names), *rows = csv.reader(file.read_text(encoding="utf-8").splitlines())
    if int(n_columns) != len(_COLUMNS[name]):
        return _asked(name)
    x = np.array([row[:-1] for row in rows], dtype=np.float64)
    y = np.array([row[-1] for row in rows], dtype=np.int64)
    return ShippedData(x, y, _COLUMNS[name], tuple(class_names))


def digits() -> ShippedData:
    """Images of 8 x 8 pixels in 0..16, a row each, as `sklearn.datasets.load_digits` has them."""
    file = _file("digits.csv.gz")
    if file is None:
        return _asked("digits")
    rows = np.loadtxt(gzip.decompress(file.read_bytes()).decode().splitlines(), delimiter=",")
    return ShippedData(rows[:, :-1], rows[:, -1].astype(np.int64), ())


def _file(name: str) -> Path | None:
    """A data file of scikit-learn, which is not imported; None where it has no such file."""
    spec = find_spec("sklearn")
    folders = [] if spec is None else spec.submodule_search_locations or []
    files = [Path(folder, "datasets", "data", name) for folder in folders]
    return next((file for file in files if file.is_file()), None)


def _asked(name: str) -> ShippedData:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    classes = tuple(str(each) for each in getattr(bunch, "target_names", ()))
    columns = tuple(str(each) for each in bunch.feature_names)
    return ShippedData(bunch.data, bunch.target, columns, classes)
