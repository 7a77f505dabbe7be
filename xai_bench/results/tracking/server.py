"""MLflow's own server: the command that starts it, and the address at which a study opens.

Nothing here imports MLflow, whose import takes as long as half of its server's start.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from xai_bench.results.tracking import database, template
from xai_bench.results.tracking.default_view import SHARE_KEY, TAG

ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PYTHONSAFEPATH": "1",
}
"""For `command`: without its job runner the server takes a third of the memory.

It imports nothing of the folder in which it is started, which may be one of results from others.
"""

_IN_VIEW = """
    SELECT experiments.name, experiments.experiment_id FROM experiments
    JOIN experiment_tags ON experiment_tags.experiment_id = experiments.experiment_id
    WHERE experiments.lifecycle_stage = 'active' AND experiment_tags.key = ?
"""


def command(uri: str, port: int) -> list[str]:
    """The arguments that start the UI on this machine alone; run it with `ENVIRONMENT`."""
    options = ["--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    return [sys.executable, "-m", "mlflow", "ui", *options, "--workers", "1"]


def address(server: str, experiment: str) -> str:
    """Where the runs of an experiment are compared in charts."""
    query = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={SHARE_KEY}"
    return f"{server}/#/experiments/{experiment}/runs?{query}"


def experiments(root: Path) -> dict[str, str]:
    """Study -> its experiment, of the studies of a results folder that have a view to open in.

    Of the others MLflow has to be asked: of a study without a view or a deleted one, of all in a
    folder that was moved, or whose database is broken or of another version.
    """
    try:
        if database.misplaced(root) or not template.is_current(database.path(root)):
            return {}
        with closing(database.read_only(database.path(root))) as connection:
            return {str(study): str(n) for study, n in connection.execute(_IN_VIEW, (TAG,))}
    except sqlite3.Error:
        return {}


def problem(root: Path) -> str:
    """Why the server could not open the database of a results folder; empty where it can."""
    try:
        with closing(sqlite3.connect(database.path(root))) as connection:
            connection.execute("SELECT name FROM sqlite_master").fetchall()
    except sqlite3.Error as error:
        return str(error)
    return ""
