"""Your own torch module, built by your function and filled with your weights."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import logging
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from xai_bench.core.spelling import listed, suggest
from xai_bench.core.system.permissions import ImportPath
from xai_bench.data.bundle import Bundle
from xai_bench.data.description import fed
from xai_bench.models.base import OnEpoch, Predictor, Trained
from xai_bench.models.checks.usefulness import fault
from xai_bench.models.text.predictor import predictor_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """Your own trained torch module, called as `module(x, **context) -> [B, C]`.

    Attributes:
        factory: `"package.module:function"`, returning the module; the current folder counts as
            importable.
        weights: a state dict, as `.safetensors`, `.pt` or `.pth`.
        kwargs: arguments of the factory.
        allow_poor: whether to go on with a model that is no better than a constant on this data.

    The module is fed x as the data give it, which the log states: numbers of a table are
    standardised, unless `data.scale=none`, and categories are one-hot.
    """

    differentiable: ClassVar[bool] = True
    trains: ClassVar[bool] = False
    factory: ImportPath
    weights: str
    kwargs: Mapping[str, Any] | None = None
    allow_poor: bool = False

    def train(self, bundle: Bundle, *, seed: int, on_epoch: OnEpoch) -> Trained:
        """Nothing is trained. Raises ValueError for every way in which the pieces do not fit."""
        network = _build(_import(self.factory), self.factory, self.kwargs or {})
        _fill(network, _read(Path(self.weights)), self.weights)
        predictor = predictor_of(network, bundle.n_outputs)
        _try_one_row(predictor, bundle, self.factory)
        log.info("the module of %s is fed %s", self.factory, fed(bundle))
        self._require_useful(predictor, bundle)
        return Trained(predictor)

    def _require_useful(self, predictor: Predictor, bundle: Bundle) -> None:
        """Raise ValueError where explanations would be those of a model fed with strange rows."""
        problem = "" if self.allow_poor else fault(predictor, bundle)
        if problem:
            raw = "; data.scale=none gives numbers as in the file" if bundle.elements else ""
            raise ValueError(
                f"the module of {self.factory} is no better than a constant on the test part: "
                f"{problem}. It is fed {fed(bundle)}. Was it trained on rows like that{raw}? "
                "model.allow_poor=true goes on with it as it is"
            )

    def save(self, predictor: Predictor, folder: Path) -> None:
        """Write nothing: the weights stay in the user's file."""

    def load(self, bundle: Bundle, folder: Path) -> Predictor:
        """Build the module again; `folder` holds nothing."""
        return self.train(bundle, seed=0, on_epoch=lambda row: None).predictor

    def fingerprint(self) -> str:
        """A hash of the weights file and of the factory's source file."""
        digest = hashlib.sha256(_existing(Path(self.weights)).read_bytes())
        # The same weights in a module with another forward are another model.
        source = getattr(sys.modules[_import(self.factory).__module__], "__file__", None)
        digest.update(Path(source).read_bytes() if source else b"")
        return digest.hexdigest()[:16]


def _import(path: str) -> Callable[..., Any]:
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise ValueError(f"model.factory is {path!r}; write it as 'package.module:function'")
    with _current_folder_importable():
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            raise ValueError(
                f"model.factory {path!r} cannot be imported ({error}); install the package, or "
                f"start from the folder that holds it (now {Path.cwd()})"
            ) from error
    factory: Callable[..., Any] | None = getattr(module, name, None)
    if not callable(factory):
        options = [key for key, value in vars(module).items() if callable(value)]
        raise ValueError(f"{module_name!r} has no function {name!r}; {suggest(name, options)}")
    return factory


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    """An installed command does not look for modules beside the user; `python -m` does."""
    before = list(sys.path)
    sys.path.insert(0, str(Path.cwd()))
    # A module written a moment ago may be missing in what Python remembers of the folder.
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _build(factory: Callable[..., Any], path: str, kwargs: Mapping[str, Any]) -> nn.Module:
    """Call the factory, without moving the global random generator that it may draw from."""
    try:
        # Before the call: a TypeError of the factory's own code keeps its traceback.
        inspect.signature(factory).bind(**kwargs)
    except TypeError as error:
        signature = f"{path}{inspect.signature(factory)}"
        raise ValueError(f"model.kwargs {dict(kwargs)} do not fit {signature}: {error}") from error
    with torch.random.fork_rng(devices=[]):
        network = factory(**kwargs)
    if not isinstance(network, nn.Module):
        raise ValueError(f"{path} returned a {type(network).__name__}; expected a torch.nn.Module")
    return network


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"model.weights {str(path)!r} is not a file (looked in {Path.cwd()})")
    return path


def _read(path: Path) -> dict[str, Tensor]:
    if _existing(path).suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except SafetensorError as error:
            raise ValueError(
                f"{path} is no whole safetensors file ({error}); write it again, as with "
                "safetensors.torch.save_file(module.state_dict(), path)"
            ) from error
    if path.suffix not in (".pt", ".pth"):
        raise ValueError(
            f"model.weights {path.name!r} ends in {path.suffix!r}; "
            "expected .safetensors, .pt or .pth"
        )
    try:
        # A pickle runs what its writer put into it; with `weights_only` it is tensors or nothing.
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors; write it with torch.save(module.state_dict(), path)"
        ) from error
    except (EOFError, RuntimeError) as error:
        # Empty, or cut off: torch finds the end of the file, or no end of its archive.
        raise ValueError(
            f"{path} is no whole file of weights; write it again with "
            "torch.save(module.state_dict(), path)"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        content = listed(state) if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(
            f"{path} holds {content}; expected names and tensors, as module.state_dict() gives"
        )
    return dict(state)


def _fill(network: nn.Module, state: Mapping[str, Tensor], path: str) -> None:
    own = network.state_dict()
    problems = {
        "lacks": own.keys() - state.keys(),
        "has too much:": state.keys() - own.keys(),
        "has other shapes for": {
            k for k in own.keys() & state.keys() if own[k].shape != state[k].shape
        },
    }
    parts = [f"{what} {listed(sorted(names))}" for what, names in problems.items() if names]
    if parts:
        raise ValueError(f"{path} does not fit {type(network).__name__}: it {'; it '.join(parts)}")
    network.load_state_dict(state)


@torch.no_grad()
def _try_one_row(predictor: Predictor, bundle: Bundle, path: str) -> None:
    """Call the module once, so that a mismatch fails before anything is explained."""
    x, context = bundle.test.x[:1], {k: v[:1] for k, v in bundle.test.context.items()}
    try:
        outputs = predictor(x, context)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"the module of {path} cannot take a row of shape {list(x.shape[1:])} with context "
            f"{sorted(context)}: {' '.join(str(error).split())}. It is fed {fed(bundle)}"
        ) from error
    shape = list(outputs.shape)
    if shape != [1, bundle.n_outputs]:
        classes = f"{bundle.n_outputs} logits, one per class"
        raise ValueError(
            f"the module of {path} gives outputs of shape {shape} for one row; this data needs "
            f"[1, {bundle.n_outputs}]: {classes if bundle.class_names else 'one value'}"
        )
