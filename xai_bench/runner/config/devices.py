"""Whether this machine has the device that was asked for, and there is such a precision."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig


def problems(cfg: DictConfig) -> Iterator[str]:
    """One sentence of what is not there. Of what is shipped, torch is not asked: that takes a
    second.
    """
    device, precision = cfg.get("device", "cpu"), cfg.get("precision")
    if device == "cpu" and precision is None:
        return
    from xai_bench.core.system.devices import device_named
    from xai_bench.models.precision import precision_named

    try:
        device_named(str(device))
        precision_named(precision)
    except ValueError as error:
        yield str(error)
