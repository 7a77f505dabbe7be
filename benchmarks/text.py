"""How fast and frugal is a study of texts? Against the floor of its rows, and against captum.

    python benchmarks/text.py            # MiniLM and SmolLM2: half an hour on two cores
    python benchmarks/text.py --quick    # a small transformer that is trained nowhere: a minute

One run gives ratios, which a busy machine changes little; `--clock cpu` (the default) less than the
wall's. Every row through the module is counted by a hook, on all sides.

1. The study: sentences of at most 64 tokens, twelve explainers and twelve metrics. Its floor is the
   time of the unique rows of ids at the best batch of their width, and of the rows that went there
   as embeddings, forward and back.
2. The same explainer, perturbations and words as captum: feature ablation, Shapley sampling and
   integrated gradients of the same network, one sample at a time as captum's users do.
3. SmolLM2: leave-one-out and Kernel SHAP over the words of prompts, for the answer's
   log-probability, and captum's LLMAttribution on the library's model: feature ablation and Shapley
   sampling, at as many rows for each prompt. `--only language_model` takes some minutes.

The network of 1 has random weights in its head, since how fast it is does not depend on them.
"""

# ruff: noqa: T201
from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor

from xai_bench.core.seeds import Seeds
from xai_bench.core.system.determinism import canonical
from xai_bench.core.tokens import TokenNetwork
from xai_bench.data.text.corpus import Example, TextOptions
from xai_bench.evaluation.context import ConfiguredExplainer, ConfiguredMetric, EvaluationContext
from xai_bench.evaluation.embeddings import at_embeddings
from xai_bench.evaluation.loop import evaluate
from xai_bench.models.base import Explained
from xai_bench.models.targets import PredictedProbability

ROOT = Path(__file__).parents[1]
EXPLAINERS = (
    "saliency", "input_x_gradient", "integrated_gradients", "leave_one_out", "kernel_shap", "lime",
    "attention_rollout", "generic_attention", "alti", "attn_lrp", "cp_lrp", "random",
)  # fmt: skip
METRICS = (
    "comprehensiveness", "sufficiency", "deletion", "insertion", "abpc", "log_odds",
    "decision_flip", "flip_share", "tau_loo", "faithfulness_correlation", "infidelity", "gini",
)  # fmt: skip
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
OPERATORS = {"explain": "mask", "measure": "deletion"}
BATCHES = (16, 32, 64, 128)


def component(group: str, name: str, **changes: Any) -> Any:
    """From its YAML, with the baselines of `OPERATORS`."""
    removal = "xai_bench.core.token_removal.TokenRemoval"
    slots = {slot: {"_target_": removal, "operator": one} for slot, one in OPERATORS.items()}
    node = OmegaConf.load(ROOT / "conf" / group / f"{name}.yaml")
    own = OmegaConf.merge(node.get(name, node), changes)
    whole = OmegaConf.merge({"baseline": slots}, {"it": own})
    return instantiate(whole.it, _convert_="all")


@dataclass
class Counted:
    """The rows that went through a network: ids by their bytes and width, embeddings by width."""

    ids: Counter[tuple[int, bytes]] = field(default_factory=Counter)
    embedded: Counter[int] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        return sum(self.ids.values()) + sum(self.embedded.values())


@contextmanager
def counting(network: TokenNetwork) -> Iterator[Counted]:
    found = Counted()

    def count(module: Any, args: tuple[Any, ...], kwargs: Any) -> None:
        x = args[0] if args else kwargs["x"]
        if x.dim() == 2:
            found.ids.update((x.shape[1], row.numpy().tobytes()) for row in x.detach())
        else:
            found.embedded[x.shape[1]] += len(x)

    handle = network.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield found
    finally:
        handle.remove()


def timed(clock: Callable[[], float], work: Callable[[], Any]) -> tuple[float, Any]:
    start = clock()
    out = work()
    return clock() - start, out


def study(args: argparse.Namespace) -> EvaluationContext:
    """Generated sentences for MiniLM, or for a small transformer."""
    bundle = component("data", "sentiment", n_rows=400).load()
    if not args.quick:
        texts = zip(bundle.train.texts.strings, bundle.train.y.tolist(), strict=True)
        examples = [Example(text, str(label)) for text, label in texts]
        bundle = TextOptions(tokenizer="minilm").bundle({"train": examples})
    name, none = ("text_transformer", "minilm")[not args.quick], {"training": {"max_epochs": 0}}
    predictor = component("model", name, **none).train(bundle, seed=0, on_epoch=lambda _: None)
    model = Explained(predictor.predictor, PredictedProbability(), max_rows=2048)
    inputs = bundle.evaluation(args.n_samples, 32)
    with torch.no_grad():
        targets = model.outputs(inputs).argmax(1)
    return EvaluationContext(model, inputs, targets, Seeds(0), batch_size=args.n_samples)


def seconds_per_row(
    network: TokenNetwork, width: int, clock: Callable[[], float], *, back: bool
) -> float:
    """At the best batch."""
    best = float("inf")
    for n in BATCHES:
        ids = torch.randint(5, network.n_symbols, (n, width)).float()
        with torch.set_grad_enabled(back):
            x = network.lookup(ids.long()).detach().requires_grad_() if back else ids

            def once(x: Tensor = x, ids: Tensor = ids) -> None:
                out = network(x, ids) if back else network(x)
                if back:
                    out.sum().backward()

            once()
            best = min(best, timed(clock, once)[0] / n)
    return best


def study_lines(args: argparse.Namespace, clock: Callable[[], float]) -> None:
    context = study(args)
    network: Any = context.model.module
    names = (EXPLAINERS[:6], METRICS[:6]) if args.quick else (EXPLAINERS, METRICS)
    metrics = [ConfiguredMetric(name, component("metric", name)) for name in names[1]]

    def all_of_it() -> list[Any]:
        budget = {"kernel_shap": {"budget": 256}, "lime": {"budget": 256}}
        explainers = [component("explainer", n, **budget.get(n, {})) for n in names[0]]
        pairs = zip(names[0], explainers, strict=True)
        return [evaluate(context, ConfiguredExplainer(n, e), metrics) for n, e in pairs]

    with canonical(), counting(network) as counted:
        spent, results = timed(clock, all_of_it)
    bad = {r.explainer: r.outcome.reason for r in results if r.outcome.status == "failed"}
    forward = Counter(width for width, _ in counted.ids)
    floor = sum(n * seconds_per_row(network, w, clock, back=False) for w, n in forward.items())
    floor += sum(
        n * seconds_per_row(network, w, clock, back=True) for w, n in counted.embedded.items()
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    size = f"{len(names[0])} explainers x {len(names[1])} metrics"
    print(f"study: {size}, {args.n_samples} sentences")
    print(f"  rows {counted.rows:,}, unique ids {len(counted.ids):,}; failed: {bad or 'none'}")
    print(f"  {spent:.1f} s, {spent / floor:.2f} of the floor; {peak:.1f} GiB at most")


def captum_lines(args: argparse.Namespace, clock: Callable[[], float]) -> None:
    """The same perturbations, ours in batches, captum's as its users call it."""
    from captum.attr import FeatureAblation, IntegratedGradients, ShapleyValueSampling

    context = study(args)
    network: Any = context.model.module
    n = min(args.n_samples, 4 if args.quick else 8)
    inputs, targets = context.inputs.take(torch.arange(n)), context.targets[:n]
    mask = inputs.domain.symbols.mask  # type: ignore[union-attr]
    orders = 4

    def logit(x: Tensor) -> Tensor:
        return network(x).softmax(1)

    def theirs(method: str) -> Iterator[None]:
        for row in range(n):
            x, target = inputs.x[row : row + 1], int(targets[row])
            units = inputs.units[row : row + 1].clamp(min=-1) + 1
            settings: dict[str, Any] = {"target": target, "baselines": float(mask)}
            if method == "leave_one_out":
                yield FeatureAblation(logit).attribute(x, feature_mask=units, **settings)
            elif method == "permutation_shapley":
                sampler = ShapleyValueSampling(logit)
                yield sampler.attribute(x, feature_mask=units, n_samples=orders, **settings)
            else:
                yield _integrated(IntegratedGradients, network, x, target, float(mask))

    budgets = {
        "leave_one_out": {},
        "permutation_shapley": {"budget": orders * (int(inputs.units.amax()) + 1) + 2},
        "integrated_gradients": {"budget": 32},
    }
    rng = Seeds(0).stream("explain", samples=inputs.index)
    # As from Python: the same bits in any batch are a run's.
    model = replace(context.model, exact=False)  # type: ignore[type-var]

    def ours(explainer: Any) -> None:
        explainer.explain(model, inputs, targets, rng=rng)

    for method, budget in budgets.items():
        made = ConfiguredExplainer(method, component("explainer", method, **budget))
        work = partial(ours, at_embeddings(made, inputs).explainer)
        with canonical(), counting(network) as our_rows:
            spent, _ = timed(clock, work)
        with counting(network) as their_rows:
            their, _ = timed(clock, lambda name=method: list(theirs(name)))
        print(
            f"captum, {method}: {their_rows.rows / our_rows.rows:.1f} times our rows, "
            f"{their / spent:.1f} times our {args.clock} time"
        )


def _integrated(kind: Any, network: Any, x: Tensor, target: int, mask: float) -> Any:
    """Captum's at the embeddings, against the mask token's."""
    start = network.lookup(torch.full_like(x, mask).long())

    def at(embedded: Tensor) -> Tensor:
        return network(embedded, x.expand(len(embedded), -1)).softmax(1)

    point = network.lookup(x.long())
    return kind(at).attribute(point, baselines=start, target=target, n_steps=32)


def language_model_lines(args: argparse.Namespace, clock: Callable[[], float]) -> None:
    """Captum's wrapper of language models on the library's SmolLM2 and ours on the network that is
    written out: which words of a prompt its answer rests on, a word removed by deletion.
    """
    from xai_bench.models.text.targets import Continuation

    n = min(args.n_samples, 8)
    bundle = component("data", "name_mover", n_rows=60, tokenizer="smollm2").load()
    trained = component("model", "smollm2").train(bundle, seed=0, on_epoch=lambda _: None)
    target = Continuation()
    model = Explained(trained.predictor, target, max_rows=256)
    inputs = target.prepare(bundle.evaluation(n, 8))
    targets = torch.zeros(n, dtype=torch.long)
    network: Any = model.module
    rng = Seeds(0).stream("explain", samples=inputs.index)
    prompts = bundle.test.texts.take(inputs.index)
    words = prompts.unit_texts(inputs.units)
    n_tokens = int(inputs.context["length"].sum())
    print(f"SmolLM2, {n} prompts of {n_tokens} tokens and {sum(map(len, words))} words:")

    def ours(name: str, **changes: Any) -> None:
        removal = {"_target_": "xai_bench.core.token_removal.TokenRemoval", "operator": "deletion"}
        explainer = component("explainer", name, baseline=removal, **changes)
        with canonical(), counting(network) as counted:
            spent, _ = timed(clock, lambda: explainer.explain(model, inputs, targets, rng=rng))
        _per_token(f"ours, {name}", counted.rows, spent, n_tokens, args.clock)

    answers = inputs.context["answers"][:, 0]
    theirs = _Wrapped(list(zip(prompts.strings, words, answers, strict=True)))
    with torch.no_grad():  # the first call of a network takes longer than others
        theirs.module(torch.ones(1, 8, dtype=torch.long))
        model.outputs(inputs.take(torch.arange(1)))
    for name, ours_name, settings in (
        ("FeatureAblation", "leave_one_out", {}),
        ("ShapleyValueSampling", "kernel_shap", {"n_samples": 3}),
    ):
        work = partial(theirs.attribute, name, **settings)
        spent, rows = timed(clock, work)
        _per_token(f"captum LLMAttribution, {name}", rows, spent, n_tokens, args.clock)
        # As many rows for each prompt, where ours has a budget.
        ours(ours_name, **({"budget": rows // n} if settings else {}))


def _per_token(name: str, rows: int, spent: float, n_tokens: int, clock: str) -> None:
    each = 1000 * spent / n_tokens
    print(f"  {name}: {rows} rows, {rows / n_tokens:.1f} and {each:.0f} ms {clock} a token")


class _Wrapped:
    """Captum's wrapper on the model of the library; `cases` are prompt, words, answer `[M]`."""

    def __init__(self, cases: list[tuple[str, list[str], Tensor]]) -> None:
        from captum import attr

        from xai_bench.data.text.hf_tokenizer import HuggingFaceTokenizer
        from xai_bench.models.transformers.hf import Original

        self.cases, self.attr = cases, attr
        self.module = Original.read("smollm2", "language_model").module
        self.tokenizer = HuggingFaceTokenizer.read("smollm2").tokenizer

    def attribute(self, method: str, **settings: Any) -> int:
        """One prompt after the other, as the wrapper asks; how many rows the model computed."""
        rows: list[int] = []

        def count(module: Any, args: Any, out: Any) -> None:
            rows.append(len(out[0]))

        handle = self.module.base_model.register_forward_hook(count)
        wrapper = self.attr.LLMAttribution(getattr(self.attr, method)(self.module), self.tokenizer)
        for prompt, words, answer in self.cases:
            asked = self.attr.TextTemplateInput(_template(prompt, words), words)
            wrapper.attribute(asked, target=answer[answer >= 0], **settings)
        handle.remove()
        return sum(rows)


def _template(prompt: str, words: list[str]) -> str:
    """The prompt with a place for each of its words."""
    made, rest = "", prompt
    for word in words:
        before, _, rest = rest.partition(word)
        made += before + "{}"
    return made + rest


PARTS = {"study": study_lines, "captum": captum_lines, "language_model": language_model_lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--n-samples", type=int, default=32)
    parser.add_argument("--only", choices=list(PARTS), default=None)
    parser.add_argument("--clock", choices=list(CLOCKS), default="cpu")
    args = parser.parse_args()
    args.n_samples = min(args.n_samples, 8) if args.quick else args.n_samples
    clock = CLOCKS[args.clock]
    torch.set_num_threads(1)
    for name, lines in PARTS.items():
        is_long = name == "language_model" and args.quick
        if args.only in (None, name) and (args.only or not is_long):
            lines(args, clock)


if __name__ == "__main__":
    main()
