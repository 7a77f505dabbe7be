"""The protocol of a tracking server, and none at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from xai_bench.results.store.store import Store


class Recorder(Protocol):
    """A view of the store, written after it; recording again changes nothing."""

    def record(self, store: Store, study: str, cell_key: str) -> None:
        """Show everything of one cell that belongs to the study."""
        ...


@dataclass(frozen=True)
class NoRecorder:
    """The store alone: no tracking server."""

    def record(self, store: Store, study: str, cell_key: str) -> None:
        """Show nothing."""
