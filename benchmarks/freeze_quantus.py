"""Write down what Quantus 0.6.0 says of a few shared inputs: `tests/certify/golden/quantus.json`.

Quantus is not a dependency, and no code of it is here. In an environment of its own:

    pip install quantus==0.6.0 'numpy<2.5' torch==2.13.0
    python benchmarks/freeze_quantus.py

`tests/certify/test_conformance.py` compares our numbers with these.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import quantus
import torch
from torch import nn

TARGET = Path(__file__).parents[1] / "tests" / "certify" / "golden" / "quantus.json"
N, SIDE, DRAWS = 6, 4, 5


def network(weights: dict[str, Any]) -> nn.Module:
    """16 inputs, 8 hidden, 3 outputs; the same in the test."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 8), nn.Tanh(), nn.Linear(8, 3))
    net.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    return net.eval()


def cubed(model: Any, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
    """An explainer that only needs x."""
    return np.asarray(inputs) ** 3


def replay(points: np.ndarray) -> Callable[..., np.ndarray]:
    """Hands out `points [DRAWS, N, *S]` one by one, as a perturbation."""
    left = iter(points)
    return lambda arr, **_: next(left).reshape(arr.shape)


def main() -> None:
    rng = np.random.default_rng(0)
    shapes = {"1.weight": (8, 16), "1.bias": (8,), "3.weight": (3, 8), "3.bias": (3,)}
    weights = {name: rng.normal(0, 0.5, size).astype("float32") for name, size in shapes.items()}
    x = (rng.choice([-1, 1], (N, 1, SIDE, SIDE)) * rng.uniform(0.5, 2, (N, 1, SIDE, SIDE))).astype(
        "float32"
    )
    a = rng.normal(size=x.shape).astype("float32")
    points = x + rng.uniform(-0.01, 0.01, (DRAWS, *x.shape)).astype("float32")
    net = network({name: value.tolist() for name, value in weights.items()})
    y = net(torch.tensor(x)).argmax(1).numpy()
    plain = {"normalise": False, "disable_warnings": True}
    shared = {"model": net, "x_batch": x, "y_batch": y, "softmax": False}
    flipping = quantus.PixelFlipping(features_in_step=1, abs=False, perturb_baseline=0.25, **plain)
    stability = quantus.RelativeInputStability(
        nr_samples=DRAWS, abs=False, perturb_func=replay(points), **plain
    )
    found = {
        "sparseness": quantus.Sparseness(abs=True, **plain)(a_batch=a.copy(), **shared),
        "complexity": quantus.Complexity(abs=True, **plain)(a_batch=a.copy(), **shared),
        "pixel_flipping": flipping(a_batch=a.copy(), **shared),
        "relative_input_stability": stability(a_batch=x**3, explain_func=cubed, **shared),
    }
    frozen = {
        "made_by": f"benchmarks/freeze_quantus.py, Quantus {quantus.__version__}",
        "weights": weights,
        "x": x,
        "attribution": a,
        "points": points,
        "targets": y,
        "scores": found,
    }
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps(frozen, default=_plain) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Arrays as lists, 9 digits."""
    return np.asarray(value).tolist()


if __name__ == "__main__":
    main()
