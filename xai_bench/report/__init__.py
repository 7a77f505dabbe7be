"""Statistics, tables and figures of a study, from the store alone."""

from xai_bench.report.console import terminal
from xai_bench.report.writer import Report, write

__all__ = ["Report", "terminal", "write"]
