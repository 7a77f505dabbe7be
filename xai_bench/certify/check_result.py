"""One check of one component, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from xai_bench.evaluation.failures import attempt

Subject = TypeVar("Subject")


@dataclass(frozen=True, slots=True)
class Verdict:
    """`shown`, the table cell; `fault`, one sentence, empty where the promise is kept."""

    shown: str
    fault: str = ""


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """A promise and what tries it.

    Attributes:
        title: the property, as tables name it.
        run: gives the verdict, or None where the property means nothing for the component. Raises
            `Unsupported` where the component declines to be tried.
    """

    title: str
    run: Callable[[Subject], Verdict | None]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found.

    Attributes:
        title: the property.
        shown: the table cell: a value, `**failed**`, or the reason of what was declined.
        fault: one sentence, empty where the promise is kept.
        declined: whether the component said that it cannot be tried.
    """

    title: str
    shown: str
    fault: str = ""
    declined: bool = False


def run_checks(name: str, subject: Subject, checks: Iterable[Check[Subject]]) -> list[CheckResult]:
    """The results of all checks that mean something for the component called `name`."""
    results = (_run(name, subject, check) for check in checks)
    return [result for result in results if result is not None]


def _run(name: str, subject: Subject, check: Check[Subject]) -> CheckResult | None:
    """Declining is no fault; any other exception is one."""
    verdict, outcome = attempt(False, lambda: check.run(subject))
    if outcome.status == "skipped":
        return CheckResult(check.title, outcome.reason, declined=True)
    if outcome.status == "failed":
        return CheckResult(check.title, FAILED, f"{name} raised: {outcome.reason}")
    if verdict is None:
        return None
    return CheckResult(check.title, FAILED if verdict.fault else verdict.shown, verdict.fault)


FAILED = "**failed**"


def faults(results: Iterable[CheckResult]) -> list[str]:
    """One sentence per broken promise; an exception that stops several checks is named once."""
    return list(dict.fromkeys(result.fault for result in results if result.fault))


def format_number(value: float) -> str:
    """Four digits, the same on every machine."""
    # Plus 0, for a rounded -0.0 would be written with its sign.
    return "NaN" if value != value else f"{round(value, 10) + 0.0:.4g}"
