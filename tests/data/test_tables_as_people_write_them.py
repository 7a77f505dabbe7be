"""Tables as they come out of other programs: what is recognised, and what is asked about."""

from __future__ import annotations

import gzip
import io
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from xai_bench.data import sizes
from xai_bench.data.bundle import Bundle
from xai_bench.data.checks import existing_path
from xai_bench.data.custom import Custom
from xai_bench.data.tables import files
from xai_bench.data.tables.files import CustomTable
from xai_bench.data.tables.formats import TextFormat, read_frame

N = 80


def table(folder: Path, *, suffix: str = "csv", **columns: Any) -> CustomTable:
    """`N` rows: a number `a` without a meaning, whatever is given, and a target `y`."""
    k = np.arange(N)
    given = {"a": (k * 37 % 11) / 7, **columns, "y": np.where(k % 3 == 0, "yes", "no")}
    path = folder / f"t.{suffix}"
    pd.DataFrame(given).to_csv(path, index=False)
    return CustomTable(str(path), "y")


def rows(*texts: str) -> list[str]:
    """`N` values that repeat these."""
    return [texts[k % len(texts)] for k in range(N)]


def values(bundle: Bundle, name: str) -> torch.Tensor:
    """All values of a number column, in the words of the file, in order."""
    own = bundle.train.units[0] == bundle.unit_names.index(name)
    assert int(own.sum()) == 1, f"{name} is no number"
    element = bundle.elements[int(own.nonzero())]
    x = torch.cat([part.x[:, own] for part in (bundle.train, bundle.valid, bundle.test)])
    return (x.double() * element.scale + element.mean).flatten().sort().values


# Words that mean missing


@pytest.mark.sample(4, others="slow")
@pytest.mark.parametrize("word", ["None", "NA", "null", "nan", "N/A", "NULL", "NaN"])
def test_a_word_for_missing_is_a_category_among_texts(tmp_path: Path, word: str) -> None:
    data = table(tmp_path, veneer=rows(word, "Brick", word, word))
    bundle = data.load()
    assert {e.label for e in bundle.elements if e.label} == {word, "Brick"}
    assert any("veneer" in note and word in note for note in bundle.notes)
    asked = replace(data, na_values=[word]).load()
    assert {e.label for e in asked.elements if e.label} == {"Brick"}
    assert asked.n_missing["veneer"] == N * 3 // 4


@pytest.mark.parametrize("word", ["None", "NA", "null", "nan"])
def test_a_word_for_missing_is_missing_among_numbers(tmp_path: Path, word: str) -> None:
    bundle = table(tmp_path, b=rows(word, "1.5", "2.5", "3.5")).load()
    assert bundle.n_missing["b"] == N // 4
    assert not any("'b'" in note for note in bundle.notes)
    assert values(bundle, "b").min().item() == pytest.approx(1.5)


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("word", ["None", "NA", "null", "nan"])
def test_a_word_for_missing_is_a_class_like_any_other(tmp_path: Path, word: str) -> None:
    data = table(tmp_path)
    frame = pd.read_csv(data.path).assign(y=rows(word, "Mild", "Severe"))
    frame.to_csv(data.path, index=False)
    for missing in ("mean", "drop", "error"):
        classes = replace(data, missing=missing).load().class_names  # type: ignore[arg-type]
        assert classes == tuple(sorted((word, "Mild", "Severe")))


# Numbers in disguise


def test_percentages_are_numbers(tmp_path: Path) -> None:
    bundle = table(tmp_path, b=rows("12 %", "3.5%", "100%")).load()
    assert values(bundle, "b").unique().tolist() == pytest.approx([3.5, 12, 100])


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        pytest.param(["2020-01-31", "2021-12-01"], r"dates.*data\.dates=\[b\]", id="iso"),
        pytest.param(["2020-01-31 12:30:00"], "dates", id="iso_time"),
        pytest.param(["31.01.2020", "1.2.2021"], r"dates.*data\.date_format", id="dots"),
        pytest.param(["1/31/2020", "12/1/99"], r"dates.*data\.date_format", id="slashes"),
        pytest.param(["3 Jan 2020", "Feb 4, 2021"], "dates", id="months"),
        pytest.param(["00:12:30", "1:05:00"], "times or durations", id="clock"),
        pytest.param(["3 days 00:12:30", "4 days"], "times or durations", id="days"),
        pytest.param(["PT3H", "P2DT1H"], "times or durations", id="iso_duration"),
        pytest.param(["1,5", "2,25"], r"decimal comma.*data\.decimal", id="comma"),
        pytest.param(["1,234", "2,345.5"], r"data\.(thousands|decimal)", id="thousands"),
        pytest.param(["1 234 567", "2 345"], r"thousands.*data\.thousands", id="blanks"),
        pytest.param(["$12.50", "$1,000"], "money", id="dollars"),
        pytest.param(["12 €", "1.000,5 €"], "money", id="euros"),
        pytest.param([f"{k} kg" for k in range(40)], "numbers with a unit", id="unit"),
        pytest.param([f"{k}.5" for k in range(40)] + ["low", "?"] * 8, "0.5|texts", id="mixed"),
    ],
)
@pytest.mark.parametrize("target", [False, True])
def test_texts_that_are_no_categories_are_refused(
    tmp_path: Path, texts: list[str], sentence: str, target: bool
) -> None:
    data = table(tmp_path, b=rows(*texts) if len(texts) > 1 else [texts[0], *rows(*texts)[1:]])
    with pytest.raises(ValueError, match=sentence) as caught:
        replace(data, target="b" if target else "y").load()
    assert "\n" not in str(caught.value)
    replace(data, drop=["b"]).load()
    declared = replace(data, categorical=["b"]).load()
    assert {e.label for e in declared.elements if e.label} <= set(texts)


def test_named_dates_are_days_since_1970(tmp_path: Path) -> None:
    expected = [18262.0, 18262.5, 18293.0]
    iso = table(tmp_path, b=rows("2020-01-01", "2020-01-01T12:00", "2020-02-01"))
    bundle = replace(iso, dates=["b"]).load()
    assert values(bundle, "b").unique().tolist() == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"'13/01/2020' in data row 1.*date_format"):
        replace(table(tmp_path, b=rows("13/01/2020")), dates=["b"]).load()
    days = replace(table(tmp_path, b=rows("13/01/2020", "14/01/2020")), dates=["b"])
    bundle = replace(days, date_format="%d/%m/%Y").load()
    assert values(bundle, "b").unique().tolist() == pytest.approx([18274, 18275])


def test_lengths_of_time_of_a_parquet_file_are_days(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    hours = pd.to_timedelta(np.arange(N) % 5 * 12, unit="h")
    pd.DataFrame({"b": hours, "y": np.arange(N) % 2}).to_parquet(path)
    with pytest.raises(ValueError, match=r"lengths of time.*data\.dates=\[b\]"):
        CustomTable(str(path), "y").load()
    bundle = CustomTable(str(path), "y", dates=["b"]).load()
    assert values(bundle, "b").unique().tolist() == pytest.approx([0, 0.5, 1, 1.5, 2], abs=1e-6)


def test_whole_numbers_that_float64_cannot_tell_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'b' holds whole numbers.*leave it out"):
        table(tmp_path, b=np.arange(N) + 2**60).load()


@pytest.mark.parametrize("place", ["b", "y"])
def test_numbers_whose_variance_is_infinite_are_refused(tmp_path: Path, place: str) -> None:
    huge = np.where(np.arange(N) % 2, 1e307, -1e307) * (1 + np.arange(N) / N)
    path = tmp_path / "t.csv"
    frame = pd.DataFrame({"a": np.arange(N) % 7, "b": np.arange(N) / 3, "y": np.arange(N) / 7})
    frame.assign(**{place: huge}).to_csv(path, index=False)
    with pytest.raises(ValueError, match=f"'{place}' holds numbers as large as 1.99e[+]307"):
        CustomTable(str(path), "y").load()


# What a user should know


def note(bundle: Bundle, name: str) -> str:
    return " ".join(text for text in bundle.notes if f"'{name}'" in text)


def test_identifiers_copies_constants_and_empty_columns_are_remarked_upon(tmp_path: Path) -> None:
    k = np.arange(N)
    y = k % 3 == 0
    bundle = table(
        tmp_path,
        id=k + 1000,
        copy=np.where(y, 0.9, 0.1) + k / 10_000,
        code=np.where(y, "p", "q"),
        same=7,
        rare=np.where(k % 4 == 0, k / 3, np.nan),
        fine=(k * 31 % 17) / 3,
        dense=k * 7 % 23,
    ).load()
    assert "another value in each of 48 training rows" in note(bundle, "id")
    assert "gives the target 'y' in 100.0%" in note(bundle, "copy")
    assert "gives the target 'y' in 100.0%" in note(bundle, "code")
    assert "single value" in note(bundle, "same")
    assert "missing in 75% of 80 rows" in note(bundle, "rare")
    assert not note(bundle, "fine") + note(bundle, "dense") + note(bundle, "a")


def test_a_copy_of_a_regression_target_is_remarked_upon(tmp_path: Path) -> None:
    path, k = tmp_path / "t.csv", np.arange(N)
    frame = {"a": np.sqrt(1 + k * 37 % 101), "b": k * 31 % 17 / 3, "y": (k * 37 % 101) / 2.5}
    pd.DataFrame(frame).to_csv(path, index=False)
    bundle = CustomTable(str(path), "y").load()
    assert "rank correlation of 1.0000" in note(bundle, "a")
    assert not note(bundle, "b")


# Names


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ("a,a,y", "columns 1 and 2 of .* are both called 'a'"),
        ("a ,a,y", "columns 1 and 2 of .* are both called 'a'"),
        ("a,,y", "column 2 of .* has no name"),
        ("a, ,y", "column 2 of .* has no name"),
        ("a,b,b", "columns 2 and 3 of .* are both called 'b'"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_names_that_are_none_or_taken_are_refused(
    tmp_path: Path, header: str, sentence: str, suffix: str
) -> None:
    path = tmp_path / f"t.{suffix}"
    lines = header + "\n" + "".join(f"{k % 7},{k % 5},{k % 2}\n" for k in range(40))
    path.write_text(lines)
    if suffix == "xlsx":
        pytest.importorskip("openpyxl")
        pd.read_csv(io.StringIO(lines), header=None).to_excel(path, index=False, header=False)
    with pytest.raises(ValueError, match=sentence):
        CustomTable(str(path), "y").load()


def test_the_index_that_pandas_writes_is_left_out(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(40) % 7, "y": np.arange(40) % 2})
    frame.to_csv(tmp_path / "t.csv")
    assert CustomTable(str(tmp_path / "t.csv"), "y").load().unit_names == ("a",)


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("name", ["年齢", "größe", "возраст", "عمر", "a b", "a[0]", "=1+1", "🙂"])
def test_a_name_may_be_in_any_script(tmp_path: Path, name: str) -> None:
    bundle = table(tmp_path, **{name: np.arange(N) * 7 % 13}).load()
    assert bundle.unit_names == ("a", name)


def test_ignored_columns_are_as_if_they_were_not_there(tmp_path: Path) -> None:
    expected = table(tmp_path).load().fingerprint()
    data = table(tmp_path, id=[f"{k}-{k}" for k in range(N)], day="2020-01-01")
    assert replace(data, ignore=["id", "day"]).load().fingerprint() == expected
    with pytest.raises(ValueError, match=r"data\.ignore: 'idd'.*did you mean id"):
        replace(data, ignore=["idd"]).load()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_values_that_differ_by_a_blank_are_one(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"a": rows("Brick", "Brick ", " Stone", " "), "y": np.arange(N) % 3})
    path = tmp_path / f"t.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    bundle = CustomTable(str(path), "y").load()
    assert [element.label for element in bundle.elements] == ["Brick", "Stone"]
    assert bundle.n_missing["a"] == N // 4


def test_hints_name_settings_that_exist() -> None:
    """Every `data.x` in a message about tables is a setting of the options that read them."""
    folder = Path(files.__file__).parent
    made_here = folder / "generated.py"  # reads nothing; its settings are its own fields
    sources = {*folder.glob("*.py"), folder.parent / "labels.py"} - {made_here}
    named = {
        name
        for source in sources
        for name in re.findall(r"data\.([a-z]\w+)(?=[=: ,.;)\\]|$)", source.read_text("utf-8"))
        if "import" not in name and not (folder.parent / f"{name}.py").exists()
    } - {"tables", "download", "cache"}
    rows_only = {"names", "where", "recode", "features"}
    assert {"separator", "na_values", "dates"} <= named
    assert named <= {field.name for field in fields(CustomTable)}
    assert named - rows_only <= {field.name for field in fields(Custom)}


def test_shipped_data_without_files_say_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XAI_BENCH_DATA", str(tmp_path))
    page = Path(__file__).parents[2] / "docs" / "data.md"
    with pytest.raises(ValueError, match=r"adult\.data\.gz.*docs/data\.md.*XAI_BENCH_DATA=FOLDER"):
        existing_path(tmp_path / "tabular" / "adult.data.gz")
    for option in ("adult", "german", "compas", "california_housing", "fashion_mnist"):
        assert f"| `{option}` |" in page.read_text("utf-8")


# Files of other programs


def german() -> pd.DataFrame:
    k = np.arange(N)
    return pd.DataFrame({"a": k * 1234.5, "stadt": np.array(["Köln", "Mainz"])[k % 2], "y": k % 3})


def written(frame: pd.DataFrame, *, thousands: str = "") -> str:
    """CSV as German programs write it."""
    a = [f"{v:,.1f}".replace(",", "T").replace(".", ",").replace("T", thousands) for v in frame.a]
    return frame.assign(a=a).to_csv(index=False, sep=";")


@pytest.mark.sample(3)
@pytest.mark.sample(9, others="slow")
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("thousands", ["", "."])
def test_semicolons_commas_and_other_letters(tmp_path: Path, encoding: str, thousands: str) -> None:
    plain = tmp_path / "plain.csv"
    german().to_csv(plain, index=False)
    path = tmp_path / "t.csv"
    path.write_bytes(written(german(), thousands=thousands).encode(encoding))
    options = {"separator": ";", "decimal": ",", "thousands": thousands, "encoding": encoding}
    for reader in (Custom, CustomTable):
        bundle = reader(str(path), "y", **options).load()  # type: ignore[arg-type]
        assert bundle.fingerprint() == CustomTable(str(plain), "y").load().fingerprint()
        labels = [e.label for e in bundle.elements if e.label]
        assert labels == ["Köln", "Mainz"]


def test_dates_are_no_numbers_where_points_separate_thousands(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("day;y\n" + "".join(f"0{1 + k % 9}.02.2020;{k % 2}\n" for k in range(40)))
    data = CustomTable(str(path), "y", separator=";", decimal=",", thousands=".")
    with pytest.raises(ValueError, match="'day' holds dates"):
        data.load()


def test_wrong_settings_of_a_file_are_told_with_the_right_ones(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(written(german()).encode("latin-1"))
    with pytest.raises(ValueError, match=r"utf-8.*data\.encoding.*latin-1"):
        Custom(str(path), "y", separator=";").load()
    with pytest.raises(ValueError, match=r"one name only.*data\.separator=';'"):
        Custom(str(path), "y").load()
    with pytest.raises(ValueError, match=r"decimal comma.*data\.decimal=','"):
        Custom(str(path), "y", encoding="latin-1", separator=";").load()
    with pytest.raises(ValueError, match=r"data\.decimal is ';', and so is"):
        Custom(str(path), "y", separator=";", decimal=";").load()
    with pytest.raises(ValueError, match=r"data\.separator must be a single character"):
        Custom(str(path), "y", separator="ab").load()
    with pytest.raises(ValueError, match="cannot be read"):
        Custom(str(path), "y", encoding="klingon").load()


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize(
    "suffix", ["parquet", "feather", "arrow", "arrows.arrow", "xlsx", "csv.gz", "tsv"]
)
def test_every_format_gives_the_same_numbers(tmp_path: Path, suffix: str) -> None:
    import pyarrow as pa

    frame, path = german(), tmp_path / f"t.{suffix}"
    expected = table_of(frame, tmp_path).load().fingerprint()
    options: dict[str, str] = {}
    if suffix == "parquet":
        frame.to_parquet(path)
    elif suffix == "feather":
        frame.to_feather(path)
    elif "arrow" in suffix:
        rows_of = pa.Table.from_pandas(frame)
        new = pa.ipc.new_stream if suffix.startswith("arrows") else pa.ipc.new_file
        with new(str(path), rows_of.schema) as writer:
            writer.write_table(rows_of)
    elif suffix == "xlsx":
        pytest.importorskip("openpyxl")
        frame.to_excel(path, index=False)
    else:
        options = {"separator": "tab"} if suffix == "tsv" else {}
        frame.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    assert CustomTable(str(path), "y", **options).load().fingerprint() == expected  # type: ignore[arg-type]


def table_of(frame: pd.DataFrame, folder: Path) -> CustomTable:
    frame.to_csv(folder / "plain.csv", index=False)
    return CustomTable(str(folder / "plain.csv"), "y")


def test_formats_that_are_not_read_are_named(tmp_path: Path) -> None:
    for name in ("t.json", "t.pkl", "t.xls"):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(ValueError, match=r"expected CSV .*\.parquet"):
            read_frame(tmp_path / name, TextFormat())
    for name in ("t.parquet", "t.feather", "t.xlsx"):
        (tmp_path / name).write_bytes(b"PAR1 nothing")
        with pytest.raises(ValueError, match="cannot be read as a table"):
            read_frame(tmp_path / name, TextFormat())


def test_a_table_that_unpacks_to_far_more_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "MAX_UNPACKED", 2**20)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,y\n" + b"0,0\n" * 2**20))
    with pytest.raises(ValueError, match="unpacks to"):
        CustomTable(str(path), "y").load()
    path = tmp_path / "t.parquet"
    pd.DataFrame({"a": np.zeros(2**20), "y": 0}).to_parquet(path)
    with pytest.raises(ValueError, match="unpacks to"):
        CustomTable(str(path), "y").load()


# Rows as they are


def test_without_scaling_numbers_are_as_in_the_file(tmp_path: Path) -> None:
    data = table(tmp_path, b=np.arange(N) * 7 % 13)
    scaled, raw = data.load(), replace(data, scale="none").load()
    assert raw.train.x[:, 1].sort().values.unique().tolist() == list(range(13))
    assert torch.allclose(values(raw, "b"), values(scaled, "b"), atol=1e-5)
    prices = replace(data, target="a", scale="none").load()
    assert set(prices.train.y.tolist()) <= set((torch.arange(11) / 7).tolist())
    with pytest.raises(ValueError, match="standard or none"):
        replace(data, scale="raw").load()  # type: ignore[arg-type]


def test_files_put_together_repeat_their_header(tmp_path: Path) -> None:
    data = table(tmp_path)
    path = Path(data.path)
    path.write_text(path.read_text() + path.read_text())
    with pytest.raises(ValueError, match=f"data row {N + 1} repeats the names of the columns"):
        data.load()
