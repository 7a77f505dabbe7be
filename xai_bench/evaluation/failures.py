"""The one place where a component's exception becomes a stated outcome."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TypeVar

from xai_bench.core.system.secrets import without_passwords
from xai_bench.results import Outcome
from xai_bench.types import Unsupported

T = TypeVar("T")


def attempt(strict: bool, work: Callable[[], T]) -> tuple[T | None, Outcome]:
    """The result of `work` with an `ok` outcome, or None with the outcome its failure becomes.

    `Unsupported` becomes `skipped`, any other exception `failed`; under `strict` that is raised. A
    component that calls `exit` has failed, too: nobody but the user ends a run.
    """
    try:
        return work(), Outcome()
    except Unsupported as reason:
        return None, Outcome("skipped", without_passwords(str(reason)))
    except (Exception, SystemExit) as error:
        if strict and isinstance(error, SystemExit):
            raise RuntimeError(f"exit({error.code!r}) was called") from error
        if strict:
            raise
        sentence = " ".join(str(error).split()) or "no message"
        if isinstance(error, SystemExit):
            sentence = f"exit({error.code!r}) was called"
        # A ValueError is a whole sentence; of others, the type says what the words leave out.
        elif not isinstance(error, ValueError):
            sentence = f"{type(error).__name__}: {sentence}"
        trace = without_passwords(traceback.format_exc())
        return None, Outcome("failed", without_passwords(sentence), trace)
