"""Linear regressions, one per sample, all solved at once: with one design, or each with its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from xai_bench.explainers.removal.engine import UnitAttributions
from xai_bench.explainers.removal.row_products import row_matmul

_SINGULAR = 1e-9
"""Below this share of the largest, a pivot or an eigenvalue says that the design does not cover a
direction."""
_LEAST_DEGREES_OF_FREEDOM = 1.0
"""With fewer, errors are NaN: an interval would be wider than anything that is measured."""
_FEW_UNITS = 64
"""Up to so many units an eigen-decomposition costs next to nothing."""
_MAX_SWEEPS = 1000
_SWEEPS_PER_CHECK = 4
"""Sweeps of the lasso between two checks of whether its signs are right."""


class Regression:
    """Weighted ridge regression of many responses on one design: `design [K, u], weight [K]`.

    Errors are those of independent rows of any variance (White 1980), each residual divided by one
    less the mean leverage, as the jackknife divides by one less its own (MacKinnon & White 1985).
    Their degrees of freedom are what the leverages of these rows leave of their number.
    Where a ridge shrinks coefficients, errors are root mean squares of that spread and of what the
    ridge takes away, the difference from least squares: intervals then hold the limit of many rows,
    in which no ridge is left, and not the mean of estimates that are all too small.
    Directions that the design does not cover get coefficient 0 (the solution of smallest norm).

    Args:
        ridge: the penalty added to the diagonal of the normal equations.
        spare: `[K]`, the share of a row's variance that counts, where a finite number of rows was
            drawn without replacement; 1 by default. Rows of 0 are not drawn: they have no part in
            the errors and their degrees of freedom.
        n_free: how many directions there are to cover, by default `u`; errors are NaN where the
            design, without the ridge, covers fewer. It is `u - 1` where rows add up to 0.
        centred: whether design and responses are less their weighted means, which take a degree of
            freedom, as an intercept does.

    Up to 64 units by eigenvalues. Of more by Cholesky, in a tenth of the time, unless it finds a
    direction that is not covered.
    """

    def __init__(
        self,
        design: Tensor,
        weight: Tensor,
        *,
        ridge: float = 0.0,
        spare: Tensor | None = None,
        n_free: int | None = None,
        centred: bool = False,
    ) -> None:
        self.design = design
        self.right: Tensor | None = None
        self.lost: Tensor | None = None
        enough = self._solve(design, weight, ridge, n_free)
        spare = torch.ones_like(weight) if spare is None else spare
        leverage, is_drawn = (self.solution * design).sum(1), spare > 0
        self.n_drawn = int(is_drawn.sum())
        self.degrees_of_freedom = float(torch.where(is_drawn, 1 - leverage, 0).sum()) - centred
        self.has_errors = self.degrees_of_freedom > _LEAST_DEGREES_OF_FREEDOM and enough
        # White's sandwich for independent rows: a coefficient's variance is this, times squared
        # residuals.
        self.spread = self.solution.square() * spare[:, None].to(self.solution)

    def _solve(self, design: Tensor, weight: Tensor, ridge: float, n_free: int | None) -> bool:
        """Whether as many directions are covered as there are."""
        weighted = design * weight[:, None]
        gram = weighted.mT @ design
        n_free = len(gram) if n_free is None else n_free
        penalised = gram + ridge * torch.eye(len(gram), dtype=gram.dtype)
        enough = True
        if ridge > 0:
            self.lost, enough = _lost_to_ridge(gram, ridge, n_free)
        inverse = _by_cholesky(penalised, n_free) if len(gram) > _FEW_UNITS else None
        if inverse is not None:
            # Errors need single precision only; coefficients do without this product.
            self.right, self.inverse = weighted, inverse
            self.solution = weighted.float() @ inverse.float()
            return enough
        inverse, n_covered = _by_eigenvalues(penalised)
        self.solution = weighted @ inverse
        return enough and n_covered >= n_free

    def attributions(self, response: Tensor) -> UnitAttributions:
        """`response [b, K]` to coefficients and their errors, `[b, u]`."""
        if self.right is None:
            values = row_matmul(response, self.solution)
        else:
            values = row_matmul(row_matmul(response, self.right), self.inverse)
        if not self.has_errors:
            unknown = torch.full_like(values, torch.nan)
            return UnitAttributions(values, unknown, degrees_of_freedom=0.0)
        residual = response - row_matmul(values, self.design.mT)
        errors = row_matmul(residual.square(), self.spread).clamp(min=0).sqrt()
        # By the mean leverage (HC3 takes each row's own, which divides by 0 where a row fits
        # itself).
        errors = errors * (self.n_drawn / self.degrees_of_freedom)
        if self.lost is not None:
            errors = torch.hypot(errors, row_matmul(values, self.lost))
        return UnitAttributions(values, errors, degrees_of_freedom=self.degrees_of_freedom)


def _lost_to_ridge(gram: Tensor, ridge: float, n_free: int) -> tuple[Tensor, bool]:
    """`[u, u]`: ridge coefficients times this are what they lack of those of least squares.

    And whether the design covers as many directions as there are, without the ridge.
    """
    inverse = _by_cholesky(gram, n_free) if len(gram) > _FEW_UNITS else None
    if inverse is not None:
        return ridge * inverse, True
    inverse, n_covered = _by_eigenvalues(gram)
    return ridge * inverse, n_covered >= n_free


def _by_eigenvalues(gram: Tensor) -> tuple[Tensor, int]:
    """`[u, u]`: the inverse on the directions that are covered, and how many those are."""
    size, direction = torch.linalg.eigh(gram)
    # `eigh` sorts ascending: the last is the largest.
    covered = size > _SINGULAR * size[-1:].clamp(min=1e-300)
    inverse = (direction * torch.where(covered, 1 / size, 0)) @ direction.mT
    return inverse, int(covered.sum())


def _by_cholesky(gram: Tensor, n_free: int) -> Tensor | None:
    """`[u, u]`: the same where `n_free` directions are covered, else None.

    Of `u - 1` the one that is left is that of ones, which is filled in and taken out again.
    """
    n_units = len(gram)
    if n_free < n_units:
        # The matrix of ones has the eigenvalue u, so the direction gets that of a usual pivot.
        gram = gram + gram.diagonal().mean() / n_units
    factor, regular = _factor(gram[None])
    if not regular.all():
        return None
    inverse = torch.cholesky_inverse(factor)[0, :n_units, :n_units]
    if n_free < n_units:
        # What was filled in has equal entries in the inverse, too, and the rest of each row adds up
        # to 0.
        inverse = inverse - inverse.sum(1, keepdim=True) / n_units
    return inverse


def regress_on_members(
    kept: Tensor, values: Tensor, weight: Tensor, ridge: float
) -> UnitAttributions:
    """As `Regression`, of `values [b, K]` on membership `kept [b, K, u]` bool, each sample's own.

    With a free intercept. The design is never centred: sums of products are, afterwards. Those for
    the errors' spread need single precision only.
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
    coefficients = normal.solution()
    singular = (~normal.regular).nonzero()[:, 0]
    if len(singular):
        design, response = member[singular] - mean[singular, None], (values - centre)[singular]
        coefficients[singular] = least_squares(design, response, weight[singular], ridge)
    residual = values - centre - (member @ coefficients[..., None])[..., 0]
    residual = residual + (mean * coefficients).sum(1, keepdim=True)
    scatter = _scatter(kept.float(), (weight * residual).float(), mean)
    errors = normal.errors(scatter, kept.shape[1])
    degrees_of_freedom = normal.degrees_of_freedom(kept.shape[1])
    if ridge > 0:
        plain = Normal(gram, ridge * coefficients, torch.zeros_like(normal.gram[0]))
        lost, covered = plain.solution(), plain.regular[:, None]
        errors = torch.where(covered, torch.hypot(errors, lost), torch.nan)
        degrees_of_freedom = torch.where(plain.regular, degrees_of_freedom, 0)
    return UnitAttributions(coefficients, errors, degrees_of_freedom=degrees_of_freedom)


def _scatter(member: Tensor, residual: Tensor, mean: Tensor) -> Tensor:
    """`[b, u, u]` float64: the sum of `residual^2 (z - mean) (z - mean)'` over rows `z`.

    Multiplied out, so that the design is never centred.
    """
    scaled = member * residual[..., None]
    cross = (scaled.mT @ residual[..., None])[..., 0].double()[:, :, None] * mean[:, None]
    size = residual.double().square().sum(1)[:, None, None]
    squares = (scaled.mT @ scaled).double()
    return squares - cross - cross.mT + size * mean[:, :, None] * mean[:, None]


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
        """The coefficients, `[b, u]`."""
        return (self.inverse @ self.right[..., None])[..., 0]

    def errors(self, scatter: Tensor, n_rows: int) -> Tensor:
        """`[b, u]` from `scatter [b, u, u]`, that of the rows' residuals; see `Regression`.

        The diagonal of the sandwich `inverse @ scatter @ inverse`, corrected for leverage.
        """
        # The diagonal alone, in one product less than the whole sandwich.
        variance = ((self.inverse @ scatter) * self.inverse).sum(2)
        degrees_of_freedom = self.degrees_of_freedom(n_rows)[:, None]
        errors = variance.clamp(min=0).sqrt() * n_rows / degrees_of_freedom
        return torch.where(degrees_of_freedom > 0, errors, torch.nan)

    def degrees_of_freedom(self, n_rows: int) -> Tensor:
        """`[b]`: what the leverages leave of the rows; 0 where that is too few, or singular."""
        left = n_rows - 1 - (self.inverse * self.gram).sum((1, 2))  # one for the intercept
        return torch.where(self.regular & (left > _LEAST_DEGREES_OF_FREEDOM), left, 0)


def _factor(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky factors `[b, u', u']`, and which samples have one, `[b]` bool.

    Matrices grow to a multiple of 8, so that each starts on a cache line: only then are a sample's
    bits the same in every batch.
    """
    n_added = -gram.shape[1] % 8
    size = gram.diagonal(dim1=1, dim2=2).amax(1)
    padded = functional.pad(gram, (0, n_added, 0, n_added))
    padded.diagonal(dim1=1, dim2=2)[:, gram.shape[1] :] = size[:, None]
    factor, info = torch.linalg.cholesky_ex(padded)
    pivots = factor.diagonal(dim1=1, dim2=2).square().amin(1)
    regular = (info == 0) & (pivots > _SINGULAR * size)
    if not regular.all():
        identity = torch.eye(len(padded[0]), dtype=gram.dtype)
        factor = torch.where(regular[:, None, None], factor, identity)
    return factor, regular


def least_squares(design: Tensor, response: Tensor, weight: Tensor, ridge: float = 0.0) -> Tensor:
    """Weighted ridge regression: `design [b, K, u], response [b, K], weight [b, K] -> [b, u]`.

    Directions that the design does not cover get coefficient 0 (the solution of smallest norm).
    """
    n_samples, n_rows, n_units = design.shape
    root = weight.sqrt()
    # A sample's bits are the same in every batch with this LAPACK driver only, and only where each
    # matrix starts on a cache line: hence rows of zeros up to a multiple of 8.
    height = n_rows + n_units + -(n_rows + n_units) % 8
    rows = design.new_zeros(n_samples, height, n_units)
    right = design.new_zeros(n_samples, height, 1)
    rows[:, :n_rows] = root[..., None] * design
    # A penalty is a row for each coefficient, whose response is 0.
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
    solution = torch.zeros_like(right)
    active = torch.ones(len(right), dtype=torch.bool)
    for sweep in range(_MAX_SWEEPS):
        if sweep % _SWEEPS_PER_CHECK == _SWEEPS_PER_CHECK - 1:
            exact, is_minimum = _with_signs(gram, right, alpha, solution.sign())
            solution = torch.where((active & is_minimum)[:, None], exact, solution)
            active = active & ~is_minimum
        before = solution.clone()
        for unit in range(right.shape[1]):
            residual = right[:, unit] - (gram[:, unit] * solution).sum(1)
            slope = residual + scale[:, unit] * solution[:, unit]
            # Soft thresholding: the minimum in one coordinate, in closed form.
            size = (slope.abs() - alpha).clamp(min=0) / scale[:, unit].clamp(min=1e-300)
            solution[:, unit] = torch.where(active, slope.sign() * size, solution[:, unit])
        change, largest = (solution - before).abs().amax(1), solution.abs().amax(1)
        active = active & (change > 1e-10 * largest)
        if not active.any():
            break
    return solution


def _with_signs(gram: Tensor, right: Tensor, alpha: float, sign: Tensor) -> tuple[Tensor, Tensor]:
    """`[b, u]`: the lasso were these its signs, and whether it is the minimum, `[b]` bool.

    With fixed signs the lasso is linear. Its solution is the minimum where it has those signs, and
    where no coefficient at 0 is pulled harder than `alpha` (the conditions of Karush, Kuhn and
    Tucker).
    """
    free = sign != 0
    free_gram = torch.where(free[:, :, None] & free[:, None], gram, 0)
    free_right = torch.where(free, right - alpha * sign, 0)
    normal = Normal(free_gram, free_right, (~free).to(gram).diag_embed())
    exact = torch.where(free, normal.solution(), 0)
    slope = (right - (gram @ exact[..., None])[..., 0]).abs()
    same_signs = (exact.sign() == sign).all(1)
    is_bounded = (free | (slope <= alpha * (1 + _SINGULAR))).all(1)
    return exact, normal.regular & same_signs & is_bounded
