"""Proves how a user's tables, arrays and images are read, and that mistakes raise one sentence."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from xai_bench.data.arrays import CustomArrays
from xai_bench.data.custom import Custom, CustomImages
from xai_bench.data.tables.files import CustomTable
from xai_bench.data.tables.openml import OpenMl


def people(n: int = 60) -> pd.DataFrame:
    """Ages 0..59, a town of three, a gap in the income of every tenth, and who said yes."""
    k = np.arange(n)
    return pd.DataFrame(
        {
            "age": k,
            "town": np.array(["Rome", "Oslo", "Bern"])[k % 3],
            "income": np.where(k % 10 == 0, np.nan, 1000.0 + k),
            "sex": np.where(k % 2 == 0, "f", "m"),
            "answer": np.where(k % 4 < 2, "yes", "no"),
        }
    )


def write(folder: Path, frame: pd.DataFrame, name: str = "people.csv") -> str:
    path = folder / name
    frame.to_parquet(path) if name.endswith("parquet") else frame.to_csv(path, index=False)
    return str(path)


@pytest.fixture
def table(tmp_path: Path) -> CustomTable:
    return CustomTable(write(tmp_path, people()), "answer")


def test_parts_of_a_category_are_one_unit(table: CustomTable) -> None:
    bundle = table.load()
    assert bundle.unit_names == ("age", "town", "income", "sex")
    assert bundle.train.units[0].tolist() == [0, 1, 1, 1, 2, 3, 3]
    for part in (bundle.train, bundle.valid, bundle.test):
        assert part.x[:, 1:4].sum(1).eq(1).all()
        assert set(part.x[:, 1:4].unique().tolist()) == {0.0, 1.0}
    assert bundle.class_names == ("no", "yes")
    assert (len(bundle.train), len(bundle.valid), len(bundle.test)) == (36, 12, 12)


def test_numbers_have_mean_0_and_deviation_1_on_training_rows(table: CustomTable) -> None:
    x = table.load().train.x[:, [0, 4]]
    assert torch.allclose(x.mean(0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(x.std(0, correction=0), torch.ones(2), atol=1e-6)


def test_gaps_become_the_training_mean(table: CustomTable) -> None:
    """Standardised, the mean of the known training values is 0: six rows in all."""
    bundle = table.load()
    filled = torch.cat([part.x[:, 4] for part in (bundle.train, bundle.valid, bundle.test)])
    assert int(filled.abs().lt(1e-5).sum()) == 6


def test_gaps_in_a_category_become_the_most_frequent_one(tmp_path: Path) -> None:
    frame = people()
    frame.loc[frame.town == "Oslo", "town"] = "Rome"
    frame.loc[:4, "town"] = None
    bundle = CustomTable(write(tmp_path, frame), "answer").load()
    rome = torch.cat([part.x[:, 2] for part in (bundle.train, bundle.valid, bundle.test)]).sum()
    assert int(rome) == int((frame.town == "Rome").sum()) + 5


def test_the_most_frequent_category_is_that_of_the_training_part(tmp_path: Path) -> None:
    frame = people().assign(town=["Rome"] * 35 + [None] * 5 + ["Oslo"] * 20)
    test = write(tmp_path, people(80).assign(town="Oslo"), "test.csv")
    bundle = CustomTable(write(tmp_path, frame), "answer", test_path=test).load()
    rome = torch.cat([bundle.train.x[:, 2], bundle.valid.x[:, 2]]).sum()
    assert int(rome) == 40


def test_rows_with_gaps_are_dropped_or_refused(table: CustomTable) -> None:
    bundle = replace(table, missing="drop").load()
    assert sum(len(part) for part in (bundle.train, bundle.valid, bundle.test)) == 54
    with pytest.raises(ValueError, match="column 'income' has 6 missing values"):
        replace(table, missing="error").load()
    assert replace(table, missing="error", drop=["income"]).load().train.x.shape[1] == 6


def test_groups_by_category_and_by_the_training_median(table: CustomTable) -> None:
    bundle = replace(table, sensitive=["sex", "age"], drop=["age"]).load()
    assert bundle.group_names["sex"] == ("f", "m")
    assert bundle.unit_names == ("town", "income", "sex")
    below, above = bundle.group_names["age"]
    assert (below.split()[0], above.split()[0]) == ("up", "above")
    shares = bundle.train.groups["age"].bincount()
    assert abs(int(shares[0] - shares[1])) <= 1
    # One-hot sex is the last unit: its second part is `m`, the code of the group.
    for part in (bundle.train, bundle.valid, bundle.test):
        assert torch.equal(part.groups["sex"], part.x[:, -1].long())


def test_what_is_learned_does_not_see_the_official_test_part(tmp_path: Path) -> None:
    """The same training part with quite another test part gives the same training numbers."""
    path, far = write(tmp_path, people()), people(20).assign(age=1e6, town="Paris")
    near = write(tmp_path, people(20), "near.csv")
    one = CustomTable(path, "answer", test_path=near, sensitive=["age"]).load()
    two = CustomTable(
        path, "answer", test_path=write(tmp_path, far, "far.csv"), sensitive=["age"]
    ).load()
    assert torch.equal(one.train.x, two.train.x)
    assert len(one.test) == len(two.test) == 20
    assert two.test.x[:, 1:4].eq(0).all()  # Paris has no part of its own
    assert two.test.groups["age"].eq(1).all()
    assert one.group_names == two.group_names
    # Of thirty rows of each class, 0.6 : 0.2 is 22 : 8.
    assert (len(one.train), len(one.valid)) == (44, 16)


def test_a_regression_target_is_standardised_on_training_rows(tmp_path: Path) -> None:
    frame = people().assign(answer=lambda f: f.age * 3.5 + 7)
    bundle = CustomTable(write(tmp_path, frame), "answer").load()
    assert (bundle.task, bundle.n_outputs, bundle.train.y.dtype) == ("regression", 1, torch.float32)
    assert bundle.train.y.mean().abs() < 1e-6
    # age and target are the same line, so scaled alike in every part
    assert torch.allclose(bundle.test.y, bundle.test.x[:, 0], atol=1e-5)


def test_where_recode_and_features(table: CustomTable) -> None:
    bundle = replace(
        table,
        where="20 <= age < 50 and town != 'Bern'",
        recode={"town": {"Rome": "south"}, "answer": {"yes": 1, "no": 0}},
        features=["town", "age"],
        categorical=["town"],
    ).load()
    assert sum(len(part) for part in (bundle.train, bundle.valid, bundle.test)) == 20
    assert bundle.unit_names == ("town", "age")
    assert bundle.class_names == ("0", "1")


def test_parquet_and_gzip_give_the_same_numbers(tmp_path: Path, table: CustomTable) -> None:
    expected = table.load().fingerprint()
    for name in ("people.parquet", "people.csv.gz"):
        assert replace(table, path=write(tmp_path, people(), name)).load().fingerprint() == expected


def test_a_file_without_header(tmp_path: Path) -> None:
    path = tmp_path / "bare.data"
    people().to_csv(path, index=False, header=False, na_rep="?")
    names = list(people().columns)
    bundle = CustomTable(str(path), "answer", names=names, na_values=["?"]).load()
    assert bundle.unit_names == tuple(names[:-1])
    with pytest.raises(ValueError, match="cannot be read as a table"):
        CustomTable(str(path), "answer", names=names[1:], na_values=["?"]).load()


def stray(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(age=frame.age.astype(object).where(frame.age != 17, "seventeen"))


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        pytest.param({}, {"target": "anser"}, "did you mean answer", id="misspelt_target"),
        pytest.param({}, {"sensitive": ["Sex"]}, "data.sensitive: 'Sex'.*mean sex", id="near"),
        pytest.param({}, {"missing": "median"}, "mean, drop or error", id="missing"),
        pytest.param({}, {"where": "agee > 3"}, "data.where", id="where"),
        pytest.param({}, {"where": "age > 99"}, "keeps none of the 60 rows", id="where_none"),
        pytest.param({}, {"recode": {"sex": {"w": "f"}}}, "holds none of", id="recode"),
        pytest.param({}, {"numeric": ["town"]}, "'town'.*data row 1 holds 'Rome'", id="declared"),
        pytest.param({}, {"features": ["answer"]}, "no feature columns", id="no_features"),
        pytest.param({"answer": "yes"}, {}, "only one value", id="constant"),
        pytest.param({"answer": ["yes"] * 59 + ["no"]}, {}, "single row", id="lonely"),
        pytest.param({"answer": [None] * 9 + ["a", "b", "c"] * 17}, {}, "9 missing", id="target"),
        pytest.param({"income": np.nan}, {}, "no values in the training part", id="all_missing"),
        pytest.param({"age": np.inf}, {}, "'age'.*data row 1 holds 'inf'", id="infinite"),
    ],
)
def test_mistakes_raise_one_sentence(
    tmp_path: Path, change: dict[str, Any], options: dict[str, Any], sentence: str
) -> None:
    data = CustomTable(write(tmp_path, people().assign(**change)), "answer")
    with pytest.raises(ValueError, match=sentence):
        replace(data, **options).load()


def test_stray_text_among_numbers_is_refused_with_its_row(tmp_path: Path) -> None:
    path = write(tmp_path, stray(people()))
    with pytest.raises(ValueError, match=r"column 'age'.*data row 18 holds 'seventeen'"):
        CustomTable(path, "answer").load()
    assert CustomTable(path, "answer", na_values=["seventeen"]).load().train.x.shape[1] == 7


def test_columns_of_names_or_dates_are_refused(tmp_path: Path) -> None:
    frame = pd.concat([people()] * 2).assign(name=[f"person {k}" for k in range(120)])
    with pytest.raises(ValueError, match="120 different texts"):
        CustomTable(write(tmp_path, frame), "answer").load()
    frame = people().assign(day=pd.Timestamp("2020-01-01"))
    with pytest.raises(ValueError, match="'day' holds dates"):
        CustomTable(write(tmp_path, frame, "dates.parquet"), "answer").load()


def test_broken_files_are_refused(tmp_path: Path) -> None:
    write(tmp_path, people())
    with pytest.raises(ValueError, match=r"no file 'peple.csv'.*did you mean people.csv"):
        CustomTable(str(tmp_path / "peple.csv"), "answer").load()
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="is empty; expected a table: a line of column names"):
        CustomTable(str(tmp_path / "empty.csv"), "answer").load()
    (tmp_path / "head.csv").write_text("age,answer\n")
    with pytest.raises(ValueError, match="has no rows"):
        CustomTable(str(tmp_path / "head.csv"), "answer").load()
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"age,answer\n1,2\n" * 99)[:20])
    with pytest.raises(ValueError, match="cannot be read as a table"):
        CustomTable(str(tmp_path / "cut.csv.gz"), "answer").load()


def arrays(folder: Path, name: str = "a.npz", **values: Any) -> str:
    np.savez(folder / name, **values)
    return str(folder / name)


def test_tables_in_arrays_are_standardised(tmp_path: Path) -> None:
    x = np.arange(120.0).reshape(40, 3)
    bundle = CustomArrays(arrays(tmp_path, x=x, y=np.arange(40) % 2)).load()
    assert (bundle.modality, bundle.task) == ("tabular", "classification")
    assert bundle.train.x.mean(0).abs().max() < 1e-6
    assert bundle.unit_names == ("x1", "x2", "x3")


def test_images_in_arrays(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 6, 3)).astype(np.uint8)
    x[..., 0] = 255
    path = arrays(tmp_path, x=x, y=np.arange(40) % 4)
    bundle = CustomArrays(path, channels_last=True, patch=2).load()
    assert bundle.train.x.shape[1:] == (3, 8, 6)
    assert bundle.train.x[:, 0].eq(1).all()
    assert len(bundle.unit_names) == 12
    assert bundle.train.units[0, 0].equal(bundle.train.units[0, 2])


def test_series_in_arrays_keep_their_shape_over_time(tmp_path: Path) -> None:
    """Every sample rises by the same amount a step; scaled per channel it still does."""
    x = np.arange(6.0) * np.array([1.0, 10.0])[:, None] + np.zeros((40, 1, 1))
    bundle = CustomArrays(arrays(tmp_path, x=x, y=np.arange(40) % 2), patch=4).load()
    assert bundle.modality == "series"
    assert bundle.train.units[0].tolist() == [[0, 0, 0, 0, 1, 1], [2, 2, 2, 2, 3, 3]]
    assert torch.allclose(bundle.train.x[:, 0], bundle.train.x[:, 1], atol=1e-6)
    steps = bundle.train.x.diff(dim=2)
    assert torch.allclose(steps, steps[:1, :1, :1].expand_as(steps))
    assert bundle.train.x.std(correction=0).item() == pytest.approx(1)


def test_series_are_scaled_on_the_training_part(tmp_path: Path) -> None:
    x = np.random.default_rng(0).random((40, 1, 6))
    values = {"x": x, "y": np.arange(40) % 2, "x_test": x[:9] + 1000, "y_test": np.arange(9) % 2}
    bundle = CustomArrays(arrays(tmp_path, **values)).load()
    assert bundle.train.x.mean().abs() < 1e-5
    assert bundle.train.x.std(correction=0).item() == pytest.approx(1)


def test_own_units_and_official_test_arrays(tmp_path: Path) -> None:
    values = {"x": np.random.default_rng(0).random((40, 4)), "y": np.arange(40) / 7}
    more = {"x_test": np.zeros((5, 4)), "y_test": np.arange(5) / 7, "units": np.array([0, 0, 1, 1])}
    bundle = CustomArrays(arrays(tmp_path, **values, **more)).load()
    assert bundle.task == "regression"
    assert len(bundle.test) == 5
    assert bundle.test.units[0].tolist() == [0, 0, 1, 1]
    assert bundle.unit_names == ("unit 0", "unit 1")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"images": np.zeros(3)}, r"holds the arrays \['images'\]; expected x and y"),
        ({"x": np.zeros((9, 2)), "y": np.zeros(8)}, r"x of shape \[9, 2\].*y of shape \[8\]"),
        ({"x": np.zeros(9), "y": np.zeros(9)}, "expected numbers"),
        ({"x": np.array([["a"]] * 9), "y": np.zeros(9)}, "expected numbers"),
        ({"x": np.array([{}] * 9), "y": np.zeros(9)}, "plain arrays"),
        ({"x": np.ones((9, 2)), "y": np.arange(9) / 2, "units": np.zeros(3)}, r"shape \[3\]"),
        ({"x": np.ones((9, 2)), "y": np.arange(9), "x_test": np.ones((9, 2))}, "y_test"),
        ({"x": np.full((9, 2, 4, 4), np.nan), "y": np.arange(9) / 2}, "NaN or infinite"),
        (
            {"x": np.where(np.arange(36).reshape(12, 3) == 10, np.nan, 1.0), "y": np.arange(12)},
            r"x has 1 values that are NaN or infinite, the first at \[3, 1\]",
        ),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        CustomArrays(arrays(tmp_path, **values)).load()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Ten red and ten blue pictures of different sizes."""
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for k in range(10):
            Image.new("RGB", (20 + k, 30), colour).save(tmp_path / "pictures" / name / f"{k}.png")
    return tmp_path / "pictures"


def test_a_folder_of_images(pictures: Path) -> None:
    bundle = CustomImages(str(pictures), size=8, patch=4).load()
    assert bundle.class_names == ("blue", "red")
    assert bundle.train.x.shape == (12, 3, 8, 8)
    assert torch.equal(bundle.train.x[:, 0, 0, 0].long(), bundle.train.y)
    assert CustomImages(str(pictures), size=8, colour="grey").load().train.x.shape[1] == 1


def test_broken_folders_are_refused(pictures: Path) -> None:
    with pytest.raises(ValueError, match="one sub-folder per class"):
        CustomImages(str(pictures / "red")).load()
    with pytest.raises(ValueError, match="rgb or grey"):
        CustomImages(str(pictures), colour="gray").load()
    (pictures / "red" / "0.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"0\.png cannot be read as an image"):
        CustomImages(str(pictures)).load()


def test_custom_picks_the_reader_by_the_path(tmp_path: Path, pictures: Path) -> None:
    path = write(tmp_path, people())
    table = CustomTable(path, "answer", sensitive=["sex"], drop=["town"])
    custom = Custom(path, "answer", sensitive=["sex"], drop=["town"])
    assert custom.load().fingerprint() == table.load().fingerprint()
    npz = arrays(tmp_path, x=np.ones((9, 2)), y=np.arange(9) / 2)
    assert isinstance(Custom(npz).reader(), CustomArrays)
    assert Custom(str(pictures), size=8).load().train.x.shape[1:] == (3, 8, 8)
    with pytest.raises(ValueError, match="name its target column"):
        Custom(path).load()


def test_openml_reads_its_cache_and_downloads_only_if_configured(tmp_path: Path) -> None:
    data = OpenMl("people", 1, str(tmp_path))
    with pytest.raises(ValueError, match=r"data\.download=true"):
        data.load()
    people().astype({"town": "category"}).to_parquet(data.file)
    bundle = data.load()
    assert bundle.class_names == ("no", "yes")
    assert bundle.unit_names == ("age", "town", "income", "sex")


def test_openml_downloads_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Found:
        data = people().drop(columns="answer")
        target = people()["answer"]

    def fetch(name: str, **options: Any) -> Found:
        calls.append((name, options["version"]))
        return Found()

    monkeypatch.setattr("sklearn.datasets.fetch_openml", fetch)
    data = OpenMl("people", 3, str(tmp_path / "new"), download=True)
    assert data.load().fingerprint() == data.load().fingerprint()
    assert calls == [("people", 3)]
