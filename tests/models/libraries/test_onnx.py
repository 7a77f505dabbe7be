"""ONNX models: inputs, types, batches and outputs of every kind, and what does not fit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import toy_worlds
from tests.support.library_worlds import answers, fitted, frame, numbers
from xai_bench.core import units
from xai_bench.core.baselines import Mean
from xai_bench.data.tables.encoding import TableEncoding
from xai_bench.explainers.removal.shapley import ExactShapley
from xai_bench.models.libraries import onnx as ours
from xai_bench.models.libraries.recognise import Reading, predictor_of

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper  # noqa: E402

X = toy_worlds.normal(20, 4)
TABLE = np.nan_to_num(numbers(frame()), nan=1.0)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def graph(
    *nodes: Any,
    inputs: Sequence[tuple[str, int, Sequence[Any]]],
    outputs: Sequence[tuple[str, int, Sequence[Any]]],
    **constants: Any,
) -> Any:
    """A model of a few operators."""
    given = [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()]
    made = helper.make_graph(
        list(nodes),
        "toy",
        [helper.make_tensor_value_info(*one) for one in inputs],
        [helper.make_tensor_value_info(*one) for one in outputs],
        given,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


def linear(
    batch: Any = "N", kind: int = TensorProto.FLOAT, after: str | None = None, width: Any = 4
) -> Any:
    """`x W`, with something behind it."""
    weight = np.resize(WEIGHT, (width if isinstance(width, int) else 4, 3))
    weight = weight.astype(np.float64) if kind == TensorProto.DOUBLE else weight
    nodes = [helper.make_node("MatMul", ["features", "w"], ["y" if after is None else "z"])]
    if after is not None:
        nodes.append(helper.make_node(after, ["z"], ["y"]))
    return graph(
        *nodes,
        inputs=[("features", kind, [batch, width])],
        outputs=[("y", kind, [batch, 3])],
        w=weight,
    )


@pytest.mark.parametrize("batch", ["N", None, 1, 7, 64])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_logits_of_any_batch(batch: Any, kind: int) -> None:
    """A batch of fixed size is filled up."""
    predictor = predictor_of(linear(batch, kind), X)
    expected = X @ torch.from_numpy(WEIGHT).double()
    torch.testing.assert_close(predictor(X, {}), expected, rtol=0, atol=1e-6)
    assert predictor.n_outputs == 3
    assert predictor.task == "classification"
    assert predictor.class_names == ("0", "1", "2")


def test_probabilities_become_logarithms() -> None:
    predictor = predictor_of(linear(after="Softmax"), X)
    expected = (X @ torch.from_numpy(WEIGHT).double()).softmax(1)
    torch.testing.assert_close(predictor(X, {}).softmax(1), expected, rtol=0, atol=1e-6)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(linear(), path)
    expected = predictor_of(linear(), X)(X, {})
    for place in (path, str(path)):
        assert torch.equal(predictor_of(place, X)(X, {}), expected)


def test_images_are_flattened_where_the_model_takes_rows() -> None:
    flat = predictor_of(linear(), X)(X, {})
    square = X.view(20, 1, 2, 2)
    assert torch.equal(predictor_of(linear(), square)(square, {}), flat)


def test_whole_numbers_and_a_named_input() -> None:
    """Ids, and a mask that goes along as context."""
    model = graph(
        helper.make_node("Gather", ["table", "x"], ["e"]),
        helper.make_node("Mul", ["e", "mask"], ["m"]),
        helper.make_node("ReduceSum", ["m", "axis"], ["y"], keepdims=0),
        inputs=[("x", TensorProto.INT64, ["N", "T"]), ("mask", TensorProto.FLOAT, ["N", "T"])],
        outputs=[("y", TensorProto.FLOAT, ["N"])],
        table=np.array([1.0, 10.0, 100.0], dtype=np.float32),
        axis=np.array([1]),
    )
    ids, mask = torch.tensor([[0.0, 1, 2], [2, 2, 0]]), torch.tensor([[1.0, 1, 0], [1, 0, 1]])
    predictor = ours.predictor_of(model, ids, context={"mask": mask})
    assert predictor(ids, {"mask": mask})[:, 0].tolist() == [11, 101]
    assert predictor.task == "regression"


CONVERTED = {
    "two": ("probabilities", {"zipmap": False}),
    "three": ("mapping per row", {}),
    "three, raw": ("logits", {"zipmap": False, "raw_scores": True}),
    "two, raw": ("scores", {"zipmap": False, "raw_scores": True}),
    "value": ("values", None),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONVERTED)
def test_converted_models_answer_like_the_originals(name: str) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.linear_model import LinearRegression, LogisticRegression

    task = name.partition(",")[0]
    model = LinearRegression() if task == "value" else LogisticRegression(max_iter=1000)
    model = fitted(model, TABLE, task)
    options = CONVERTED[name][1]
    made = skl2onnx.to_onnx(
        model, TABLE[:1].astype(np.float32), options=options and {id(model): options}
    )
    x = torch.from_numpy(TABLE[:30])
    predictor = predictor_of(made, x)
    found = predictor(x, {})
    if task == "value":
        expected = torch.from_numpy(model.predict(TABLE[:30]))[:, None]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        return
    expected = torch.from_numpy(model.predict_proba(TABLE[:30]))
    torch.testing.assert_close(found.softmax(1), expected, rtol=0, atol=1e-4)
    assert predictor.class_names == tuple("012"[: expected.shape[1]])


def test_a_pipeline_with_an_input_per_column() -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    table = frame()[["age", "job", "rate"]].fillna({"job": "none"})
    coded = make_column_transformer((StandardScaler(), ["age", "rate"]), (OneHotEncoder(), ["job"]))
    model = make_pipeline(coded, LogisticRegression()).fit(table, answers("two", frame()))
    kinds = [("age", FloatTensorType([None, 1])), ("job", StringTensorType([None, 1]))]
    kinds.append(("rate", FloatTensorType([None, 1])))
    made = skl2onnx.convert_sklearn(
        model, initial_types=kinds, options={id(model): {"zipmap": False}}
    )
    encoding = TableEncoding.of(table)
    x = encoding.encode(table)[:20]
    predictor = predictor_of(made, x, encoding=encoding)
    expected = torch.from_numpy(model.predict_proba(table[:20]))
    torch.testing.assert_close(predictor(x, {}).softmax(1), expected, rtol=0, atol=1e-5)
    other = TableEncoding.of(table[["age", "rate"]])
    with pytest.raises(ValueError, match="lacks column 'job'; the ONNX model takes age, job, rate"):
        predictor_of(made, other.encode(table[["age", "rate"]]), encoding=other)


def test_explainers_that_need_no_gradient_work() -> None:
    here = toy_worlds.tabular()
    weight = toy_worlds.normal(here.inputs.x[0].numel(), 3, seed=5).float().numpy()
    model = graph(
        helper.make_node("MatMul", ["features", "w"], ["y"]),
        inputs=[("features", TensorProto.FLOAT, ["N", weight.shape[0]])],
        outputs=[("y", TensorProto.FLOAT, ["N", 3])],
        w=weight,
    )
    predictor = predictor_of(model, here.inputs.x)
    explained = type(here.model)(predictor, here.model.target, 64)
    found = toy_worlds.World(explained, here.inputs, here.targets).explain(ExactShapley(Mean()))
    way = here.inputs.x - here.inputs.domain.background.mean(0)
    expected = torch.from_numpy(weight).double().T[here.targets] * way
    pooled = [units.pool(values, here.inputs.units) for values in (found, expected)]
    torch.testing.assert_close(*pooled, rtol=0, atol=1e-5)


def labels_only() -> Any:
    return graph(
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0),
        inputs=[("x", TensorProto.FLOAT, ["N", 4])],
        outputs=[("label", TensorProto.INT64, ["N"])],
        w=WEIGHT,
    )


def two_outputs() -> Any:
    return graph(
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
        inputs=[("x", TensorProto.FLOAT, ["N", 4])],
        outputs=[("a", TensorProto.FLOAT, ["N", 3]), ("b", TensorProto.FLOAT, ["N", 3])],
        w=WEIGHT,
    )


def maps() -> Any:
    return graph(
        helper.make_node("Relu", ["x"], ["y"]),
        inputs=[("x", TensorProto.FLOAT, ["N", "C", "T"])],
        outputs=[("y", TensorProto.FLOAT, ["N", "C", "T"])],
    )


def two_inputs() -> Any:
    return graph(
        helper.make_node("Add", ["a", "b"], ["y"]),
        inputs=[("a", TensorProto.FLOAT, ["N", 4]), ("b", TensorProto.FLOAT, ["N", 4])],
        outputs=[("y", TensorProto.FLOAT, ["N", 4])],
    )


@pytest.mark.parametrize(
    ("model", "x", "words"),
    [
        (labels_only, X, r"returns labels only \(label\)"),
        (two_outputs, X, "several outputs of numbers, a, b: name the one to explain"),
        (
            lambda: linear(width=5),
            X,
            r"'features' .* takes \[N, 5\], and a batch of x has \[N, 4\]",
        ),
        (maps, X, r"takes \[N, C, T\], and a batch of x has \[N, 4\]"),
        (maps, X.view(20, 2, 2), r"gives \[N, 2, 2\] per batch; expected \[N\]"),
        (two_inputs, X, "takes the inputs a, b, and x is one of them: give the others by name"),
        (lambda: linear(width="F"), X[:, :3], "cannot take a batch of 20 rows"),
        (lambda: "nowhere.onnx", X, "there is no ONNX file 'nowhere.onnx'"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(model: Any, x: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        predictor_of(model(), x)


def test_an_output_may_be_named() -> None:
    found = predictor_of(two_outputs(), X, reading=Reading(output="b"))
    assert torch.equal(found(X, {}), -predictor_of(linear(), X)(X, {}))
    with pytest.raises(ValueError, match="no output 'c'; it has a, b"):
        predictor_of(two_outputs(), X, reading=Reading(output="c"))


def test_a_file_that_is_no_model_is_told_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="onnxruntime cannot read this ONNX model"):
        predictor_of(path, X)
