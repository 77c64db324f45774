"""The journal of a run: an append-only file of what was asked, lost and told, the only truth of a run.

The first line is the header; then follow `asked`, `lost`, `told`, `measured` and `mark` events in the order in which they happened.
Each line is synced to disk before anything is done about it, so that replaying the file into a fresh optimizer gives the
state in which the driver died. Only the driver writes.
"""

from dsnn_hpo.journal._events import Asked, Event, Header, Lost, Mark, MarkName, Measured, Told
from dsnn_hpo.journal._file import Journal, now, read
from dsnn_hpo.journal._history import History, InFlight

__all__ = [
    "Asked",
    "Event",
    "Header",
    "History",
    "InFlight",
    "Journal",
    "Lost",
    "Mark",
    "MarkName",
    "Measured",
    "Told",
    "now",
    "read",
]
