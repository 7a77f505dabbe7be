"""`xai-bench inspect`: what is said of data before any work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from xai_bench.cli import main
from xai_bench.runner.commands.inspection import inspect
from xai_bench.runner.config.messages import UsageError

pytestmark = pytest.mark.slow  # whole commands, or a whole folder of results


@pytest.fixture
def loans(tmp_path: Path) -> str:
    k = np.arange(120)
    frame = {
        "id": k,
        "income": np.where(k % 8 == 0, np.nan, 1000.0 + k * 7 % 97),
        "town": np.array(["Oslo", "Rome", "Bern"])[k % 3],
        "年齢": k * 31 % 17,
        "paid": np.where(k * 13 % 29 < 10, "yes", "no"),
    }
    pd.DataFrame(frame).to_csv(tmp_path / "loans.csv", index=False)
    return str(tmp_path / "loans.csv")


def overrides(path: str, *more: str) -> list[str]:
    return ["data=custom", f"data.path={path}", "data.target=paid", *more]


def test_columns_target_split_and_notes_are_as_they_were_read(loans: str) -> None:
    found = inspect(overrides(loans, "data.sensitive=[town]"))
    columns = {column.name: column for column in found.columns}
    assert list(columns) == ["id", "income", "town", "年齢"]
    assert (columns["town"].kind, columns["town"].n_elements) == ("category", 3)
    assert columns["income"].n_missing == 15
    assert columns["id"].values.startswith("0 to 11")
    assert sum(found.n_rows) == 120
    assert (found.task, found.n_units) == ("classification", 4)
    assert "no (" in found.target
    assert "yes (" in found.target
    assert found.groups["town"] == ("Bern", "Oslo", "Rome")
    assert "town [one-hot: Bern, Oslo, Rome]" in found.fed
    assert any("'id'" in note for note in found.notes)


def test_raw_columns_are_fed_as_in_the_file(loans: str) -> None:
    found = inspect(overrides(loans, "data.scale=none", "data.ignore=[id]"))
    assert "income [as in the file]" in found.fed
    assert [column.name for column in found.columns] == ["income", "town", "年齢"]


def test_other_data_have_no_columns() -> None:
    found = inspect(["data=digits"])
    assert (found.columns, found.n_units) == ((), 16)
    assert found.fed == "x [B, 1, 8, 8] float32"


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["data.path=nowhere.csv"], "there is no file 'nowhere.csv'"),
        (["data.target=payed"], "did you mean paid"),
        (["data.drop=[x]"], "data.drop: 'x' is not among the columns"),
        (["data.sepparator=x"], "separator"),
    ],
)
def test_a_mistake_is_one_sentence(loans: str, more: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as caught:
        inspect(overrides(loans, *more))
    assert "\n" not in str(caught.value)


def test_the_command_writes_a_table_or_json(loans: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", *overrides(loans)])
    shown = capsys.readouterr().out
    for word in ("年齢", "income", "category", "target", "72 train, 24 validate, 24 test", "note"):
        assert word in shown
    main(["inspect", "--json", *overrides(loans)])
    found = json.loads(capsys.readouterr().out)
    assert found["columns"][3]["name"] == "年齢"
    assert found["n_rows"] == [72, 24, 24]


def test_the_settings_that_messages_name_can_be_typed(tmp_path: Path) -> None:
    """As they stand in the sentences, after the shell has taken the outer quotation marks away."""
    path = tmp_path / "t.csv"
    lines = [f"{k % 7}.000,{k % 5};{'None' if k % 2 else 'x'};{k % 3}" for k in range(60)]
    path.write_text("\n".join(["größe;b;y", *lines]), encoding="latin-1")
    signs = ["data.separator=';'", "data.decimal=','", "data.thousands=.", "data.encoding=latin-1"]
    found = inspect([
        "data=custom", f"data.path={path}", "data.target=y", "data.na_values=['None']", *signs,
    ])  # fmt: skip
    columns = {column.name: column for column in found.columns}
    assert columns["größe"].values.startswith("0 to 6000.")
    assert columns["b"].n_missing == 30
