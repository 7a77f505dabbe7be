"""Scores of a study as a pandas frame, one row per scored sample; run sweep.sh first."""

from pathlib import Path

from xai_bench.results.store.store import Store

store = Store(Path("results").absolute())
scores = store.frame("sweep")
columns = ["data", "model", "seed", "explainer", "metric", "index", "score"]
print(scores[columns].head(4).to_string(), "\n")

means = scores.pivot_table("score", ["data", "model", "explainer"], "metric")
print(means.round(3).to_string(), "\n")

abpc = scores[(scores.metric == "abpc") & (scores.data == "wine") & (scores.model == "mlp")]
pairs = abpc.pivot_table("score", ["seed", "index"], "explainer")
ahead = (pairs.integrated_gradients > pairs.saliency).mean()
print(f"wine, mlp: integrated_gradients beats saliency on {ahead:.0%} of {len(pairs)} samples")

path = Path("results", "sweep.csv")
scores.to_csv(path, index=False)
print(f"all {len(scores)} rows are in {path}")
