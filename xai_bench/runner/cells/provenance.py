"""Content addresses, and the environment of a run."""

from __future__ import annotations

import hashlib
import importlib
import json
import platform
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

PACKAGE = Path(__file__).resolve().parents[2]
WITHOUT_EFFECT = (
    "adapters",
    "certify",
    "models/caller.py",
    "results/report",
    "results/sample_scores.py",
    "results/statistics",
    "results/tracking",
    "runner/commands",
    "runner/config",
    "runner/finished",
    "runner/sweeps",
    "__main__.py",
    "api.py",
    "cli.py",
)
"""Files and folders that cannot change a score: checks, reports, and entry points."""

_LIBRARIES = ("torch", "numpy", "scipy", "scikit-learn", "pandas")
_RECORDED = (*_LIBRARIES, "hydra-core", "mlflow", "captum", "shap", "lime", "dice-ml", "optuna")


def digest(content: Mapping[str, Any]) -> str:
    """16 hex digits of a mapping of plain values, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@lru_cache
def code_version(package: Path = PACKAGE) -> str:
    """A hash of every source file but those `WITHOUT_EFFECT`: whatever can change a number."""
    named = [(path.relative_to(package).as_posix(), path) for path in sources(package)]
    content = b"\0".join(
        part for name, path in named for part in (name.encode(), path.read_bytes())
    )
    return hashlib.sha256(content).hexdigest()[:16]


def sources(package: Path) -> list[Path]:
    """The source files of the package that `code_version` is a hash of."""
    # With the slash, because a name may begin with another one.
    left_out = tuple(f"{package / name}/" for name in WITHOUT_EFFECT)
    return [f for f in sorted(package.rglob("*.py")) if not f"{f}/".startswith(left_out)]


def component(config: Mapping[str, Any], component_version: int) -> str:
    """The content address of a configured component.

    A user's own module counts with its source, a wrapper with the version of its `library`.
    """
    from xai_bench.types import tags_of

    module, _, name = str(config["_target_"]).rpartition(".")
    content = {"config": config, "version": component_version, "source": ""}
    if not module.startswith("xai_bench."):
        content["source"] = _source_of(module)
    elif library := tags_of(getattr(importlib.import_module(module), name)).library:
        content["source"] = f"{library} {installed(library)}"
    return digest(content)


def libraries() -> dict[str, str]:
    """Versions of the libraries that numbers depend on."""
    return {name: installed(name) for name in _LIBRARIES}


def environment(device: torch.device | None = None) -> dict[str, str]:
    """What decides whether two runs give the same bits: versions, threads, processor, commit; and
    the `device` of the network, where it is not the processor.
    """
    import torch

    elsewhere = device is not None and device.type != "cpu"
    return {
        **({"device": _described(device)} if elsewhere else {}),
        **{name: installed(name) for name in _RECORDED},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
        "xai_bench": installed("xai-bench"),
        "code_version": code_version(),
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": str(bool(_git("status", "--porcelain"))),
    }


def _described(device: torch.device | None) -> str:
    """Kind and number, and the name that its maker gave it."""
    import torch

    if device is not None and device.type == "cuda":
        return f"{device} {torch.cuda.get_device_name(device)}"
    return str(device)


def _source_of(module: str) -> str:
    file = importlib.import_module(module).__file__
    return "" if file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]


def installed(name: str) -> str:
    """The version of a library, or `absent`."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@lru_cache
def _git(*arguments: str) -> str:
    """The output of git in the checkout of this package; empty for an installed wheel."""
    if not (PACKAGE.parent / ".git").exists():
        return ""
    command = ["git", "-C", str(PACKAGE.parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
