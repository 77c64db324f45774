"""The experiment file, its parts, and running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dsnn_hpo.experiment._compare import compare_folders
from dsnn_hpo.experiment._folder import RunFolder, default_folder, read_run, resume_line
from dsnn_hpo.experiment._front import FrontMember, front_members
from dsnn_hpo.experiment.config import ExperimentConfig, config_of

if TYPE_CHECKING:
    from dsnn_hpo.experiment._attempts import Workplace
    from dsnn_hpo.experiment._build import Experiment, build
    from dsnn_hpo.experiment._doctor import Finding, examine
    from dsnn_hpo.experiment._drive import Driver, Observer, replay, spent
    from dsnn_hpo.experiment._export import Exported, ExportFormat, export_trial
    from dsnn_hpo.experiment._measure import Remeasured, RunMeasurement, measure_run
    from dsnn_hpo.experiment._mirror import Links, serve_ui
    from dsnn_hpo.experiment._run import Outcome, resume, run, start
    from dsnn_hpo.experiment._status import RunStatus, TrialStatus, run_status, trial_log
    from dsnn_hpo.experiment._submit import SubmittedRun, submit
    from dsnn_hpo.experiment._sync import RegisteredTrial, Synced, register_trial, sync_run

_LAZY = {
    **dict.fromkeys(("Driver", "Observer", "replay", "spent"), "_drive"),
    **dict.fromkeys(("Experiment", "build"), "_build"),
    "Workplace": "_attempts",
    **dict.fromkeys(("Finding", "examine"), "_doctor"),
    **dict.fromkeys(("Exported", "ExportFormat", "export_trial"), "_export"),
    **dict.fromkeys(("Remeasured", "RunMeasurement", "measure_run"), "_measure"),
    **dict.fromkeys(("Links", "serve_ui"), "_mirror"),
    **dict.fromkeys(("RunStatus", "TrialStatus", "run_status", "trial_log"), "_status"),
    **dict.fromkeys(("SubmittedRun", "submit"), "_submit"),
    **dict.fromkeys(("RegisteredTrial", "Synced", "register_trial", "sync_run"), "_sync"),
    **dict.fromkeys(("Outcome", "resume", "run", "start"), "_run"),
}

__all__ = [
    "Driver",
    "Experiment",
    "ExperimentConfig",
    "ExportFormat",
    "Exported",
    "Finding",
    "FrontMember",
    "Links",
    "Observer",
    "Outcome",
    "RegisteredTrial",
    "Remeasured",
    "RunFolder",
    "RunMeasurement",
    "RunStatus",
    "SubmittedRun",
    "Synced",
    "TrialStatus",
    "Workplace",
    "build",
    "compare_folders",
    "config_of",
    "default_folder",
    "examine",
    "export_trial",
    "front_members",
    "measure_run",
    "read_run",
    "register_trial",
    "replay",
    "resume",
    "resume_line",
    "run",
    "run_status",
    "serve_ui",
    "spent",
    "start",
    "submit",
    "sync_run",
    "trial_log",
]


def __getattr__(name: str) -> Any:
    # Imported at first use: these load torch, and the command line must start fast.
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"dsnn_hpo.experiment.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
