"""Proves that what does not fit is one sentence: what was found, what was expected, what to do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import xai_bench

ROWS = pd.DataFrame(
    {"age": np.arange(12.0), "rate": np.arange(12.0) % 3, "own": np.arange(12.0) % 2}
)
ANSWERS = np.array(["no", "yes"])[np.arange(12) % 2]
MODEL = LogisticRegression().fit(ROWS, ANSWERS)
VOTES = VotingClassifier([("one", LogisticRegression())]).fit(ROWS, ANSWERS)


class Holding(RandomForestClassifier):
    """A forest that nobody can copy or pickle."""

    def fit(self, rows: Any, answers: Any) -> Any:
        self.lock_ = threading.Lock()
        return super().fit(rows, answers)


def bench(model: Any = MODEL, x: Any = ROWS, **given: Any) -> xai_bench.Workbench:
    return xai_bench.workbench(model, x, **given)


NET, X = nn.Linear(3, 2), torch.randn(4, 3)

BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "complex numbers": (lambda: bench(NET, X + 0j), "x holds torch.complex64; expected real"),
    "a sparse tensor": (lambda: bench(NET, X.to_sparse()), "x is a tensor that is sparse"),
    "a tensor of no device": (lambda: bench(NET, X.to("meta")), "a tensor that is without values"),
    "rows of other lengths": (
        lambda: bench(NET, torch.nested.nested_tensor([X[0], X[1]])),
        "x is a tensor that is nested",
    ),
    "layers without weights": (
        lambda: bench(nn.Sequential(nn.LazyLinear(2)), X),
        "layer '0', LazyLinear, has no weights yet: call the model once",
    ),
    "a set for an explainer": (
        lambda: bench(NET, X).explain("default"),
        "'default' is a set of explainers: name one of them, such as",
    ),
    "options without names": (
        lambda: bench(NET, X).explain("lime", [("budget", 5)]),
        "expected settings by name",
    ),
    "a kernel of no width": (
        lambda: bench(NET, X).explain("lime", width=0.0),
        "the kernel's width is 0.0; expected a number above 0",
    ),
    "a setting that is no number": (
        lambda: bench(NET, X).explain("lime", width=float("nan")),
        "lime.width=nan is not a number",
    ),
    "a column is missing": (
        lambda: bench(x=ROWS[["age", "own"]]),
        "the table lacks column 'rate'; the model was fitted on age, rate, own",
    ),
    "a column is misspelt": (
        lambda: bench(x=ROWS.rename(columns={"rate": "rates"})),
        r"lacks column 'rate' \(did you mean rates\?\)",
    ),
    "columns are reordered": (
        lambda: bench(x=ROWS[["own", "rate", "age"]]),
        "another order: 'own' is where 'age' should be; .*: reorder the columns",
    ),
    "the background is reordered": (
        lambda: bench(background=ROWS[["own", "rate", "age"]]),
        "another order: .*; x has age, rate, own",
    ),
    "a column is too much": (lambda: bench(x=ROWS.assign(id=1)), "a column 'id' too much"),
    "fitted on other columns": (
        lambda: bench(make_pipeline(StandardScaler(), LogisticRegression()).fit(
            ROWS.rename(columns={"age": "alter"}), ANSWERS
        )),
        "lacks column 'alter'; the model was fitted on alter, rate, own",
    ),
    "an array of another width": (
        lambda: bench(x=ROWS.to_numpy()[:, :2]), "fitted on 3 columns: .*; a row of x has 2"
    ),
    "labels that are no class": (
        lambda: bench(labels=["maybe"] * 12), "labels hold 'maybe', and the classes .* are no, yes"
    ),
    "labels by number of classes in words": (
        lambda: bench(labels=np.arange(12) % 2), "labels hold '0', and the classes .* are no, yes"
    ),
    "too few labels": (lambda: bench(labels=["no"]), r"labels have shape \[1\]; expected \[12\]"),
    "a target that is no class": (lambda: bench(target="ye"), "no class and no target 'ye'; did"),
    "labels only": (lambda: bench(VOTES), "returns labels only, .*predict_proba"),
    "a function of labels": (
        lambda: bench(lambda rows: MODEL.predict(rows)), r"returns labels only \(.*such as no\)"
    ),
    "a function of numbered labels": (
        lambda: bench(lambda rows: np.zeros(len(rows), dtype=int)), "labels only .int64, such as 0"
    ),
    "not fitted": (lambda: bench(LogisticRegression()), "has not been fitted: call fit first"),
    "a class": (lambda: bench(LogisticRegression), "is the class LogisticRegression; make an inst"),
    "no end of a pipeline": (
        lambda: bench(make_pipeline(StandardScaler()).fit(ROWS)), "the model is a Pipeline; expect"
    ),
    "a task of another kind": (lambda: bench(task="regression"), "the model is a classifier"),
    "an unknown task": (lambda: bench(task="ranking"), "there is no task 'ranking'"),
    "texts for a network": (
        lambda: bench(nn.Linear(2, 1), pd.DataFrame({"a": [1.0], "job": ["smith"]})),
        "column 'job' of x holds .*: give the pipeline that encodes it",
    ),
    "two columns of one name": (
        lambda: bench(len, pd.DataFrame(np.ones((2, 2)), columns=["a", "a"])), "two columns 'a'"
    ),
    "no rows": (lambda: bench(x=ROWS[:0]), "x has no rows"),
    "a sparse matrix": (
        lambda: bench(x=type("Sparse", (), {"toarray": None})()), r"Sparse: give x.toarray\(\)"
    ),
    "two values, none chosen": (
        lambda: bench(nn.Linear(3, 2), torch.ones(4, 3), task="regression"),
        "has 2 outputs: say which one is explained, target=0 to target=1",
    ),
    "one output for classes": (
        lambda: bench(nn.Linear(3, 1), torch.ones(4, 3), task="classification"),
        "has one output: return a logit for each class",
    ),
    "names for other outputs": (
        lambda: bench(nn.Linear(3, 2), torch.ones(4, 3), classes=["a"]),
        r"classes=\['a'\]; expected 2 different names",
    ),
    "a function that is no target": (
        lambda: bench(nn.Linear(3, 2), torch.ones(4, 3), target=lambda out: out.sum()),
        r"makes \[\] of outputs \[4, 2\]; expected one number for each sample",
    ),
    "inputs of other names": (
        lambda: bench(lambda a, b: a + b, {"a": torch.ones(2, 1), "c": torch.ones(2, 1)}),
        "x has the inputs a, c, and the model takes a, b",
    ),
    "a background without an input": (
        lambda: bench(
            lambda a, b: a + b,
            {"a": torch.ones(2, 1), "b": torch.ones(2, 1)},
            background={"a": torch.ones(2, 1)},
        ),
        "background has a; expected the inputs a, b by name",
    ),
    "inputs of other lengths": (
        lambda: bench(lambda a, b: a + b, {"a": torch.ones(2, 1), "b": torch.ones(3, 1)}),
        "samples; expected as many of each",
    ),
    "too many inputs": (
        lambda: bench(lambda a: a, (torch.ones(2, 1), torch.ones(2, 1))), "x is a tuple of 2"
    ),
    "units of inputs that are one": (
        lambda: bench(units={"image": torch.zeros(3)}), "units are given for image; the inputs are"
    ),
    "no such embedding": (
        lambda: bench(nn.Sequential(nn.Embedding(4, 2)), torch.ones(2, 2), embedding="emb"),
        "no embedding layer 'emb'; choose from 0",
    ),
    "ids beyond the vocabulary": (
        lambda: bench(nn.Sequential(nn.Embedding(4, 2)), torch.full((2, 2), 4), embedding="0"),
        "the token id 4; the embedding layer knows 0 to 3",
    ),
    "ids that are none": (
        lambda: bench(nn.Sequential(nn.Embedding(4, 2)), torch.rand(2, 2), embedding="0"),
        "expected token ids",
    ),
    "a group that is no column": (lambda: bench(groups=["sex"]), "column 'sex', which x does not"),
    "groups of another length": (
        lambda: bench(groups={"sex": [1]}), r"groups\['sex'\] has shape \[1\]; expected \[12\]"
    ),
    "a file that is not there": (lambda: bench("nothing.onnx"), "no ONNX file 'nothing.onnx'"),
}  # fmt: skip


@pytest.mark.sample(2, others="slow")
@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_one_sentence(name: str) -> None:
    call, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_an_estimator_that_nobody_can_copy_is_explained() -> None:
    model = Holding(3, n_jobs=2, random_state=0).fit(ROWS, ANSWERS)
    assert bench(model, target="yes").explain("leave_one_out").shape == (12, 3)


def test_an_onnx_file_with_open_axes_takes_any_batch_and_says_what_does_not_fit(
    tmp_path: Any,
) -> None:
    pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = helper.make_tensor("w", kind, [3, 2], np.arange(6.0))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", kind, ["batch", "width"])],
        [helper.make_tensor_value_info("y", kind, ["batch", 2])],
        [weights],
    )
    path = tmp_path / "open.onnx"
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()
    )
    rows = np.ones((5, 3), dtype=np.float32)
    found = bench(path, rows, background=rows * 0, target=1, baselines="zero")
    np.testing.assert_allclose(found.explain("leave_one_out").numpy(), [[1, 3, 5]] * 5)
    with pytest.raises(ValueError, match="the ONNX model cannot take a batch of"):
        bench(path, np.ones((5, 4), dtype=np.float32))
