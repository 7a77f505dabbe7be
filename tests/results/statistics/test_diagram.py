"""The critical-difference diagram: every text is whole, apart from the others, and true."""

from __future__ import annotations

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from tests.results.statistics.test_significance import AUC, NAMES, normal
from xai_bench.results.statistics import significance
from xai_bench.results.statistics.diagram import critical_differences


@pytest.mark.parametrize("n", [2, 4, 15])
def test_no_text_is_cut_or_lies_on_another(n: int) -> None:
    scores = AUC if n == 4 else normal(12, n)
    names = NAMES if n == 4 else [f"captum_integrated_gradients_{i}" for i in range(n)]
    figure = critical_differences(significance.friedman(scores), names)
    renderer = FigureCanvasAgg(figure).get_renderer()
    whole = figure.bbox
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    for box in boxes:
        assert whole.x0 <= box.x0
        assert box.x1 <= whole.x1
        assert whole.y0 <= box.y0
        assert box.y1 <= whole.y1
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_it_says_what_the_test_found() -> None:
    figure = critical_differences(significance.friedman(AUC), NAMES)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "C4.5+m+cf  1.96" in texts
    assert "critical difference 1.25, 14 data sets" in texts
