"""What a configuration may read of the environment: what it reads is kept with the results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

READABLE = ("HOME", "PWD", "TMPDIR", "USER")
"""Variables beside `XAI_BENCH_...` that any setting may read: paths."""


@contextmanager
def without_environment() -> Iterator[None]:
    """Inside, `${oc.env:NAME}` is an error for whatever may be a secret."""
    OmegaConf.register_new_resolver("oc.env", _readable, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def _readable(key: str, *default: str | None) -> str | None:
    if key.startswith("XAI_BENCH_") or key in READABLE:
        return oc.env(key, *default)
    raise OmegaConfBaseException(
        f"it reads {key} from the environment, and what a setting holds is kept with the results "
        "and shown: write the value itself, or name the variable XAI_BENCH_...; only recorder.* "
        "may read any"
    )
