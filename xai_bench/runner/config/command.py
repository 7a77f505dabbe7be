"""What follows `xai-bench run`: flags of Hydra, and overrides."""

from __future__ import annotations

import argparse
import contextlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra._internal.utils import get_args_parser

from xai_bench.runner.config import hydra_settings
from xai_bench.runner.config.catalogue import conf_dir
from xai_bench.runner.config.messages import UsageError


@dataclass(frozen=True, slots=True)
class Command:
    """What follows `xai-bench run`: Hydra's flags as typed, and the overrides in order."""

    flags: tuple[str, ...]
    overrides: tuple[str, ...]
    parsed: argparse.Namespace

    @property
    def conf(self) -> Path:
        """The folder of the main configuration: ours, or the one given by `--config-path`."""
        path = self.parsed.config_path
        return Path(path).absolute() if path else conf_dir()

    @property
    def config_name(self) -> str:
        """The name of the main configuration."""
        return str(self.parsed.config_name or "config")

    @property
    def allowed(self) -> list[str]:
        """The packages that may run code: those typed, because no file can trust itself."""
        return hydra_settings.typed_allow(self.overrides)

    @property
    def runs(self) -> bool:
        """Whether jobs are started; False where Hydra only shows something."""
        flags = self.parsed
        return not (flags.cfg or flags.info or flags.hydra_help or flags.shell_completion)


def parse(arguments: Sequence[str]) -> Command:
    """Split arguments into flags and overrides, in any order. Raises `UsageError`."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            parsed = get_args_parser().parse_intermixed_args(list(arguments))
    except SystemExit as stop:
        if not stop.code:
            raise
        reason = errors.getvalue().strip().rpartition("error: ")[2]
        raise UsageError(f"{reason}; `xai-bench run --help` shows what can be written") from None
    flags = list(arguments)
    for override in parsed.overrides:
        flags.remove(override)
    return Command(tuple(flags), tuple(map(_as_hydra_reads_it, parsed.overrides)), parsed)


def _as_hydra_reads_it(override: str) -> str:
    """The override with its home folder written out, and quoted where Hydra's grammar needs it.

    Hydra reads no letters outside ASCII but in quotes, and takes `~` for a letter.
    """
    key, equals, value = override.partition("=")
    if equals and key.lstrip("+") == "results" and value.startswith("~"):
        value = str(Path(value).expanduser())
        override = f"{key}={value}"
    if equals and not value.isascii() and not re.search(r"[\[\]{}(),'\"\\]|\$\{", value):
        return f"{key}='{value}'"
    return override
