"""What tests of several kinds of explainers need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def any_algorithm() -> Iterator[None]:
    """Captum's unpooling has no deterministic version."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(before)
