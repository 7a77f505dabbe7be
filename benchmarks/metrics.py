"""How fast and how frugal are the metrics? Against Quantus 0.6.0, and against the floor.

    python benchmarks/metrics.py --quantus-python /path/to/venv/bin/python
    python benchmarks/metrics.py --memory

One run: 12 explainers' maps, the metrics that both have, the same number of perturbations, a CNN on
digits and a network on a table. Forward rows are counted by a hook on the model, on both sides. The
floor is the time of the explanations that the metrics ask for, plus that of all different rows of
the model at its best batch size. Without `--quantus-python` only our side is measured; that Python
needs `pip install quantus==0.6.0 safetensors` and the same torch.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from xai_bench.core.seeds import Seeds
from xai_bench.core.system import memory as process_memory
from xai_bench.core.system.determinism import canonical
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.loop import evaluate
from xai_bench.models.base import Explained, TorchPredictor
from xai_bench.models.targets import PredictedLogit
from xai_bench.types import Explanation

ROOT = Path(__file__).parents[1]
WORLDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "digits": ("digits", "cnn", {"patch": 1}),
    "table": ("breast_cancer", "mlp", {"fractions": [0.4, 0.1, 0.5]}),
}
"""Data, model, and what is unlike the YAML: half of the table is its test part, 285 rows."""
EXPLAINERS = (
    "saliency", "gradient", "input_x_gradient", "integrated_gradients", "smoothgrad", "deeplift",
    "expected_gradients", "leave_one_out", "kernel_shap", "lime", "input_magnitude", "random",
)  # fmt: skip
METRICS = (
    "faithfulness_correlation", "faithfulness_estimate", "deletion", "monotonicity_arya",
    "monotonicity_correlation", "infidelity", "completeness_gap", "non_sensitivity",
    "region_perturbation", "selectivity", "max_sensitivity", "average_sensitivity",
    "local_lipschitz", "relative_input_stability", "relative_output_stability", "entropy", "gini",
)  # fmt: skip
IMAGES_ONLY = ("region_perturbation", "selectivity")
BASELINE = {"_target_": "xai_bench.core.baselines.Constant", "value": 0.0}
MAX_ROWS = 4096
BATCHES = (64, 256, 1024, 4096)


def config(group: str, name: str, **changes: Any) -> dict[str, Any]:
    """A component's resolved node; `changes` only where it has such a setting."""
    node = OmegaConf.load(ROOT / "conf" / group / f"{name}.yaml")
    node = node.get(name, node)
    known = {key: value for key, value in changes.items() if key in node}
    both = {"explain": BASELINE, "measure": BASELINE}
    tree = OmegaConf.create({"baseline": both, "node": OmegaConf.merge(node, known)})
    found: dict[str, Any] = OmegaConf.to_container(tree, resolve=True)["node"]  # type: ignore[index]
    return found


def component(group: str, name: str, **changes: Any) -> Any:
    return instantiate(config(group, name, **changes), _convert_="all")


@dataclass
class Meter:
    """Rows through the module, and which of them are new, while `open`."""

    rows: int = 0
    open: bool = True
    seen: set[int] | None = None

    def __call__(self, module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self.rows += len(args[0])
        if self.open and self.seen is not None:
            flat = args[0].detach().flatten(1).contiguous().numpy()
            self.seen |= {hash(row.tobytes()) for row in flat}


@dataclass
class Timed:
    """An explainer whose explanations are timed and whose rows are its own affair."""

    explainer: Any
    meter: Meter
    seconds: float = 0.0

    @property
    def kind(self) -> str:
        return str(self.explainer.kind)

    @property
    def category(self) -> str:
        return str(self.explainer.category)

    def explain(self, *args: Any, **named: Any) -> Tensor:
        start, self.meter.open = time.perf_counter(), False
        found: Tensor = self.explainer.explain(*args, **named)
        self.meter.open = True
        self.seconds += time.perf_counter() - start
        return found


@dataclass
class World:
    """A trained model, what is explained, and maps by every explainer."""

    name: str
    module: nn.Module
    bench: EvaluationContext
    explainers: dict[str, Any]
    maps: dict[str, Tensor]
    metrics: tuple[str, ...]

    @property
    def image(self) -> bool:
        return self.bench.inputs.x.dim() > 2


def prepared(name: str, args: argparse.Namespace) -> World:
    data, model, changes = WORLDS[name]
    bundle = component("data", data, **changes).load()
    trained = component("model", model).train(bundle, seed=0, on_epoch=lambda _: None)
    module = trained.predictor.module
    inputs = bundle.evaluation(args.n_samples, 256)
    explained = Explained(trained.predictor, PredictedLogit(), MAX_ROWS)
    with torch.no_grad():
        targets = explained.outputs(inputs).argmax(1)
    n = len(inputs)
    bench = EvaluationContext(
        explained, inputs, targets, Seeds(0), labels=bundle.test.y[:n], batch_size=n, strict=True
    )
    nodes = {e: config("explainer", e) for e in args.explainers}
    maps = {e: _map(bench, e, instantiate(node, _convert_="all")) for e, node in nodes.items()}
    here = bench.inputs.x.dim() > 2
    metrics = tuple(m for m in args.metrics if here or m not in IMAGES_ONLY)
    return World(name, module, bench, nodes, maps, metrics)


def _map(bench: EvaluationContext, name: str, explainer: Any) -> Tensor:
    found = evaluate(bench, ConfiguredExplainer(name, explainer), [])
    assert found.explanation is not None
    return found.explanation.attribution


def ours(world: World, args: argparse.Namespace, *, unique: bool = False) -> dict[str, float]:
    """All metrics of all explainers, once: seconds, rows, and what the explanations took."""
    meter = Meter(seen=set() if unique else None)
    hook = world.module.register_forward_pre_hook(meter)
    draws = {"n_draws": args.n_draws}
    judges = [
        ConfiguredMetric(
            m, component("metric", m, **(draws if _random_sets(m) else {"n_draws": args.n_near}))
        )
        for m in world.metrics
    ]
    bench, spent = replace(world.bench, shared={}), 0.0
    start = time.perf_counter()
    for name, node in world.explainers.items():
        explainer = Timed(instantiate(node, _convert_="all"), meter)
        evaluate(
            bench, ConfiguredExplainer(name, explainer), judges, given=Explanation(world.maps[name])
        )  # type: ignore[arg-type]
        spent += explainer.seconds
    seconds = time.perf_counter() - start
    hook.remove()
    return {
        "seconds": seconds,
        "rows": meter.rows,
        "explaining": spent,
        "unique": len(meter.seen or ()),
    }


def _random_sets(metric: str) -> bool:
    return metric in ("faithfulness_correlation", "infidelity")


def seconds_per_row(world: World) -> float:
    """At the best batch size."""
    x = world.bench.inputs.x
    found = []
    for size in BATCHES:
        batch = x[torch.arange(size) % len(x)]
        with torch.no_grad():
            world.module(batch)
            times = []
            for _ in range(9):
                start = time.perf_counter()
                world.module(batch)
                times.append(time.perf_counter() - start)
        found.append(statistics.median(times) / size)
    return min(found)


def theirs(world: World, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Quantus on the same maps, in its own Python."""
    bench = world.bench
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = bench.inputs
        saved = {
            "x": inputs.x,
            "units": inputs.units[:1].contiguous(),
            "targets": bench.targets,
            "background": inputs.domain.background,
            "scale": inputs.domain.scale,
            **{f"map.{name}": map_ for name, map_ in world.maps.items()},
        }
        torch.save(saved, folder / "data.pt")
        torch.save(world.module, folder / "model.pt")
        settings = {
            "explainers": world.explainers,
            "metrics": world.metrics,
            "image": world.image,
            "n_samples": len(inputs),
            "n_outputs": bench.model.n_outputs,
            "n_draws": args.n_draws,
            "n_near": args.n_near,
            "max_rows": MAX_ROWS,
            "threads": torch.get_num_threads(),
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("QUANTUS_PYTHONPATH")]))
        script = Path(__file__).with_name("metrics_quantus.py")
        environment = {**os.environ, "PYTHONPATH": path}
        subprocess.run([args.quantus_python, script, folder], check=True, env=environment)
        found: list[dict[str, Any]] = json.loads((folder / "quantus.json").read_text())
        return found


def compared(name: str, args: argparse.Namespace) -> None:
    world = prepared(name, args)
    peer = theirs(world, args) if args.quantus_python else []
    failed = {one["metric"]: one["failure"] for one in peer if one["failure"]}
    for metric, reason in failed.items():
        print(f"  Quantus cannot do {metric} here: {reason}")
    shared = tuple(m for m in world.metrics if m not in failed)
    world = replace(world, metrics=shared)
    ours(world, args)  # warm-up
    runs = [ours(world, args) for _ in range(args.repeats)]
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    unique = ours(world, args, unique=True)["unique"]
    floor = middle["explaining"] + unique * seconds_per_row(world)
    n = len(world.bench.inputs)
    print(
        f"{name}: {n} samples, {len(world.explainers)} explainers, {len(shared)} metrics, "
        f"median of {args.repeats}\n"
        f"  ours     {middle['seconds']:9.2f} s  {middle['rows']:>12,.0f} rows\n"
        f"  floor    {floor:9.2f} s  {unique:>12,.0f} different rows beside explanations "
        f"({middle['explaining']:.2f} s)\n"
        f"  ours / floor    {middle['seconds'] / floor:.2f}"
    )
    if not peer:
        print("  Quantus not measured: give --quantus-python PATH")
        return
    kept = [one for one in peer if one["metric"] in shared]
    seconds, rows = (sum(one[key] for one in kept) for key in ("seconds", "rows"))
    print(
        f"  Quantus  {seconds:9.2f} s  {rows:>12,.0f} rows (one run)\n"
        f"  Quantus / ours  {seconds / middle['seconds']:.1f} in seconds, "
        f"{rows / middle['rows']:.1f} in rows"
    )


def memory(args: argparse.Namespace) -> None:
    """2,000 samples x 784 units: the highest resident memory above the prepared process.

    Measured on the first `--batches` batches of 64 samples. From one batch to the next nothing
    stays but what is shared between explainers, so that the peak of all batches is that of these
    plus what the others would leave behind.
    """
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * 14 * 14, 10),
    )  # fmt: skip
    from xai_bench.types import Domain, Inputs

    n, explained = args.n_samples, Explained(TorchPredictor(module, 10), PredictedLogit(), MAX_ROWS)
    x = torch.randn(n, 1, 28, 28)
    units = torch.arange(784).view(1, 28, 28).expand(n, 1, 28, 28)
    domain = Domain(x[:256].clone(), torch.ones(1, 28, 28))
    inputs = Inputs(x=x, units=units, index=torch.arange(n), domain=domain)
    with torch.no_grad():
        targets = explained.outputs(inputs).argmax(1)
    bench = EvaluationContext(explained, inputs, targets, Seeds(0), batch_size=64, strict=True)
    n_batches = len(bench.batches())
    measured = min(args.batches or n_batches, n_batches)
    some = torch.cat(bench.batches()[:measured])
    bench = replace(bench, inputs=inputs.take(some), targets=targets[some])
    candidate = ConfiguredExplainer("input_x_gradient", component("explainer", "input_x_gradient"))
    print(f"{measured} of {n_batches} batches of 64 samples, one explainer", flush=True)
    before = _resident("VmRSS")
    for metric in args.metrics:
        draws = {"n_draws": args.n_draws if _random_sets(metric) else args.n_near}
        judge, here = (
            ConfiguredMetric(metric, component("metric", metric, **draws)),
            replace(bench, shared={}),
        )
        process_memory.give_back()
        Path("/proc/self/clear_refs").write_text("5")
        start = time.perf_counter()
        evaluate(here, candidate, [judge])
        peak = _resident("VmHWM") - before
        left = _held(here.shared) / measured
        total = peak + left * (n_batches - measured)
        print(
            f"{metric:>28} {peak / 2**30:6.2f} GiB above {before / 2**30:.2f}, "
            f"{left / 2**20:6.1f} MiB left per batch: {total / 2**30:.2f} GiB for {n:,} samples  "
            f"{time.perf_counter() - start:7.1f} s",
            flush=True,
        )


def _held(kept: Any) -> int:
    """Bytes of all tensors in there, each storage once."""
    storages: dict[int, int] = {}
    waiting = [kept]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Tensor):
            storage = one.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
        elif is_dataclass(one):
            waiting += [getattr(one, field.name) for field in fields(one)]
    return sum(storages.values())


def _resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quantus-python", help="a Python that has Quantus 0.6.0")
    parser.add_argument("--memory", action="store_true", help="the memory part instead")
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=list(WORLDS))
    parser.add_argument("--explainers", nargs="+", default=list(EXPLAINERS))
    parser.add_argument("--metrics", nargs="+", default=list(METRICS))
    parser.add_argument("--n-samples", type=int, help="256; with --memory 2000")
    parser.add_argument("--n-draws", type=int, default=100, help="random sets per sample")
    parser.add_argument("--n-near", type=int, default=10, help="neighbours per sample")
    parser.add_argument("--batches", type=int, default=2, help="with --memory; 0 for all")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    args.metrics = [m for m in args.metrics if (ROOT / f"conf/metric/{m}.yaml").exists()]
    args.n_samples = args.n_samples or (2000 if args.memory else 256)
    with canonical():
        if args.memory:
            memory(args)
            return
        for name in args.worlds:
            compared(name, args)


if __name__ == "__main__":
    sys.exit(main())
