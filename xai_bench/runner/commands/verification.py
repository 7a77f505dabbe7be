"""`xai-bench verify`: runs some cells of a study again and compares every number that repeats."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from torch import Tensor

from xai_bench.results import Cell
from xai_bench.results.store.store import Store
from xai_bench.runner.cells import provenance
from xai_bench.runner.cells.job import job
from xai_bench.runner.cells.plan import Plan
from xai_bench.runner.config.command import Command, parse
from xai_bench.runner.config.compose import jobs
from xai_bench.runner.config.messages import UsageError
from xai_bench.runner.sweeps.sweep import one_thread

STUDY = "verification"
_SHOWN = 10
_MACHINE = ("code_version", "python", "cpu_capability", "processor", "device", "threads")
"""Of an environment, what may change the bits of a number, beside the libraries."""


@dataclass(frozen=True)
class Difference:
    """One array of the study that came out otherwise.

    Attributes:
        name: what it is, such as `lime, abpc`.
        size: the largest difference, as a share of the largest stored value; infinite where
            something is scored in one of the two only.
    """

    name: str
    size: float


@dataclass(frozen=True)
class Verified:
    """One cell after it was run again.

    Attributes:
        n_arrays: how many arrays were compared: predictions, attributions, scores of one metric.
        changed: versions and machine properties that differ, `torch 2.12 -> 2.13`; without any,
            the same bytes are expected.
        differences: what is not within the tolerance, the largest first.
        largest: the largest difference of all.
    """

    cell: Cell
    n_arrays: int
    changed: tuple[str, ...]
    differences: tuple[Difference, ...]
    largest: float = 0.0

    @property
    def sentence(self) -> str:
        """What became of the cell, in one line."""
        title = f"{self.cell.data} · {self.cell.model} · seed {self.cell.seed}"
        if self.differences:
            worst = self.differences[0]
            size = "scored only once" if worst.size == float("inf") else f"{worst.size:.2g}"
            n = len(self.differences)
            return f"{title}: {n} of {self.n_arrays} arrays differ, most {worst.name} ({size})"
        if self.changed:
            where = f"under {', '.join(self.changed)}"
            return f"{title}: {self.n_arrays} arrays agree within {self.largest:.2g} {where}"
        return f"{title}: {self.n_arrays} arrays, the same bits"


@dataclass(frozen=True)
class Computed:
    """One cell of a study, as a store holds it."""

    store: Store
    study: str
    cell: Cell

    def arrays(self) -> Iterator[tuple[str, Tensor]]:
        """The name and values of everything that the same code gives again."""
        predictions = self.store.read_predictions(self.cell.key)
        if predictions is not None:
            yield "the model's outputs", predictions.outputs
        for result in self.store.explanations(self.study, self.cell.key):
            name = f"{result.explainer} ({result.regime})" if result.regime else result.explainer
            if result.explanation is not None:
                yield f"{name}, attributions", result.explanation.attribution
            for scores in result.scores.values():
                if scores.reproducible and scores.outcome.status == "ok":
                    yield f"{name}, {scores.metric}", scores.values


def chosen(cells: Sequence[Cell], share: float) -> list[Cell]:
    """The cells that are run again: `share` of them, one at least, always the same ones."""
    # By their addresses, which are as good as drawn at random, and nobody can pick them.
    in_order = sorted(cells, key=lambda cell: provenance.digest({"verify": cell.key}))
    return in_order[: max(1, round(share * len(cells)))]


def verify(
    results: Path, study: str, share: float, tolerance: float, allow: Sequence[str] = ()
) -> Iterator[Verified]:
    """Run a share of a study's cells again, each in a folder of its own that is then removed.

    The cells are run by the commands that the study lists, from the current folder. A stored
    command is trusted with no package: those that may run code are in `allow`. Raises `UsageError`
    where no command gives the cell any more.
    """
    store = Store(results)
    cells = [cell for cell, _ in store.cells(study, attributions=False)]
    for cell in chosen([c for c in cells if c.outcome.status == "ok"], share):
        with tempfile.TemporaryDirectory(prefix="xai-bench-verify-") as folder:
            commands = store.study_manifest(study, cell.key).commands
            again = _run_again(cell, commands, Path(folder), allow)
            stored = Computed(store, study, cell)
            yield _compared(stored, Computed(again, STUDY, _cell_of(again, cell)), tolerance)


def show(study: str, verified: Iterable[Verified]) -> int:
    """Print a line per cell and what differs in it; the exit code, 1 where something does."""
    n_cells, n_wrong = 0, 0
    for cell in verified:
        n_cells, n_wrong = n_cells + 1, n_wrong + bool(cell.differences)
        sys.stdout.write(f"{cell.sentence}\n")
        for difference in cell.differences[:_SHOWN]:
            sys.stdout.write(f"    {difference.name}: {difference.size:.2g}\n")
        sys.stdout.flush()
    cells = "1 cell was" if n_cells == 1 else f"{n_cells} cells were"
    sys.stdout.write(f"{study}: {cells} run again, {n_wrong} of them differ\n")
    return 1 if n_wrong or not n_cells else 0


def _run_again(cell: Cell, commands: Sequence[str], folder: Path, allow: Sequence[str]) -> Store:
    """A store in `folder` with the cell, as all commands that gave it give it now."""
    n_runs = 0
    for text in commands:
        for cfg in jobs(_command(text, folder, allow), _wanted(cell)):
            HydraConfig.instance().set_config(cfg)
            cfg = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
            plan = Plan.of(cfg)
            if plan.identity == cell.config and _names(plan.cell()) == _names(cell):
                with _threads_of(cell):
                    job(cfg)
                n_runs += 1
    if not n_runs:
        raise UsageError(
            f"{cell.data}, {cell.model}, seed {cell.seed}: no command of the study gives this cell "
            f"with the configuration it was stored with; they are: {'; '.join(commands)}"
        )
    return Store(folder)


def _threads_of(cell: Cell) -> AbstractContextManager[None]:
    """One thread, as in a sweep, for a cell that was made with one: others may round otherwise."""
    return one_thread() if cell.environment.get("threads") == "1" else nullcontext()


def _command(text: str, folder: Path, allow: Sequence[str]) -> Command:
    """The stored command with results, study and recorder of its own."""
    command = parse(shlex.split(text)[2:])
    own = {"results": str(folder), "study": STUDY, "recorder": "none"}
    if allow:
        own["allow"] = f"[{','.join(allow)}]"
    kept = [o for o in command.overrides if o.lstrip("+").partition("=")[0] not in {*own, "allow"}]
    return replace(command, overrides=(*kept, *(f"{k}={v}" for k, v in own.items())))


def _wanted(cell: Cell) -> Mapping[str, str]:
    return {
        **{name: getattr(cell, name) for name in ("data", "model", "view", "target")},
        "seed": str(cell.seed),
        "baseline@baseline.explain": cell.baseline_explain,
        "baseline@baseline.measure": cell.baseline_measure,
    }


def _names(cell: Cell) -> tuple[str | int, ...]:
    slots = (cell.baseline_explain, cell.baseline_measure)
    return (cell.data, cell.model, cell.view, cell.target, cell.seed, *slots)


def _cell_of(store: Store, wanted: Cell) -> Cell:
    """The one cell of the new store."""
    for cell, _ in store.cells(STUDY, attributions=False):
        if cell.config == wanted.config:
            return cell
    raise UsageError(f"{wanted.data}, {wanted.model}: the cell was run again and left no result")


def _compared(stored: Computed, again: Computed, tolerance: float) -> Verified:
    new = dict(again.arrays())
    sizes = [Difference(name, _gap(old, new.get(name))) for name, old in stored.arrays()]
    changed = _changed(stored.cell.environment, again.cell.environment)
    bound = tolerance if changed else 0.0
    wrong = sorted((d for d in sizes if d.size > bound), key=lambda d: -d.size)
    largest = max((d.size for d in sizes), default=0.0)
    return Verified(stored.cell, len(sizes), changed, tuple(wrong), largest)


def _gap(before: Tensor, after: Tensor | None) -> float:
    """The largest difference over the largest finite value of `before`; 0 for the same bits."""
    if after is None or before.shape != after.shape:
        return float("inf")
    a, b = before.double(), after.double()
    same = (a == b) | (a.isnan() & b.isnan())
    if bool(same.all()):
        return 0.0
    gap = (a - b)[~same].abs()
    if not bool(gap.isfinite().all()):
        return float("inf")
    finite = a[a.isfinite()]
    scale = float(finite.abs().max()) if finite.numel() else 0.0
    return float(gap.max()) / scale if scale > 0 else float("inf")


def _changed(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[str, ...]:
    names = (*_MACHINE, *provenance.libraries())
    return tuple(
        f"{name} {before.get(name)} -> {after.get(name)}"
        for name in names
        if before.get(name) != after.get(name)
    )
