"""Proves that results are read back, written whole or not at all, and always in the same bytes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import multiprocessing
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from torch import Tensor

from tests.support import toy_worlds
from xai_bench.results import Cell, ExplainerResult, Outcome, Predictions, Scores
from xai_bench.results.report.summary import blocks
from xai_bench.results.store import files
from xai_bench.results.store.store import Store
from xai_bench.types import Element, Explanation

NAN = math.nan


def cell(seed: int = 0, **changes: object) -> Cell:
    plain = Cell(
        key=f"cell{seed}",
        data="digits",
        model="cnn",
        seed=seed,
        view="inputs",
        target="predicted_logit",
        baseline_explain="mean",
        baseline_measure="marginal",
        config={"data": {"_target_": "a.B", "sizes": [1, 2]}, "seed": seed},
        fingerprint="f00d",
        model_scores={"accuracy": 0.5 + seed / 10},
        history=({"loss": 2.0}, {"loss": NAN}),
        environment={"torch": "2", "git_commit": "abc"},
        groups={"sex": torch.tensor([0, 1, 0])},
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def scored(name: str, values: list[float], category: str = "fidelity", **changes: object) -> Scores:
    plain = Scores(
        metric=name,
        key=f"{name}-v1",
        category=category,
        higher_is_better=True,
        reproducible=True,
        values=torch.tensor(values, dtype=torch.float64),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


ATTRIBUTION = torch.tensor([[1.0, -2.0], [0.5, 0.0], [0.25, 3.0]])


def explanation(
    name: str,
    *scores: Scores,
    attribution: Tensor | None = ATTRIBUTION,
    stated: Mapping[str, Any] = {},
    **changes: object,
) -> ExplainerResult:
    """A result; `stated` is what the explainer says beside its attribution."""
    plain = ExplainerResult(
        explainer=name,
        key=f"{name}-key",
        kind="contribution",
        category="gradient",
        config={"_target_": f"x.{name}", "n_steps": 4},
        index=torch.arange(3),
        explanation=None if attribution is None else Explanation(attribution, **stated),
        scores={one.metric: one for one in scores},
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def add_to_study(
    store: Store, study: str, one: Cell, explanations: list[ExplainerResult], command: str = "run"
) -> None:
    """What a run does."""
    store.write_cell(one)
    for each in explanations:
        store.write(one.key, each)
    metrics = {s.metric: s.key for each in explanations for s in each.scores.values()}
    store.add_to_study(study, one, explanations, command, metrics)


def contents(folder: Path) -> Mapping[str, bytes]:
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_cell_is_read_back_with_its_undefined_numbers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_cell(cell(model_scores={"accuracy": 0.1 + 0.2, "r2": -math.inf}))
    found = store.read_cell("cell0")
    assert found is not None
    assert found.model_scores == {"accuracy": 0.1 + 0.2, "r2": -math.inf}
    assert math.isnan(found.history[1]["loss"])
    assert found.groups["sex"].tolist() == [0, 1, 0]
    assert found.environment == {"torch": "2", "git_commit": "abc"}
    text = (tmp_path / "store/cell0/cell.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["history"][1] == {"loss": "nan"}


def test_a_result_is_read_back_bit_by_bit(tmp_path: Path) -> None:
    store = Store(tmp_path)
    values = [0.1 + 0.2, NAN, -1e-300]
    broken = scored("b", [], outcome=Outcome("failed", "ValueError: no", "Traceback ..."))
    skipped = scored("c", [], outcome=Outcome("skipped", "needs truth"))
    seconds = scored("seconds", [1.0, 2.0, 3.0], "cost", reproducible=False)
    sent = explanation("lime", scored("a", values), broken, skipped, seconds)
    store.write("cell0", sent)
    found = store.read("cell0", "lime-key")
    assert found is not None
    assert found.explanation is not None
    assert torch.equal(found.explanation.attribution, ATTRIBUTION)
    assert found.explanation.attribution.dtype == torch.float32
    assert set(found.scores) == {"a", "b", "c", "seconds"}
    assert found.scores["a"].values.nan_to_num(7).tolist() == [0.1 + 0.2, 7.0, -1e-300]
    assert found.scores["b"].outcome == broken.outcome
    assert found.scores["b"].values.numel() == 0
    assert found.scores["c"].outcome == skipped.outcome
    assert not found.scores["seconds"].reproducible
    assert (found.config, found.kind, found.category) == (sent.config, sent.kind, sent.category)


def test_a_failed_explanation_keeps_its_samples_and_reason(tmp_path: Path) -> None:
    store = Store(tmp_path)
    outcome = Outcome("failed", "RuntimeError: boom", "trace")
    store.write("cell0", explanation("lime", attribution=None, outcome=outcome))
    found = store.read("cell0", "lime-key")
    assert found is not None
    assert found.explanation is None
    assert found.outcome == outcome
    assert found.index.tolist() == [0, 1, 2]


def test_scores_that_are_not_reproducible_have_a_file_of_their_own(tmp_path: Path) -> None:
    """Two runs that differ in speed and machine alone."""
    for run, seconds in (("one", 1.0), ("two", 2.0)):
        slow = scored("seconds", [seconds] * 3, "cost", reproducible=False)
        store = Store(tmp_path / run)
        store.write_cell(cell(environment={"processor": run}))
        store.write(
            "cell0", explanation("lime", scored("b", [1.0, NAN, 2.0]), slow, scored("a", [0.0] * 3))
        )
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one.keys() == two.keys()
    differing = {name for name in one if one[name] != two[name]}
    cell_files = {"store/cell0/machine.json", "store/cell0/SHA256SUMS"}
    of_lime = {"store/cell0/lime-key/costs.parquet", "store/cell0/lime-key/SHA256SUMS"}
    assert differing == cell_files | of_lime


def test_the_bytes_do_not_depend_on_the_order_of_writing(tmp_path: Path) -> None:
    a, b = scored("a", [1.0, 2.0, 3.0]), scored("b", [4.0, 5.0, 6.0])
    Store(tmp_path / "one").write("cell0", explanation("lime", a, b))
    for part in (b, a):
        Store(tmp_path / "two").write("cell0", explanation("lime", part))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_several_settings_of_one_metric_are_stored_together(tmp_path: Path) -> None:
    """Another study's settings of the same metric never replace or meet this study's."""
    store = Store(tmp_path)
    old = scored("deletion", [1.0, 1.0, 1.0])
    new = replace(old, key="deletion-v2", values=torch.full((3,), 2.0).double())
    add_to_study(store, "old", cell(), [explanation("lime", old)])
    add_to_study(store, "new", cell(), [explanation("lime", new)])
    assert store.frame("old")["score"].tolist() == [1.0] * 3
    assert store.frame("new")["score"].tolist() == [2.0] * 3


def test_a_study_reads_results_under_its_own_names(tmp_path: Path) -> None:
    store = Store(tmp_path)
    add_to_study(store, "mine", cell(), [explanation("lime", scored("a", [1.0] * 3))])
    mine = explanation("my_lime", key="lime-key")
    store.add_to_study("yours", cell(), [mine], "run", {"a": "a-v1"})
    assert store.studies() == ["mine", "yours"]
    assert set(store.frame("mine")["explainer"]) == {"lime"}
    assert set(store.frame("yours")["explainer"]) == {"my_lime"}


def test_a_second_run_adds_to_the_manifest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    add_to_study(store, "s", cell(), [explanation("lime", scored("a", [1.0] * 3))], "run lime")
    add_to_study(store, "s", cell(), [explanation("shap", scored("a", [2.0] * 3))], "run shap")
    add_to_study(store, "s", cell(), [explanation("shap", scored("a", [2.0] * 3))], "run shap")
    add_to_study(store, "s", cell(1), [explanation("lime", scored("a", [3.0] * 3))], "run lime")
    [(first, both), (second, one)] = store.cells("s")
    assert (first.seed, second.seed) == (0, 1)
    assert [e.explainer for e in both] == ["lime", "shap"]
    assert [e.explainer for e in one] == ["lime"]
    assert store.study_manifest("s", "cell0").commands == ("run lime", "run shap")


def test_results_of_newer_code_replace_older_ones_in_a_study(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = explanation("lime", scored("abpc", [1.0, 2.0, 3.0]))
    add_to_study(store, "s", cell(0), [one])
    add_to_study(store, "s", cell(1), [one])
    add_to_study(store, "other", cell(0), [one])
    add_to_study(store, "s", cell(0, key="cell0-new-code"), [one])
    assert [c.key for c, _ in store.cells("s")] == ["cell0-new-code", "cell1"]
    assert [c.key for c, _ in store.cells("other")] == ["cell0"]


FAILED = Outcome("failed", "ValueError: no")


def failed(key: str, **config: object) -> Cell:
    """A cell that failed before its data were read."""
    return cell(key=key, config=config, outcome=FAILED, fingerprint="", environment={}, groups={})


def test_a_failed_attempt_that_a_later_run_mends_leaves_the_study(tmp_path: Path) -> None:
    store, lime = Store(tmp_path), explanation("lime", scored("a", [1.0, 2.0, 3.0]))
    for number in range(3):
        one = failed(f"attempt{number}", width=-number)
        add_to_study(store, "s", one, [], f"run model.width={-number}")
    assert len(store.cells("s")) == 3
    add_to_study(store, "s", cell(), [lime], "run model.width=8")
    assert [one.key for one, _ in store.cells("s")] == ["cell0"]
    assert not store.reader.reported


def test_failures_that_nothing_mended_stay(tmp_path: Path) -> None:
    """Those of one sweep, of another seed, model or study, and any as long as nothing succeeds."""
    store, lime = Store(tmp_path), explanation("lime", scored("a", [1.0, 2.0, 3.0]))
    sweep = "run -m model.width=8,-1"
    add_to_study(store, "s", failed("same sweep", width=-1), [], sweep)
    add_to_study(store, "s", replace(failed("seed", width=-2), seed=5), [], "run seed=5")
    add_to_study(store, "s", replace(failed("model", width=-3), model="mlp"), [], "run model=mlp")
    add_to_study(store, "t", failed("study", width=-1), [], "run study=t")
    add_to_study(store, "s", cell(), [lime], sweep)
    add_to_study(store, "s", failed("later", width=-4), [], "run model.width=-2")
    kept = {one.key for one, _ in store.cells("s")}
    assert kept == {"same sweep", "seed", "model", "cell0", "later"}
    assert [one.key for one, _ in store.cells("t")] == ["study"]


def test_a_failed_explainer_that_a_later_run_mends_leaves_the_study(tmp_path: Path) -> None:
    store, scores = Store(tmp_path), scored("a", [1.0, 2.0, 3.0])
    wrong = explanation("lime", attribution=None, outcome=FAILED, key="wrong", regime="budget=-1")
    other = explanation("shap", attribution=None, outcome=FAILED, key="other", regime="budget=-1")
    add_to_study(store, "s", cell(), [wrong, other], "run budget=-1")
    right = explanation("lime", scores, regime="budget=9")
    add_to_study(store, "s", cell(), [right], "run budget=9")
    [(_, found)] = store.cells("s")
    assert {(one.explainer, one.key) for one in found} == {("shap", "other"), ("lime", "lime-key")}
    # One command at several budgets: what fails at one of them is a result.
    again = explanation("lime", scores, key="more", regime="budget=99")
    add_to_study(store, "s", cell(), [wrong], "run -m budget=-1,99")
    add_to_study(store, "s", cell(), [again], "run -m budget=-1,99")
    assert {one.key for one in store.cells("s")[0][1]} == {"other", "wrong", "lime-key", "more"}


def test_a_failed_attempt_lengthens_no_heading(tmp_path: Path) -> None:
    store, lime = Store(tmp_path), explanation("lime", scored("a", [1.0, 2.0, 3.0]))
    of_libraries = {"torch": "2.13", "code_version": "f00d"}
    add_to_study(store, "s", cell(environment=of_libraries), [lime], "run")
    add_to_study(store, "s", failed("later", width=-1), [], "run model.width=-1")
    labels = [block.variant for block in blocks(store, "s")]
    assert len(labels) == 2
    assert not [label for label in labels if "torch" in label or "fingerprint" in label]


def test_every_file_stands_in_the_index_of_its_folder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_inputs("cell0", toy_worlds.text().inputs)
    measured = {"Curves": {"removed": torch.zeros(3, 2)}}
    lime = explanation("lime", scored("a", [1.0] * 3), measured=measured)
    add_to_study(store, "s", cell(), [lime])
    folders = [tmp_path / "store/cell0", tmp_path / "store/cell0/lime-key", tmp_path / "studies/s"]
    for folder in folders:
        lines = (folder / "SHA256SUMS").read_text().splitlines()
        listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
        there = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        there = {name: there[name] for name in there.keys() - {"SHA256SUMS", ".lock"}}
        assert listed == {name: hashlib.sha256(of).hexdigest() for name, of in there.items()}


def test_a_store_without_indices_is_read_and_gets_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, lime = Store(tmp_path), explanation("lime", scored("a", [1.0, 2.0, 3.0]))
    add_to_study(store, "s", cell(), [lime])
    before = contents(tmp_path)
    indices = list(tmp_path.rglob("SHA256SUMS"))
    for index in indices:
        index.unlink()
    old = Store(tmp_path)
    assert old.frame("s")["score"].tolist() == [1.0, 2.0, 3.0]
    assert not caplog.records
    old.add_to_study("s", cell(), [lime], "run", {"a": "a-v1"})
    assert contents(tmp_path) == before
    assert len(caplog.records) == len(indices)


def test_wrong_content_is_absent_in_a_store_without_indices(tmp_path: Path) -> None:
    store, lime = Store(tmp_path), explanation("lime", scored("a", [1.0, 2.0, 3.0]))
    add_to_study(store, "s", cell(), [lime])
    for index in tmp_path.rglob("SHA256SUMS"):
        index.unlink()
    whole = contents(tmp_path)
    for name in whole:
        if not name.endswith(".lock"):
            (tmp_path / name).write_bytes(b"[1]")
            read = Store(tmp_path)
            read.cells("s")
            assert read.reader.reported == {tmp_path / name}
            (tmp_path / name).write_bytes(whole[name])


@pytest.mark.slow
def test_a_reader_never_mistakes_a_write_for_damage(tmp_path: Path) -> None:
    """A thread reads while another one writes the same result over and over."""
    store = Store(tmp_path)
    sent = [explanation("lime", scored("a", [float(k)] * 3)) for k in range(2)]
    store.write("cell0", sent[0])
    done = threading.Event()
    found: list[object] = []

    def read() -> None:
        while not done.is_set():
            found.append(Store(tmp_path).read("cell0", "lime-key"))

    reader = threading.Thread(target=read)
    reader.start()
    for k in range(60):
        store.write("cell0", sent[k % 2])
    done.set()
    reader.join()
    assert found
    assert None not in found


def test_a_wait_for_another_process_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files, "_PATIENCE", 0.05)
    store = Store(tmp_path)
    store.write_cell(cell())
    held = threading.Event()

    def hold() -> None:
        with FileLock(tmp_path / "store/cell0/.lock"):
            held.set()
            time.sleep(0.5)

    other = threading.Thread(target=hold)
    other.start()
    held.wait()
    store.write_cell(cell(model_scores={"accuracy": 0.25}))
    other.join()
    assert "waiting for another process that holds" in caplog.text
    found = store.read_cell("cell0")
    assert found is not None
    assert found.model_scores == {"accuracy": 0.25}


@pytest.mark.sample(3, others="slow")
@pytest.mark.parametrize("step", range(8))
def test_whoever_is_killed_leaves_the_old_or_the_new(
    tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every rename that a writer makes, the process may end."""
    store = Store(tmp_path)
    old, new = (explanation("lime", scored("a", [float(k)] * 3)) for k in range(2))
    store.write("cell0", old)
    rename, calls = Path.replace, []

    def killed(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) > step:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):
        patch.setattr(Path, "replace", killed)
        store.write("cell0", new)
    read = Store(tmp_path)
    found = read.read("cell0", "lime-key")
    assert found is not None
    assert found.scores["a"].values.tolist() in ([0.0] * 3, [1.0] * 3)
    assert not read.reader.reported
    store.write("cell0", new)
    again = Store(tmp_path).read("cell0", "lime-key")
    assert again is not None
    assert again.scores["a"].values.tolist() == [1.0] * 3


def test_the_frame_has_a_row_per_sample_that_pairs_explainers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    lime = explanation("lime", scored("a", [1.0, NAN, 3.0]), index=torch.tensor([5, 6, 7]))
    add_to_study(store, "s", cell(), [lime])
    frame = store.frame("s")
    assert list(frame.columns[:14]) == [
        "data", "model", "seed", "view", "target", "baseline_explain", "baseline_measure",
        "explainer", "kind", "category", "metric", "higher_is_better", "index", "score",
    ]  # fmt: skip
    assert frame["index"].tolist() == [5, 6, 7]
    assert frame["score"].isna().tolist() == [False, True, False]
    assert frame["category"].unique().tolist() == ["fidelity"]


def test_the_frame_of_outcomes_has_every_explainer_and_metric(tmp_path: Path) -> None:
    store = Store(tmp_path)
    gone = Outcome("skipped", "needs a gradient")
    good = explanation("lime", scored("a", [1.0, NAN, 3.0]), scored("b", [], outcome=gone))
    bad = explanation("ig", scored("a", [], outcome=gone), attribution=None, outcome=gone)
    add_to_study(store, "s", cell(), [good, bad])
    rows = store.outcomes("s").set_index(["explainer", "metric"])
    assert rows.loc[("lime", "a"), ["status", "n_scored", "n_samples"]].tolist() == ["ok", 2, 3]
    assert rows.loc[("lime", "b"), ["status", "reason"]].tolist() == ["skipped", gone.reason]
    assert rows.loc[("ig", ""), ["status", "n_scored"]].tolist() == ["skipped", 0]
    assert len(rows) == 4


def test_a_cell_without_results_has_a_row_of_its_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    add_to_study(store, "s", cell(outcome=Outcome("failed", "no rows")), [])
    [row] = store.outcomes("s").to_dict("records")
    assert (row["explainer"], row["metric"], row["status"], row["reason"]) == (
        "",
        "",
        "failed",
        "no rows",
    )
    assert store.frame("s").empty


@pytest.mark.parametrize("torn", ["explanation.json", "attribution.safetensors"])
def test_a_damaged_explanation_is_absent(
    tmp_path: Path, torn: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path)
    add_to_study(store, "s", cell(), [explanation("lime", scored("a", [1.0] * 3))])
    path = tmp_path / "store/cell0/lime-key" / torn
    path.write_bytes(path.read_bytes()[:-9])
    assert store.read("cell0", "lime-key") is None
    assert torn in caplog.text
    assert store.cells("s")[0][1] == []


def test_damaged_scores_are_absent_and_can_be_written_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    sent = explanation("lime", scored("a", [1.0, 2.0, 3.0]))
    store.write("cell0", sent)
    path = tmp_path / "store/cell0/lime-key/scores.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    found = store.read("cell0", "lime-key")
    assert found is not None
    assert found.explanation is not None
    assert not found.scores
    store.write("cell0", sent)
    assert path.read_bytes() == whole


def test_scores_of_other_samples_are_not_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("cell0", explanation("lime", scored("a", [1.0, 2.0, 3.0])))
    other = explanation("lime", index=torch.tensor([3, 4, 5]))
    store.write("cell0", other)
    found = store.read("cell0", "lime-key")
    assert found is not None
    assert not found.scores


def test_absent_results_are_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.read_cell("nothing") is None
    assert store.read("nothing", "nothing") is None
    assert store.read_inputs("nothing") is None
    assert store.studies() == []
    with pytest.raises(ValueError, match="nothing has been recorded yet"):
        store.cells("digits")


def test_a_misspelt_study_is_answered_with_near_misses(tmp_path: Path) -> None:
    store = Store(tmp_path)
    add_to_study(store, "digits", cell(), [explanation("lime")])
    with pytest.raises(ValueError, match="no study 'digit' in the results; did you mean digits"):
        store.frame("digit")
    with pytest.raises(ValueError, match="letters, digits"):
        store.add_to_study("../digits", cell(), [], "run", {})


def test_a_folder_that_cannot_be_written_raises_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot write results to .*file: Not a directory"):
        Store(tmp_path / "file").write_cell(cell())


def test_a_writer_that_fails_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.write("cell0", explanation("lime", scored("a", [1.0] * 3)))
    before = contents(tmp_path)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(ValueError, match=r"cannot write results .* make room"):
        store.write("cell0", explanation("lime", scored("a", [2.0] * 3)))
    assert contents(tmp_path) == before


def test_temporary_files_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("cell0", explanation("lime", scored("a", [1.0] * 3)))
    before = contents(tmp_path)
    [whole] = tmp_path.glob("store/cell0/*/attribution.safetensors")
    whole.with_name(f".{whole.name}.4711").write_bytes(b"half")
    store.write("cell0", explanation("lime", scored("a", [1.0] * 3)))
    assert contents(tmp_path) == before


def test_inputs_are_kept_for_pictures(tmp_path: Path) -> None:
    store, inputs = Store(tmp_path), toy_worlds.text().inputs
    elements = [Element(3.0, 2.0), Element(label="rent")]
    store.write_inputs("cell0", inputs, ["one", "two"], elements)
    found = store.read_inputs("cell0")
    assert found is not None
    assert torch.equal(found["x"], inputs.x)
    assert torch.equal(found["units"], inputs.units)
    assert store.unit_names("cell0") == ["one", "two"]
    assert store.elements("cell0") == elements
    assert store.elements("another") == []


def _write_one(root: Path, name: str) -> None:
    Store(root).write("cell0", explanation("lime", scored(name, [1.0, 2.0, 3.0])))


@pytest.mark.exhaustive
def test_writers_in_other_processes_do_not_lose_each_others_scores(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_one, args=(tmp_path, f"m{i}")) for i in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = Store(tmp_path).read("cell0", "lime-key")
    assert found is not None
    assert set(found.scores) == {"m0", "m1"}


def test_every_field_of_an_explanation_is_read_back(tmp_path: Path) -> None:
    store, values = Store(tmp_path), torch.arange(6.0).view(3, 2)
    extras = {"counterfactuals": values[:, None], "layers": {"features.0": values, "head": -values}}
    extras |= {"standard_error": values, "degrees_of_freedom": values[:, 0].double()}
    store.write("cell0", explanation("lime", stated=extras))
    found = store.read("cell0", "lime-key").explanation
    assert torch.equal(found.standard_error, values)
    assert torch.equal(found.counterfactuals, values[:, None])
    assert torch.equal(found.degrees_of_freedom, values[:, 0].double())
    assert found.layers.keys() == {"features.0", "head"}
    assert torch.equal(found.layers["head"], -values)


def test_predictions_are_read_back_with_class_names(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.read_predictions("cell0") is None
    outputs = torch.tensor([[0.0, math.log(3)], [2.0, 2.0]])
    sent = Predictions(outputs, torch.tensor([1, 0]), torch.tensor([0, 0]), ("né", "<b>"))
    store.write_predictions("cell0", sent)
    found = store.read_predictions("cell0")
    assert found is not None
    assert found.class_names == ("né", "<b>")
    assert torch.equal(found.outputs, outputs)
    assert found.targets.tolist() == [1, 0]
    assert found.labels.tolist() == [0, 0]
    assert found.probabilities.tolist() == [pytest.approx([0.25, 0.75]), [0.5, 0.5]]


def test_measurements_are_added_to_stored_ones(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = {"Curves(step=0.1)": {"removed": torch.tensor([[0.0, 1.0]] * 3)}}
    second = {"Curves(step=0.2)": {"removed": torch.tensor([[0.0, 0.5]] * 3)}}
    store.write("cell0", explanation("lime", measured=first))
    store.write("cell0", explanation("lime", measured=second))
    store.write("cell0", explanation("lime"))
    found = store.measured("cell0", "lime-key")
    assert list(found) == ["Curves(step=0.1)", "Curves(step=0.2)"]
    assert found["Curves(step=0.2)"]["removed"].tolist() == [[0.0, 0.5]] * 3
    assert store.measured("cell0", "shap-key") == {}
