"""Prompts, what may follow them, and the counterfactual prompt that would have another answer."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from xai_bench.core.tokens import DELETED
from xai_bench.data.bundle import Bundle, Modality, Split, Texts
from xai_bench.data.checks import existing_path
from xai_bench.data.splits import FRACTIONS, partition
from xai_bench.data.text.continuations import Ids, answers_to, stacked
from xai_bench.data.text.corpus import read_tokenizer
from xai_bench.data.text.evidence import read_evidence
from xai_bench.data.text.rows import Reading, Rows, UnitKind, ends_of, rows_of
from xai_bench.data.text.segmentation import Span
from xai_bench.data.text.tokenizers import Encoded, Tokenizer, WordTokenizer

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt and its continuation.

    Attributes:
        foil: another continuation, that is not the case; counterfactual: the aligned prompt whose
            continuation it would be; evidence: the characters that decide between the two.
    """

    prompt: str
    continuation: str
    foil: str | None = None
    counterfactual: str | None = None
    evidence: tuple[Span, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """What all prompts have in common: how they are read.

    Attributes:
        tokenizer: as for other texts; that of the language model.
        units: what is removed and ranked as one: words, tokens or sentences.
        max_tokens: longer prompts are refused, for their end asks the question.
        fractions: of the rows that train, validate and test.
    """

    modality: ClassVar[Modality] = "text"
    tokenizer: str = "words"
    units: UnitKind = "words"
    max_tokens: int = 256
    fractions: Sequence[float] = FRACTIONS
    split_seed: int = 0

    def bundle(self, prompts: Sequence[Prompt], *, drop_unaligned: bool = False) -> Bundle:
        """The candidates are classes, the continuation class 0; the foil, where all rows have one.

        Raises ValueError for a pair that does not align, unless such pairs are dropped.
        """
        tokenizer = self._tokenizer(prompts)
        read = [_read(tokenizer, prompt) for prompt in prompts]
        faults = [_fault(row, prompt) for row, prompt in enumerate(read)]
        if drop_unaligned:
            read = [prompt for prompt, fault in zip(read, faults, strict=True) if not fault]
            _tell_dropped(faults)
        fault = next(filter(None, faults), "")
        if fault and not (drop_unaligned and read):
            raise ValueError(fault)
        has_foil = all(prompt.prompt.foil is not None for prompt in read)
        return self._divided(tokenizer, read, has_foil=has_foil)

    def _tokenizer(self, prompts: Sequence[Prompt]) -> Tokenizer:
        if self.tokenizer != "words":
            return read_tokenizer(self.tokenizer)
        # Of all texts: two answers with unknown words would be the same tokens.
        texts = [
            text
            for prompt in prompts
            for text in (prompt.prompt, prompt.continuation, prompt.foil, prompt.counterfactual)
            if text
        ]
        return WordTokenizer.learned(texts, lowercase=False)

    def _divided(self, tokenizer: Tokenizer, read: Sequence[_Read], *, has_foil: bool) -> Bundle:
        rows = self._rows(tokenizer, read)
        context = {
            "length": rows.lengths,
            "answers": stacked([prompt.answers[: 1 + has_foil] for prompt in read]),
            **_counterfactuals(read, rows),
        }
        evidence = None
        if any(prompt.prompt.evidence is not None for prompt in read):
            evidence = rows.marked([prompt.prompt.evidence or () for prompt in read])
        y = torch.zeros(len(read), dtype=torch.long)
        parts = partition(y, self.fractions, self.split_seed)
        train, valid, test = (
            _split(rows.take(numbers), numbers, context, evidence)
            for numbers in (parts.train, parts.valid, parts.test)
        )
        return Bundle(
            "classification",
            "text",
            train,
            valid,
            test,
            class_names=("continuation", "foil")[: 1 + has_foil],
            symbols=tokenizer.vocabulary.symbols(train.x),
        )

    def _rows(self, tokenizer: Tokenizer, read: Sequence[_Read]) -> Rows:
        reading = Reading(self.units, self.max_tokens)
        ends = ends_of(tokenizer.vocabulary, reading, prompt=True)
        long = [row for row, prompt in enumerate(read) if len(prompt.encoded.ids) > ends.room]
        if long:
            raise ValueError(
                f"{len(long)} prompts, the first of them row {long[0]}, are longer than "
                f"data.max_tokens={self.max_tokens}; give more, or shorter prompts: their end asks "
                "the question, so they are not cut"
            )
        texts = [prompt.prompt.prompt for prompt in read]
        inside = [(0, len(text)) for text in texts]
        return rows_of(texts, inside, [prompt.encoded for prompt in read], ends, reading)


@dataclass(frozen=True)
class PromptFile(PromptOptions):
    """Your own prompts, one JSON object a line: `prompt`, `continuation`, and if you like `foil`,
    `counterfactual` and `rationale`.

    A foil is what might have followed instead. A counterfactual is the same prompt with other words
    in the same places, as many tokens long: what patching swaps in. A rationale is a part of the
    prompt, or a list of `[start, end]` characters.
    """

    path: str

    def load(self) -> Bundle:
        """The texts as a bundle; see `Dataset.load`."""
        lines = existing_path(self.path).read_text(encoding="utf-8").splitlines()
        prompts = [_prompt(self.path, row, line) for row, line in enumerate(lines) if line.strip()]
        if not prompts:
            raise ValueError(f"{self.path} is empty; expected one JSON object a line")
        return self.bundle(prompts)


@dataclass(frozen=True, slots=True)
class _Read:
    """A prompt as its tokens."""

    prompt: Prompt
    encoded: Encoded
    answers: tuple[Ids, ...]
    counterfactual: Encoded | None


def _read(tokenizer: Tokenizer, prompt: Prompt) -> _Read:
    candidates = [text for text in (prompt.continuation, prompt.foil) if text is not None]
    other = None if prompt.counterfactual is None else tokenizer.encode(prompt.counterfactual)
    answers = tuple(answers_to(tokenizer, prompt.prompt, candidates))
    return _Read(prompt, tokenizer.encode(prompt.prompt), answers, other)


def _fault(row: int, prompt: _Read) -> str:
    """What is wrong with a row; empty where all is well."""
    if not prompt.encoded.ids:
        return f"prompt {row} is empty; expected some text"
    if len(prompt.answers) > 1 and prompt.answers[0] == prompt.answers[1]:
        return f"prompt {row}: its continuation and its foil are the same tokens"
    if prompt.counterfactual is None:
        return ""
    ours, theirs = prompt.encoded.ids, prompt.counterfactual.ids
    if len(ours) != len(theirs):
        return (
            f"prompt {row} has {len(ours)} tokens and its counterfactual {len(theirs)}; expected "
            "other words in the same places, as many tokens long"
        )
    if ours == theirs:
        return f"prompt {row} and its counterfactual are the same tokens; expected another word"
    return ""


def _tell_dropped(faults: Sequence[str]) -> None:
    reasons = [fault for fault in faults if fault]
    if reasons:
        _LOG.warning("%d of %d prompts are left out: %s", len(reasons), len(faults), reasons[0])


def _counterfactuals(read: Sequence[_Read], rows: Rows) -> Mapping[str, Tensor]:
    """`counterfactual [N, T]`: the other prompt's ids; the prompt's own where it has none."""
    if all(prompt.counterfactual is None for prompt in read):
        return {}
    ids = rows.ids.clone()
    for row, prompt in enumerate(read):
        if prompt.counterfactual is not None:
            own = torch.tensor(prompt.counterfactual.ids)
            # Behind the special tokens at the start; a prompt has none at its end.
            first = int((ids[row] != DELETED).sum()) - len(own)
            ids[row, first : first + len(own)] = own
    return {"counterfactual": ids.float()}


def _split(
    rows: Rows, numbers: Tensor, context: Mapping[str, Tensor], evidence: Tensor | None
) -> Split:
    return Split(
        x=rows.ids.float(),
        y=torch.zeros(len(numbers), dtype=torch.long),
        units=rows.units,
        context={name: values[numbers] for name, values in context.items()},
        rationale=None if evidence is None else evidence[numbers],
        texts=Texts(rows.texts, rows.spans),
    )


_FIELDS = ("prompt", "continuation", "foil", "counterfactual", "rationale")


def _prompt(path: str, row: int, line: str) -> Prompt:
    where = f"line {row + 1} of {Path(path).name}"
    try:
        fields: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{where} is no JSON: {error}") from error
    if not isinstance(fields, dict) or not {"prompt", "continuation"} <= set(fields):
        raise ValueError(f"{where} has no prompt and continuation; expected {', '.join(_FIELDS)}")
    if unknown := [name for name in fields if name not in _FIELDS]:
        raise ValueError(f"{where} has a field {unknown[0]!r}; expected {', '.join(_FIELDS)}")
    texts: dict[str, Any] = {name: fields[name] for name in _FIELDS[:4] if name in fields}
    if not all(isinstance(text, str) for text in texts.values()):
        raise ValueError(f"{where} has a field that is no text; expected text in all but rationale")
    return Prompt(**texts, evidence=read_evidence(fields.get("rationale"), fields["prompt"], row))
