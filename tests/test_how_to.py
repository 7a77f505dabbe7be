"""The pages of docs/how-to are true: their files are tested and run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import command_line, pages
from tests.support.paths import ROOT
from xai_bench.results.store.store import Store
from xai_bench.runner.config.catalogue import GROUPS

HOW_TO = ROOT / "docs" / "how-to"
PAGES = sorted(path.stem for path in HOW_TO.glob("*.md") if path.stem != "README")
SMALL = (
    "recorder=none", "evaluation.n_samples=8", "metric=[abpc]", "explainer=random",
    "report.figures=[]",
)  # fmt: skip


def test_there_is_a_page_for_every_group_but_the_studies() -> None:
    assert set(PAGES) == set(GROUPS) - {"experiment"}
    index = (HOW_TO / "README.md").read_text(encoding="utf-8")
    assert all(f"({page}.md)" in index for page in PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_a_class_its_yaml_and_a_test(name: str) -> None:
    shown = pages.files(HOW_TO / f"{name}.md")
    suffixes = sorted(Path(path).suffix for path in shown)
    assert suffixes == [".py", ".py", ".yaml"]
    assert any(re.search(r"/test_\w+\.py$", path) for path in shown)


@pytest.mark.sample(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_the_files_of_a_page_run_as_they_are_shown(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = HOW_TO / f"{name}.md"
    written = pages.write(page, tmp_path)
    [test] = [path for path in written if path.name.startswith("test_")]
    [yaml] = [path for path in written if path.suffix == ".yaml"]
    with command_line.in_folder(tmp_path):
        assert pages.run_tests(test, tmp_path)
        shown = [words for text in pages.blocks(page, "sh") for words in pages.commands(text)]
        assert any(words[1] == "run" for words in shown)
        for program, command, *arguments in shown:
            assert program == "xai-bench"
            small = quick(arguments) if command == "run" else []
            code = command_line.exit_code([command, *arguments, *small])
            printed = capsys.readouterr()
            assert code == 0, printed.err
            assert command != "check" or yaml.stem in printed.out
    statuses = Store(tmp_path / "results").outcomes("default").status
    assert set(statuses) == {"ok"}


def quick(arguments: list[str]) -> list[str]:
    """Settings that a command leaves open, made small."""
    keys = {argument.partition("=")[0] for argument in arguments}
    return [setting for setting in SMALL if setting.partition("=")[0] not in keys]
