"""Runs compared by their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dsnn_hpo.errors import InputError
from dsnn_hpo.experiment._folder import read_run
from dsnn_hpo.report import Comparison, compare_runs, require_picture


def compare_folders(runs: Sequence[Path], against: Sequence[Path] = (), picture: Path | None = None) -> Comparison:
    """Returns how the runs in some folders compare; each is called by as much of its path as tells it from the others.

    Args:
        runs: the folders.
        against: those of a second group, over seeds.
        picture: the file that the caller means to write, checked before anything is read.

    Raises:
        RunFolderError: a folder holds no run.
        JournalError: a journal is damaged.
        InputError: a folder is given twice, the runs cannot be compared, or the picture has no kind that can be written.
    """
    if picture is not None:
        require_picture(picture)
    folders = [*runs, *against]
    labels = _labels([folder.resolve() for folder in folders])
    histories = {label: read_run(folder) for label, folder in zip(labels, folders, strict=True)}
    return compare_runs(histories, labels[len(runs) :])


def _labels(folders: Sequence[Path]) -> list[str]:
    """Returns the shortest ends of the paths that differ, all of the same number of parts."""
    if twice := sorted({str(folder) for folder in folders if folders.count(folder) > 1}):
        raise InputError(f"given twice: {', '.join(twice)}")
    for n_parts in range(1, max(len(folder.parts) for folder in folders) + 1):
        labels = ["/".join(folder.parts[-n_parts:]) for folder in folders]
        if len(set(labels)) == len(labels):
            return labels
    return [str(folder) for folder in folders]
