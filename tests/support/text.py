"""What tests of texts share: where real tokenizers and models are, and small bundles."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from xai_bench.data.bundle import Bundle
from xai_bench.data.text.corpus import Example, TextOptions
from xai_bench.data.text.pretrained import place_of

needs_transformers = pytest.mark.skipif(
    find_spec("transformers") is None, reason="needs transformers: pip install 'xai-bench[text]'"
)


def minilm_folder() -> Path:
    """Where MiniLM is; the test is skipped where it is not installed."""
    try:
        return place_of("minilm")
    except ValueError as reason:
        pytest.skip(str(reason))


GOOD, BAD = ("a good film", "good and truly good", "so good"), ("bad film", "a bad bad plot", "bad")


def corpus(options: TextOptions | None = None) -> Bundle:
    """Twenty-four short texts that are good or bad."""
    texts = [Example(f"{t} {end}", "yes") for t in GOOD for end in ("", "!", "again", "here")]
    texts += [Example(f"{t} {end}", "no") for t in BAD for end in ("", "!", "again", "here")]
    return (options or TextOptions()).bundle({"train": texts})


def draw_weights(model: nn.Module, deviation: float) -> None:
    """Give a model of the library weights that are far from those with which it begins."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        mean = 1.0 if parameter.dim() == 1 else 0.0  # norms and biases
        parameter.data.normal_(mean, deviation, generator=generator)
