"""Models of the transformers library as they are, from a folder, a GGUF file or its cache."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from xai_bench.core.tokens import Sequence, TokenNetwork, closed_up
from xai_bench.data.text.hf_tokenizer import source
from xai_bench.models.transformers.explicit import Body
from xai_bench.models.transformers.readers import Classifier, LanguageModel
from xai_bench.types import Unsupported

_LOG = logging.getLogger(__name__)

Task = Literal["classifier", "language_model", "body", "masked"]
_CLASSES: Mapping[Task, str] = {
    "classifier": "AutoModelForSequenceClassification",
    "language_model": "AutoModelForCausalLM",
    "masked": "AutoModelForMaskedLM",
    "body": "AutoModel",
}


@dataclass(frozen=True, eq=False)
class Original:
    """A model of the library, in evaluation mode, float32, with attention written out."""

    module: Any
    config: Mapping[str, Any]

    @classmethod
    def read(cls, name: str, task: Task) -> Original:
        """From a path, the name of a shipped model, or `hf:NAME[@REVISION]` in the cache.

        Raises ValueError where the library or the model is not there, or weights are missing.
        """
        try:
            import transformers
        except ImportError as error:
            raise ValueError(
                f"model {name} needs transformers: pip install 'xai-bench[text]'"
            ) from error
        path, settings = source(name)
        loader = getattr(transformers, _CLASSES[task])
        try:
            stored = transformers.AutoConfig.from_pretrained(
                path, local_files_only=True, **settings
            )
            module, loading = loader.from_pretrained(
                path,
                local_files_only=True,
                attn_implementation="eager",
                dtype=torch.float32,
                output_loading_info=True,
                **settings,
            )
        except _unreadable() as error:
            first = " ".join(str(error).split()).split(". ")[0].rstrip(".")
            raise ValueError(
                f"{name} holds no {task} that can be read: {first}; give a folder that "
                "save_pretrained wrote"
            ) from error
        _refuse_missing(name, task, loading)
        module = module.eval().requires_grad_(requires_grad=False)
        _tell_precision(name, stored.to_dict())
        _require_eager(name, module)
        return cls(module, module.config.to_dict())

    @property
    def n_symbols(self) -> int:
        return int(self.module.get_input_embeddings().weight.shape[0])

    @property
    def n_labels(self) -> int:
        return int(self.module.config.num_labels)


def _unreadable() -> tuple[type[Exception], ...]:
    """What the library raises for damaged files, or files that are not its own."""
    # What stands in a configuration is checked there, by errors of their own.
    from huggingface_hub.errors import StrictDataclassError

    of_python = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)
    return (*of_python, ImportError, SafetensorError, StrictDataclassError)


def _refuse_missing(name: str, task: Task, loading: Mapping[str, Any]) -> None:
    """A head that the files do not hold would be drawn at random."""
    # Only classifiers read what a pooler makes.
    unread = () if task == "classifier" else ("pooler",)
    keys = loading.get("missing_keys", ())
    missing = sorted(key for key in keys if not any(part in key for part in unread))
    if missing:
        raise ValueError(
            f"{name} has no weights for {missing[0]}, so it is no {task}; train a head on it first "
            "(model=minilm does), or give a model that has one"
        )


def _tell_precision(name: str, config: Mapping[str, Any]) -> None:
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    if "16" in stored:
        _LOG.warning(
            "the weights of %s are stored as %s and computed with as float32: half precision "
            "rounds by the size of the batch on a processor",
            name,
            stored.removeprefix("torch."),
        )


def _require_eager(name: str, module: Any) -> None:
    kind = getattr(module.config, "_attn_implementation", "eager")
    if kind != "eager":
        raise ValueError(
            f"{name} computes attention with {kind}, which keeps no weights to look at; expected "
            "eager attention: load it with attn_implementation='eager'"
        )


class OriginalBody(Body):
    """A model of the library without its head, called with embeddings."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        config: Any = inner.config
        self.embedding = inner.get_input_embeddings()  # type: ignore[operator]
        self.n_symbols, self.size = self.embedding.get_parameter("weight").shape
        # Models with relative positions state no longest text.
        self.max_tokens = int(getattr(config, "max_position_embeddings", 1 << 20))
        self.n_layers = int(getattr(config, "num_hidden_layers", 12))
        self.n_heads = int(getattr(config, "num_attention_heads", 12))

    def floats_per_row(self, width: int, *, gradient: bool) -> int:
        layer = width * 18 * self.size + 3 * self.n_heads * width**2
        return layer * (self.n_layers if gradient else 1)

    def forward(self, sequence: Sequence) -> Tensor:
        # Keys and values would be kept for a next token that nobody asks for.
        states = self.inner(
            inputs_embeds=sequence.embedded, attention_mask=sequence.visible.long(), use_cache=False
        )
        out: Tensor = states.last_hidden_state
        return out


class OriginalClassifier(TokenNetwork):
    """A sequence classifier of the library that reads its first token or all of them."""

    attends = True

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.body = inner, OriginalBody(inner)
        self.n_symbols, self.max_tokens = self.body.n_symbols, self.body.max_tokens

    def embed(self, ids: Tensor) -> Tensor:
        embedded: Tensor = self.body.embedding(ids)
        return embedded

    def floats_per_row(self, width: int, *, gradient: bool = False) -> int:
        return self.body.floats_per_row(width, gradient=gradient)

    def read(self, embedded: Tensor, tokens: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        sequence = closed_up(embedded, tokens)
        out: Tensor = self.inner(
            inputs_embeds=sequence.embedded, attention_mask=sequence.visible.long()
        ).logits
        return out


def as_it_is(original: Original, task: Task, name: str) -> TokenNetwork:
    """A classifier or language model of the library as a network of tokens."""
    module = original.module
    if original.config.get("is_encoder_decoder"):
        raise Unsupported(f"{name} has an encoder and a decoder; expected one of them")
    if task == "classifier":
        if not hasattr(module, "score"):
            return OriginalClassifier(module)
        # Those that read their last token look for it in ids, which are not given here.
        network = Classifier(OriginalBody(module.base_model), original.n_labels, "last", bias=False)
        network.head = module.score
        return network
    head = module.get_output_embeddings()
    if getattr(head, "bias", None) is not None or original.config.get("final_logit_softcapping"):
        raise Unsupported(f"the logits of {name} are more than products with its vocabulary")
    made = LanguageModel(OriginalBody(module.base_model), tied=False)
    made.unembedding = head
    return made
