"""Which types a skops file may hold: a list, because a package also has functions that run code."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# BSpline is what a fitted SplineTransformer is made of.
HARMLESS = ("collections.OrderedDict", "scipy.interpolate._bsplines.BSpline")
"""Types beside those that skops trusts itself and the classes of scikit-learn."""


def untrusted(path: Path, trust: Sequence[str] = ()) -> list[str]:
    """The types in a file that are neither harmless nor in `trust`, by their full names.

    Raises what skops raises where the file is none of its own.
    """
    import skops.io

    names = skops.io.get_untrusted_types(file=path)
    return [name for name in names if name not in (*HARMLESS, *trust) and not _is_estimator(name)]


def load(path: Path) -> Any:
    """The content of a file of which `untrusted` lists nothing."""
    import skops.io

    return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))


def _is_estimator(name: str) -> bool:
    """Whether a name is that of a class that scikit-learn defines: functions are none."""
    module, _, last = name.rpartition(".")
    # Below `sklearn.externals` lies code of other packages.
    if not module.startswith("sklearn.") or "__main__" in module or "externals" in module:
        return False
    try:
        member = getattr(importlib.import_module(module), last, None)
    except ImportError:
        return False
    # A module's own names only: what it imports from elsewhere may run code.
    return inspect.isclass(member) and member.__module__ == module
