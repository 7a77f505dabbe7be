"""What an evaluation yields: the values that every other room may use."""

from xai_bench.results.values import Cell, ExplainerResult, Outcome, Predictions, Scores, Status

__all__ = ["Cell", "ExplainerResult", "Outcome", "Predictions", "Scores", "Status"]
