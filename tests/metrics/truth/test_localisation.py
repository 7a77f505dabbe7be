"""Attribution inside a mask: scores by hand, reference implementations, and data with masks."""

from __future__ import annotations

import os
from dataclasses import replace
from itertools import groupby
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support import toy_worlds
from tests.support.paths import ROOT
from xai_bench.core import units
from xai_bench.data.arrays import CustomArrays
from xai_bench.data.images.tiles import PhotoTiles, by_group
from xai_bench.data.synthetic.planted import PlantedPatch
from xai_bench.metrics.plausibility import tokens
from xai_bench.metrics.truth import localisation
from xai_bench.types import Case, Unsupported

MASK = [True, True, False, False, False, False, False, False]
FAMILY = [
    localisation.PointingGame(),
    localisation.RelevanceMass(),
    localisation.AttributionLocalisation(),
    localisation.RelevanceRank(),
    localisation.TopKIntersection(0.5),
    tokens.TokenF1(0.5),
]


def score(metric: Any, attribution: list[float], mask: list[bool] | None = MASK) -> float:
    case = toy_worlds.linear([1.0] * len(attribution), n=1).case(
        torch.tensor([attribution]).double()
    )
    marked = None if mask is None else torch.tensor([mask])
    scores: Tensor = metric.score(replace(case, rationale=marked))
    return scores.item()


# By hand: two of eight places are inside, and the top half is four


@pytest.mark.parametrize(
    ("attribution", "expected"),
    [
        # at best two of four are inside: precision 1/2, recall 1, F1 2/3
        pytest.param([2, 1, 0, 0, 0, 0, 0, 0], (1, 1, 4, 1, 0.5, 2 / 3), id="all inside"),
        pytest.param([0, 0, 2, 1, 3, 1, 0, 0], (0, 0, 0, 0, 0, 0), id="all outside"),
        pytest.param([3, 0, 1, 0, 0, 0, -9, -9], (1, 3 / 4, 3, None, None, None), id="both"),
        # magnitudes would point at place 0; what lowers the output is no evidence for it
        pytest.param([-9, -5, 1, 3, 0, 2, 1, 0], (0, 0, 0, 0, 0, 0), id="negative inside"),
        pytest.param(
            [5, 0, 5, 5, 1, 0, 0, 0], (1 / 3, 5 / 16, 5 / 4, 1 / 3, 1 / 4, 1 / 3), id="tied"
        ),
        pytest.param([0.0] * 8, (1 / 4, nan, nan, 1 / 4, 1 / 4, 1 / 3), id="zeros"),
        pytest.param([-1.0] * 8, (1 / 4, nan, nan, 1 / 4, 1 / 4, 1 / 3), id="nothing positive"),
    ],
)  # fmt: skip
def test_localisation_by_hand(attribution: list[float], expected: tuple[float | None, ...]) -> None:
    for metric, value in zip(FAMILY, expected, strict=True):
        if value is not None:
            assert score(metric, attribution) == pytest.approx(value, nan_ok=True), metric


@pytest.mark.parametrize("mask", [[False] * 4, [True] * 4], ids=["empty", "everything"])
def test_an_empty_or_a_full_mask_is_not_scored(mask: list[bool]) -> None:
    for metric in (*FAMILY, tokens.TokenIOUF1(0.5)):
        assert isnan(score(metric, [4.0, 3.0, 2.0, 1.0], mask)), metric


def test_a_top_k_of_all_places_is_not_scored() -> None:
    for metric in (localisation.TopKIntersection(1.0), tokens.TokenF1(1.0), tokens.TokenIOUF1(1.0)):
        assert isnan(score(metric, [1.0] * 8)), metric


def test_without_a_rationale_the_mask_is_where_the_truth_is_positive() -> None:
    case = toy_worlds.linear([1.0] * 4, n=1).case(torch.tensor([[1.0, 5.0, 2.0, 0.0]]).double())
    truthful = replace(case, truth=torch.tensor([[2.0, -9.0, 1.0, 0.0]]).double())
    assert localisation.RelevanceMass().score(truthful).item() == 3 / 8
    marked = replace(truthful, rationale=torch.tensor([[False, True, False, False]]))
    assert localisation.RelevanceMass().score(marked).item() == 5 / 8, "people come first"
    for metric in FAMILY:
        with pytest.raises(Unsupported, match="neither a rationale nor a truth"):
            metric.score(case)


# Places


def image(mask: Tensor) -> tuple[Case, Tensor]:
    """Three channels of 8 x 8 pixels in patches of 2 x 2; the map is a ramp in the red channel."""
    world = toy_worlds.image()
    attribution = torch.zeros_like(world.inputs.x)
    attribution[:, 0] = torch.arange(64.0).view(8, 8).double()
    attribution[:, 1, 0, 0] = 1000.0
    attribution[:, 2, 0, 0] = -2000.0
    case = world.case(attribution)
    return replace(case, rationale=mask.expand(world.inputs.x.shape)), attribution


def test_a_pixel_adds_up_its_channels_and_an_element_does_not() -> None:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[7, 7] = True
    case, _ = image(mask)
    pixel, element = (localisation.PointingGame(space) for space in ("pixel", "element"))  # type: ignore[arg-type]
    assert (pixel.score(case) == 1).all(), "63 in the corner; 1000 - 2000 at the first pixel"
    assert (element.score(case) == 0).all(), "1000 at the first pixel, green"
    mass = localisation.RelevanceMass("pixel").score(case)
    torch.testing.assert_close(mass, torch.full((5,), 63 / (64 * 63 / 2)).double())
    share = localisation.AttributionLocalisation("pixel").score(case)
    torch.testing.assert_close(share, 64 * mass)


def test_a_unit_is_inside_where_half_of_it_is() -> None:
    """The patch at the lower right has the largest sum, 54 + 55 + 62 + 63."""
    pointing = localisation.PointingGame()
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[0, :2], mask[7, 7] = True, True
    assert (pointing.score(image(mask)[0]) == 0).all(), "a quarter of the patch is not inside"
    mask[7, 6] = True
    assert (pointing.score(image(mask)[0]) == 1).all()


def test_pixels_of_a_table_are_unsupported() -> None:
    with pytest.raises(Unsupported, match="space=pixel adds up channels"):
        score(localisation.PointingGame("pixel"), [1.0] * 8)


@pytest.mark.parametrize("space", ["unit", "element"])
def test_padding_is_no_place(space: localisation.Space) -> None:
    """Every real token but the first lowers the output; the mask covers the padding, too."""
    world = toy_worlds.text()
    attribution = torch.where(world.inputs.units < 0, 0.0, -1.0).double()
    attribution[:, 0] = -0.5
    case = replace(world.case(attribution), rationale=torch.ones_like(attribution).bool())
    case.rationale[:, 0] = False  # type: ignore[index]
    n_tokens = units.count(world.inputs.units)
    assert (localisation.PointingGame(space).score(case) == 0).all()
    rank = localisation.RelevanceRank(space).score(case)
    torch.testing.assert_close(rank, (n_tokens - 2) / (n_tokens - 1).double())
    even = localisation.AttributionLocalisation(space).score(case.with_attribution(-attribution))
    expected = (n_tokens - 1) / (n_tokens - 0.5) * n_tokens / (n_tokens - 1)
    torch.testing.assert_close(even, expected.double())


# Runs of tokens


def spans(marks: list[bool]) -> list[set[int]]:
    runs = [list(run) for _, run in groupby(enumerate(marks), key=lambda pair: pair[1])]
    return [{place for place, _ in run} for run in runs if run[0][1]]


def iou_f1(predicted: list[bool], marked: list[bool]) -> float:
    ours, theirs = spans(predicted), spans(marked)
    right = sum(any(len(a & b) / len(a | b) > 0.5 for b in theirs) for a in ours)
    precision, recall = right / len(ours), right / len(theirs)
    return 2 * precision * recall / (precision + recall) if right else 0.0


@pytest.mark.parametrize(
    ("attribution", "mask", "expected"),
    [
        pytest.param([1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0], 1, id="the same run"),
        pytest.param([1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0], 1, id="two thirds of the union"),
        pytest.param([0, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0], 0, id="half of the union"),
        pytest.param([1, 0, 1, 0, 1, 0], [1, 1, 1, 1, 1, 0], 0, id="in pieces"),
        # runs 0-1 and 3 against 0-1 and 5: one of two is right on either side
        pytest.param([1, 1, 0, 1, 0, 0], [1, 1, 0, 0, 0, 1], 0.5, id="one of two"),
    ],
)
def test_runs_by_hand(attribution: list[float], mask: list[int], expected: float) -> None:
    scores = score(tokens.TokenIOUF1(0.5), attribution, [bool(mark) for mark in mask])
    assert scores == pytest.approx(expected)
    again = iou_f1([value > 0 for value in attribution], [bool(mark) for mark in mask])
    assert again == pytest.approx(expected)


def test_a_reference_implementation_of_runs_agrees() -> None:
    n = 300
    attribution, mask = toy_worlds.normal(n, 9, seed=1), toy_worlds.normal(n, 9, seed=2) > 0.3
    mask[:, 0], mask[:, 8] = True, False
    case = replace(toy_worlds.linear([1.0] * 9, n=n).case(attribution), rationale=mask)
    scores = tokens.TokenIOUF1(0.5).score(case)
    top = attribution >= attribution.sort(dim=1, descending=True).values[:, 4:5]
    expected = [iou_f1(a, b) for a, b in zip(top.tolist(), mask.tolist(), strict=True)]
    assert scores.tolist() == pytest.approx(expected)
    assert 0.1 < scores.mean() < 0.9, "some agree and some do not"


def test_token_f1_is_the_harmonic_mean_of_precision_and_recall() -> None:
    n = 100
    attribution, mask = toy_worlds.normal(n, 9, seed=1), toy_worlds.normal(n, 9, seed=2) > 0.3
    mask[:, 0], mask[:, 8] = True, False
    case = replace(toy_worlds.linear([1.0] * 9, n=n).case(attribution), rationale=mask)
    top = attribution >= attribution.sort(dim=1, descending=True).values[:, 4:5]
    hits = (top & mask).sum(1)
    precision, recall = hits / 5, hits / mask.sum(1)
    expected = (2 * precision * recall / (precision + recall)).nan_to_num(nan=0.0)
    torch.testing.assert_close(tokens.TokenF1(0.5).score(case).float(), expected)


# Data with masks


def test_the_planted_patch_is_the_rationale() -> None:
    bundle = PlantedPatch(size=8, patch=4, n_rows=200).load()
    assert bundle.truth is not None
    assert bundle.test.rationale is not None
    inputs = bundle.evaluation(40, 50)
    marked = bundle.truth(inputs, bundle.test.y) != 0
    assert torch.equal(marked, bundle.test.rationale)
    pixels = bundle.train.x.square() * bundle.train.rationale  # type: ignore[operator]
    assert (pixels.flatten(1).sum(1) > 8).all(), "16 pixels of size 1 and noise"


@pytest.mark.parametrize("channels_last", [True, False])
def test_masks_travel_with_their_samples(tmp_path: Path, channels_last: bool) -> None:
    """The mask holds wherever the image is bright: true of every row of every part."""
    x = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 6)).astype(np.uint8)
    x[:] = x[:, :1]
    full = np.moveaxis(x, 1, -1) if channels_last else x
    for masks in (x[:, 0] > 127, full > 127):
        np.savez(tmp_path / "a.npz", x=full, y=np.arange(40) % 4, masks=masks)
        bundle = CustomArrays(str(tmp_path / "a.npz"), channels_last=channels_last).load()
        for split in (bundle.train, bundle.valid, bundle.test):
            assert split.rationale is not None
            assert torch.equal(split.rationale, split.x > 0.5)


def test_masks_of_another_shape_are_rejected(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((40, 3))
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(40) % 2, masks=np.ones((40, 2)))
    with pytest.raises(ValueError, match=r"masks in .* have shape \[40, 2\]; expected \[40, 3\]"):
        CustomArrays(str(tmp_path / "a.npz")).load()


def test_masks_are_part_of_the_fingerprint_of_the_data(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).random((40, 3)), np.arange(40) % 2
    prints = set()
    for name, more in (("a", {}), ("b", {"masks": x > 0.5}), ("c", {"masks": x > 0.4})):
        np.savez(tmp_path / f"{name}.npz", x=x, y=y, **more)
        prints.add(CustomArrays(str(tmp_path / f"{name}.npz")).load().fingerprint())
    assert len(prints) == 3


def test_tiles_of_one_photo_stay_together() -> None:
    photo = torch.arange(60) // 3
    parts = by_group(photo, (0.6, 0.2, 0.2), 0)
    pieces = [photo[rows] for rows in (parts.train, parts.valid, parts.test)]
    assert [len(piece) for piece in pieces] == [36, 12, 12]
    assert not set(pieces[0].tolist()) & set(pieces[1].tolist()) & set(pieces[2].tolist())
    assert all(len(piece.unique()) * 3 == len(piece) for piece in pieces)
    other = by_group(photo, (0.6, 0.2, 0.2), 1)
    assert not torch.equal(parts.test, other.test)


def test_blood_cells_have_a_box_where_there_is_a_cell() -> None:
    root = ROOT
    shared = Path(os.environ.get("XAI_BENCH_DATA", root.parent / "shared" / "data"))
    path = shared / "image" / "bccd_wbc_tiles" / "bccd_trainval.npz"
    if not path.is_file():
        pytest.skip("no shared data beside the checkout; set XAI_BENCH_DATA to its folder")
    bundle = PhotoTiles(str(path), ("none", "white cell")).load()
    assert sum(len(split) for split in (bundle.train, bundle.valid, bundle.test)) == 428
    assert bundle.train.x.shape[1:] == (3, 64, 64)
    for split in (bundle.train, bundle.valid, bundle.test):
        assert split.rationale is not None
        assert torch.equal(split.rationale.flatten(1).any(1), split.y == 1)
        share = split.rationale[split.y == 1].float().mean().item()
        assert share == pytest.approx(0.36, abs=0.03)


def test_area_under_precision_and_recall_by_hand() -> None:
    """The marked units come first and third: precisions 1 and 2 / 3."""
    found = score(tokens.TokenAUPRC(), [5, 3, 4, 2, 1, 0, -1, -2])
    assert found == pytest.approx((1 + 2 / 3) / 2)


def test_a_text_of_one_unit_is_one_run() -> None:
    one = torch.tensor([[True], [False]])
    assert tokens._run_f1(one, torch.tensor([[True], [True]])).tolist() == [1, 0]
