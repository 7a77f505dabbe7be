"""`xai-bench check`: from names to components, and from components to certificates."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import OmegaConf

from xai_bench.certify.certificate_page import Certificate
from xai_bench.certify.explainer import contract
from xai_bench.certify.metric import certificate
from xai_bench.runner.cells.plan import Plan
from xai_bench.runner.config import command as command_line
from xai_bench.runner.config import compose, preflight
from xai_bench.runner.config.catalogue import ALL
from xai_bench.runner.config.messages import UsageError

GROUPS = ("metric", "explainer")
"""Groups whose components can be checked."""


def certified(overrides: Sequence[str], config_dir: str | None) -> list[Certificate]:
    """The certificates of what `metric=...` and `explainer=...` name; of all where none is named.

    Raises `UsageError` before any work.
    """
    groups = [group for group in GROUPS if _selects(group, overrides)]
    if not groups:
        groups = list(GROUPS)
        overrides = [*overrides, *(f"{group}={ALL}" for group in groups)]
    plan = _plan(overrides, config_dir)
    metrics = plan.metrics if "metric" in groups else []
    explainers = plan.explainers() if "explainer" in groups else []
    return [
        *(Certificate(m.name, certificate(m.name, m.metric), m.metric) for m in metrics),
        *(Certificate(e.name, contract(e.name, e.explainer)) for e in explainers),
    ]


def all_metrics() -> list[Certificate]:
    """The certificates of the metrics that come with the package."""
    return certified([f"metric={ALL}"], None)


def _selects(group: str, overrides: Sequence[str]) -> bool:
    return any(override.startswith(f"{group}=") for override in overrides)


def _plan(overrides: Sequence[str], config_dir: str | None) -> Plan:
    """The plan of a run with these components; its data and model are composed but never loaded."""
    arguments = [*overrides, *(["--config-dir", config_dir] if config_dir else [])]
    cfg = next(compose.configurations(command_line.parse(arguments)))
    problems = preflight.check(cfg)
    if problems:
        raise UsageError("\n".join(problems))
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    return Plan.of(cfg, names={})
