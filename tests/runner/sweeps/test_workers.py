"""Jobs over several processes: all are done, whatever becomes of one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from xai_bench.runner.config.command import parse
from xai_bench.runner.config.compose import composed
from xai_bench.runner.sweeps import workers
from xai_bench.runner.sweeps.display import Screen, duration
from xai_bench.runner.sweeps.progress import Display

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked")


def test_every_job_is_done_once_and_its_progress_is_shown(capfd: pytest.CaptureFixture) -> None:
    def work(number: int, note: str, display: Display) -> str:
        display.start(f"cell {number}")
        display.line(f"  explainer of {number}, {note}")
        display.stop()
        return "skipped" if number == 2 else "ok"

    with Screen(5, n_finished=1, n_workers=2) as screen:
        statuses = workers.spread(work, [1, 2, 3, 4], 2, screen)
    assert statuses == {1: "ok", 2: "skipped", 3: "ok", 4: "ok"}
    lines = capfd.readouterr().err.splitlines()
    assert [sum(f"cell {n}  explainer of {n}" in line for line in lines) for n in (1, 2, 3, 4)] == [
        1, 1, 1, 1,
    ]  # fmt: skip
    assert all(f"run {n} of 5" in "\n".join(lines) for n in (2, 3, 4, 5))
    assert not multiprocessing.active_children()


def test_a_job_that_ends_its_process_fails_and_stops_no_other(
    capfd: pytest.CaptureFixture,
) -> None:
    def work(number: int, note: str, display: Display) -> str:
        display.start(f"cell {number}")
        if number == 1:
            os._exit(0)
        if number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return "ok"

    with Screen(4, n_workers=2) as screen:
        statuses = workers.spread(work, range(4), 2, screen)
    assert statuses == {0: "ok", 1: "failed", 2: "failed", 3: "ok"}
    told = capfd.readouterr().err
    assert "cell 1  its process was ended by something in it" in told
    assert "cell 2  its process was killed by signal 9" in told


def test_an_interrupt_ends_all_processes(tmp_path: Path) -> None:
    # Whoever starts tests in the background of a script has Ctrl-C ignored in them.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def work(number: int, note: str, display: Display) -> str:
        (tmp_path / str(number)).touch()
        try:
            time.sleep(60)
        finally:
            (tmp_path / f"{number} cleaned").touch()
        return "ok"

    def interrupt() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    try:
        with Screen(4, n_workers=2) as screen, pytest.raises(KeyboardInterrupt):
            workers.spread(work, range(4), 2, screen)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not multiprocessing.active_children()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "0 cleaned", "1", "1 cleaned"]


@pytest.mark.slow
def test_a_configuration_with_other_values_is_as_composed_anew() -> None:
    """Jobs that differ in values only are composed once."""
    overrides = ["data=iris", "explainer=[lime]", "seed=0,7", "explainer.lime.budget=50,60", "-m"]
    with composed(parse(overrides)) as jobs:
        every = jobs.overrides()
        quick = [jobs.config(one) for one in every]
        for one, cfg in zip(every, quick, strict=True):
            jobs._base = None
            anew = jobs.config(one)
            assert OmegaConf.to_container(cfg) == OmegaConf.to_container(anew)
    assert [(c.seed, c.explainer.lime.budget) for c in quick] == [
        (0, 50),
        (0, 60),
        (7, 50),
        (7, 60),
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "about 1 s"), (75, "about 75 s"), (200, "about 3 min"), (7200, "about 2 h")],
)
def test_time_that_is_left_is_told_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
