"""`xai-bench check`: from names to components, and from components to certificates."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import OmegaConf

from xai_bench.certify.certificate_page import Certified
from xai_bench.certify.explainer import contract
from xai_bench.certify.metric import certificate
from xai_bench.runner.config import compose, preflight
from xai_bench.runner.config.catalogue import ALL
from xai_bench.runner.config.messages import UsageError
from xai_bench.runner.plan import Plan


def certified(overrides: Sequence[str], config_dir: str | None) -> list[Certified]:
    """The components that `metric=...` and `explainer=...` name; all of both where none is named.

    Raises `UsageError` before any work.
    """
    wanted = [group for group in ("metric", "explainer") if _named(group, overrides)]
    if not wanted:
        wanted = ["metric", "explainer"]
        overrides = [*overrides, *(f"{group}={ALL}" for group in wanted)]
    plan = _plan(overrides, config_dir)
    metrics = plan.metrics() if "metric" in wanted else []
    explainers = plan.explainers() if "explainer" in wanted else []
    return [
        *(Certified(m.name, certificate(m.name, m.metric), m.metric) for m in metrics),
        *(Certified(e.name, contract(e.name, e.explainer)) for e in explainers),
    ]


def all_metrics() -> list[Certified]:
    """Those that come with the package."""
    return certified([f"metric={ALL}"], None)


def _named(group: str, overrides: Sequence[str]) -> bool:
    return any(override.startswith(f"{group}=") for override in overrides)


def _plan(overrides: Sequence[str], config_dir: str | None) -> Plan:
    arguments = [*overrides, *(["--config-dir", config_dir] if config_dir else [])]
    cfg = next(compose.configurations(compose.parse(arguments)))
    problems = preflight.check(cfg)
    if problems:
        raise UsageError("\n".join(problems))
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    return Plan.of(cfg, names={})
