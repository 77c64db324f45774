"""What this machine can do, how far its figures can be trusted, and the line that mends each lack."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from dsnn_hpo import data, kernels
from dsnn_hpo.energy import hardware_name, survey
from dsnn_hpo.errors import DataError, DsnnHpoError

COMMAND_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        part: "energy", "kernels", "GPU", "SLURM", "MLflow", "data".
        state: there; not there, though it could be; or worth knowing.
        says: what was found.
        mend: the line that would mend a lack, a command where there is one; empty if nothing does.
    """

    part: str
    state: Literal["ok", "lack", "note"]
    says: str
    mend: str = ""


def examine() -> list[Finding]:
    """Returns what was found on this machine, energy first; takes a few seconds and changes nothing."""
    parts = (_energy, _processor, _kernels, _gpu, _slurm, _mlflow, _data)
    return [finding for part in parts for finding in part()]


def _energy() -> Iterator[Finding]:
    found = survey()
    yield Finding("energy", "ok" if found.is_measured else "note", found.headline)
    yield from (Finding("energy", "ok" if sensor.measured else "note", str(sensor)) for sensor in found.sensors)
    yield from (Finding("energy", "lack", f"{lack.part}: {lack.what}", lack.mend) for lack in found.lacks)


def _processor() -> Iterator[Finding]:
    yield Finding("processor", "ok", f"{hardware_name()}; {platform.system()} {platform.release()}")


def _kernels() -> Iterator[Finding]:
    try:
        with warnings.catch_warnings():
            # Said below, with the line that mends it.
            warnings.simplefilter("ignore")
            isa, available = kernels.isa(), kernels.available_isas()
    except DsnnHpoError as error:
        yield Finding("kernels", "lack", str(error), "make kernels")
        return
    if isa is None:
        says = "not compiled: training is slow, and nothing can be measured on the executor"
        yield Finding("kernels", "lack", says, "pip install --force-reinstall dsnn-hpo   (needs a C++17 compiler)")
    else:
        yield Finding("kernels", "ok", f"compiled; {isa} in use, of {', '.join(available)}")


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        has_triton = importlib.util.find_spec("triton") is not None
        kind = "Triton kernels" if has_triton else "plain torch"
        yield Finding("GPU", "ok", f"{', '.join(names)}; torch {torch.__version__}, {kind}")
        if not has_triton:
            yield Finding("GPU", "lack", "no Triton: the compiled GPU kernels are not used", "pip install triton")
    elif shutil.which("nvidia-smi"):
        mend = "pip install --force-reinstall torch   (a build for CUDA)"
        yield Finding("GPU", "lack", f"there is a card, but torch {torch.__version__} cannot use it", mend)
    else:
        yield Finding("GPU", "note", f"none; torch {torch.__version__} on the processor")


def _slurm() -> Iterator[Finding]:
    if shutil.which("sinfo") is None:
        yield Finding("SLURM", "note", "not here; experiments run on this machine or with Dask")
        return
    partitions = _output("sinfo", "--noheader", "--format=%P %D nodes %a")
    if not partitions:
        yield Finding("SLURM", "lack", "sinfo is here, but no controller answers", "scontrol ping")
        return
    yield Finding("SLURM", "ok", "partitions: " + "; ".join(partitions.splitlines()))
    # Where there is accounting it may well have no job to tell of.
    if _output("sacct", "--noheader", "--starttime=now") is None:
        yield Finding("SLURM", "note", "sacct gives nothing; jobs are followed by squeue, which is enough")


def _output(*command: str) -> str | None:
    """Returns what a command prints, or None if it fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _mlflow() -> Iterator[Finding]:
    yield Finding("MLflow", "ok", f"{importlib.metadata.version('mlflow')}; open it with: dsnn-hpo ui")


def _data() -> Iterator[Finding]:
    for name, source in data.DATASETS.items():
        if source is None:
            yield Finding("data", "ok", f"{name}: bundled")
        elif source.default_path is not None:
            try:
                data.check_dataset(name)
            except DataError:
                yield Finding("data", "lack", f"{name}: not at {source.default_path}", source.obtain)
            else:
                yield Finding("data", "ok", f"{name}: {source.default_path}")
    named = [name for name, source in data.DATASETS.items() if source is not None and source.default_path is None]
    yield Finding("data", "note", f"by task.path: {', '.join(named)}")
