"""Your own torch module and tensors: explain, score and compare, without any configuration."""

from pathlib import Path

import torch
from sklearn.datasets import load_wine
from torch import nn

import xai_bench

wine = load_wine()
x = torch.tensor(wine.data, dtype=torch.float32)
x, y = (x - x.mean(0)) / x.std(0), torch.tensor(wine.target)
order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
train, test = order[:130], order[130:]

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
for _ in range(100):
    optimiser.zero_grad()
    nn.functional.cross_entropy(model(x[train]), y[train]).backward()
    optimiser.step()
accuracy = (model(x[test]).argmax(1) == y[test]).float().mean()
print(f"accuracy {accuracy:.2f} on {len(test)} wines that it has not seen\n")

bench = xai_bench.workbench(model, x[test], background=x[train])
attribution = bench.explain("integrated_gradients")[0]
for unit in attribution.abs().argsort(descending=True)[:3]:
    print(f"first wine: {wine.feature_names[unit]} contributes {attribution[unit]:+.2f}")

table = bench.compare(
    ["integrated_gradients", "kernel_shap", "saliency", "random"],
    ["abpc", "faithfulness_correlation", "max_sensitivity", "forward_rows"],
)
path = Path("results", "own_model.csv")
path.parent.mkdir(exist_ok=True)
table.to_csv(path)
print(f"\n{table.round(3).to_string()}\n\nthe table is in {path}")
