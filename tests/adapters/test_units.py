"""Proves what helpers for units make: squares, regions of one colour, parts of a category."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import xai_bench
from xai_bench.adapters.units import unit_names


def test_patches_are_squares_smaller_at_the_border() -> None:
    found = xai_bench.patches(5, 4, 2)
    assert found.tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3], [4, 4, 5, 5]]
    with pytest.raises(ValueError, match="patches of 6 pixels in a picture of 5 x 4"):
        xai_bench.patches(5, 4, 6)


def test_superpixels_are_connected_regions_of_one_colour() -> None:
    image = torch.zeros(3, 12, 12)
    image[:, :, 6:] = 1
    image[:, :6] += 4
    found = xai_bench.superpixels(image, 4)
    assert sorted(found.unique().tolist()) == [0, 1, 2, 3]
    for region in range(4):
        assert image[0][found == region].unique().numel() == 1
    assert torch.equal(xai_bench.superpixels(image.movedim(0, 2), 4), found)
    assert torch.equal(xai_bench.superpixels(image[None].numpy(), 4)[0], found)
    with pytest.raises(ValueError, match=r"a picture of shape \[5\]"):
        xai_bench.superpixels(np.zeros(5))


def test_the_columns_of_one_category_are_one_unit() -> None:
    plain = pd.DataFrame({"age_old": [20, 30, 40], "colour": list("rgb"), "age_new": [1, 2, 3]})
    frame = pd.get_dummies(plain, columns=["colour"])
    units = xai_bench.columns(frame)
    assert units.tolist() == [0, 1, 2, 2, 2]
    assert unit_names(list(frame.columns), units) == ("age_old", "age_new", "colour")
    own = xai_bench.columns(frame, {"ages": ["age_old", "age_new"]})
    assert own.tolist() == [0, 0, 1, 2, 3]
    with pytest.raises(ValueError, match="the frame has no column 'size'"):
        xai_bench.columns(frame, {"sizes": ["size"]})


def test_units_without_channels_are_those_of_all_channels() -> None:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    x = torch.rand(2, 3, 4, 4)
    each = torch.stack([xai_bench.patches(4, 4, 2), xai_bench.patches(4, 4, 4)])
    found = xai_bench.workbench(net, x, units=each).context.inputs.units
    assert found.shape == x.shape
    assert found.flatten(1).amax(1).tolist() == [3, 0]
    shared = xai_bench.workbench(net, x, units=xai_bench.patches(4, 4, 2).numpy())
    assert shared.layout.names == ("unit 0", "unit 1", "unit 2", "unit 3")
