"""What components state of themselves as class attributes, and what holds where they do not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from xai_bench.types.search import Choice, Range


@dataclass(frozen=True, slots=True)
class Tags:
    """Optional class attributes of explainers, metrics and models, with their defaults.

    Attributes:
        needs: what it cannot do without. Of an explainer, out of `gradient` (a differentiable
            model), `module` (a torch module to hook), `truth`, and what can be read of the model:
            `linear`, `trees`, or `glass_box` (either, terms of single elements or one tree). Of a
            metric, out of `truth`, `rationale` and `groups`.
        paper: where the formula stands.
        version: raised whenever the same configuration yields other numbers.
        reproducible: False for what a clock or the operating system says.
        search: the settings that may be tuned, never the budget.
    """

    needs: tuple[str, ...] = ()
    paper: str = ""
    version: int = 1
    reproducible: bool = True
    search: Mapping[str, Range | Choice] = field(default_factory=dict)


def tags_of(component: Any) -> Tags:
    """The tags of a component or of its class."""
    stated = {
        f.name: getattr(component, f.name) for f in fields(Tags) if hasattr(component, f.name)
    }
    return Tags(**stated)
