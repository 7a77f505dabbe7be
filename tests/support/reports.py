"""Reports without pictures, which take most of the time and have tests of their own."""

from __future__ import annotations

from xai_bench.results.report.options import ReportOptions
from xai_bench.results.report.writer import Report, write
from xai_bench.results.store.store import Store

NO_FIGURES = ReportOptions(figures=())


def written(store: Store, study: str) -> Report:
    """The report of a study, as it is written but for its pictures."""
    return write(store, study, options=NO_FIGURES)
