"""Generated tables: what is said of their columns holds in their rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from xai_bench.data.tables.generated import DISTRICTS, HousePrices, LoanDecisions


def test_a_price_is_area_times_a_rate_that_falls_with_the_distance() -> None:
    houses = HousePrices(n_rows=6000, noise=0.0).frame()
    rate = (houses.price - 35 * (houses.garden == "yes")) / houses.area
    dip = 0.8 * np.exp(-(((houses.age - 60) / 25) ** 2))
    expected = houses.district.map(DISTRICTS) - 0.12 * houses.distance - dip
    assert np.allclose(rate, expected.clip(lower=0.5), atol=0.01)
    means = [float(rate[houses.district == name].mean()) for name in DISTRICTS]
    assert all(a > b for a, b in pairwise(means))


def test_what_changes_no_price_goes_with_what_does() -> None:
    houses = HousePrices(n_rows=6000).frame()
    assert houses.n_rooms.corr(houses.area) > 0.8
    codes = houses.groupby("district").postal_code.agg(["min", "max"]).sort_values("min")
    assert (codes["max"].to_numpy()[:-1] < codes["min"].to_numpy()[1:]).all()


@pytest.mark.parametrize("prejudice", [0.0, 3.0])
def test_prejudice_and_nothing_else_parts_the_groups(prejudice: float) -> None:
    loans = LoanDecisions(n_rows=20_000, prejudice=prejudice).frame()
    shares = (loans.granted == "yes").groupby(loans.sex).mean()
    gap = shares["male"] - shares["female"]
    assert abs(gap) < 0.02 if prejudice == 0 else gap > 0.2
    women = (loans.sex == "female").groupby(loans.sector).mean()
    assert women["care"] > 0.8 > women["office"] > women["craft"]


@pytest.mark.parametrize("table", [HousePrices(), LoanDecisions(sensitive=["sex"])])
def test_the_same_seed_gives_the_same_rows(table: HousePrices | LoanDecisions) -> None:
    bundle = table.load()
    assert bundle.fingerprint() == table.load().fingerprint()
    assert bundle.notes == ()
    assert bool(bundle.group_names) == isinstance(table, LoanDecisions)


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        (HousePrices(n_rows=0), "data.n_rows=0: write 20 or more"),
        (LoanDecisions(n_rows=-5), "data.n_rows=-5: write 20 or more"),
        (HousePrices(noise=-1.0), "data.noise=-1.0 is no deviation"),
        (LoanDecisions(prejudice=float("nan")), "data.prejudice=nan is no deviation"),
    ],
)
def test_what_cannot_be_generated_is_one_sentence(
    table: HousePrices | LoanDecisions, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        table.load()
