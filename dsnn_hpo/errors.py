"""The exception tree of dsnn-hpo.

::

    DsnnHpoError
    ├── InputError              what the user wrote or pointed at is wrong; exit code 2
    │   ├── ExperimentError     the experiment file
    │   ├── SearchSpaceError    the search-space file, or its fit to the task
    │   ├── DataError           a data set is missing or malformed
    │   ├── ModelError          no such network, or it cannot be built
    │   ├── ModelFolderError    an exported model is damaged or not one; names the file and the field
    │   ├── FreezeError         the executor cannot run this network
    │   ├── ClusterError        the cluster refuses the jobs that the experiment asks for
    │   └── RunFolderError      the run folder is in use, holds a run, or holds none
    ├── ChoiceError             no member of a front is what the user asks for; names the nearest
    ├── JournalError            the journal is damaged; names the line
    ├── TrackingError           the tracking server refused or is away
    │   └── ArtifactError       it takes metrics, but no files
    ├── KernelError             the compiled kernels are broken or stale; or asked for, but missing or not made for the tensors
    ├── EnergyError             energy could not be measured, or the figure would be none
    │   └── SensorError         a sensor failed, at once or in mid-window
    ├── WorkerError             a worker ended before its trial
    │   ├── WorkerLostError     through no fault of the trial's: killed, preempted, its node failed
    │   ├── MemoryLimitError    it used more memory than there is, or than it may
    │   └── TimeLimitError      its trial took longer than it may
    ├── RunInterruptedError     Ctrl-C or SIGTERM stopped a run, which can be resumed; exit code 130
    ├── TrialInterruptedError   a trial stopped after a checkpoint, as it was asked to
    └── TrialError              one trial failed by itself; becomes a failed Result
        └── DivergedError       the loss became NaN or infinite

Every message says what was wrong, where, and what would be right.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DsnnHpoError(Exception):
    """The base of every exception that dsnn-hpo raises on purpose."""


class InputError(DsnnHpoError):
    """What the user wrote or pointed at is wrong."""


class ExperimentError(InputError):
    """The experiment file is wrong."""


class SearchSpaceError(InputError):
    """The search-space file is wrong, or does not fit the task."""


class DataError(InputError):
    """A data set is missing or malformed."""


class ModelError(InputError):
    """No such network, or it cannot be built with these arguments."""


class ModelFolderError(InputError):
    """The folder of an exported model is damaged, or holds none; the message names the file and the field."""


class FreezeError(InputError):
    """The executor cannot run this network; the message names the module or operation."""


class ClusterError(InputError):
    """The cluster refuses the jobs that the experiment asks for, or will never start them."""


class RunFolderError(InputError):
    """The run folder is in use, already holds a run, or holds none."""


class ChoiceError(DsnnHpoError):
    """No member of the front is what the user asks for; the message names the nearest."""


class JournalError(DsnnHpoError):
    """The journal is damaged."""


class TrackingError(DsnnHpoError):
    """The tracking server refused or is away."""


class ArtifactError(TrackingError):
    """The tracking server takes metrics and tags, but its store of artifacts refused files."""


class KernelError(DsnnHpoError):
    """The compiled kernels are broken or of another version; or asked for, but not built or not made for the tensors."""


class EnergyError(DsnnHpoError):
    """Energy could not be measured, or what was measured is no figure."""


class SensorError(EnergyError):
    """A sensor failed, at once or in mid-window; the message names it, and what mends it where that is known."""


class WorkerError(DsnnHpoError):
    """A worker ended before its trial, after ``ran_s`` seconds, if that is known; it may have waited before it began."""

    def __init__(self, message: str, ran_s: float | None = None) -> None:
        super().__init__(message)
        self.ran_s = ran_s


class WorkerLostError(WorkerError):
    """A worker ended through no fault of its trial's: it was killed or preempted, or its node failed."""


class MemoryLimitError(WorkerError):
    """A worker used more memory than there is, or than it may."""


class TimeLimitError(WorkerError):
    """A trial took longer than it may."""


class RunInterruptedError(DsnnHpoError):
    """Ctrl-C or SIGTERM stopped a run; it can be resumed."""


class TrialInterruptedError(DsnnHpoError):
    """A trial stopped after a checkpoint, as it was asked to; it goes on from there."""


class TrialError(DsnnHpoError):
    """One trial failed by itself."""


class DivergedError(TrialError):
    """The training loss became NaN or infinite, in the epoch ``n_epochs`` counted from 1 (0: not in training)."""

    def __init__(self, message: str, n_epochs: int = 0) -> None:
        super().__init__(message)
        self.n_epochs = n_epochs


class DsnnHpoWarning(UserWarning):
    """Something a user should know that does not stop the work."""


def one_of(value: object, allowed: Iterable[str]) -> str:
    """Returns ``"'adm' (did you mean 'Adam'? allowed: Adam, SGD)"`` for use in an error message."""
    options = sorted(allowed)
    lowered = {option.lower(): option for option in options}
    close = difflib.get_close_matches(str(value).lower(), lowered, n=1, cutoff=0.6)
    hint = f"did you mean {lowered[close[0]]!r}? " if close else ""
    return f"{value!r} ({hint}allowed: {', '.join(options) or 'none'})"
