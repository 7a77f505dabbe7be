"""Which rows to keep, as a condition over columns: comparisons, and, or, not. Nothing is called."""

from __future__ import annotations

import ast
import io
import operator
import tokenize
from collections.abc import Callable, Mapping
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from xai_bench.core.spelling import suggest

if TYPE_CHECKING:
    import pandas as pd

WHAT_IT_MAY_BE = (
    "write comparisons of columns with values, joined by and, or, not: "
    "\"age >= 18 and town != 'Bern'\""
)
MAX_LENGTH = 10_000
"""Letters of a condition."""

_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def rows_where(frame: pd.DataFrame, condition: str) -> pd.Series:
    """Boolean, one per row. A gap equals nothing, itself neither: `a == a` keeps rows without one.

    Names that are no Python names stand between backticks. Raises ValueError for anything but
    comparisons of columns and values, joined by `and`, `or`, `not` (or `&`, `|`, `~`).
    """
    if len(condition) > MAX_LENGTH:
        raise ValueError(f"it is longer than {MAX_LENGTH} letters")
    text, quoted = _python(condition)
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"it is not understood ({error})") from None
    except (RecursionError, MemoryError):
        raise ValueError("it is nested too deeply") from None
    try:
        rows: pd.Series = _Condition(frame, quoted).rows(tree.body)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return rows


def _python(condition: str) -> tuple[str, dict[str, str]]:
    """Python's words for `&` and `|`, and a name for each column between backticks."""
    quoted: dict[str, str] = {}
    parts = condition.split("`")
    if len(parts) % 2 == 0:
        raise ValueError("a backtick is not closed")
    for number, name in enumerate(parts[1::2]):
        quoted[f"_column_{number}"] = name
        parts[2 * number + 1] = f" _column_{number} "
    # In Python, `&` binds tighter than comparisons: `a > 1 & b < 2` would compare with `1 & b`.
    words = {"&": "and", "|": "or"}
    try:
        tokens = [
            (kind, words.get(text, text) if kind == tokenize.OP else text)
            for kind, text, *_ in tokenize.generate_tokens(io.StringIO("".join(parts)).readline)
        ]
    except (tokenize.TokenError, SyntaxError) as error:
        raise ValueError(f"it is not understood ({error.args[0]})") from None
    # Without line ends, which would end the expression.
    return " ".join(text for _, text in tokens if text.strip()), quoted


class _Condition:
    """Walks the tree of a condition over the columns of a frame."""

    def __init__(self, frame: pd.DataFrame, quoted: Mapping[str, str]) -> None:
        self.frame, self.quoted = frame, quoted

    def rows(self, node: ast.expr) -> Any:
        """The rows for which a comparison, or a combination of them, is true."""
        if isinstance(node, ast.BoolOp):
            join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
            return reduce(join, [self.rows(part) for part in node.values])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.Invert)):
            return ~self.rows(node.operand)
        if isinstance(node, ast.Compare):
            sides = list(pairwise([node.left, *node.comparators]))
            pairs = zip(node.ops, sides, strict=True)
            return reduce(operator.and_, [self.compared(op, *side) for op, side in pairs])
        if isinstance(node, ast.Name) and self.column(node).dtype == bool:
            return self.column(node)
        raise ValueError(f"{ast.unparse(node)!r} is no comparison")

    def compared(self, op: ast.cmpop, left: ast.expr, right: ast.expr) -> Any:
        """One comparison of two sides, at least one of which is a column."""
        if not isinstance(left, ast.Name) and not isinstance(right, ast.Name):
            raise ValueError(f"neither {ast.unparse(left)} nor {ast.unparse(right)} is a column")
        if isinstance(op, (ast.In, ast.NotIn)):
            if not isinstance(left, ast.Name) or not isinstance(right, (ast.List, ast.Tuple)):
                raise ValueError("in needs a column before and a list of values after it")
            among = self.column(left).isin([self.value(item) for item in right.elts])
            return among if isinstance(op, ast.In) else ~among
        if type(op) not in _COMPARISONS:
            raise ValueError("it compares by 'is', which is no comparison of values")
        try:
            return _COMPARISONS[type(op)](self.value(left), self.value(right))
        except TypeError as error:
            raise ValueError(
                f"{ast.unparse(left)} and {ast.unparse(right)} cannot be compared: {error}"
            ) from None

    def value(self, node: ast.expr) -> Any:
        """A column, a number, a text, true or false."""
        if isinstance(node, ast.Name):
            return self.column(node)
        sign = -1 if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else 1
        inner = node.operand if isinstance(node, ast.UnaryOp) and sign == -1 else node
        if isinstance(inner, ast.Constant):
            if isinstance(inner.value, (int, float)):
                return sign * inner.value
            if isinstance(inner.value, str) and sign == 1:
                return inner.value
        raise ValueError(f"{ast.unparse(node)!r} is neither a column nor a value")

    def column(self, node: ast.Name) -> pd.Series:
        """The column of this name. Raises ValueError where there is none."""
        name = self.quoted.get(node.id, node.id)
        if name not in self.frame.columns:
            raise ValueError(f"there is no column {name!r}; {suggest(name, self.frame.columns)}")
        return self.frame[name]
