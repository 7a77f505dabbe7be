"""Counterfactuals of a stored study, in the words of the table; run counterfactuals.sh first."""

from pathlib import Path

from xai_bench.results.store.store import Store
from xai_bench.results.tracking.counterfactual_table import counterfactual_table

store = Store(Path("results").absolute())
for cell, results in store.cells("counterfactuals"):
    inputs = store.read_inputs(cell.key)
    words = store.unit_names(cell.key), store.elements(cell.key)
    for result in results:
        table = counterfactual_table(result, inputs, *words) or ""
        print(result.explainer, "", *table.splitlines()[:6], "", sep="\n")
    print(f"every point is in {store.folder(cell.key)}/*/attribution.safetensors")
