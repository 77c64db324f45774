"""When hyperparameters are fitted, to what, and off the path of an ask."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from dsnn_hpo.optimizers.bayesian import _gp
from dsnn_hpo.optimizers.bayesian._model import Index, Table, chosen_rows
from dsnn_hpo.optimizers.bayesian._success import Labels

T = TypeVar("T")

MAX_ROWS = 200
GROWTH = 1.15
FIRST_SIZE = 6
LAG = 1 / 20


@dataclass(frozen=True, slots=True)
class Fitted:
    """Hyperparameters of the process of each output, and of the one that tells success from failure: None without any."""

    outputs: list[_gp.Hyperparameters]
    success: _gp.Hyperparameters | None


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
        data, _ = chosen.data(j)
        starts = _gp.Hyperparameters.starts(n_groups)
        if len(coarse) < len(data):
            few = data.rows(coarse)
            # Of the two, going on from the likelier halves the time that the first ask after resuming takes.
            found = [_gp.fit(few, groups, [start], max_evaluations=50) for start in starts]
            starts = (_gp.likeliest(data, groups, found),)
        outputs.append(_gp.fit(data, groups, starts, max_evaluations=20))
    return Fitted(outputs, labels.fit(groups) if labels.share < 1 else None)


def schedule(n: int) -> tuple[int, int]:
    """Returns the number of results whose fit is used once ``n`` are known, and that whose fit can begin: 0 for none.

    Fits are due at sizes that grow by 15 %. Each is used from 5 % more results on, so that it can be made while these
    come in, and which one is used does not depend on how long it takes.
    """
    used = begun = 0
    size = float(FIRST_SIZE)
    while int(size) <= n:
        begun = int(size)
        if begun + int(begun * LAG) <= n:
            used = begun
        size = max(size + 1.0, size * GROWTH)
    return used, begun


class Fits(Generic[T]):
    """Keeps the fit in use, and makes the next one in a thread of its own.

    Args:
        fit: returns what is fitted to the first n results; what it reads must not change meanwhile.
    """

    def __init__(self, prepare: Callable[[int], Callable[[], T]]) -> None:
        self._prepare = prepare
        self._executor: ThreadPoolExecutor | None = None
        self._futures: dict[int, Future[T]] = {}

    def used(self, n: int) -> T | None:
        """Returns the fit for ``n`` results, waiting for it where it must; None where none is due yet."""
        size, _ = schedule(n)
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

    def begin(self, n: int) -> None:
        """Begins the newest fit that ``n`` results allow, if it was not begun."""
        _, size = schedule(n)
        if size and size not in self._futures:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, thread_name_prefix="dsnn-hpo-fit")
            self._futures[size] = self._executor.submit(self._prepare(size))

    def __getstate__(self) -> dict[str, Any]:
        # Threads and what they make stay behind; it is made again.
        return {"_prepare": self._prepare, "_executor": None, "_futures": {}}
