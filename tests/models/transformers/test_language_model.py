"""Log-probabilities of continuations, against a softmax over the whole vocabulary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.models.text.test_predictor import LLAMA, V, texts
from xai_bench.core.tokens import DELETED, HIDDEN, Sequence
from xai_bench.models.base import Explained, prepared_for
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.models.text.targets import Continuation, Contrast
from xai_bench.models.training import initialise
from xai_bench.models.transformers.explicit import Transformer
from xai_bench.models.transformers.readers import Classifier, LanguageModel, log_probabilities
from xai_bench.types import Inputs, Unsupported


@pytest.fixture(scope="module")
def network() -> LanguageModel:
    made = LanguageModel(Transformer(replace(LLAMA, causal=True))).double()
    initialise(made, seed=4)
    return made.eval()


@pytest.fixture
def inputs() -> Inputs:
    return texts([5, 9, 16, 20])


def by_hand(network: LanguageModel, prompt: list[int], answer: list[int]) -> list[float]:
    """The log-probability of each token of the answer, one softmax after the other."""
    out = []
    for place, token in enumerate(answer):
        ids = torch.tensor([[*prompt, *answer[:place]]])
        states = network.body(Sequence(network.embed(ids), ids))
        logits = states[0, -1] @ network.table.T
        out.append(logits.log_softmax(0)[token].item())
    return out


def rows(inputs: Inputs) -> list[tuple[list[int], list[list[int]]]]:
    prompts = [x[x >= 0].long().tolist() for x in inputs.x]
    answers = [[a[a >= 0].tolist() for a in both] for both in inputs.context["answers"]]
    return list(zip(prompts, answers, strict=True))


def outputs(network: LanguageModel, inputs: Inputs, target: Any) -> Tensor:
    model = Explained(TokenPredictor(network, 2), target)
    there = prepared_for(target, inputs)
    with torch.no_grad():
        return model.target_output(there, target.choose(model.outputs(there), torch.zeros(4), ""))


@pytest.mark.parametrize("candidate", [0, 1])
def test_a_continuation_is_the_product_of_its_tokens(
    network: LanguageModel, inputs: Inputs, candidate: int
) -> None:
    each = [by_hand(network, prompt, both[candidate]) for prompt, both in rows(inputs)]
    for over, expected in (
        ("sum", [sum(row) for row in each]),
        ("mean", [sum(row) / len(row) for row in each]),
        ("token", [row[0] for row in each]),
    ):
        target = Continuation(over=over, candidate=candidate)  # type: ignore[arg-type]
        assert outputs(network, inputs, target).tolist() == pytest.approx(expected)


def test_the_second_token_follows_the_first(network: LanguageModel, inputs: Inputs) -> None:
    both = inputs.context["answers"].clone()
    both[:, 1, 1] = 7
    longer = replace(inputs, context={**inputs.context, "answers": both})
    expected = [by_hand(network, prompt, pair[0])[1] for prompt, pair in rows(longer)]
    found = outputs(network, longer, Continuation(over="token", token=1))
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("over", ["sum", "mean"])
def test_a_contrast_is_the_difference_of_two(
    network: LanguageModel, inputs: Inputs, over: Any
) -> None:
    one, other = (outputs(network, inputs, Continuation(over, c)) for c in (0, 1))
    assert torch.allclose(outputs(network, inputs, Contrast(over)), one - other)


def test_in_a_contrast_of_single_tokens_the_vocabulary_cancels(
    network: LanguageModel, inputs: Inputs
) -> None:
    single = replace(
        inputs, context={**inputs.context, "answers": inputs.context["answers"][:, :, :1]}
    )
    found = outputs(network, single, Contrast())
    for row, (prompt, answers) in enumerate(rows(single)):
        ids = torch.tensor([prompt])
        state = network.body(Sequence(network.embed(ids), ids))[0, -1]
        apart = network.table[answers[0][0]] - network.table[answers[1][0]]
        assert found[row].item() == pytest.approx(float(state @ apart))


def test_the_answer_closes_up_to_a_shortened_prompt(network: LanguageModel, inputs: Inputs) -> None:
    shorter = inputs.with_x(inputs.x.clone())
    shorter.x[:, [1, 4]] = DELETED
    expected = [sum(by_hand(network, prompt, both[0])) for prompt, both in rows(shorter)]
    assert outputs(network, shorter, Continuation()).tolist() == pytest.approx(expected)


def test_the_first_word_alone_still_has_an_answer(network: LanguageModel, inputs: Inputs) -> None:
    shorter = inputs.with_x(inputs.x.clone())
    shorter.x[:, 1:] = DELETED
    expected = [sum(by_hand(network, prompt, both[0])) for prompt, both in rows(shorter)]
    assert outputs(network, shorter, Continuation()).tolist() == pytest.approx(expected)


def test_the_way_back_through_the_vocabulary_is_that_of_autograd() -> None:
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(30, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    states = torch.randn(7, 3, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    ids = torch.randint(0, 30, (7, 3), generator=generator)
    ours = log_probabilities(states, ids, table)
    theirs = (states @ table.T).log_softmax(2).gather(2, ids[..., None])[..., 0]
    assert torch.allclose(ours, theirs)
    weight = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    found = torch.autograd.grad((ours * weight).sum(), (states, table), retain_graph=True)
    expected = torch.autograd.grad((theirs * weight).sum(), (states, table))
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other)


class _Largest(TorchDispatchMode):
    """The most numbers that any tensor with an axis of `size` holds."""

    def __init__(self, size: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.size, self.most = size, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and self.size in out.shape[1:]:
            self.most = max(self.most, out.numel())
        return out


def test_no_row_holds_a_vocabulary() -> None:
    """Of 640 rows, no more than 64 are ever multiplied with the vocabulary at a time."""
    n_symbols = 997
    architecture = replace(LLAMA, causal=True, n_symbols=n_symbols)
    made = LanguageModel(Transformer(architecture))
    initialise(made, seed=0)
    model = Explained(TokenPredictor(made, 2), Contrast())
    inputs = texts([10] * 640)
    with _Largest(n_symbols) as largest, torch.no_grad():
        model.target_output(inputs, torch.zeros(640, dtype=torch.long))
    assert largest.most == 64 * n_symbols


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (Continuation(candidate=2), "target.candidate=2, and the data has 2 candidates"),
        (Continuation(over="token", token=1), "target.token=1, and the shortest answer has 1"),
    ],
)
def test_what_is_not_there_is_told(
    network: LanguageModel, inputs: Inputs, target: Any, told: str
) -> None:
    with pytest.raises(Unsupported, match=told):
        outputs(network, inputs, target)


def test_data_without_prompts_is_told(network: LanguageModel, inputs: Inputs) -> None:
    bare = replace(inputs, context={"length": inputs.context["length"]})
    with pytest.raises(Unsupported, match="this data has no prompts"):
        prepared_for(Contrast(), bare)
    with pytest.raises(Unsupported, match="needs candidates to choose from"):
        TokenPredictor(network, 2)(bare.x.double(), bare.context)
    with pytest.raises(Unsupported, match="the data has 1 candidates; give prompts with a foil"):
        Contrast().choose(torch.zeros(3, 1), torch.zeros(3), "classification")


def test_answers_are_within_the_vocabulary() -> None:
    assert int(texts([5]).context["answers"].max()) < V


def test_the_third_token_follows_the_first_two(network: LanguageModel, inputs: Inputs) -> None:
    answers = torch.tensor([[6, 7, 8], [9, 6, DELETED]]).expand(4, 2, 3)
    longer = replace(inputs, context={**inputs.context, "answers": answers})
    expected = [by_hand(network, prompt, [6, 7, 8])[2] for prompt, _ in rows(longer)]
    with torch.no_grad():
        embedded = network.lookup(longer.x.long())
        found = network.token_log_probabilities(embedded, longer.x.long(), answers)
    assert found[:, 0, 2].tolist() == pytest.approx(expected)
    assert (found[:, 1, 2] == 0).all()


def test_the_loss_is_the_mean_over_rows(network: LanguageModel) -> None:
    outputs = torch.tensor([[-1.0, -5.0], [-7.0, -3.0]])
    assert network.loss(outputs, torch.tensor([0, 1])).item() == 2


def test_a_mean_is_read_from_visible_tokens_alone() -> None:
    made = Classifier(Transformer(LLAMA), 3, "mean")
    reading = made.reading(torch.tensor([[5, HIDDEN, 7, DELETED]]))
    assert reading.tolist() == [[0.5, 0, 0.5, 0]]


def test_a_table_of_its_own_or_that_of_the_embeddings() -> None:
    tied, own = (LanguageModel(Transformer(LLAMA), tied=t) for t in (True, False))
    assert tied.table is tied.body.embedding.weight
    assert own.table is own.unembedding.weight


@pytest.mark.parametrize(("pooling", "expected"), [("first", 1), ("last", 6), ("mean", 3.5)])
def test_what_a_classifier_reads_by_hand(pooling: Any, expected: float) -> None:
    """Four places: a token, a hidden one, a token, padding."""
    made = Classifier(Transformer(LLAMA), 3, pooling)
    states = torch.tensor([[[1.0], [2.0], [6.0], [9.0]]])
    sequence = Sequence(states, torch.tensor([[5, HIDDEN, 7, DELETED]]))
    assert made.pooled(states, sequence).tolist() == [[expected]]


def test_the_place_that_is_read_is_the_first_or_the_last_token() -> None:
    tokens = torch.tensor([[5, 6, 7, DELETED, DELETED]])
    body = Transformer(LLAMA)
    last = [[0, 0, 1, 0, 0]]
    assert Classifier(body, 3, "first").reading(tokens).tolist() == [[1, 0, 0, 0, 0]]
    assert Classifier(body, 3, "last").reading(tokens).tolist() == last
    assert LanguageModel(body).reading(tokens).tolist() == last
