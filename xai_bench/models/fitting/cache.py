"""Trained weights, kept under the hash of all that they depend on.

`<folder>/<key>/` holds what the recipe saved and `meta.json`. It appears whole or not at all: it is
written under another name, synced and renamed, and every file is checked against its hash before it
is read.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from filelock import FileLock
from safetensors import SafetensorError

from xai_bench.core.system.disk import writable
from xai_bench.data.bundle import Bundle
from xai_bench.models.base import OnEpoch, Recipe, Trained
from xai_bench.models.precision import in_precision
from xai_bench.types import tags_of

_LOG = logging.getLogger(__name__)
_META = "meta.json"


@runtime_checkable
class Fingerprinted(Protocol):
    """A recipe that depends on files, which its configuration only names."""

    def fingerprint(self) -> str:
        """A hash of those files."""
        ...


def key(recipe: Recipe, config: Mapping[str, Any], bundle: Bundle, *, seed: int) -> str:
    """The content address of a model: 20 hex digits.

    It hashes configuration, data, seed, the libraries that train, a user's own source file, and the
    kind of device other than the CPU.
    """
    facts = {
        "config": config,
        "data": bundle.fingerprint(),
        "files": recipe.fingerprint() if isinstance(recipe, Fingerprinted) else "",
        "scikit-learn": importlib.metadata.version("scikit-learn"),
        "seed": seed,
        "source": _own_source(recipe),
        "torch": str(torch.__version__),
        "version": tags_of(recipe).version,
    }
    if bundle.device.type != "cpu":  # other devices round otherwise
        facts["device"] = bundle.device.type
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def trained(
    recipe: Recipe,
    config: Mapping[str, Any],
    bundle: Bundle,
    *,
    seed: int,
    folder: Path,
    on_epoch: OnEpoch,
) -> Trained:
    """Read the model if it is stored, else train and store it; concurrent callers train once.

    `config` is the recipe's resolved configuration, plain values only. A model is always read back
    from its files, so that a new one and a stored one are the same to the last bit. `on_epoch` is
    called only while training; `Trained.history` is stored with the weights. Raises ValueError
    where the model cannot be stored.
    """
    if not recipe.trains:
        return _placed(recipe.train(bundle, seed=seed, on_epoch=on_epoch), bundle)
    model_folder = folder / key(recipe, config, bundle, seed=seed)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # The lock is a file, too: inside of `writable`, which says what a folder refuses.
        held = FileLock(f"{model_folder}.lock").acquire()
    # Held while training, so that the jobs of a parallel sweep wait for one model.
    with held:
        if _intact(model_folder):
            _LOG.info("model %s is read from the cache", model_folder.name)
        else:
            model = recipe.train(bundle, seed=seed, on_epoch=on_epoch)
            with writable(folder):
                _store(recipe, model, model_folder)
        predictor = recipe.load(bundle, model_folder)
    history = json.loads((model_folder / _META).read_text())["history"]
    return _placed(Trained(predictor, tuple(history)), bundle)


def _placed(model: Trained, bundle: Bundle) -> Trained:
    """The model with its network on the device and in the precision of the bundle."""
    predictor = model.predictor
    if predictor.module is not None:
        predictor.module.to(bundle.device)
    # Last, so that one set of stored weights serves every precision.
    if bundle.precision is not None:
        predictor = in_precision(predictor, bundle.precision)
    return Trained(predictor, model.history)


def _own_source(recipe: Recipe) -> str:
    """A hash of the file of a recipe from outside this package; ours have a version."""
    if type(recipe).__module__.startswith("xai_bench."):
        return ""
    return hashlib.sha256(Path(inspect.getfile(type(recipe))).read_bytes()).hexdigest()


def _store(recipe: Recipe, model: Trained, folder: Path) -> None:
    """Write the model beside its folder, then rename: a killed writer leaves a draft only."""
    draft = folder.with_name(f"{folder.name}.draft")
    # Of a writer that was killed: while the lock is held, no other one is at work.
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        recipe.save(model.predictor, draft)
        meta = {"files": _hashes(draft), "history": [dict(row) for row in model.history]}
        (draft / _META).write_text(json.dumps({**meta, "digest": _digest(meta)}, indent=1))
        for path in (*draft.rglob("*"), draft):
            _sync(path)
        # No folder is renamed onto one that holds files, as a damaged one does.
        shutil.rmtree(folder, ignore_errors=True)
        draft.replace(folder)
    except (OSError, RuntimeError, SafetensorError):  # on a full disk, a draft takes others' room
        shutil.rmtree(draft, ignore_errors=True)
        raise
    # The new name is on the disk only once the folder above it is.
    _sync(folder.parent)


def _intact(folder: Path) -> bool:
    """Whether the folder exists and every file is as it was written; a warning where not."""
    if not folder.exists():
        return False
    if intact(folder):
        return True
    _LOG.warning("model %s in the cache is damaged; it is trained again", folder.name)
    return False


def intact(folder: Path) -> bool:
    """Whether every file of a stored model is as it was written.

    Version 0.1.0 wrote no digest of the history.
    """
    try:
        meta = json.loads((folder / _META).read_text())
        stated = meta.pop("digest", None)
        as_written = stated is None or stated == _digest(meta)
        return bool(as_written and meta["files"] == _hashes(folder))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _digest(meta: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def _hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != _META
    }


def _sync(path: Path) -> None:
    """Wait until the file or folder is on the disk; Windows cannot open a folder for that."""
    if path.is_dir() and os.name != "posix":
        return
    # Windows syncs a file only where it is open for writing.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
