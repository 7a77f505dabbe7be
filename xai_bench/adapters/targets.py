"""What is explained, and what is known of the samples, in the caller's words."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

import numpy as np
import torch
from torch import Tensor

from xai_bench.adapters.forms import is_frame
from xai_bench.core.caller_tensors import first_nan, require_labels
from xai_bench.core.calls.model_outputs import own_outputs
from xai_bench.core.spelling import listed, suggest
from xai_bench.data.bundle import Task
from xai_bench.data.labels import value_name
from xai_bench.models.base import Explained, Predictor, Target
from xai_bench.models.targets import FixedOutput, OutputColumn, PredictedLogit
from xai_bench.types import Inputs

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class OutputOfEach(OutputColumn):
    """One output for each sample; `outputs [N]` long."""

    outputs: Tensor

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """`[N]`: the outputs that were given. Raises ValueError where the model has no such one."""
        return require_labels(self.outputs, len(outputs), outputs.shape[1])


@dataclass(frozen=True, eq=False)
class FunctionOfOutputs:
    """A scalar `[B]` that a function of the caller makes of the outputs `[B, C]`."""

    follows_output: ClassVar[bool] = True
    function: Callable[[Tensor], Tensor]

    def choose(self, outputs: Tensor, labels: Tensor, task: Task) -> Tensor:
        """`[B]` zeros: the function chooses. Raises ValueError for what gives no row of numbers."""
        values = self.function(outputs)
        if not isinstance(values, Tensor) or values.shape != outputs.shape[:1]:
            shape = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"the function given as target makes {shape} of outputs {list(outputs.shape)}; "
                f"expected one number for each sample, [{len(outputs)}]"
            )
        return torch.zeros(len(outputs), dtype=torch.long)

    def select(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """`[B, C], [B] -> [B]`."""
        return self.function(outputs)


@dataclass(frozen=True, eq=False)
class Known:
    """What is explained, and what is known of the outputs and the samples.

    Attributes:
        assumed: nobody said what several outputs are.
    """

    target: Target
    task: Task
    classes: tuple[str, ...]
    labels: Tensor | None
    assumed: bool = False


@dataclass(frozen=True, eq=False)
class Asked:
    """What a caller says of the outputs; `named` makes one of our targets of its name."""

    target: Any
    task: Any
    labels: Any
    classes: Any
    named: Callable[[str], Target]

    def of(self, predictor: Predictor, n_samples: int, names: Sequence[str]) -> Known:
        """The same in our words; `names` are those of our targets.

        Raises ValueError where it does not fit the model.
        """
        own: tuple[str, ...] | None = getattr(predictor, "class_names", None)
        n_outputs = predictor.n_outputs
        task = task_of(self.task, n_outputs, own)
        require_chosen_output(task, n_outputs, self.target)
        classes = classes_of(self.classes, n_outputs, own or ())
        target = target_of(self.target, classes, self.named, names)
        if self.labels is None:
            said = (own, self.target, self.task, self.classes)
            return Known(target, task, classes, None, all(each is None for each in said))
        n_classes = n_outputs if task == "classification" else 0
        return Known(target, task, classes, labels_of(self.labels, n_samples, n_classes, classes))


def target_of(
    given: Any, classes: Sequence[str], named: Callable[[str], Target], names: Sequence[str]
) -> Target:
    """The target of an output's number, a class, the name of one of ours, or a function.

    `named` makes the target of one of the `names`. Raises ValueError for anything else.
    """
    if given is None:
        return PredictedLogit()
    if isinstance(given, str):
        # Before our own names: a class may be called like one of our targets.
        if given in classes:
            return FixedOutput(list(classes).index(given))
        if given not in names and classes:
            options = [*classes, *names]
            raise ValueError(
                f"there is no class and no target {given!r}; {suggest(given, options)} (the "
                f"classes are {listed(classes)})"
            )
        return named(given)
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        return FixedOutput(int(given))
    if isinstance(given, bool) and str(given) in classes:
        return FixedOutput(list(classes).index(str(given)))
    if isinstance(given, list | tuple) or hasattr(given, "__array__"):
        values = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
        if values.dtype.kind in "OUS":
            return OutputOfEach(labels_of(values, len(values), len(classes), classes))
        return OutputOfEach(torch.from_numpy(np.array(values)))
    if hasattr(given, "choose") and hasattr(given, "select") and not isinstance(given, type):
        target: Target = given
        return target
    if callable(given) and not isinstance(given, type):
        return FunctionOfOutputs(given)
    raise ValueError(
        f"target={given!r} is no target; give the number of an output, the name of a class, a "
        f"function from outputs [N, C] to [N], or one by name: {suggest('', names)}"
    )


def task_of(given: str | None, n_outputs: int, class_names: Sequence[str] | None) -> Task:
    """What kind of outputs these are; several are those of classes, if nobody says otherwise.

    `class_names` are those of a fitted model, none of a regressor; None where nobody knows.

    Raises ValueError for a task that the outputs cannot have.
    """
    if given is not None and given not in get_args(Task):
        raise ValueError(f"there is no task {given!r}; {suggest(str(given), get_args(Task))}")
    if given == "classification" and n_outputs == 1:
        raise ValueError(
            "task='classification', and the model has one output: return a logit for each class, "
            "such as torch.stack([-z / 2, z / 2], 1) of a logit z"
        )
    if class_names is not None and given and (given == "classification") != bool(class_names):
        kind = "classifier" if class_names else "regressor"
        raise ValueError(f"task={given!r}, and the model is a {kind}: leave the task out")
    classes = n_outputs > 1 if class_names is None else bool(class_names)
    if given == "regression":
        classes = False
    return "classification" if classes else "regression"


def say_assumption(known: Known, outputs: Tensor) -> None:
    """Warn of what is assumed of outputs `[N, C]` of which nobody said what they are.

    Not where there is one output, nor where rows are probabilities or their logarithms.
    """
    tolerance = torch.finfo(outputs.dtype).eps ** 0.5
    shares = [outputs.double(), outputs.double().exp()]
    if (
        not known.assumed
        or outputs.shape[1] == 1
        or any(
            bool((share >= 0).all() and ((share.sum(1) - 1).abs() < tolerance).all())
            for share in shares
        )
    ):
        return
    log.warning(
        "the model has %d outputs, taken for the logits of classes: each sample explains its "
        "largest (target='predicted_logit' says so). Of a regressor of several values, say which "
        "one is explained: task='regression', target=0",
        outputs.shape[1],
    )


def require_chosen_output(task: Task, n_outputs: int, target: object) -> None:
    """Raise ValueError where nobody said which of several values is explained."""
    if task == "regression" and n_outputs > 1 and target is None:
        raise ValueError(
            f"task='regression', and the model has {n_outputs} outputs: say which one is "
            f"explained, target=0 to target={n_outputs - 1}"
        )


def labels_of(given: Any, n_samples: int, n_classes: int, names: Sequence[str]) -> Tensor:
    """`[N]`: classes below `n_classes`, or values where that is 0.

    Where classes have names, labels may be these, in words or as the numbers that they stand for.
    Raises ValueError where labels and classes do not fit.
    """
    values = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
    words = values.dtype.kind in "OUSb"
    if values.shape != (n_samples,):
        raise ValueError(
            f"labels have shape {list(values.shape)}; expected [{n_samples}], one for each sample"
        )
    if n_classes and names and values.dtype.kind in "OUSbiu":
        stated = [value_name(value) for value in values.tolist()]
        places = {name: number for number, name in enumerate(names)}
        strange = [name for name in stated if name not in places]
        if not strange:
            return torch.tensor([places[name] for name in stated])
        if words or list(names) != [str(k) for k in range(len(names))]:
            raise ValueError(
                f"labels hold {strange[0]!r}, and the classes of the model are {listed(names)}"
            )
    if words and values.dtype.kind != "b":
        raise ValueError(
            f"labels hold texts, such as {str(values.flat[0])!r}, and nobody named the outputs: "
            "give their names in order, classes=[...]"
        )
    tensor = torch.from_numpy(np.array(values))
    return require_labels(tensor, n_samples, n_classes)


def classes_of(given: Any, n_outputs: int, own: Sequence[str]) -> tuple[str, ...]:
    """The names of the outputs. Raises ValueError for more or fewer than there are."""
    if given is None:
        return tuple(own)
    names = tuple(value_name(name) for name in given)
    if len(names) != n_outputs or len(set(names)) < len(names):
        raise ValueError(
            f"classes={list(names)}; expected {n_outputs} different names, one for each output"
        )
    return names


def groups_of(given: Any, x: Any, n_samples: int) -> dict[str, Tensor]:
    """Name -> `[N]` long codes; of a list of names, the columns of the data frame x.

    Raises ValueError for columns that are not there, and for groups of another length.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        names = [given] if isinstance(given, str) else list(given)
        absent = [n for n in names if not is_frame(x) or n not in x.columns]
        if absent:
            raise ValueError(
                f"groups name the column {absent[0]!r}, which x does not have: give its values, "
                f"groups={{{absent[0]!r}: [...]}}"
            )
        given = {name: x[name] for name in names}
    return {str(name): _codes(str(name), values, n_samples) for name, values in given.items()}


def _codes(name: str, values: Any, n_samples: int) -> Tensor:
    array = np.asarray(values)
    if array.shape != (n_samples,):
        raise ValueError(
            f"groups[{name!r}] has shape {list(array.shape)}; expected [{n_samples}], one for each "
            "sample"
        )
    # Objects of several types have no order, and `unique` sorts.
    keys = array.astype(str) if array.dtype.kind == "O" else array
    return torch.from_numpy(np.unique(keys, return_inverse=True)[1].astype(np.int64))


def chosen_targets(model: Explained, inputs: Inputs, known: Known) -> tuple[Tensor, Tensor]:
    """`[N]` targets, chosen once, and the scalars `[N]` that they stand for.

    Raises ValueError where the target needs labels and there are none.
    """
    target, labels = model.target, known.labels
    if labels is None and getattr(target, "needs_labels", False):
        raise ValueError(
            f"target {type(target).__name__} needs the true labels: workbench(..., labels=y)"
        )
    outputs = own_outputs(model, inputs)
    if bad := first_nan("what the model gives", outputs):
        log.warning("%s: what is computed from it is NaN, or refused", bad)
    say_assumption(known, outputs)
    # No class, so that a target that asks for labels without saying so cannot take one for true.
    given = torch.full((len(inputs),), -1) if labels is None else labels
    with torch.no_grad():
        chosen = target.choose(outputs, given, known.task)
        try:
            return chosen, target.select(outputs, chosen)
        except (RuntimeError, IndexError) as error:
            raise ValueError(
                f"target {type(target).__name__} cannot be read off outputs of shape "
                f"{list(outputs.shape)} {'without' if labels is None else 'with'} labels: {error}"
            ) from error
