"""Linear regressions, one per sample, all solved at once: with one design, or each with its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.explainers.removal.engine import UnitAttributions, row_matmul

_SINGULAR = 1e-9
"""Below this share of the largest, a pivot or an eigenvalue says that the design does not cover a
direction."""
_MOST_SWEEPS = 1000
_SWEEPS = 4
"""So many go by between looks at whether the signs are right."""


class Regression:
    """Weighted ridge regression of many responses on one design: `design [K, u], weight [K]`.

    Errors are those of independent rows of any variance (White 1980), each residual divided by one
    less the mean leverage, as the jackknife divides by one less its own (MacKinnon & White 1985).
    `spare [K]` is the share of a row's variance that counts, where a finite number of rows was
    drawn without replacement. Directions that the design does not cover get coefficient 0 (the
    solution of smallest norm); where it covers fewer than `n_free`, errors are NaN.
    """

    def __init__(
        self,
        design: Tensor,
        weight: Tensor,
        *,
        ridge: float = 0.0,
        spare: Tensor | None = None,
        n_free: int | None = None,
    ) -> None:
        self.design = design
        weighted = design * weight[:, None]
        gram = weighted.mT @ design
        size, direction = torch.linalg.eigh(gram + ridge * torch.eye(len(gram), dtype=gram.dtype))
        covered = size > _SINGULAR * size[-1:].clamp(min=1e-300)
        inverse = (direction * torch.where(covered, 1 / size, 0)) @ direction.mT
        self.solution = weighted @ inverse
        self.degrees_of_freedom = len(design) - float((inverse * gram).sum())
        enough = int(covered.sum()) >= (len(gram) if n_free is None else n_free)
        self.told = self.degrees_of_freedom > 0.5 and enough
        self.spread = self.solution.square() * (1 if spare is None else spare[:, None])

    def credits(self, response: Tensor) -> UnitAttributions:
        """`[b, K]` to coefficients and their errors."""
        values = row_matmul(response, self.solution)
        if not self.told:
            return UnitAttributions(values, torch.full_like(values, torch.nan))
        residual = response - row_matmul(values, self.design.mT)
        errors = row_matmul(residual.square(), self.spread).clamp(min=0).sqrt()
        return UnitAttributions(values, errors * (len(self.design) / self.degrees_of_freedom))


def regress_on_members(
    kept: Tensor, values: Tensor, weight: Tensor, ridge: float
) -> UnitAttributions:
    """As `Regression`, of `values [b, K]` on membership `kept [b, K, u]` bool, each sample's own.

    With a free intercept. The design is never centred: sums of products are, afterwards. Those for
    the errors need single precision only.
    """
    total = weight.sum(1, keepdim=True)
    member = kept.double()
    weighted = member * weight[..., None]
    mean = weighted.sum(1) / total
    centre = (weight * values).sum(1, keepdim=True) / total
    # Products of matrices that lie in order take two thirds of the time.
    gram = weighted.mT.contiguous() @ member - total[..., None] * mean[:, :, None] * mean[:, None]
    right = (weighted * (values - centre)[..., None]).sum(1)
    normal = Normal(gram, right, ridge * torch.eye(kept.shape[2], dtype=gram.dtype))
    found = normal.solution()
    poor = (~normal.regular).nonzero()[:, 0]
    if len(poor):
        design, response = member[poor] - mean[poor, None], (values - centre)[poor]
        found[poor] = least_squares(design, response, weight[poor], ridge)
    residual = values - centre - (member @ found[..., None])[..., 0]
    residual = residual + (mean * found).sum(1, keepdim=True)
    meat = _scatter(kept.float(), (weight * residual).float(), mean)
    return UnitAttributions(found, normal.errors(meat, kept.shape[1]))


def _scatter(member: Tensor, miss: Tensor, mean: Tensor) -> Tensor:
    """`[b, u, u]` float64: the sum of `miss^2 (z - mean) (z - mean)'` over rows."""
    missed = member * miss[..., None]
    along = (missed.mT @ miss[..., None])[..., 0].double()[:, :, None] * mean[:, None]
    size = miss.double().square().sum(1)[:, None, None]
    whole = (missed.mT @ missed).double()
    return whole - along - along.mT + size * mean[:, :, None] * mean[:, None]


class Normal:
    """Normal equations: `gram [b, u, u], right [b, u]`, and a penalty that is added to the gram.

    Attributes:
        regular: `[b]` bool, False where the design does not cover every direction.
    """

    def __init__(self, gram: Tensor, right: Tensor, penalty: Tensor) -> None:
        factor, self.regular = _factor(gram + penalty)
        n_units = penalty.shape[-1]
        self.gram, self.right = gram, right
        self.inverse = torch.cholesky_inverse(factor)[:, :n_units, :n_units]

    def solution(self) -> Tensor:
        """`[b, u]`."""
        return (self.inverse @ self.right[..., None])[..., 0]

    def errors(self, meat: Tensor, n_rows: int) -> Tensor:
        """`[b, u]` from `meat [b, u, u]`, the scatter of the rows' residuals; see `Regression`."""
        variance = ((self.inverse @ meat) * self.inverse).sum(2)
        degrees_of_freedom = (n_rows - (self.inverse * self.gram).sum((1, 2)))[:, None]
        told = (degrees_of_freedom > 0.5) & self.regular[:, None]
        return torch.where(
            told, variance.clamp(min=0).sqrt() * n_rows / degrees_of_freedom, torch.nan
        )


def _factor(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky factors `[b, u', u']`, and which samples have one, `[b]` bool.

    Matrices grow to a multiple of 8, so that each starts on a cache line: only then are a sample's
    bits the same in every batch.
    """
    spare = -gram.shape[1] % 8
    size = gram.diagonal(dim1=1, dim2=2).amax(1)
    padded = functional.pad(gram, (0, spare, 0, spare))
    padded.diagonal(dim1=1, dim2=2)[:, gram.shape[1] :] = size[:, None]
    factor, info = torch.linalg.cholesky_ex(padded)
    pivots = factor.diagonal(dim1=1, dim2=2).square().amin(1)
    good = (info == 0) & (pivots > _SINGULAR * size)
    if not good.all():
        whole = torch.eye(len(padded[0]), dtype=gram.dtype)
        factor = torch.where(good[:, None, None], factor, whole)
    return factor, good


def least_squares(design: Tensor, response: Tensor, weight: Tensor, ridge: float = 0.0) -> Tensor:
    """Weighted ridge regression: `design [b, K, u], response [b, K], weight [b, K] -> [b, u]`.

    Directions that the design does not cover get coefficient 0 (the solution of smallest norm).
    """
    n_samples, n_rows, n_units = design.shape
    root = weight.sqrt()
    # A sample's bits are the same in every batch with this LAPACK driver only, and only where each
    # matrix starts on a cache line: hence rows of zeros up to a multiple of 8.
    height = n_rows + n_units + -(n_rows + n_units) % 8
    rows, right = (
        design.new_zeros(n_samples, height, n_units),
        design.new_zeros(n_samples, height, 1),
    )
    rows[:, :n_rows] = root[..., None] * design
    rows[:, n_rows : n_rows + n_units].diagonal(dim1=1, dim2=2).fill_(ridge**0.5)
    right[:, :n_rows, 0] = root * response
    solution: Tensor = torch.linalg.lstsq(rows, right, rcond=1e-10, driver="gelsd").solution
    return solution[..., 0]


def lasso(gram: Tensor, right: Tensor, alpha: float) -> Tensor:
    """`gram [b, u, u], right [b, u] -> [b, u]`: the minimum of `b G b / 2 - r b + alpha |b|_1`.

    Cyclic coordinate descent (Friedman+ 2010), until the solution with the signs found so far is a
    minimum, for at most 1,000 sweeps: columns that hardly differ may need more under a small alpha.
    Each sample stops at its own convergence, so that its bits do not depend on the others.
    """
    scale = gram.diagonal(dim1=1, dim2=2)
    found = torch.zeros_like(right)
    active = torch.ones(len(right), dtype=torch.bool)
    for sweep in range(_MOST_SWEEPS):
        if sweep % _SWEEPS == _SWEEPS - 1:
            exact, best = _of_signs(gram, right, alpha, found.sign())
            found = torch.where((active & best)[:, None], exact, found)
            active = active & ~best
        before = found.clone()
        for unit in range(right.shape[1]):
            left = right[:, unit] - (gram[:, unit] * found).sum(1)
            pull = left + scale[:, unit] * found[:, unit]
            size = (pull.abs() - alpha).clamp(min=0) / scale[:, unit].clamp(min=1e-300)
            found[:, unit] = torch.where(active, pull.sign() * size, found[:, unit])
        change, largest = (found - before).abs().amax(1), found.abs().amax(1)
        active = active & (change > 1e-10 * largest)
        if not active.any():
            break
    return found


def _of_signs(gram: Tensor, right: Tensor, alpha: float, sign: Tensor) -> tuple[Tensor, Tensor]:
    """`[b, u]`: the lasso were its signs known, and whether it is the minimum, `[b]` bool."""
    free = sign != 0
    own = torch.where(free[:, :, None] & free[:, None], gram, 0)
    normal = Normal(own, torch.where(free, right - alpha * sign, 0), (~free).to(gram).diag_embed())
    exact = torch.where(free, normal.solution(), 0)
    pull = (right - (gram @ exact[..., None])[..., 0]).abs()
    kept = (exact.sign() == sign).all(1)
    best = normal.regular & kept & (free | (pull <= alpha * (1 + _SINGULAR))).all(1)
    return exact, best
