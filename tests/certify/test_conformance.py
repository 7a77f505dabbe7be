"""Our numbers are those of other libraries where these are right, sample by sample."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score
from torch import Tensor, nn

from tests.certify.test_ledger import DEFECTS
from tests.support import toy_worlds
from tests.support.components import component, options
from tests.support.paths import ROOT
from xai_bench.core.baselines import Constant
from xai_bench.metrics.complexity import Entropy, Gini
from xai_bench.metrics.fidelity.deletion import Comprehensiveness, Sufficiency
from xai_bench.metrics.fidelity.random_subsets import Infidelity
from xai_bench.metrics.probes.neighbours import Neighbourhood, Neighbours
from xai_bench.metrics.probes.removal.curves import RemovalCurves
from xai_bench.metrics.probes.removal.random_subsets import CoalitionValues
from xai_bench.metrics.stability.sensitivity import MaxSensitivity, RelativeInputStability
from xai_bench.models.targets import PredictedProbability
from xai_bench.types import Case, Explanation, Inputs, Model, Rng

BASE = Constant(0.25)


@dataclass(frozen=True)
class Cubed:
    """An explainer that needs x only."""

    def explain(self, model: Model, inputs: Inputs, targets: Tensor, *, rng: Rng) -> Explanation:
        return Explanation(inputs.x**3)


# Captum 0.9, called here


def captum_metrics() -> Any:
    """Imported when it is asked for: it takes more than a second."""
    import captum.metrics

    return captum.metrics


def captum_of(world: toy_worlds.World) -> Any:
    """The module as captum calls it."""
    module = world.model.module
    assert module is not None
    return module


@pytest.mark.slow
def test_infidelity_of_captum() -> None:
    """With the same sets removed and `I = x - b` on them; captum expects a sensitivity."""
    world, n_draws = toy_worlds.tabular(), 9
    slope = world.explain(component("explainer", "gradient"))
    case = world.case(slope, "sensitivity")
    drops = case.measure(CoalitionValues(BASE, n_draws, 0.4))
    removed = torch.stack([drops.removed[:, :, u] for u in world.inputs.units[0].tolist()], dim=2)
    step = (removed * (world.inputs.x - 0.25)[:, None]).flatten(0, 1)
    theirs = captum_metrics().infidelity(
        captum_of(world),
        lambda x: (step, x - step),
        world.inputs.x,
        slope,
        target=world.targets,
        n_perturb_samples=n_draws,
    )
    ours = Infidelity(BASE, n_draws, 0.4).score(case)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_sensitivity_max_of_captum() -> None:
    world, explainer = toy_worlds.tabular(), Cubed()
    case = world.case(world.explain(explainer), explainer=explainer)
    near = case.measure(Neighbours(0.1, 6))
    theirs = captum_metrics().sensitivity_max(
        lambda x: (x[0] ** 3,),
        (world.inputs.x,),
        perturb_func=lambda x, radius: (near.points.flatten(0, 1),),
        n_perturb_samples=6,
    )
    ours = MaxSensitivity(0.1, 6).score(case)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


# Quantus 0.6.0, frozen by benchmarks/freeze_quantus.py; it computes in float32

FROZEN = json.loads((Path(__file__).parent / "golden" / "quantus.json").read_text())
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def frozen(name: str) -> Tensor:
    return torch.tensor(FROZEN["scores"][name], dtype=torch.float64)


def shared_world() -> toy_worlds.World:
    x = torch.tensor(FROZEN["x"], dtype=torch.float64)
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))
    net.load_state_dict({name: torch.tensor(value) for name, value in FROZEN["weights"].items()})
    world = toy_worlds.world(net, x, torch.arange(16).view(1, 4, 4), x)
    assert world.targets.tolist() == FROZEN["targets"]
    return world


def shared_case() -> Case:
    return shared_world().case(torch.tensor(FROZEN["attribution"], dtype=torch.float64))


def test_sparseness_of_quantus() -> None:
    torch.testing.assert_close(Gini().score(shared_case()), frozen("sparseness"), **CLOSE)


def test_complexity_of_quantus() -> None:
    torch.testing.assert_close(Entropy().score(shared_case()), frozen("complexity"), **CLOSE)


def test_pixel_flipping_of_quantus() -> None:
    """Its curve begins after the first pixel; ours at none (D14)."""
    every = tuple(k / 16 for k in range(1, 17))
    curves = shared_case().measure(RemovalCurves(BASE, every))
    ours = curves.at(curves.most_first, torch.arange(1, 17).expand(6, 16).contiguous())
    torch.testing.assert_close(ours, frozen("pixel_flipping"), **CLOSE)


def test_relative_input_stability_of_quantus() -> None:
    """No neighbour changes its class, and nothing is near zero: no floor, no NaN (D13)."""
    world, explainer = shared_world(), Cubed()
    case = world.case(world.explain(explainer), explainer=explainer)
    points = torch.tensor(FROZEN["points"], dtype=torch.float64).transpose(0, 1)
    case.own[Neighbours(0.1, 5)] = Neighbourhood(points, points**3)
    ours = RelativeInputStability(0.1, 5, floor=0.0).score(case)
    torch.testing.assert_close(ours, frozen("relative_input_stability"), rtol=1e-3, atol=0)


# ERASER: written again from the definition, sample by sample


@pytest.mark.parametrize("name", ["comprehensiveness", "sufficiency"])
def test_comprehensiveness_and_sufficiency_of_eraser(name: str) -> None:
    world = toy_worlds.text()
    world = replace(world, model=replace(world.model, target=PredictedProbability()))
    attribution = world.explain(component("explainer", "gradient")) * world.inputs.x
    metric = {"comprehensiveness": Comprehensiveness, "sufficiency": Sufficiency}[name](BASE)
    theirs = [eraser(world, attribution, row, name) for row in range(len(world.inputs))]
    ours = metric.score(world.case(attribution))
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64))


def eraser(world: toy_worlds.World, attribution: Tensor, row: int, name: str) -> float:
    """Mean drop of the predicted class's probability over the top 1, 5, 10, 20 and 50 %."""
    sample = world.take(torch.tensor([row]))
    scores = attribution[row].sum(1)
    length = int(sample.inputs.context["mask"].sum())
    order = sorted(range(length), key=lambda token: -scores[token].item())
    changes = []
    for share in (0.01, 0.05, 0.1, 0.2, 0.5):
        top = set(order[: math.ceil(share * length)])
        x = sample.inputs.x.clone()
        for token in range(length):
            if (token in top) == (name == "comprehensiveness"):
                x[0, token] = 0.25
        before, after = (
            sample.model.outputs(sample.inputs.with_x(at)).softmax(1)[0, sample.targets[0]]
            for at in (sample.inputs.x, x)
        )
        changes.append((before - after).item())
    return sum(changes) / len(changes)


# ERASER's rationale scores: a document is a sample, a token a unit; soft scores are not negative


@cache
def marked_documents() -> tuple[Case, list[list[float]], list[list[bool]]]:
    """Sixty documents of 8 to 24 tokens, one or two marked spans, and noisy scores of tokens."""
    n, longest = 60, 24
    lengths = 8 + torch.arange(n) % 17
    position = torch.arange(longest)
    first, second = (torch.arange(n) * 5) % 4, 4 + (torch.arange(n) * 7) % 9
    marked = (position >= first[:, None]) & (position < first[:, None] + 3)
    marked |= (position >= second[:, None]) & (position < second[:, None] + 4)
    real = position < lengths[:, None]
    marked &= real
    scores = (marked + 0.7 * toy_worlds.normal(n, longest, seed=4)).abs() * real
    world = toy_worlds.world(
        toy_worlds.Linear(torch.ones(longest)),
        torch.ones(n, longest).double(),
        torch.where(real, position, -1),
        toy_worlds.normal(16, longest, seed=2),
    )
    case = replace(world.case(scores, truth=marked.double()), rationale=marked)
    cut = [row[:length] for row, length in zip(scores.tolist(), lengths.tolist(), strict=True)]
    truths = [row[:length] for row, length in zip(marked.tolist(), lengths.tolist(), strict=True)]
    return case, cut, truths


def hard(scores: list[float], share: float) -> list[bool]:
    """The top `share` of the tokens, rounded up."""
    order = sorted(range(len(scores)), key=lambda token: -scores[token])
    top = set(order[: math.ceil(share * len(scores))])
    return [token in top for token in range(len(scores))]


def spans(on: list[bool]) -> list[set[int]]:
    runs: list[set[int]] = []
    for token, inside in enumerate(on):
        if inside and token and on[token - 1]:
            runs[-1].add(token)
        elif inside:
            runs.append({token})
    return runs


def harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision and recall else 0.0


def eraser_token_f1(scores: list[float], truth: list[bool]) -> float:
    predicted = {t for t, on in enumerate(hard(scores, 0.25)) if on}
    gold = {t for t, on in enumerate(truth) if on}
    hits = len(predicted & gold)
    return harmonic(hits / len(predicted), hits / len(gold))


def best_ious(scores: list[float], truth: list[bool]) -> list[float]:
    """Of every predicted span, its largest intersection over union with a marked one."""
    gold = spans(truth)
    return [max(len(p & g) / len(p | g) for g in gold) for p in spans(hard(scores, 0.25))]


def eraser_iou_f1(scores: list[float], truth: list[bool]) -> float:
    ious = best_ious(scores, truth)
    hits = sum(iou > 0.5 for iou in ious)
    return harmonic(hits / len(ious), hits / len(spans(truth)))


def eraser_average_precision(scores: list[float], truth: list[bool]) -> float:
    return float(average_precision_score(truth, scores))


@pytest.mark.parametrize(
    ("name", "definition"),
    [
        ("token_f1", eraser_token_f1),
        ("token_iou_f1", eraser_iou_f1),
        ("auprc", eraser_average_precision),
        ("token_auprc", eraser_average_precision),
    ],
)
def test_rationale_scores_of_eraser(name: str, definition: Any) -> None:
    case, scores, truths = marked_documents()
    ours = component("metric", name).score(case)
    theirs = [definition(*document) for document in zip(scores, truths, strict=True)]
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64))
    assert len(set(theirs)) > 3, "the documents have different scores"


def test_erasers_code_counts_a_span_that_is_half_right() -> None:
    """Its paper says more than half: without such a span, a document has the same score in both."""
    _, scores, truths = marked_documents()
    half = [0.5 in best_ious(*document) for document in zip(scores, truths, strict=True)]
    assert any(half)
    assert not all(half)


# OpenXAI: agreement with a truth, written again from the definitions of Krishna+ 2022


def top(values: list[float], k: int) -> list[int]:
    return sorted(range(len(values)), key=lambda i: -abs(values[i]))[:k]


def sign(value: float) -> int:
    return (value > 0) - (value < 0)


def fa(a: list[float], g: list[float], k: int) -> float:
    return len(set(top(a, k)) & set(top(g, k))) / k


def sa(a: list[float], g: list[float], k: int) -> float:
    return sum(sign(a[i]) == sign(g[i]) for i in set(top(a, k)) & set(top(g, k))) / k


def ra(a: list[float], g: list[float], k: int) -> float:
    return sum(i == j for i, j in zip(top(a, k), top(g, k), strict=True)) / k


def sra(a: list[float], g: list[float], k: int) -> float:
    pairs = zip(top(a, k), top(g, k), strict=True)
    return sum(i == j and sign(a[i]) == sign(g[j]) for i, j in pairs) / k


def pra(a: list[float], g: list[float], k: int) -> float:
    pairs = list(combinations(range(len(a)), 2))
    return sum((abs(a[i]) > abs(a[j])) == (abs(g[i]) > abs(g[j])) for i, j in pairs) / len(pairs)


def rc(a: list[float], g: list[float], k: int) -> float:
    return float(spearmanr([abs(v) for v in a], [abs(v) for v in g]).statistic)


@pytest.mark.parametrize(
    ("name", "definition"),
    [
        ("feature_agreement", fa),
        ("sign_agreement", sa),
        ("rank_agreement", ra),
        ("signed_rank_agreement", sra),
        ("pairwise_rank_agreement", pra),
        ("rank_correlation", rc),
    ],
)
def test_agreement_of_openxai(name: str, definition: Any) -> None:
    n, n_units = 50, 9
    truth = toy_worlds.normal(n, n_units, seed=1)
    attribution = truth + 0.8 * toy_worlds.normal(n, n_units, seed=2)
    world = toy_worlds.linear([1.0] * n_units, n=n)
    ours = component("metric", name).score(world.case(attribution, truth=truth))
    k = math.ceil(0.25 * n_units)
    rows = zip(attribution.tolist(), truth.tolist(), strict=True)
    theirs = [definition(a, g, k) for a, g in rows]
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64))


# The page


def test_the_page_names_metrics_and_properties_that_exist() -> None:
    text = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    named = {word.strip(" `") for row in rows for word in row[1].split(",") if "`" in word}
    assert named - {"deletion` (its probe `RemovalCurves`)"} <= set(options("metric"))
    stated = {row[2].strip()[:3]: row[3].strip() for row in rows if row[2].strip().startswith("D")}
    assert stated == {defect.__name__: defect.rejected_by for defect in DEFECTS}
