"""The whole-network executor: a trained network frozen into a plan of integer steps that runs in one call."""

from __future__ import annotations

from dsnn_hpo.executor._executor import Executor, freeze

__all__ = ["Executor", "freeze"]
