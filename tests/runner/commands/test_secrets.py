"""A secret is in no file, no record and no message; a name of any content stays a name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.command_line import run
from xai_bench.core.system.secrets import has_password, without_passwords
from xai_bench.evaluation.failures import attempt
from xai_bench.results import ExplainerResult
from xai_bench.results.escape import markdown
from xai_bench.results.tracking.counterfactual_table import counterfactual_table
from xai_bench.types import Element, Explanation

pytestmark = pytest.mark.slow  # whole commands, or a whole folder of results

SECRET = "s3cr3t"
SMALL = ["data=iris", "model=linear", "explainer=[random]", "metric=[entropy]"]


def kept(folder: Path) -> bytes:
    """Everything that was written, names included."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return b"".join([*(path.read_bytes() for path in files), *(bytes(path) for path in files)])


@pytest.mark.sample(3)
@pytest.mark.parametrize(
    "setting",
    [
        "study=${oc.env:TOKEN}",
        "results=${oc.env:TOKEN}",
        "+model.hidden=['${oc.env:TOKEN}']",
        "data.name=${oc.env:TOKEN}",
        "data.name='${${recorder.tracking_uri}:TOKEN}'",
        "recorder.pictures=${oc.env:TOKEN}",
        f"recorder.tracking_uri=https://me:{SECRET}@host/x",
        f"recorder.tracking_uri=https://{SECRET}@host",
        f"data.name=ftp://me:{SECRET}@host",
    ],
)
def test_a_secret_in_a_configuration_is_refused_and_not_shown(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", SECRET)
    finished = run(tmp_path, "run", *SMALL, "recorder=mlflow", setting)
    assert finished.code == 2
    assert SECRET not in finished.text.replace(setting, "")
    assert SECRET.encode() not in kept(tmp_path)


def test_addresses_lose_their_passwords_wherever_a_failure_is_kept() -> None:
    def fail() -> None:
        raise OSError(f"cannot reach https://me:{SECRET}@host/a and http://{SECRET}@b")

    _, outcome = attempt(False, fail)
    assert SECRET not in outcome.reason + outcome.trace.replace(f":{SECRET}@host/a and", "")
    assert "https://***@host/a" in outcome.reason


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("https://me:pw@host/x", True),
        ("postgresql://me:p@ss@host", True),
        ("http://token@host", True),
        ("https://host/a@b", False),
        ("me@host", False),
        ("sqlite:////home/me/mlflow.db", False),
        ("http://host:5000", False),
    ],
)
def test_what_an_address_with_a_password_is(text: str, found: bool) -> None:
    assert has_password(text) is found
    assert (without_passwords(text) != text) is found


HOSTILE = [
    "a|b", "a\nb", "<script>alert(1)</script>", "[x](javascript:alert(1))", "![x](http://h/x)",
    "`a`", "**a**", "a\\|b", "&lt;b&gt;", "$x$", "\x1b[31m", "# a", "\u202eabc", "~~a~~",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_in_its_cell(name: str) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    table = f"| a | b |\n| --- | --- |\n| {markdown(name)} | end |\n"
    html = markdown_it.MarkdownIt("gfm-like", {"linkify": False}).render(table)
    assert html.count("<td>") == 2
    assert "<td>end</td>" in html
    inside = html.split("<td>")[1].split("</td>")[0]
    assert "<" not in inside
    assert "\x1b" not in inside
    assert "\u202e" not in inside


def test_counterfactuals_escape_names_and_categories() -> None:
    x, point = torch.tensor([[1.0, 0.0, 1.0]]), torch.tensor([[0.0, 1.0, 2.0]])
    result = ExplainerResult(
        "mine", "", "relevance", "counterfactual", {}, torch.tensor([0]),
        Explanation(x, counterfactuals=point[:, None]),
    )  # fmt: skip
    inputs = {"x": x, "units": torch.tensor([[0, 0, 1]])}
    elements = [Element(label="x|y"), Element(label="`z`\n| 1 | "), Element()]
    text = counterfactual_table(result, inputs, ["a|b", "<b>"], elements)
    assert text is not None
    [row] = text.splitlines()[2:]
    assert row.replace("\\|", "").count("|") == 3
    assert "<b>" not in text
