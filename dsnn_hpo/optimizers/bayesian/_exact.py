"""Losses that need no training, used in place of predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from dsnn_hpo.errors import InputError, one_of
from dsnn_hpo.optimizers._background import KnownFigure
from dsnn_hpo.optimizers._vectors import Floats, VectorSpace, fingerprints
from dsnn_hpo.trial import Objective

Mask = npt.NDArray[np.bool_]


class ExactLosses:
    """The losses of outputs that need no training, each looked up once.

    Args:
        space: of the configurations.
        outputs: of which some may be known.
        known: see ``Background``.
        limits: by output, the highest loss that is acceptable.

    Attributes:
        columns: shape (k,), the outputs that are known.

    Raises:
        InputError: what is known is no output.
    """

    def __init__(
        self,
        space: VectorSpace,
        outputs: Sequence[Objective],
        known: Mapping[str, KnownFigure],
        limits: Mapping[int, float],
    ) -> None:
        names = [output.name for output in outputs]
        for name in known:
            if name not in names:
                raise InputError(f"known: no objective or constrained figure {one_of(name, names)}")
        self._space = space
        self._figures = {j: (output, known[output.name]) for j, output in enumerate(outputs) if output.name in known}
        self._n_outputs = len(outputs)
        self._limits = np.full(self._n_outputs, np.inf)
        self._limits[list(limits)] = list(limits.values())
        self._found: dict[bytes, Floats] = {}
        self.columns: npt.NDArray[np.intp] = np.asarray(list(self._figures), dtype=np.intp)
        self.bounds_any = any(j in self._figures for j in limits)

    def of(self, rows: Floats) -> Floats:
        """Returns the losses of rows, shape (n, n_outputs), NaN where they are not known."""
        losses = np.full((len(rows), self._n_outputs), np.nan)
        if self._figures:
            for i, (name, row) in enumerate(zip(fingerprints(rows), rows, strict=True)):
                if name not in self._found:
                    self._found[name] = self._looked_up(row)
                losses[i] = self._found[name]
        return losses

    def only(self, losses: Floats) -> Floats:
        """Returns the losses of results with all but the known outputs NaN."""
        exact = np.full_like(losses, np.nan)
        exact[:, self.columns] = losses[:, self.columns]
        return exact

    def keeps_limits(self, losses: Floats) -> Mask:
        """Returns a mask of the losses, shape (n, n_outputs), that are within their limits as far as they are known."""
        return ~np.asarray((losses > self._limits).any(axis=1), dtype=np.bool_)

    def _looked_up(self, row: Floats) -> Floats:
        losses = np.full(self._n_outputs, np.nan)
        config = self._space.config(row)
        for j, (output, figure) in self._figures.items():
            value = figure(config)
            if value is not None:
                losses[j] = output.loss(value)
        return losses
