"""What may follow a prompt, as ids: the candidates whose probability is asked for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xai_bench.core.tokens import DELETED
from xai_bench.data.text.tokenizers import Tokenizer

Ids = tuple[int, ...]


def answers_to(tokenizer: Tokenizer, prompt: str, answers: Sequence[str]) -> list[Ids]:
    """The ids of each answer where it follows the prompt, a space between them if neither has one.

    Raises ValueError where an answer is empty, or merges with the end of the prompt.
    """
    return [_following(tokenizer, prompt, answer) for answer in answers]


def _following(tokenizer: Tokenizer, prompt: str, answer: str) -> Ids:
    if not answer.strip():
        raise ValueError(f"an answer to the prompt {_end(prompt)} is empty; expected some text")
    if not (prompt[-1:].isspace() or answer[0].isspace()):
        answer = f" {answer}"
    # Read together: where it stands alone, an answer may be cut into other tokens.
    before, both = tokenizer.encode(prompt).ids, tokenizer.encode(prompt + answer).ids
    if both[: len(before)] != before or len(both) == len(before):
        raise ValueError(
            f"the prompt {_end(prompt)} and its continuation {answer!r} share a token, so that "
            "neither can be read alone; end the prompt before the space, not after it"
        )
    return both[len(before) :]


def _end(prompt: str) -> str:
    return repr(prompt if len(prompt) <= 40 else f"...{prompt[-40:]}")


def stacked(answers: Sequence[Sequence[Ids]]) -> Tensor:
    """`[N, C, M]` long: the candidates of each row, `DELETED` beyond their ends."""
    longest = max(len(ids) for row in answers for ids in row)
    out = torch.full((len(answers), len(answers[0]), longest), DELETED)
    for row, candidates in enumerate(answers):
        for place, ids in enumerate(candidates):
            out[row, place, : len(ids)] = torch.tensor(ids)
    return out
