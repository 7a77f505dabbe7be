"""Several models trained at the same time, into the cache that they are then read from."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from xai_bench.core.system.determinism import deterministic
from xai_bench.data.bundle import Bundle
from xai_bench.models.base import Recipe
from xai_bench.models.fitting.cache import trained


def train_in_parallel(
    recipe: Recipe,
    config: Mapping[str, Any],
    bundles: Sequence[Bundle],
    seed: int,
    folder: Path,
    n_workers: int,
) -> None:
    """Train one model per bundle, each in one thread of a fresh process, and keep it in `folder`.

    A fresh process inherits the environment, which fixes how the matrix library rounds, but none of
    the threads that a forked one would; the weights are the same bytes as if trained here.
    """
    work = partial(_train, recipe, dict(config), seed, folder)
    spawn = multiprocessing.get_context("spawn")
    n_processes = min(n_workers, len(bundles))
    with ProcessPoolExecutor(n_processes, mp_context=spawn) as pool:
        # The list waits for all of them, and raises what one of them raised.
        list(pool.map(work, [_picklable(bundle) for bundle in bundles]))


def _train(
    recipe: Recipe, config: Mapping[str, Any], seed: int, folder: Path, bundle: Bundle
) -> None:
    # Settings of torch are those of a process, and a fresh one has none of ours.
    with deterministic(bundle.device):
        trained(recipe, config, bundle, seed=seed, folder=folder, on_epoch=_ignore)


def _ignore(row: Mapping[str, float]) -> None:
    """Only the training of the explained model is shown."""


def _picklable(bundle: Bundle) -> Bundle:
    """Without the closures that cannot be pickled, which no training reads."""
    return replace(bundle, oracle=None, truth=None, distribution=None)
