"""The saved view of a run's configurations in the MLflow UI: scatter plot and parallel coordinates, the front in red.

The format is MLflow's own and undocumented (3.17.2): nothing may depend on it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any

from dsnn_hpo.journal import Header
from dsnn_hpo.tracking._address import view_key

_N_PARAMS = 8
_SECTION = "pareto-front"


def view_tag(header: Header, parent_id: str, params: Sequence[str]) -> tuple[str, str]:
    """Returns name and value of the experiment tag that holds the view."""
    objectives = [f"final_{name}" for name in header.objectives]
    created_ms = round(header.created * 1000)
    state = base64.b64encode(zlib.compress(json.dumps(_state(parent_id, objectives, params)).encode())).decode()
    envelope = {
        "name": f"Pareto front, run {parent_id[:8]}",
        "createdAt": created_ms,
        "updatedAt": created_ms,
        "state": f"deflate;{state}",
    }
    return f"mlflow.sharedViewState.{view_key(parent_id)}", json.dumps(envelope)


def _state(parent_id: str, objectives: Sequence[str], params: Sequence[str]) -> dict[str, Any]:
    columns = [f"metrics.`{name}`" for name in objectives]
    section: dict[str, Any] = {"uuid": _SECTION, "name": "Pareto front", "display": True, "isReordered": True}
    # By default three charts share a row, each too narrow for parallel coordinates.
    section |= {"columns": 2, "cardHeight": 480}
    return {
        "searchFilter": f"tags.`mlflow.parentRunId` = '{parent_id}'",
        # The UI loads 100 runs: the front must be among them.
        "orderByKey": "metrics.`is_pareto`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            *columns,
            "tags.`pareto_rank`",
            "tags.`knee`",
            *(f"params.`{name}`" for name in params[:_N_PARAMS]),
        ],
        "columnOrder": [],
        "columnWidths": {},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunSections": [{**section, "deleted": False, "isGenerated": False}],
        "compareRunCharts": _charts(objectives, params),
        "isAccordionReordered": True,
        "viewMaximized": False,
        "runListHidden": False,
        "hideEmptyCharts": True,
        "useGroupedValuesInCharts": False,
        "groupBy": None,
        "groupsExpanded": {},
    }


def _charts(objectives: Sequence[str], params: Sequence[str]) -> list[dict[str, Any]]:
    common = {"metricSectionId": _SECTION, "deleted": False, "isGenerated": False}
    first, *others = objectives
    scatters = [
        {
            "uuid": f"scatter-{other}",
            "type": "SCATTER",
            "runsCountToCompare": 1000,
            "xaxis": {"key": other, "type": "METRIC"},
            "yaxis": {"key": first, "type": "METRIC"},
            **common,
        }
        for other in others
    ]
    parallel = {
        "uuid": "parallel",
        "type": "PARALLEL",
        "showAllRuns": True,
        "selectedParams": list(params[:_N_PARAMS]),
        "selectedMetrics": [*others, first],
        **common,
    }
    return [*scatters, parallel]
