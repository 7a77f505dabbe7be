"""What a report is made of, as chosen in the configuration under `report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from xai_bench.core.spelling import suggest
from xai_bench.results.drawing.style import FORMATS

TABLES = ("main", "full")


@dataclass(frozen=True)
class ReportOptions:
    """Attributes:
    tables: which tables are written: `main` has a few metrics, `full` all.
    metrics: of the main table, in this order; empty for some of every category.
    figures: kinds of files that figures and sheets are drawn as; empty for none.
    samples: how many samples per data set have an example sheet.
    pictures: how many figures and sheets are drawn, those that are looked at first; None for all.
        Others that are there stay if they are up to date.
    """

    tables: tuple[str, ...] = TABLES
    metrics: tuple[str, ...] = ()
    figures: tuple[str, ...] = ("png",)
    samples: int = 1
    pictures: int | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> ReportOptions:
        """From plain settings. Raises ValueError, with one sentence, for what there is not."""
        by_name = {field.name: field for field in fields(cls)}
        for name in settings:
            if name not in by_name:
                raise ValueError(
                    f"report.{name}: there is no such setting; {suggest(name, by_name)}"
                )
        values: Any = {k: tuple(v) if _is_list(v) else v for k, v in settings.items()}
        made = cls(**values)
        _check("tables", made.tables, TABLES)
        _check("figures", made.figures, FORMATS)
        names = made.metrics if isinstance(made.metrics, tuple) else [None]
        if not all(isinstance(name, str) for name in names):
            shown = settings["metrics"]
            raise ValueError(
                f"report.metrics={shown}: write a list of names, such as [abpc,seconds]"
            )
        if not isinstance(made.samples, int) or made.samples < 0:
            raise ValueError(f"report.samples={made.samples}: it must be a whole number, 0 or more")
        if not (made.pictures is None or (isinstance(made.pictures, int) and made.pictures >= 0)):
            raise ValueError(
                f"report.pictures={made.pictures}: it must be a whole number, 0 or more, or null"
            )
        return made


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _check(name: str, chosen: Any, allowed: Sequence[str]) -> None:
    if not isinstance(chosen, tuple):
        raise ValueError(f"report.{name}={chosen}: write a list, such as [{','.join(allowed)}]")
    for value in chosen:
        if value not in allowed:
            raise ValueError(
                f"report.{name}: there is no '{value}'; {suggest(str(value), allowed)}"
            )
