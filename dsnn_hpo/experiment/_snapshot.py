"""An optimizer as it stood after some events, so that resuming a long run need not replay all of it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass

from dsnn_hpo.experiment._folder import RunFolder
from dsnn_hpo.journal import History
from dsnn_hpo.optimizers import Optimizer


@dataclass(frozen=True, slots=True)
class Snapshots:
    """Keeps an optimizer in a run folder now and then, with what it must fit: the versions and the events so far.

    Only a file of the run's own folder is ever unpickled, and only if it was written for this very journal. Whatever is
    wrong with it, the run is replayed instead.
    """

    folder: RunFolder
    versions: Mapping[str, str]

    def keep(self, optimizer: Optimizer, history: History) -> None:
        """Writes the optimizer as it stands after the history's events; on a disk that is full it does without."""
        path = self.folder.snapshot
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        head = json.dumps(self._head(history, len(history.events))).encode() + b"\n"
        with contextlib.suppress(OSError):
            try:
                aside.write_bytes(head + pickle.dumps(optimizer))
                aside.replace(path)
            finally:
                aside.unlink(missing_ok=True)

    def latest(self, history: History) -> tuple[Optimizer | None, int]:
        """Returns the optimizer that was kept and the number of events that it knows, or None and 0."""
        try:
            head, _, body = self.folder.snapshot.read_bytes().partition(b"\n")
            found = json.loads(head)
            n_events = int(found["n_events"])
            if not 0 < n_events <= len(history.events) or found != self._head(history, n_events):
                return None, 0
            # Written by this run, into its own folder.
            return pickle.loads(body), n_events  # noqa: S301
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            ImportError,
            EOFError,
            pickle.UnpicklingError,
        ):
            return None, 0

    def _head(self, history: History, n_events: int) -> dict[str, object]:
        """Returns what must be the same for a snapshot to fit."""
        last = repr(history.events[n_events - 1])
        return {
            "run_id": history.header.run_id,
            "versions": dict(self.versions),
            "n_events": n_events,
            "last_event": hashlib.sha256(last.encode()).hexdigest(),
        }
