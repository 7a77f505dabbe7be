"""The words of the first samples, coloured by one explainer."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from xai_bench.core import units
from xai_bench.results.drawing.tokens import TokenLine, TokenSheet, pieces
from xai_bench.results.values import ExplainerResult, TextUnits

_N_TEXTS = 8
"""At most so many samples in one picture."""


def token_sheet(
    result: ExplainerResult, inputs: Mapping[str, Tensor] | None, texts: TextUnits | None
) -> TokenSheet | None:
    """One line per sample; None where the samples are no texts, or nothing is explained."""
    if texts is None or inputs is None or result.explanation is None:
        return None
    values = units.pool(result.explanation.attribution.double(), inputs["units"]).numpy()
    lines = []
    for row, words in enumerate(texts.words[:_N_TEXTS]):
        tokens, spread = pieces(words, values[row, : len(words)])
        lines.append(TokenLine(f"sample {int(inputs['index'][row])}", tokens, spread))
    return TokenSheet(result.explainer.replace("_", " "), tuple(lines))
