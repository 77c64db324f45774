"""The journal of a run: an append-only file of what was asked and told, the only truth of a run.

One JSON object a line, each with a CRC-32 of itself (`crc`). The first line is the header; then follow `asked`, `told`
and `mark` events in the order in which they happened. Each line is synced to disk before anything is done about it, so that
replaying the file into a fresh optimizer gives the state in which the driver died. Only the driver writes.
"""

from __future__ import annotations

import json
import os
import time
import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from dsnn_hpo.errors import DsnnHpoWarning, JournalError
from dsnn_hpo.pareto import front
from dsnn_hpo.trial import (
    OBJECTIVES,
    Fidelity,
    Objective,
    Result,
    Trial,
    result_from_json,
    to_json,
    trial_from_json,
)

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Header:
    """What a run is: its experiment as validated (``experiment``) and as written (``experiment_text``).

    Relative paths of the experiment start from ``folder``; ``store`` is where the default MLflow store lies, relative
    to the run folder; ``data_digest`` tells whether the data are still the same.
    """

    run_id: str
    name: str
    created: float
    experiment: Mapping[str, Any]
    experiment_text: str
    objectives: tuple[str, ...]
    fidelity: Fidelity
    versions: Mapping[str, str]
    folder: str = ""
    store: str = ""
    data_digest: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The optimizer proposed a trial; ``time`` in seconds since the epoch."""

    trial: Trial
    time: float


@dataclass(frozen=True, slots=True)
class Told:
    """A trial ended and the optimizer was told."""

    result: Result
    time: float


MarkName = Literal["started", "resumed", "interrupted", "failed", "finished"]


@dataclass(frozen=True, slots=True)
class Mark:
    """The driver started, resumed or stopped; ``reason`` says why."""

    name: MarkName
    time: float
    reason: str = ""


Event = Asked | Told | Mark


@dataclass(frozen=True, slots=True)
class History:
    """A journal as read: its header and its events, in order."""

    header: Header
    events: tuple[Event, ...]

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """Returns the objectives of the run."""
        return tuple(OBJECTIVES[name] for name in self.header.objectives)

    @property
    def results(self) -> list[Result]:
        """Returns all results, in the order in which they were told."""
        return [event.result for event in self.events if isinstance(event, Told)]

    @property
    def in_flight(self) -> list[Trial]:
        """Returns the trials that were asked but not told, in order."""
        told = {result.trial.id for result in self.results}
        asked = (event.trial for event in self.events if isinstance(event, Asked))
        return [trial for trial in asked if trial.id not in told]

    @property
    def finished(self) -> bool:
        """Returns whether the run reached its end."""
        return bool(self.events) and isinstance(last := self.events[-1], Mark) and last.name == "finished"

    @property
    def running_s(self) -> float:
        """Returns the seconds during which a driver was at work, pauses between sessions left out."""
        total, previous = 0.0, None
        for event in self.events:
            resumed = isinstance(event, Mark) and event.name in ("started", "resumed")
            if previous is not None and not resumed:
                total += max(0.0, event.time - previous)
            previous = event.time
        return total

    @property
    def front_fidelity(self) -> int:
        """Returns the fidelity of the front: the highest, in epochs, at which any trial completed."""
        done = [r.trial.fidelity for r in self.results if r.values]
        return max(done, default=self.header.fidelity.max_epochs)

    def front(self) -> list[Result]:
        """Returns the Pareto front over validation values at ``front_fidelity``."""
        return front(self.results, self.objectives, self.front_fidelity)


class Journal:
    """An open journal; use ``create`` for a new run and ``resume`` for an old one."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")

    @classmethod
    def create(cls, path: Path, header: Header) -> Self:
        """Returns a new journal that holds just the header; raises FileExistsError if there is one already."""
        # Written aside and then renamed: a journal that is there has its whole header, whenever the driver dies.
        if path.exists():
            raise FileExistsError(path)
        aside = path.with_name(f".{path.name}.partial")
        with aside.open("wb") as file:
            _write(file, _header_to_json(header))
        aside.rename(path)
        _sync_folder(path.parent)
        return cls(path)

    @classmethod
    def resume(cls, path: Path) -> tuple[Self, History]:
        """Returns an old journal, opened for appending, and what it holds; a torn last line is cut off.

        Raises:
            JournalError: the file is damaged elsewhere than at its end.
        """
        history, n_good_bytes = _read(path)
        if n_good_bytes < path.stat().st_size:
            os.truncate(path, n_good_bytes)
        return cls(path), history

    def append(self, event: Event) -> None:
        """Writes an event and syncs it to disk."""
        _write(self._file, _event_to_json(event))

    def close(self) -> None:
        """Closes the file; a closed journal takes no further events."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(path: Path) -> History:
    """Returns what a journal holds, also while its run goes on; a torn last line is left out with a warning.

    Raises:
        JournalError: the file is missing or damaged; names the line.
    """
    return _read(path)[0]


def now() -> float:
    """Returns the time for an event, in seconds since the epoch."""
    return time.time()


def _write(file: Any, record: dict[str, Any]) -> None:
    # One write call a line: a crash tears the last line at most.
    file.write(_encode(record))
    file.flush()
    os.fsync(file.fileno())


def _encode(record: dict[str, Any]) -> bytes:
    body = json.dumps(record, separators=(",", ":"), allow_nan=False)
    return f'{body[:-1]},"crc":"{zlib.crc32(body.encode()):08x}"}}\n'.encode()


def _decode(line: bytes) -> dict[str, Any]:
    record = json.loads(line)
    if not isinstance(record, dict):
        raise TypeError("not a JSON object")
    crc = record.pop("crc")
    if _encode(record) != line:
        raise ValueError(f"checksum {crc!r} does not fit the line")
    return record


def _read(path: Path) -> tuple[History, int]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise JournalError(f"{path}: no such journal") from None
    lines = data.splitlines(keepends=True)
    header: Header | None = None
    events: list[Event] = []
    n_good_bytes = 0
    for number, line in enumerate(lines, start=1):
        try:
            record = _decode(line)
            if header is None:
                header = _header_from_json(record)
            else:
                events.append(_event_from_json(record))
        except (KeyError, TypeError, ValueError) as error:
            # A crash tears a line short of its end; a whole line that does not read is damage.
            if number == len(lines) and not line.endswith(b"\n") and header is not None:
                text = f"{path}: line {number} is torn (half written, or cut off by a crash) and was dropped"
                warnings.warn(text, DsnnHpoWarning, stacklevel=3)
                break
            raise JournalError(f"{path}: line {number} is damaged: {type(error).__name__}: {error}") from None
        n_good_bytes += len(line)
    if header is None:
        raise JournalError(f"{path}: the journal is empty; nothing was recorded, start the run afresh")
    return History(header, tuple(events)), n_good_bytes


def _header_to_json(header: Header) -> dict[str, Any]:
    return {
        "event": "run",
        "format": FORMAT,
        "run_id": header.run_id,
        "name": header.name,
        "created": header.created,
        "experiment": header.experiment,
        "experiment_text": header.experiment_text,
        "objectives": list(header.objectives),
        "fidelity": [header.fidelity.min_epochs, header.fidelity.max_epochs, header.fidelity.eta],
        "versions": dict(header.versions),
        "folder": header.folder,
        "store": header.store,
        "data_digest": header.data_digest,
    }


def _header_from_json(record: dict[str, Any]) -> Header:
    if record.pop("event") != "run":
        raise ValueError("the first line is not a run's header")
    if (format_ := record.pop("format")) != FORMAT:
        raise ValueError(f"format {format_} is not {FORMAT}, the one that this version reads")
    fields = {**record, "objectives": tuple(record["objectives"]), "fidelity": Fidelity(*record["fidelity"])}
    return Header(**fields)


def _event_to_json(event: Event) -> dict[str, Any]:
    match event:
        case Asked(trial, time_):
            return {"event": "asked", "time": time_, "trial": to_json(trial)}
        case Told(result, time_):
            return {"event": "told", "time": time_, "result": to_json(result)}
        case Mark(name, time_, reason):
            return {"event": name, "time": time_, "reason": reason}


def _event_from_json(record: dict[str, Any]) -> Event:
    kind = record["event"]
    if kind == "asked":
        return Asked(trial_from_json(record["trial"]), float(record["time"]))
    if kind == "told":
        return Told(result_from_json(record["result"]), float(record["time"]))
    if kind in ("started", "resumed", "interrupted", "failed", "finished"):
        return Mark(kind, float(record["time"]), str(record["reason"]))
    raise ValueError(f"unknown event {kind!r}")


def _sync_folder(folder: Path) -> None:
    # Makes the new file's name durable, not only its bytes.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
