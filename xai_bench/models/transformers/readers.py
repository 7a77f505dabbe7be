"""What is read off a transformer: a class, or what follows a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from xai_bench.core.tokens import DELETED, HIDDEN, Sequence, TokenNetwork, closed_up
from xai_bench.models.transformers.explicit import Body
from xai_bench.types import Unsupported

Pooling = Literal["first", "last", "mean"]


class TransformerNetwork(TokenNetwork):
    """A `body` over embedded tokens; a subclass reads something off its last layer."""

    attends: ClassVar[bool] = True

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.body = body
        self.n_symbols, self.max_tokens = body.n_symbols, body.max_tokens

    def embed(self, ids: Tensor) -> Tensor:
        """`[...]` long to `[..., D]`, from the body's table."""
        embedded: Tensor = self.body.embedding(ids)
        return embedded

    def floats_per_row(self, width: int, *, gradient: bool = False) -> int:
        """As the body says."""
        return self.body.floats_per_row(width, gradient=gradient)


class Classifier(TransformerNetwork):
    """The vector of the first or last token, or the mean of all; a dense layer with tanh where
    there is a pooler (BERT); then one linear layer.
    """

    def __init__(
        self,
        body: Body,
        n_outputs: int,
        pooling: Pooling = "first",
        *,
        pooler: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__(body)
        self.pooling = pooling
        if pooler:
            self.pooler = nn.Linear(body.size, body.size)
            self.pooler_activation = nn.Tanh()
        self.has_pooler = pooler
        self.head = nn.Linear(body.size, n_outputs, bias=bias)

    def read(self, embedded: Tensor, tokens: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        """`[B, C]`, from the states of the last layer."""
        sequence = closed_up(embedded, tokens)
        return self.classes(self.body(sequence), sequence)

    def classes(self, states: Tensor, sequence: Sequence) -> Tensor:
        """`[B, T, D] -> [B, C]`: from the states of the last layer."""
        pooled = self.pooled(states, sequence)
        if self.has_pooler:
            pooled = self.pooler_activation(self.pooler(pooled))
        out: Tensor = self.head(pooled)
        return out

    def reading(self, tokens: Tensor) -> Tensor:
        """Equal shares of all visible tokens for a mean, else all of one place."""
        if self.pooling == "mean":
            visible = ((tokens != DELETED) & (tokens != HIDDEN)).double()
            return visible / visible.sum(1, keepdim=True).clamp(min=1)
        last = (tokens != DELETED).sum(1) - 1
        return one_place(torch.zeros_like(last) if self.pooling == "first" else last, tokens)

    def pooled(self, states: Tensor, sequence: Sequence) -> Tensor:
        """`[B, T, D] -> [B, D]`."""
        if self.pooling == "first":
            return states[:, 0]
        if self.pooling == "last":
            return at(states, sequence.lengths[:, None] - 1)[:, 0]
        shares = sequence.visible.to(states)
        shares = shares / shares.sum(1, keepdim=True).clamp(min=1)
        return (states * shares[..., None]).sum(1)


class LanguageModel(TransformerNetwork):
    """The log-probability of each candidate continuation, `answers [B, C, M]` in the context.

    `[B, C]`: summed over the candidate's tokens, each times its `answer_weights [B, C, M]`, 1 where
    they are not given. Only the places that predict an answer are multiplied with the vocabulary,
    and never all of it at once. Its loss in training is that of the first candidate.
    """

    def __init__(self, body: Body, *, tied: bool = True) -> None:
        super().__init__(body)
        self.tied = tied
        if not tied:
            self.unembedding = nn.Linear(body.size, body.n_symbols, bias=False)

    @property
    def table(self) -> Tensor:
        """`[V, D]`: the vectors whose products with a state are the logits of the next token."""
        layer = self.body.embedding if self.tied else self.unembedding
        return layer.get_parameter("weight")

    def read(self, embedded: Tensor, tokens: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        if "answers" not in context:
            raise Unsupported(
                "a language model needs candidates to choose from; use prompts, or texts with "
                "data.template and data.answers"
            )
        answers = context["answers"]
        likelihoods = self.token_log_probabilities(embedded, tokens, answers)
        weights = context.get("answer_weights")
        present = (answers != DELETED).to(likelihoods)
        return (likelihoods * (present if weights is None else weights.to(likelihoods))).sum(2)

    def reading(self, tokens: Tensor) -> Tensor:
        """All of the last place, whose state says what follows."""
        return one_place((tokens != DELETED).sum(1) - 1, tokens)

    def token_log_probabilities(self, embedded: Tensor, tokens: Tensor, answers: Tensor) -> Tensor:
        """`[B, T, D], [B, T], [B, C, M] -> [B, C, M]`: of each token of each candidate, given the
        prompt and the tokens before it; 0 beyond its end.
        """
        if answers.shape[2] == 1:  # all candidates follow from one and the same state
            states = self._states(embedded, tokens, 1).expand(-1, answers.shape[1], -1)
            likelihoods = log_probabilities(states, answers[:, :, 0], self.table)[..., None]
        else:
            parts = [self._one(embedded, tokens, answer) for answer in answers.unbind(1)]
            likelihoods = torch.stack(parts, dim=1)
        return torch.where(answers == DELETED, 0, likelihoods)

    def _one(self, embedded: Tensor, tokens: Tensor, answer: Tensor) -> Tensor:
        """`answer [B, M] -> [B, M]`."""
        said = answer[:, :-1]
        extended = torch.cat([embedded, self.lookup(said).to(embedded)], dim=1)
        states = self._states(extended, torch.cat([tokens, said], dim=1), answer.shape[1])
        return log_probabilities(states, answer, self.table)

    def _states(self, embedded: Tensor, tokens: Tensor, n_answer: int) -> Tensor:
        """`[B, M, D]`: the last layer at the places that predict the answer's tokens.

        The last `n_answer - 1` of the tokens are the answer's own.
        """
        sequence = closed_up(embedded, tokens)
        prompt = tokens[:, : tokens.shape[1] - n_answer + 1]
        first = (prompt != DELETED).sum(1) - 1
        return at(self.body(sequence), first[:, None] + torch.arange(n_answer, device=first.device))

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """The mean of minus the log-probability of the right candidate, over the vocabulary."""
        return -outputs.gather(1, y[:, None]).mean()


def one_place(places: Tensor, tokens: Tensor) -> Tensor:
    """`[B], [B, T] -> [B, T]`: 1 at one place of each row."""
    return (torch.arange(tokens.shape[1], device=tokens.device) == places[:, None]).double()


def at(states: Tensor, places: Tensor) -> Tensor:
    """`[B, T, D], [B, M] -> [B, M, D]`: the vectors at these places."""
    inside = places.clamp(0, states.shape[1] - 1)
    return states.gather(1, inside[..., None].expand(-1, -1, states.shape[2]))


def log_probabilities(states: Tensor, ids: Tensor, unembedding: Tensor) -> Tensor:
    """`[B, M, D], [B, M], [V, D] -> [B, M]`: the log-probability of each id over the vocabulary."""
    scores = (states * unembedding[ids.clamp(min=0)]).sum(2)
    flat = states.flatten(0, 1)
    total: Tensor = _LogSumExp.apply(flat, unembedding)  # type: ignore[no-untyped-call]
    return scores - total.view(scores.shape)


_ROWS = 64
"""States that are multiplied with the vocabulary at a time, always as many: the same bits."""


class _LogSumExp(torch.autograd.Function):
    """`states [N, D], table [V, D] -> [N]`: log of the sum of exponentials of all products.

    The products of few states are held at a time, and made again on the way back.
    """

    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(states, table)
        parts = [torch.logsumexp(part @ table.T, 1) for part in _filled(states)]
        return torch.cat(parts)[: len(states)]

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor | None]:
        states, table = ctx.saved_tensors
        upstream = torch.cat([slopes[0], slopes[0].new_zeros(-len(states) % _ROWS)])
        to_states, to_table = [], torch.zeros_like(table) if ctx.needs_input_grad[1] else None
        for part, slope in zip(_filled(states), upstream.split(_ROWS), strict=True):
            shares = (part @ table.T).softmax(1) * slope[:, None]
            to_states.append(shares @ table)
            if to_table is not None:
                to_table += shares.T @ part
        return torch.cat(to_states)[: len(states)], to_table


def _filled(states: Tensor) -> tuple[Tensor, ...]:
    """Pieces of `_ROWS` states, the last filled up with zeros."""
    spare = -len(states) % _ROWS
    parts: tuple[Tensor, ...] = nn.functional.pad(states, (0, 0, 0, spare)).split(_ROWS)
    return parts
