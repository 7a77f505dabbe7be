"""Proves that a user's module is built and filled, and that every mismatch raises one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from tests.support.model_bundles import bundle, ignore, normal, two_classes
from xai_bench.data.bundle import Bundle
from xai_bench.models.checkpoint import Checkpoint
from xai_bench.models.checks.usefulness import fault
from xai_bench.models.fitting.cache import key
from xai_bench.types import Element

SOURCE = """
import torch
from torch import Tensor, nn

not_a_function = 3


def build(width: int = 4, n_outputs: int = 2) -> nn.Module:
    first, last = nn.Linear(4, width), nn.Linear(width, n_outputs)
    return nn.Sequential(first, nn.Dropout(0.5), nn.ReLU(), last)


def build_masked() -> nn.Module:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, x, mask):
            return self.head(x * mask)

    return Masked()


def build_nothing():
    return {"no": "module"}
"""


@pytest.fixture
def home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[str]:
    """A working folder with a module of factories; its name is new for every test."""
    name = f"nets_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    yield name
    sys.modules.pop(name, None)


def network(width: int = 4, n_outputs: int = 2) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(4, width), nn.Dropout(0.5), nn.ReLU(), nn.Linear(width, n_outputs)
    )


def save(module: nn.Module, name: str = "w.safetensors") -> str:
    state = module.state_dict()
    safetensors.torch.save_file(state, name) if name.endswith("s") else torch.save(state, name)
    return name


def get(home: str, factory: str = "build", weights: str = "w.safetensors", **kwargs: Any) -> Any:
    recipe = Checkpoint(f"{home}:{factory}", weights, kwargs, allow_poor=True)
    return recipe.train(two_classes(), seed=0, on_epoch=ignore).predictor


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth"])
def test_the_module_is_built_and_filled_with_the_weights(home: str, name: str) -> None:
    own = network(width=7).eval()
    state, path = torch.random.get_rng_state(), list(sys.path)
    predictor = get(home, weights=save(own, name), width=7)
    x = two_classes().test.x
    assert torch.equal(predictor(x, {}), own(x))  # dropout is off
    assert torch.equal(torch.random.get_rng_state(), state)
    assert sys.path == path


def test_context_is_passed_to_the_module(home: str) -> None:
    mask = torch.tensor([1.0, 0.0, 1.0, 0.0]).expand(40, 4)
    data = bundle(normal(40, 4), torch.arange(40) % 2, n_classes=2, mask=mask)
    own = nn.ModuleDict({"head": nn.Linear(4, 2)})
    recipe = Checkpoint(f"{home}:build_masked", save(own))
    predictor = recipe.load(data, Path())
    out = predictor(data.test.x, dict(data.test.context))
    assert torch.equal(out, own["head"](data.test.x * mask[:8]))


def test_nothing_is_saved(home: str, tmp_path: Path) -> None:
    save(network())
    folder = tmp_path / "cache"
    folder.mkdir()
    Checkpoint(f"{home}:build", "w.safetensors").save(get(home), folder)
    assert not list(folder.iterdir())


def test_other_weights_in_the_same_file_are_another_model(home: str) -> None:
    recipe = Checkpoint(f"{home}:build", save(network()))
    first = key(recipe, {}, two_classes(), seed=0)
    assert key(recipe, {}, two_classes(), seed=0) == first
    save(network())
    assert key(recipe, {}, two_classes(), seed=0) != first


class Pickled:
    """Something that is no tensor."""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factory": "nets.build"}, r"write it as 'package.module:function'"),
        ({"factory": "no_such_nets:build"}, r"cannot be imported \(No module named 'no_such_nets'"),
        ({"factory": "HOME:biuld"}, r"no function 'biuld'; did you mean build"),
        ({"factory": "HOME:not_a_function"}, r"no function 'not_a_function'"),
        ({"factory": "HOME:build_nothing"}, r"returned a dict; expected a torch.nn.Module"),
        ({"kwargs": {"wdith": 4}}, r"do not fit HOME:build\(width: int = 4.*'wdith'"),
        ({"weights": "other.safetensors"}, r"'other.safetensors' is not a file \(looked in "),
        ({"weights": "HOME.py"}, r"ends in '.py'; expected .safetensors, .pt or .pth"),
        ({"kwargs": {"width": 9}}, r"has other shapes for 0.bias, 0.weight, 3.weight"),
    ],
)
def test_every_mistake_raises_one_sentence(home: str, change: dict[str, Any], message: str) -> None:
    save(network())
    fields = {"factory": f"{home}:build", "weights": "w.safetensors", **change}
    fields = {k: v.replace("HOME", home) if isinstance(v, str) else v for k, v in fields.items()}
    with pytest.raises(ValueError, match=message.replace("HOME", home)) as caught:
        Checkpoint(**fields).train(two_classes(), seed=0, on_epoch=ignore)
    assert "\n" not in str(caught.value)


def test_missing_and_unexpected_tensors_are_named(home: str) -> None:
    state = dict(network().state_dict())
    state["4.weight"] = state.pop("3.weight")
    safetensors.torch.save_file(state, "w.safetensors")
    with pytest.raises(ValueError, match=r"lacks 3.weight; it has too much: 4.weight"):
        get(home)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"state_dict": {}, "epoch": 3},
            r"holds state_dict, epoch; expected names and tensors",
        ),
        ([torch.ones(2)], r"holds list; expected names and tensors"),
        (Pickled(), r"holds more than tensors; write it with torch.save\(module.state_dict"),
    ],
)
def test_only_state_dicts_are_read(home: str, content: Any, message: str) -> None:
    torch.save(content, "w.pt")
    with pytest.raises(ValueError, match=message):
        get(home, weights="w.pt")


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.safetensors"])
@pytest.mark.parametrize("n_bytes", [0, 40, -40])
def test_an_empty_or_cut_off_file_is_one_sentence(home: str, name: str, n_bytes: int) -> None:
    path = Path(save(network(), name))
    path.write_bytes(path.read_bytes()[:n_bytes])
    with pytest.raises(ValueError, match=rf"{name} is no whole .*file.*; write it again"):
        get(home, weights=name)


def test_outputs_must_fit_the_data(home: str) -> None:
    save(network(n_outputs=3))
    with pytest.raises(
        ValueError, match=r"\[1, 3\] for one row; this data needs \[1, 2\]: 2 logits"
    ):
        get(home, n_outputs=3)


def test_a_module_that_cannot_take_a_row_is_refused(home: str) -> None:
    save(network())
    data = bundle(normal(20, 5), torch.arange(20) % 2, n_classes=2)
    with pytest.raises(ValueError, match=r"cannot take a row of shape \[5\]"):
        Checkpoint(f"{home}:build", "w.safetensors").load(data, Path())


def test_the_import_path_is_restored_after_a_failure(home: str) -> None:
    before = list(sys.path)
    with pytest.raises(ValueError, match="cannot be imported"):
        get("absent_nets")
    assert sys.path == before


def linear_bundle(n: int = 200, *, mean: float = 0.0, scale: float = 1.0) -> Bundle:
    """Two columns of which `2 a - b` is the target; x is `(value - mean) / scale`."""
    values = normal(n, 2) * 10 + 100
    data = bundle((values - mean) / scale, values @ torch.tensor([2.0, -1.0]))
    named = {"unit_names": ("a", "b"), "elements": (Element(mean, scale),) * 2}
    return replace(data, **named)


@pytest.fixture
def raw_columns(home: str) -> Checkpoint:
    """A network that knows the target from columns as they are in the file."""
    own = nn.Linear(2, 1)
    with torch.no_grad():
        own.weight.copy_(torch.tensor([[2.0, -1.0]]))
        own.bias.zero_()
    with Path(f"{home}.py").open("a") as file:
        file.write("\n\ndef line():\n    return nn.Linear(2, 1)\n")
    return Checkpoint(f"{home}:line", save(own))


def test_a_model_that_was_trained_on_other_rows_is_refused(raw_columns: Checkpoint) -> None:
    """A network fed standardised rows, which never saw them, is worse than the mean."""
    raw_columns.load(linear_bundle(), Path())
    scaled = linear_bundle(mean=100.0, scale=10.0)
    with pytest.raises(ValueError, match=r"no better than a constant.*r2 is -") as caught:
        raw_columns.load(scaled, Path())
    message = str(caught.value)
    assert "a [(value - 100) / 10], b [(value - 100) / 10]" in message
    assert "data.scale=none" in message
    replace(raw_columns, allow_poor=True).load(scaled, Path())


def test_the_log_states_what_a_checkpoint_is_fed(
    raw_columns: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        raw_columns.load(linear_bundle(), Path())
    assert "is fed x [B, 2] float32: a [as in the file], b [as in the file]" in caplog.text


@pytest.mark.parametrize(
    ("logits", "refused"),
    [
        pytest.param(lambda x, y: torch.stack([1 - y, y], 1), False, id="knows"),
        pytest.param(lambda x, y: torch.stack([0 * y + 1, 0 * y], 1), True, id="constant"),
        pytest.param(lambda x, y: torch.stack([y, 1 - y], 1), True, id="reversed"),
        # Names the rare class never, but ranks its rows first: of use.
        pytest.param(lambda x, y: torch.stack([0 * y + 5, y], 1), False, id="ranks"),
    ],
)
def test_a_classifier_must_beat_the_most_frequent_class(
    logits: Callable[[Tensor, Tensor], Tensor], refused: bool
) -> None:
    y = (torch.arange(500) % 5 == 0).long()
    data = bundle(y.float()[:, None].repeat(1, 2), y, n_classes=2)

    class Model:
        def __call__(self, x: Tensor, context: object) -> Tensor:
            return logits(x, x[:, 0])

    assert bool(fault(Model(), data)) == refused
