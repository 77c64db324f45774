"""The file: one JSON object a line, each with a CRC-32 of itself (`crc`), synced before anything is done about it."""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
import zlib
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dsnn_hpo.errors import DsnnHpoWarning, JournalError
from dsnn_hpo.journal._events import Asked, Event, Header, Lost, Mark, Measured, Told
from dsnn_hpo.journal._history import History
from dsnn_hpo.trial import Fidelity, Trial, provenance_from_json, result_from_json, to_json, trial_from_json

FORMAT = 2
RETRY_S = 600.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
_STARTED_AT, _STARTED = time.time(), time.monotonic()
_LOST_FIELDS = ("attempt", "reason", "seconds", "energy_j")


class Journal:
    """An open journal; use ``create`` for a new run and ``resume`` for an old one.

    A disk that is full for a while holds up the run and does not end it: see ``append``.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Unbuffered: what could not be written must not turn up later, after what replaces it.
        self._file = path.open("ab", buffering=0)
        self._n_good_bytes = path.stat().st_size

    @classmethod
    def create(cls, path: Path, header: Header) -> Self:
        """Returns a new journal that holds just the header; raises FileExistsError if there is one already."""
        # Written aside and then renamed: a journal that is there has its whole header, whenever the driver dies.
        if path.exists():
            raise FileExistsError(path)
        aside = path.with_name(f".{path.name}.partial")
        with aside.open("wb") as file:
            file.write(_encode(_header_to_json(header)))
            file.flush()
            os.fsync(file.fileno())
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
        """Writes an event and syncs it to disk; tries for ``RETRY_S`` seconds, with a warning, while that is refused.

        Raises:
            JournalError: the event still cannot be written; the file ends with the event before.
        """
        line = _encode(_event_to_json(event))
        started, pause_s = time.monotonic(), FIRST_PAUSE_S
        while (error := self._refusal(line)) is not None:
            if time.monotonic() - started > RETRY_S:
                raise JournalError(f"{self._path} cannot be written: {error.strerror}; mend that, then resume the run")
            if pause_s == FIRST_PAUSE_S:
                text = f"{self._path} cannot be written ({error.strerror}); the run waits for it for {RETRY_S:g} s"
                warnings.warn(text, DsnnHpoWarning, stacklevel=2)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        self._n_good_bytes += len(line)

    def _refusal(self, line: bytes) -> OSError | None:
        """Returns why a line could not be written and synced; half a line is taken back."""
        try:
            n_written = self._file.write(line)
            if n_written != len(line):
                # A disk that is full takes the beginning, and says so with the next write only.
                self._file.write(line[n_written:])
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._n_good_bytes)
            return error
        return None

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
    """Returns the time for an event, in seconds since the epoch; within a process it never jumps, even if clocks are set."""
    return _STARTED_AT + time.monotonic() - _STARTED


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
    trials: dict[int, Trial] = {}
    n_good_bytes = 0
    for number, line in enumerate(lines, start=1):
        try:
            record = _decode(line)
            if header is None:
                header = _header_from_json(record)
            else:
                events.append(_event_from_json(record, trials))
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
    return History(header, events), n_good_bytes


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
        case Lost():
            fields = {name: getattr(event, name) for name in _LOST_FIELDS}
            return {"event": "lost", "time": event.time, "trial": event.trial.id, **fields}
        case Measured():
            how = {name: asdict(provenance) for name, provenance in event.provenance.items()}
            return {
                "event": "measured",
                "time": event.time,
                "trial": event.trial.id,
                "values": dict(event.values),
                "provenance": how,
                "energy_j": event.energy_j,
                "test_values": dict(event.test_values),
            }
        case Mark(name, time_, reason, energy_j):
            return {"event": name, "time": time_, "reason": reason, "energy_j": energy_j}


def _event_from_json(record: dict[str, Any], trials: dict[int, Trial]) -> Event:
    """Returns the event of a line; ``trials`` are those asked so far, to which it adds."""
    kind, at = record["event"], float(record["time"])
    if kind == "asked":
        trial = trial_from_json(record["trial"])
        trials[trial.id] = trial
        return Asked(trial, at)
    if kind == "told":
        result = result_from_json(record["result"])
        # One trial in memory, not two that are equal.
        same = trials.get(result.trial.id)
        return Told(replace(result, trial=same) if same == result.trial else result, at)
    if kind == "lost":
        return Lost(trials[record["trial"]], time=at, **{name: record[name] for name in _LOST_FIELDS})
    if kind == "measured":
        how = {name: provenance_from_json(fields) for name, fields in record["provenance"].items()}
        values, test_values = dict(record["values"]), dict(record["test_values"])
        return Measured(trials[record["trial"]], values, how, float(record["energy_j"]), at, test_values)
    if kind in ("measuring", "started", "resumed", "interrupted", "failed", "finished"):
        return Mark(kind, at, str(record["reason"]), float(record["energy_j"]))
    raise ValueError(f"unknown event {kind!r}")


def _sync_folder(folder: Path) -> None:
    # Makes the new file's name durable, not only its bytes.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
