"""Fitted models of other libraries on one table with gaps, categories and whole numbers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.data.tables.encoding import TableEncoding
from xai_bench.models.base import Explained
from xai_bench.models.libraries.recognise import Reading, predictor_of
from xai_bench.models.targets import PredictedLogit
from xai_bench.types import Domain, Inputs

TASKS = ("two", "three", "value")
LOGIT = PredictedLogit()


def frame(n: int = 300) -> Any:
    """Five columns: whole numbers, numbers with gaps, texts with gaps, truth values, numbers."""
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    found = pd.DataFrame(
        {
            "age": rng.integers(18, 80, n),
            "income": rng.lognormal(10, 1, n),
            "job": rng.choice(["clerk", "nurse", "smith", "cook"], n),
            "own": rng.random(n) > 0.5,
            "rate": rng.normal(size=n),
        }
    )
    found.loc[::9, "income"] = np.nan
    found.loc[::11, "job"] = None
    return found


def answers(task: str, table: Any) -> Any:
    """What the models are fitted to: two classes, three, or a number."""
    score = (
        table.age / 50
        + np.nan_to_num(np.log(table.income), nan=11) / 3
        + table.job.isin(["nurse", "cook"])
        + table.own * (table.age > 40)
        + 0.5 * table.rate
    ).to_numpy()
    if task == "value":
        return score - score.min()
    cuts = {"two": [0.5], "three": [0.3, 0.6], "four": [0.2, 0.5, 0.7]}[task]
    return np.digitize(score, np.quantile(score, cuts))


def numbers(table: Any) -> Any:
    """`[N, 5]`: the same as an array, with codes for categories."""
    codes = table.job.astype("category").cat.codes.to_numpy()
    other = [table.age, table.income, table.own, table.rate]
    age, income, own, rate = (np.asarray(column, dtype=np.float64) for column in other)
    return np.stack([age, income, np.where(codes < 0, np.nan, codes), own, rate], 1)


def fitted(model: Any, table: Any, task: str) -> Any:
    """The model, after `fit`, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole = frame()
        return model.fit(table, answers(task, whole))


def world(
    model: Any,
    table: Any,
    target: Any = LOGIT,
    reading: Reading | None = None,
    n: int = 6,
    units: Tensor | None = None,
) -> toy_worlds.World:
    """The first rows of the table, explained against ten others; `units [columns]` groups them."""
    encoding = TableEncoding.of(table)
    x = encoding.encode(table)
    predictor = predictor_of(model, x[:40], encoding=encoding, reading=reading)
    own = encoding.units if units is None else units[encoding.units]
    domain = Domain(x[100:110], torch.ones(x.shape[1], dtype=torch.float64))
    inputs = Inputs(x[:n], own.expand(n, -1), torch.arange(n), domain)
    explained = Explained(predictor, target, 1 << 14)
    outputs = explained.outputs(inputs)
    task = "classification" if predictor.n_outputs > 1 else "regression"
    targets = target.choose(outputs, torch.zeros(n, dtype=torch.long), task)
    return toy_worlds.World(explained, inputs, targets)
