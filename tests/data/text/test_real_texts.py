"""Real corpora in a folder of shared data, if there: none of their texts is printed."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tests.data.test_real_files import CONF, SHARED
from xai_bench.data.bundle import Bundle

pytestmark = pytest.mark.slow


def load(name: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Bundle:
    if not (SHARED / "text").is_dir():
        pytest.skip("no shared texts beside the checkout; set XAI_BENCH_DATA to the folder")
    monkeypatch.setenv("XAI_BENCH_DATA", str(SHARED))
    config = OmegaConf.merge(OmegaConf.load(CONF / f"{name}.yaml"), options)
    bundle: Bundle = instantiate(config, _convert_="all").load()
    return bundle


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("name", "sizes", "classes"),
    [
        ("sst2", (6920, 872, 1821), ("negative", "positive")),
        ("hatexplain", (15383, 1922, 1924), ("hatespeech", "normal", "offensive")),
        ("movies", (1600, 200, 199), ("NEG", "POS")),
        ("tweets", (9818, 3273, 3272), ("negative", "positive")),
    ],
)
def test_real_corpora(
    name: str, sizes: tuple[int, ...], classes: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load(name, monkeypatch)
    assert tuple(len(part) for part in (bundle.train, bundle.valid, bundle.test)) == sizes
    assert bundle.class_names == classes
    assert (bundle.test.rationale is None) == (name == "sst2")


@pytest.mark.exhaustive
def test_marked_shares_are_those_of_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """36 % of the tokens of posts that have rationales are marked."""
    part = load("hatexplain", monkeypatch).test
    assert part.rationale is not None
    words, marked = (part.units >= 0).sum(1).double(), part.rationale.sum(1).double()
    has = marked > 0
    assert int(has.sum()) == pytest.approx(1142, abs=5)
    assert (marked[has] / words[has]).mean().item() == pytest.approx(0.36, abs=0.06)
