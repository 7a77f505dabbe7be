"""`data.where`: what pandas says where a condition is one, a sentence for everything else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from xai_bench.data.tables.conditions import rows_where
from xai_bench.data.tables.frames import filtered

FRAME = pd.DataFrame(
    {
        "age": [17, 18, 40, 65, 30],
        "income": [1.0, np.nan, 3.5, -2.0, 0.0],
        "town": ["Bern", "Rom", None, "Rom", "Ulm & Neu-Ulm"],
        "own home": [True, False, True, True, False],
        "done": [True, False, False, True, True],
    }
)


@pytest.mark.parametrize(
    "condition",
    [
        "age >= 18",
        "18 <= age < 65",
        "age >= 18 and town != 'Rom'",
        "age >= 18 & town != 'Rom' | income == 1",
        "age > 17 or income < -1 and town == 'Bern'",
        "not (age > 17 and income > 0)",
        "~(age > 17)",
        "income == income",
        "income != income",
        "income > -2.5",
        "town in ['Rom', 'Bern']",
        "town not in ('Rom',)",
        "age in [17, -1]",
        "`own home` == True",
        "`own home`",
        "done and `own home`",
        "not done",
        "age > income",
        "town == 'Ulm & Neu-Ulm'",
        "  age > 17  ",
        "age > 17 and\n  age < 65",
    ],
)
def test_conditions_keep_what_a_query_of_pandas_keeps(condition: str) -> None:
    expected = FRAME.query(" ".join(condition.split()))
    pd.testing.assert_frame_equal(filtered(FRAME, condition), expected)


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize(
    "condition",
    [
        "__import__('os').system('touch executed') == 0",
        '@frame.query.__func__.__globals__["sys"].modules["os"].system("touch executed") == 0',
        "@pd.eval('1') == 1",
        "age.map(print)",
        "age.__class__ == 3",
        "age[0] == 3",
        "age + 1 > 3",
        "(age := 3) > 2",
        "[x for x in age] == age",
        "(lambda: 3)() > age",
        "f'{age}' == town",
        "age if age else age",
        "await age",
        "age is True",
        "age",
        "True",
        "1 < 2",
        "'a' in town",
        "town in age",
        "town > 3",
        "agee > 3",
        "age >",
        "age > 3; age < 9",
        "town == 'Bern",
        "`age > 3",
        "-town == 3",
        "-'a' == town",
        "age == None",
        "age == b'1'",
        "(" * 5000 + "age > 3" + ")" * 5000,
        "not " * 2000 + "done",
        "\x00",
        "ag\u200be > 3",
    ],
)
def test_anything_else_is_refused_in_a_sentence(condition: str) -> None:
    with pytest.raises(ValueError, match=r"^data\.where="):
        filtered(FRAME, condition)


def test_a_misspelt_column_is_answered_with_the_right_one() -> None:
    with pytest.raises(ValueError, match="there is no column 'agee'; did you mean age"):
        rows_where(FRAME, "agee > 3")
