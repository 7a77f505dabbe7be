"""Nested settings as flat ones, `{a: {b: 1}}` as `a.b: 1`, their order and differences."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

LEFT_OUT = "left out"
"""What a setting is where the other configuration has it and this one does not."""


def flattened(config: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted path -> value, in the order of the settings; lists stay whole."""
    return dict(_leaves(config, prefix))


def differences(config: Mapping[str, Any], shipped: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted path -> value of each setting of `config` that is not as in `shipped`.

    `LEFT_OUT` stands for a setting that only `shipped` has.
    """
    own, reference = flattened(config), flattened(shipped)
    changed = {k: v for k, v in own.items() if k not in reference or reference[k] != v}
    missing = [path for path in reference if path not in own and not _replaced(path, own)]
    return {**changed, **dict.fromkeys(missing, LEFT_OUT)}


def natural(text: str) -> tuple[tuple[float, str], ...]:
    """A key of sorting by which 9 comes before 10."""
    parts = re.findall(r"(\d+(?:\.\d+)?(?:e-?\d+)?)|(\D)", text)
    return tuple((float(number or -1), letter) for number, letter in parts)


def order(config: Mapping[str, Any]) -> tuple[tuple[float, str], ...]:
    """A key of sorting by the values of settings: `width=16` comes before `width=128`."""
    return natural(json.dumps(flattened(config), sort_keys=True, default=str))


def _leaves(config: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(config, Mapping):
        yield prefix.removesuffix("."), config
        return
    for key, value in config.items():
        yield from _leaves(value, f"{prefix}{key}.")


def _replaced(path: str, own: Mapping[str, Any]) -> bool:
    """Whether a value stands where there was a section, or a section where there was a value."""
    return any(f"{other}.".startswith(f"{path}.") or path.startswith(f"{other}.") for other in own)
