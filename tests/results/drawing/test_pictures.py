"""Every picture of a report: no text is cut or lies on another, and the bytes are reproducible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.text_boxes import faults
from xai_bench.results.drawing.attention import AttentionSheet, RolloutSheet
from xai_bench.results.drawing.data_sets import Beeswarm, Dependence, Waterfall
from xai_bench.results.drawing.sheets import BarSheet, ImageSheet, SeriesSheet
from xai_bench.results.drawing.style import FORMATS
from xai_bench.results.drawing.tokens import TokenSheet
from xai_bench.results.report.figures import export
from xai_bench.results.report.figures.anytime import AnytimeFigure, AnytimePlot
from xai_bench.results.report.figures.lines import (
    Curve,
    CurveFigure,
    CurvePlot,
    Dot,
    DotFigure,
    ParetoFigure,
    PredictedFigure,
    PredictedPlot,
    Spot,
    SpotPlot,
)
from xai_bench.results.report.figures.matrices import CriticalDifferenceFigure, Matrix, MatrixFigure

NAMES = (
    "captum_integrated_gradients", "kernel_shap (budget=1000)", "lime", "saliency", "$\\alpha$_<b>",
    "Einkommen & Größe",
)  # fmt: skip
N = len(NAMES)
HEADLINE = (
    "a_data_set_of_some_name, gradient_boosting, seed 0, sample 17; predicted malignant, "
    "probability 0.93; true: benign; explained: predicted logit of malignant"
)
UNITS = tuple(f"{name} {i}" for i in range(3) for name in ("mean radius", "worst fractal", "年齢"))


def normal(*shape: int) -> Any:
    return np.random.Generator(np.random.PCG64(0)).normal(size=shape)


SPOTS = tuple(
    Spot(name, 10.0**i, 0.1 * i, 0.1 * i - 0.05, 0.1 * i + 0.2) for i, name in enumerate(NAMES)
)
TOKENS = ("a", "film", "that", "no", "one", "should", "see")
X = np.linspace(0, 1, 5)
CURVES = tuple(Curve(name, X, X + i, X + i - 0.1, X + i + 0.1) for i, name in enumerate(NAMES))
HELD = ("12.3",) * len(UNITS)
DOTS = {
    f"metric_with_a_long_name_{i} ↑": tuple(Dot(name, 0.1, 0.0, 0.3) for name in NAMES)
    for i in range(5)
}
PICTURES = {
    "dots": DotFigure("digits, mlp", NAMES, 1, DOTS),
    "curves": CurveFigure((CurvePlot("digits, mlp", CURVES),) * 2, "share removed", "output"),
    "pareto": ParetoFigure((SpotPlot("digits, mlp", "abpc ↑", True, SPOTS),) * 2, "rows"),
    "predicted": PredictedFigure((PredictedPlot("houses, mlp", normal(9), normal(9), "r2 0.9"),)),
    "anytime": AnytimeFigure(
        "digits, mlp: what more rows buy",
        (AnytimePlot("abpc ↑", dict.fromkeys(NAMES[:3], SPOTS), SPOTS[3:], SPOTS[:1]),),
    ),
    "matrix": MatrixFigure(
        "digits, mlp: agreement",
        (Matrix("rank correlation", NAMES, NAMES, np.tanh(normal(N, N)), -1, 1),) * 2,
    ),
    "ranks": CriticalDifferenceFigure(
        "Is it what the model does? Mean ranks over 3 data sets (1 is best)", NAMES,
        tuple(map(float, range(1, N + 1))), (NAMES[:3], NAMES[2:]), 2.1,
    ),
    "bars": BarSheet(HEADLINE, UNITS, HELD, NAMES, normal(N, len(UNITS))),
    "maps": ImageSheet(HEADLINE, np.abs(np.tanh(normal(8, 8))), NAMES, normal(N, 8, 8)),
    "series": SeriesSheet(HEADLINE, ("heart rate", ""), NAMES, normal(2, 30), normal(N, 2, 30)),
    "waterfall": Waterfall(HEADLINE, UNITS, HELD, normal(len(UNITS)), 0.7, "logit of malignant"),
    "beeswarm": Beeswarm(HEADLINE, UNITS, normal(20, len(UNITS)), normal(20, len(UNITS))),
    "dependence": Dependence(HEADLINE, UNITS, normal(20, len(UNITS)), normal(20, len(UNITS))),
    "tokens": TokenSheet.of(HEADLINE, TOKENS, NAMES, normal(N, len(TOKENS))),
    "attention": AttentionSheet(HEADLINE, normal(3, 4, 7, 7) ** 2),
    "rollout": RolloutSheet(HEADLINE, TOKENS, normal(7, 7) ** 2),
}  # fmt: skip


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_no_text_is_cut_or_lies_on_another(name: str) -> None:
    assert faults(PICTURES[name].draw()) == []


@pytest.mark.exhaustive
def test_the_same_picture_is_the_same_bytes_and_is_drawn_once(tmp_path: Path) -> None:
    one = {"waterfall": PICTURES["waterfall"]}
    paths = export.write(tmp_path / "a", one, FORMATS)
    again = export.write(tmp_path / "b", one, FORMATS)
    assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in again]
    before = [path.stat().st_mtime_ns for path in paths]
    export.write(tmp_path / "a", one, FORMATS)
    assert [path.stat().st_mtime_ns for path in paths] == before
    assert paths[0].read_bytes().startswith(b"%PDF")
    assert b"<svg" in paths[1].read_bytes()
    assert paths[2].read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_picture_that_changed_is_drawn_anew_and_one_that_is_gone_is_removed(
    tmp_path: Path,
) -> None:
    [first] = export.write(tmp_path, {"a": PICTURES["waterfall"]}, ["png"])
    before = first.read_bytes()
    changed = Waterfall(HEADLINE, UNITS, HELD, -normal(len(UNITS)), 0.7)
    export.write(tmp_path, {"a": changed}, ["png"])
    assert first.read_bytes() != before
    export.write(tmp_path, {}, ["png"])
    assert not first.exists()
