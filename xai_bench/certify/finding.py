"""What came of trying one property."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from xai_bench.evaluation.failures import attempt


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Attributes: `shown`, a table cell; `fault`, one sentence, empty where all is well;
    `declined`, whether the component said that it cannot, `shown` being its reason.
    """

    title: str
    shown: str
    fault: str = ""
    declined: bool = False


def tried(name: str, title: str, work: Callable[[], CheckResult | None]) -> list[CheckResult]:
    """The finding of one property, or none; declining is no fault, any other exception is one."""
    found, outcome = attempt(False, work)
    if found is not None:
        return [found]
    if outcome.status == "ok":
        return []
    if outcome.status == "skipped":
        return [CheckResult(title, outcome.reason, declined=True)]
    fault = f"{name} raised: {outcome.reason}"
    return [CheckResult(title, "**failed**", fault)]


def faults(found: Iterable[CheckResult]) -> list[str]:
    """One sentence for every property that does not hold."""
    return [finding.fault for finding in found if finding.fault]


def verdict(title: str, shown: str, fault: str) -> CheckResult:
    """`shown` where there is no fault, and failure where there is one."""
    return CheckResult(title, "**failed**" if fault else shown, fault)


def number(value: float) -> str:
    """Four digits, the same on every machine."""
    return "NaN" if value != value else f"{round(value, 10) + 0.0:.4g}"
