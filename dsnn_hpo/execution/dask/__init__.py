"""Trials on the workers of a Dask scheduler: the only package that knows Dask."""

from dsnn_hpo.execution.dask._cluster import check_cluster
from dsnn_hpo.execution.dask._executor import DaskExecutor

__all__ = ["DaskExecutor", "check_cluster"]
