"""Tables that we generate: what real ones of their kind look like, where no file is at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.random import PCG64, Generator

from xai_bench.data.bundle import Bundle, Modality
from xai_bench.data.tables.files import CustomTable
from xai_bench.data.tables.settings import FileSettings

if TYPE_CHECKING:
    import pandas as pd

DISTRICTS = {"centre": 6.5, "north": 5.2, "river": 4.4, "mill": 3.1}
"""Thousand per square metre of a house that is neither old nor far out."""

LEAST = 20
"""Rows, so that every part has some of every category."""

SECTORS = ("trade", "craft", "office", "care")
"""Of the last, most workers are women: a column that gives the group away."""


@dataclass(frozen=True)
class HousePrices(FileSettings):
    """Prices of generated houses, in thousands (regression).

    A price is area times a rate of the district, less for each kilometre to the centre and for an
    age around 60 years, more for a garden; the factor of chance is log-normal. `n_rooms` and
    `postal_code` change no price: the one goes with the area, the other with the district.

    Attributes:
        noise: deviation of the logarithm of the factor of chance.
    """

    modality: ClassVar[Modality] = "tabular"
    n_rows: int = 1500
    noise: float = 0.08
    seed: int = 0

    def load(self) -> Bundle:
        """Generate, split and scale. Raises ValueError for too few rows or an odd deviation."""
        _check(self.n_rows, "noise", self.noise)
        table = CustomTable("", "price", task="regression", **self.file_settings())
        return table.bundle(self.frame(), self.n_rows)

    def frame(self) -> pd.DataFrame:
        """One row per house."""
        import pandas as pd

        rng = Generator(PCG64(self.seed))
        n, names = self.n_rows, list(DISTRICTS)
        district = rng.integers(len(names), size=n)
        # A median of 100 square metres.
        area = np.exp(rng.normal(4.6, 0.35, n)).round()
        age = rng.integers(0, 121, n)
        distance = rng.gamma(2.0, 2.5, n).round(1)
        garden = rng.random(n) < 0.4
        rate = np.array(list(DISTRICTS.values()))[district]
        rate = rate - 0.12 * distance - 0.8 * np.exp(-(((age - 60) / 25) ** 2))
        price = area * np.maximum(rate, 0.5) + 35 * garden
        return pd.DataFrame(
            {
                "area": area,
                "n_rooms": np.clip((area / 25 + rng.normal(0, 0.7, n)).round(), 1, None),
                "age": age,
                "distance": distance,
                "district": np.array(names)[district],
                "postal_code": 100.0 + 10 * district + rng.integers(0, 8, n),
                "garden": np.where(garden, "yes", "no"),
                "price": (price * np.exp(rng.normal(0, self.noise, n))).round(1),
            }
        )


@dataclass(frozen=True)
class LoanDecisions(FileSettings):
    """Decisions on generated loans, granted or not, with as much prejudice as is asked for.

    The score is income less debt and a little age; `prejudice` is taken off that of women. `sector`
    changes no score and goes with the sex, so that a model without the column `sex` can be unfair.

    Attributes:
        prejudice: in deviations of the logistic chance.
    """

    modality: ClassVar[Modality] = "tabular"
    n_rows: int = 2000
    prejudice: float = 1.5
    seed: int = 0

    def load(self) -> Bundle:
        """Generate, split and scale. Raises ValueError for too few rows or an odd deviation."""
        _check(self.n_rows, "prejudice", self.prejudice)
        table = CustomTable("", "granted", task="classification", **self.file_settings())
        return table.bundle(self.frame(), self.n_rows)

    def frame(self) -> pd.DataFrame:
        """One row per application."""
        import pandas as pd

        rng = Generator(PCG64(self.seed))
        n = self.n_rows
        woman = rng.random(n) < 0.5
        income, debt = np.exp(rng.normal(8.0, 0.4, n)), rng.gamma(2.0, 4000.0, n)
        age = rng.integers(20, 70, n)
        shares = np.where(woman[:, None], [0.2, 0.1, 0.2, 0.5], [0.3, 0.4, 0.2, 0.1])
        # May be 4, which is cut off below: rounded, the shares may add up to less than 1.
        sector = (rng.random((n, 1)) > shares.cumsum(1)).sum(1)
        # Both in deviations of the draws above, those of the debt rounded.
        score = 2.5 * (np.log(income) - 8.0) / 0.4 - 2.0 * (debt - 8000) / 5600
        # Half of it goes to everybody, so that about as many loans are granted as without.
        score += 0.02 * (age - 45) - self.prejudice * woman + self.prejudice / 2
        granted = score + rng.logistic(size=n) > 0
        return pd.DataFrame(
            {
                "income": income.round(),
                "debt": debt.round(),
                "age": age,
                "sector": np.array(SECTORS)[sector.clip(max=3)],
                "sex": np.where(woman, "female", "male"),
                "granted": np.where(granted, "yes", "no"),
            }
        )


def _check(n_rows: int, name: str, deviation: float) -> None:
    if n_rows < LEAST:
        raise ValueError(f"data.n_rows={n_rows}: write {LEAST} or more, of which a fifth is tested")
    if not 0 <= deviation < float("inf"):
        raise ValueError(f"data.{name}={deviation} is no deviation: write a number from 0 on")
