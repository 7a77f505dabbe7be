"""The scalar that is explained of a language model: how likely it makes a continuation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from xai_bench.core.tokens import DELETED
from xai_bench.data.bundle import Task
from xai_bench.types import Inputs, Unsupported

Over = Literal["sum", "mean", "token"]


@dataclass(frozen=True)
class Continuation:
    """The log-probability of what follows the prompt: of all its tokens together (`sum`), per token
    (`mean`), or of one of them given those before it (`token`).

    Attributes:
        candidate: which of the row's candidates; 0 is the continuation, 1 the foil.
        token: the number of the token, from 0, with `over=token`.
    """

    follows_output: ClassVar[bool] = True
    over: Over = "sum"
    candidate: int = 0
    token: int = 0

    def prepare(self, inputs: Inputs) -> Inputs:
        """With the weights of the answers' tokens in the context; see `weighted`."""
        return weighted(inputs, self.over, self.token)

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """The candidate, for every sample."""
        if self.candidate >= outputs.shape[1]:
            raise Unsupported(
                f"target.candidate={self.candidate}, and the data has {outputs.shape[1]} "
                "candidates, numbered from 0: a foil makes a second one"
            )
        return torch.full((len(outputs),), self.candidate)

    def select(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`[B, C], [B] -> [B]`: the log-probability."""
        return outputs.gather(1, targets[:, None])[:, 0]


@dataclass(frozen=True)
class Contrast:
    """Why the continuation rather than the foil: the difference of their log-probabilities, of all
    tokens together (`sum`), per token (`mean`), or of one token of each (`token`).

    What both have in common, such as the normaliser over the vocabulary, cancels. Sums over
    candidates of different lengths favour the shorter one: take `mean` there.
    Yin & Neubig 2022, arXiv:2202.10419.
    """

    follows_output: ClassVar[bool] = True
    over: Over = "sum"
    token: int = 0

    def prepare(self, inputs: Inputs) -> Inputs:
        """With the weights of the answers' tokens in the context; see `weighted`."""
        return weighted(inputs, self.over, self.token)

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """0, the continuation, for every sample. Raises `Unsupported` where there is no foil."""
        if outputs.shape[1] != 2:
            raise Unsupported(
                f"target contrast compares a continuation with its foil, and the data has "
                f"{outputs.shape[1]} candidates; give prompts with a foil"
            )
        return torch.zeros(len(outputs), dtype=torch.long)

    def select(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`[B, 2], [B] -> [B]`: the chosen candidate's log-probability less the other's."""
        chosen = outputs.gather(1, targets[:, None])
        return (chosen - outputs.gather(1, 1 - targets[:, None]))[:, 0]


def weighted(inputs: Inputs, over: Over, token: int = 0) -> Inputs:
    """With `answer_weights [B, C, M]` in the context: what each answer's token counts.

    Raises `Unsupported` where there are no answers, or one has no such token.
    """
    answers = inputs.context.get("answers")
    if answers is None:
        raise Unsupported(
            "this target is of what follows a prompt, and this data has no prompts; choose "
            "data=prompts or data=name_mover"
        )
    present = (answers != DELETED).float()
    lengths = present.sum(2, keepdim=True)
    if over == "token":
        if int(lengths.min()) <= token:
            raise Unsupported(
                f"target.token={token}, and the shortest answer has {int(lengths.min())} tokens, "
                "numbered from 0"
            )
        place = torch.arange(answers.shape[2], device=answers.device)
        present = (place == token).float().expand(answers.shape)
    weights = present / lengths if over == "mean" else present
    return replace(inputs, context={**inputs.context, "answer_weights": weights})
