"""Small bundles that models are trained on; no dataset component is needed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from xai_bench.data.bundle import Bundle, Split, shared_units


def bundle(x: Tensor, y: Tensor, n_classes: int = 0, **context: Tensor) -> Bundle:
    """Rows in the given order: 60% training, 20% validation, 20% test; no classes: regression."""
    n = len(x)
    units = torch.arange(x[0].numel()).view(x.shape[1:])

    def part(start: int, stop: int) -> Split:
        rows = slice(start, stop)
        kept = {name: value[rows] for name, value in context.items()}
        return Split(x[rows], y[rows], shared_units(units, stop - start), context=kept)

    return Bundle(
        task="classification" if n_classes else "regression",
        modality="image" if x.dim() == 4 else "tabular",
        train=part(0, n * 6 // 10),
        valid=part(n * 6 // 10, n * 8 // 10),
        test=part(n * 8 // 10, n),
        class_names=tuple(f"class {c}" for c in range(n_classes)),
    )


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def two_classes(n: int = 200, n_columns: int = 4) -> Bundle:
    """The class is the sign of `2 x0 - x1`."""
    x = normal(n, n_columns)
    return bundle(x, (2 * x[:, 0] - x[:, 1] > 0).long(), n_classes=2)


def three_classes(n: int = 240) -> Bundle:
    """The class is the largest of three columns."""
    x = normal(n, 3)
    return bundle(x, x.argmax(1), n_classes=3)


def plane(n: int = 200) -> Bundle:
    """`y = 1000 + 50 x0 - 20 x1`: far from zero and wide, as prices are."""
    x = normal(n, 3)
    return bundle(x, 1000 + 50 * x[:, 0] - 20 * x[:, 1])


def images(n: int = 120, size: int = 8) -> Bundle:
    """One bright quadrant in noise; the class is which one."""
    y = torch.arange(n) % 4
    x = 0.3 * normal(n, 1, size, size)
    half = size // 2
    for quadrant in range(4):
        rows = (y == quadrant).nonzero()[:, 0]
        top, left = (half * part for part in divmod(quadrant, 2))
        x[rows, :, top : top + half, left : left + half] += 1.0
    return bundle(x, y, n_classes=4)


def from_sklearn(name: str) -> Bundle:
    """`digits` as images, `breast_cancer` or `diabetes`, scaled and shuffled once."""
    import sklearn.datasets

    data = getattr(sklearn.datasets, f"load_{name}")()
    regression = name == "diabetes"
    x = torch.tensor(data.data, dtype=torch.float32)
    y = torch.tensor(data.target, dtype=torch.float32 if regression else torch.long)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order]
    if name == "digits":
        x = (x / 16).view(-1, 1, 8, 8)
    else:
        x = (x - x[: len(x) * 6 // 10].mean(0)) / x[: len(x) * 6 // 10].std(0)
    return bundle(x, y, n_classes=0 if regression else int(y.max()) + 1)


def ignore(row: Mapping[str, float]) -> None:
    """An `on_epoch` that does nothing."""
