"""When hyperparameters are fitted, to what, and off the path of an ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from dsnn_hpo.optimizers.bayesian import _map
from dsnn_hpo.optimizers.bayesian._gp import Hyperparameters
from dsnn_hpo.optimizers.bayesian._model import Index, Scale, Table, chosen_rows
from dsnn_hpo.optimizers.bayesian._success import Labels

T = TypeVar("T")
Ends = npt.NDArray[np.int64]

MAX_ROWS = 200
GROWTH = 1.15
FIRST_SIZE = 6
LAG = 1 / 40
FULL_WEIGHT = 9.0
"""How many of the shorter trainings one at full fidelity counts for: what tells of the bias are those."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the model of each output is, and the hyperparameters of the one that tells success from failure: None without any.

    Hyperparameters hold for the scale that they were fitted with.
    """

    outputs: list[tuple[Hyperparameters, Scale]]
    success: Hyperparameters | None


def fit_all(table: Table, labels: Labels, groups: Index, seed: int, earlier: Table | None = None) -> Fitted:
    """Returns what is fitted to a table and to labels: a pure function of them, as nothing is carried over from earlier fits.

    Fits to a third of the rows, which are cheap, give the start of the fit to all. Rows of earlier runs are all taken.
    More than two outputs have fewer rows, so that all take as long as two: it grows with the third power of the rows.
    """
    n_groups, n_outputs = int(groups.max(initial=-1)) + 1, table.losses.shape[1]
    n_rows = int(MAX_ROWS * min(1.0, 2.0 / n_outputs) ** (1.0 / 3.0))
    n_own = n_rows - (len(earlier.bias) if earlier else 0)
    chosen = table.rows(chosen_rows(table.losses, table.bias, n_own, seed)).joined(earlier)
    coarse = chosen_rows(chosen.losses, chosen.bias, n_rows // 3, seed)
    outputs = []
    for j in range(n_outputs):
        scale = Scale.of(table.losses[:, j], table.bias)
        data = chosen.data(j, scale)
        starts = Hyperparameters.starts(n_groups)
        if len(coarse) < len(data):
            few = data.rows(coarse)
            # Of the two, going on from the likelier halves the time that the first ask after resuming takes.
            found = [_map.fit(few, groups, [start], max_evaluations=50) for start in starts]
            starts = (_map.likeliest(data, groups, found),)
        outputs.append((_map.fit(data, groups, starts, max_evaluations=20), scale))
    return Fitted(outputs, labels.fit(groups) if labels.share < 1 else None)


def schedule(ends: Ends, full: int) -> tuple[int, int]:
    """Returns after how many ended trials the fit in use was made, and after how many one can begin: 0 for none.

    The first is due after six results, further ones as what is known grows by 15 %. Each is used from 2.5 % more trials
    on, so that it can be made while these end, and which one is used does not depend on how long it takes.

    Args:
        ends: shape (n,), of each ended trial its fidelity, 0 if it failed.
        full: the highest fidelity.
    """
    used = begun = 0
    known = np.cumsum(np.where(ends == full, FULL_WEIGHT, 1.0))
    n = int(np.searchsorted(np.cumsum(ends > 0), FIRST_SIZE)) + 1
    while n <= len(ends):
        begun = n
        if n + int(n * LAG) <= len(ends):
            used = n
        size = max(known[n - 1] + 1.0, known[n - 1] * GROWTH)
        n = int(np.searchsorted(known, size)) + 1
    return used, begun


class Fits(Generic[T]):
    """Keeps the fit in use, and makes the next one in a thread of its own.

    Args:
        prepare: returns what fits to the first n ended trials; what that reads must not change meanwhile.
        full: the highest fidelity.
    """

    def __init__(self, prepare: Callable[[int], Callable[[], T]], full: int) -> None:
        self._prepare = prepare
        self._full = full
        self._executor: ThreadPoolExecutor | None = None
        self._futures: dict[int, Future[T]] = {}

    def used(self, ends: Sequence[int]) -> T | None:
        """Returns the fit to use after these ends, waiting for it where it must; None where none is due yet."""
        size, _ = schedule(np.asarray(ends, dtype=np.int64), self._full)
        if not size:
            return None
        if size not in self._futures:
            done: Future[T] = Future()
            try:
                done.set_result(self._prepare(size)())
            except np.linalg.LinAlgError as error:
                done.set_exception(error)
            self._futures[size] = done
        fitted = self._futures[size].result()
        self._futures = {k: v for k, v in self._futures.items() if k >= size}
        return fitted

    def begin(self, ends: Sequence[int]) -> None:
        """Begins the newest fit that these ends allow, if it was not begun."""
        _, size = schedule(np.asarray(ends, dtype=np.int64), self._full)
        if size and size not in self._futures:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, thread_name_prefix="dsnn-hpo-fit")
            self._futures[size] = self._executor.submit(self._prepare(size))

    def __getstate__(self) -> dict[str, Any]:
        # Threads and what they make stay behind; it is made again.
        return {"_prepare": self._prepare, "_full": self._full, "_executor": None, "_futures": {}}
