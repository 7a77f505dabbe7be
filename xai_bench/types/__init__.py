"""The vocabulary of `xai_bench`. Nothing here imports the rest of the package.

Letters used for shapes everywhere: `B` samples in a batch, `*S` the shape of one input, `U` units,
`K` coalitions or perturbations, `R` references of a baseline, `C` model outputs, `N` rows of data.
"""

from xai_bench.types.explainers import (
    Answer,
    Anytime,
    Cost,
    Detailed,
    Explainer,
    Fitted,
    Kind,
    Rows,
)
from xai_bench.types.inputs import Actionability, Domain, Element, Inputs, Law, Rng, Unsupported
from xai_bench.types.metrics import Case, Explain, Lab, Metric, Probe
from xai_bench.types.models import ROW_BLOCK, Baseline, Imputer, Model
from xai_bench.types.search import Choice, Range
from xai_bench.types.structure import AdditiveForm, Column, Form, LinearForm, Readable, TreesForm

__all__ = [
    "ROW_BLOCK",
    "Actionability",
    "AdditiveForm",
    "Answer",
    "Anytime",
    "Baseline",
    "Case",
    "Choice",
    "Column",
    "Cost",
    "Detailed",
    "Domain",
    "Element",
    "Explain",
    "Explainer",
    "Fitted",
    "Form",
    "Imputer",
    "Inputs",
    "Kind",
    "Lab",
    "Law",
    "LinearForm",
    "Metric",
    "Model",
    "Probe",
    "Range",
    "Readable",
    "Rng",
    "Rows",
    "TreesForm",
    "Unsupported",
]
