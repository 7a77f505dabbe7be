"""Training the last layers on stored states is training them in place."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.models.text.test_predictor import SMALL
from tests.support.text import corpus
from xai_bench.models.training import Training, initialise
from xai_bench.models.transformers.explicit import Transformer
from xai_bench.models.transformers.frozen import top_layers
from xai_bench.models.transformers.readers import Classifier

FROZEN = ("body.embedding", "body.positions", "body.blocks.0")


def network(n_symbols: int) -> Classifier:
    made = Classifier(Transformer(replace(SMALL, n_symbols=n_symbols)), 2, "mean", pooler=True)
    initialise(made, seed=0)
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(not name.startswith(FROZEN))
    return made


def test_the_same_weights_come_out_as_from_the_whole_network() -> None:
    bundle = corpus()
    assert bundle.symbols is not None
    n_layers = SMALL.n_layers
    whole, part = (network(len(bundle.symbols)) for _ in range(2))
    top, features = top_layers(part, bundle, n_layers - 1)
    rows = torch.arange(6)
    context = {name: values[rows] for name, values in features.train.context.items()}
    with torch.no_grad():
        expected = whole(bundle.train.x[rows], **{k: v for k, v in context.items() if k != "row"})
        torch.testing.assert_close(top(features.train.x[rows], **context), expected)
    training = Training(max_epochs=2, batch_size=8)
    training.fit(whole, bundle, seed=0, on_epoch=lambda row: None)
    training.fit(top, features, seed=0, on_epoch=lambda row: None)
    for (name, one), other in zip(whole.named_parameters(), part.parameters(), strict=True):
        if not name.endswith("key.bias"):  # whose gradient is 0 but for rounding
            torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-4, msg=name)
