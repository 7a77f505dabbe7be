"""The vocabulary of `xai_bench`. Nothing here imports the rest of the package.

Letters used for shapes everywhere: `B` samples in a batch, `*S` the shape of one input, `U` units,
`K` coalitions or perturbations, `R` references of a baseline, `C` model outputs, `N` rows of data.
"""

from xai_bench.types.explainers import Anytime, Cost, Explainer, Explanation, Fitted, Kind, Rows
from xai_bench.types.inputs import (
    Actionability,
    Distribution,
    Domain,
    Element,
    Infill,
    Inputs,
    LanguageModel,
    Rng,
    Symbols,
    Unsupported,
)
from xai_bench.types.metrics import Case, Explain, Metric, ModelVariants, Probe, Recorded
from xai_bench.types.models import ROW_BLOCK, Baseline, Imputer, Model, Relaxable
from xai_bench.types.search import Choice, Range
from xai_bench.types.structure import (
    AdditiveStructure,
    Column,
    LinearStructure,
    ReadableStructure,
    Structure,
    TreeColumns,
    TreeStructure,
)
from xai_bench.types.tags import AXIOMS, EXPLAINER_NEEDS, KnownScores, Tags, tags_of

__all__ = [
    "AXIOMS",
    "EXPLAINER_NEEDS",
    "ROW_BLOCK",
    "Actionability",
    "AdditiveStructure",
    "Anytime",
    "Baseline",
    "Case",
    "Choice",
    "Column",
    "Cost",
    "Distribution",
    "Domain",
    "Element",
    "Explain",
    "Explainer",
    "Explanation",
    "Fitted",
    "Imputer",
    "Infill",
    "Inputs",
    "Kind",
    "KnownScores",
    "LanguageModel",
    "LinearStructure",
    "Metric",
    "Model",
    "ModelVariants",
    "Probe",
    "Range",
    "ReadableStructure",
    "Recorded",
    "Relaxable",
    "Rng",
    "Rows",
    "Structure",
    "Symbols",
    "Tags",
    "TreeColumns",
    "TreeStructure",
    "Unsupported",
    "tags_of",
]
