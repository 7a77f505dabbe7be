"""Transformers as recipes: trained here, read from files, or fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
import torch
from torch import Tensor, nn

from xai_bench.core.tokens import TokenNetwork
from xai_bench.data.bundle import Bundle
from xai_bench.data.text.pretrained import place_of
from xai_bench.models.base import OnEpoch, Predictor, Trained
from xai_bench.models.fitting.weights import FILE, materialise
from xai_bench.models.text.predictor import TokenPredictor
from xai_bench.models.text.recipes import TokenRecipe, n_symbols, require_fit
from xai_bench.models.training import Training, initialise
from xai_bench.models.transformers import files
from xai_bench.models.transformers.adapters import adapter_of, body_weights, filled
from xai_bench.models.transformers.explicit import Architecture, Transformer
from xai_bench.models.transformers.frozen import top_layers
from xai_bench.models.transformers.hf import Original, Task, as_it_is
from xai_bench.models.transformers.parity import require_parity
from xai_bench.models.transformers.readers import Classifier, LanguageModel, Pooling
from xai_bench.types import Unsupported


@dataclass(frozen=True)
class SmallTransformer(TokenRecipe):
    """Base of small transformers that are trained here."""

    size: int = 64
    n_layers: int = 2
    n_heads: int = 4
    mlp_size: int = 128

    def architecture(self, bundle: Bundle, name: str) -> Architecture:
        """With learned positions for every place of the data."""
        return Architecture(
            n_symbols=n_symbols(bundle, name),
            size=self.size,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            n_kv_heads=self.n_heads,
            head_size=self.size // self.n_heads,
            mlp_size=self.mlp_size,
            max_tokens=bundle.train.x.shape[1] + _answer_width(bundle),
        )


def _answer_width(bundle: Bundle) -> int:
    answers = bundle.train.context.get("answers")
    return 0 if answers is None else answers.shape[2]


@dataclass(frozen=True)
class TextTransformer(SmallTransformer):
    """A small encoder; the mean of its last layer is read, or its first token, [CLS]."""

    pooling: Pooling = "mean"

    def network(self, bundle: Bundle) -> TokenNetwork:
        """An encoder of this size with a classifier on it."""
        body = Transformer(self.architecture(bundle, "text_transformer"))
        return Classifier(body, bundle.n_outputs, self.pooling)


@dataclass(frozen=True)
class CausalTransformer(SmallTransformer):
    """A small language model, trained to continue prompts."""

    def network(self, bundle: Bundle) -> TokenNetwork:
        """A decoder of this size. Raises `Unsupported` for data without prompts."""
        if "answers" not in bundle.train.context:
            raise Unsupported(
                "causal_transformer continues prompts, and this data has none; choose "
                "data=name_mover, agreement, induction, gated_lookup or prompts"
            )
        architecture = self.architecture(bundle, "causal_transformer")
        return LanguageModel(Transformer(replace(architecture, causal=True)))


@dataclass(frozen=True)
class Ready:
    """Base of models that come with their weights."""

    differentiable: ClassVar[bool] = True
    trains: ClassVar[bool] = False
    gives: ClassVar[tuple[str, ...]] = ()
    path: str

    def network(self, bundle: Bundle) -> TokenNetwork:
        """The network; its outputs are the data's classes, or candidates."""
        raise NotImplementedError

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        """Nothing is trained. Raises ValueError where the data are written in other tokens."""
        network = self.network(bundle)
        require_fit(network, bundle, self.path)
        return Trained(TokenPredictor(network, bundle.n_outputs))

    def save(self, predictor: Predictor, folder: Path) -> None:
        """Nothing: the weights stay where they are."""

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        """As `train`: the weights are where they were."""
        return self.train(bundle, seed=0, on_epoch=lambda row: None).predictor

    def fingerprint(self) -> str:
        """A hash of the weights."""
        return files.fingerprint(self.path)


def _task(bundle: Bundle) -> Task:
    """A language model where there are candidates to choose from, else a classifier."""
    return "language_model" if "answers" in bundle.train.context else "classifier"


@dataclass(frozen=True)
class PretrainedTransformer(Ready):
    """A classifier or language model of the families BERT, GPT-2 and Llama, written out here.

    From a folder, a GGUF file, `minilm`, `smollm2`, or `hf:NAME[@REVISION]` in the cache of
    transformers. Refused where its outputs are not those of the original to 1e-4.
    """

    def network(self, bundle: Bundle) -> TokenNetwork:
        if self.path == "smollm2":
            if _task(bundle) != "language_model":
                raise Unsupported(
                    "smollm2 chooses between continuations; give prompts, or data.template and "
                    "data.answers"
                )
            return files.gguf_language_model(place_of(self.path))
        original = Original.read(self.path, _task(bundle))
        network = explicit(original, _task(bundle))
        require_parity(network, original.module, self.path)
        _require_labels(original, bundle, self.path)
        return network


@dataclass(frozen=True)
class HuggingFaceModel(Ready):
    """Any sequence classifier or causal language model of transformers, as it is.

    From a folder, or `hf:NAME[@REVISION]` in its cache. Attention is eager, mode is evaluation,
    numbers are float32. Only embeddings and outputs are seen: removal and gradient methods work.
    """

    def network(self, bundle: Bundle) -> TokenNetwork:
        original = Original.read(self.path, _task(bundle))
        _require_labels(original, bundle, self.path)
        network = as_it_is(original, _task(bundle), self.path)
        require_parity(network, original.module, self.path)
        return network


def explicit(original: Original, task: Task) -> TokenNetwork:
    """The explicit transformer with the weights of an original, its head included."""
    config, module = original.config, original.module
    body = Transformer(adapter_of(config).architecture(config))
    network: TokenNetwork
    if task == "language_model":
        # The head is copied even where the original ties it: frozen weights stay the same.
        network = LanguageModel(body, tied=False)
        network.unembedding.load_state_dict(module.get_output_embeddings().state_dict())
    elif hasattr(module, "score"):
        network = Classifier(body, original.n_labels, "last", bias=False)
        network.head.load_state_dict(module.score.state_dict())
    else:
        network = Classifier(body, original.n_labels, "first", pooler=True)
        network.pooler.load_state_dict(module.base_model.pooler.dense.state_dict())
        network.head.load_state_dict(module.classifier.state_dict())
    filled(network, body_weights(config, module.state_dict()))
    return network.eval()


def _require_labels(original: Original, bundle: Bundle, name: str) -> None:
    if _task(bundle) == "language_model":
        return
    if original.n_labels != bundle.n_outputs:
        raise ValueError(
            f"{name} tells {original.n_labels} classes apart, and this data has "
            f"{bundle.n_outputs} ({', '.join(bundle.class_names)}); give data with its classes"
        )
    theirs = [str(v).lower() for v in dict(original.config.get("id2label") or {}).values()]
    ours = [name.lower() for name in bundle.class_names]
    if theirs != ours and sorted(theirs) == sorted(ours):
        raise ValueError(
            f"the classes of {name} are {theirs}, those of the data {ours}: the same in another "
            "order; rename them with data.recode so that they sort alike"
        )


@dataclass(frozen=True)
class FineTunedEncoder:
    """A shipped encoder (`minilm`), of which the last layers and a new head are trained here.

    The head reads the mean of the last layer. All other weights stay as they came, and only what
    was trained is kept.
    """

    differentiable: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    gives: ClassVar[tuple[str, ...]] = ()
    source: str = "minilm"
    n_tuned_layers: int = 2
    training: Training = field(default_factory=Training)

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        network = self._network(bundle)
        head = nn.ModuleList([network.pooler, network.head])
        initialise(materialise(head, torch.float32), seed=seed)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(self._is_tuned(name, network))
        top, features = top_layers(network, bundle, self.n_tuned_layers)
        history = self.training.fit(top, features, seed=seed, on_epoch=on_epoch)
        return Trained(TokenPredictor(network, bundle.n_outputs), history)

    def save(self, predictor: Predictor, folder: Path) -> None:
        assert isinstance(predictor, TokenPredictor)
        safetensors.torch.save_file(self._tuned(predictor.module), folder / FILE)

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        network = self._network(bundle)
        state = safetensors.torch.load_file(folder / FILE)
        # Only what was trained is in the file; the rest came with the body.
        network.load_state_dict(state, strict=False, assign=True)
        return TokenPredictor(network, bundle.n_outputs)

    def fingerprint(self) -> str:
        """A hash of the weights it starts from."""
        return files.fingerprint(self.source)

    def _network(self, bundle: Bundle) -> Classifier:
        """With the shipped body; the head has no memory yet."""
        body, config = files.shipped_body(self.source)
        with torch.device("meta"):
            head = Classifier(_Headless(config), bundle.n_outputs, "mean", pooler=True)
        # After the head was made without memory: the body has its weights already.
        head.body = body
        require_fit(head, bundle, self.source)
        return head

    def _is_tuned(self, name: str, network: Classifier) -> bool:
        n_layers = len(network.body.blocks)  # type: ignore[arg-type]
        tuned = [f"body.blocks.{n_layers - 1 - k}." for k in range(self.n_tuned_layers)]
        return name.startswith(("pooler.", "head.", *tuned))

    def _tuned(self, module: TokenNetwork) -> dict[str, Tensor]:
        assert isinstance(module, Classifier)
        state = module.state_dict()
        return {k: v.contiguous() for k, v in state.items() if self._is_tuned(k, module)}


class _Headless(Transformer):
    """Stands in for a body while a head is made."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(replace(adapter_of(config).architecture(config), n_layers=0))
