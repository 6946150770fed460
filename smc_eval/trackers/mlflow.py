"""MLflow: a database in the store, or a server."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from smc_eval.errors import UsageError
from smc_eval.trackers.tracker import (
    Outcome,
    TrackedCell,
    TrackedRun,
    Tracker,
    TrackerCard,
    is_installed,
)

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

URI_VARIABLE = "MLFLOW_TRACKING_URI"
"""MLflow's own environment variable with the address of its server."""
CELL_TAG = "smc_eval.cell"
"""Tag by which the run of a cell is found again: MLflow makes the ids of runs itself."""
LONGEST_VALUE = 500
"""Characters of a parameter or tag; MLflow refuses longer ones."""
STATES = {"ok": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}
"""MLflow's words for how a run ended."""


class MLflow(Tracker):
    """Runs of MLflow: an experiment for each grid, a run for each cell."""

    card: ClassVar[TrackerCard] = TrackerCard(
        name="mlflow",
        summary="a database in the store, or a server of MLflow",
        source="https://mlflow.org/docs/latest/ml/tracking",
        packages=("mlflow",),
        install="smc-eval[trackers]",
    )

    uri: str = ""
    """Address: http://… of a server, or sqlite:///FILE. Empty: $MLFLOW_TRACKING_URI, else `mlflow.db` in the
    store."""
    experiment: str = ""
    """Name of the experiment. Empty: that of the grid."""

    def check(self) -> None:
        super().check()
        if self._uri("").startswith("sqlite:") and not is_installed("sqlalchemy"):
            raise UsageError(
                f"--track {self.label} writes a database, which needs sqlalchemy: "
                f"pip install '{self.card.install}'"
            )

    def begin(self, cell: TrackedCell) -> TrackedRun:
        from mlflow.tracking import MlflowClient

        for library in ("mlflow", "alembic"):
            logging.getLogger(library).setLevel(logging.ERROR)
        client = MlflowClient(self._uri(f"{cell.store}/mlflow.db"))
        experiment = self._experiment(client, self.experiment or cell.group)
        earlier = client.search_runs([experiment], f"tags.`{CELL_TAG}` = '{cell.id}'", max_results=1)
        if earlier:
            run = earlier[0].info.run_id
            client.update_run(run, status="RUNNING")
            return MLflowRun(client, run)
        tags = {CELL_TAG: cell.id, "smc_eval.grid": cell.group}
        run = client.create_run(experiment, run_name=cell.name, tags=tags).info.run_id
        for name, value in cell.config.items():
            client.log_param(run, name, str(value)[:LONGEST_VALUE])
        return MLflowRun(client, run)

    def _uri(self, database: str) -> str:
        return self.uri or os.environ.get(URI_VARIABLE) or f"sqlite:///{database}"

    def _experiment(self, client: MlflowClient, name: str) -> str:
        """The id of an experiment, which is made if there is none."""
        from mlflow.exceptions import MlflowException

        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(client.create_experiment(name))
            except MlflowException:  # another process made it meanwhile
                experiment = client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        return str(experiment.experiment_id)


class MLflowRun(TrackedRun):
    """The run of one cell."""

    def __init__(self, client: MlflowClient, run: str) -> None:
        self.client, self.run = client, run

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.run, [Metric(name, value, now, step) for name, value in values.items()])

    def end(self, outcome: Outcome) -> None:
        if outcome.values:
            self.log(outcome.step, outcome.values)
        if outcome.reason:
            self.client.set_tag(self.run, "smc_eval.reason", outcome.reason[:LONGEST_VALUE])
        self.client.set_terminated(self.run, STATES[outcome.status])
