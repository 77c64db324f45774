"""A packed model as MLflow's pyfunc flavour loads it; MLflow itself is not needed.

``MLmodel`` names this module as its ``loader_module``, and the packed folder as its ``data``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dsnn_hpo.deploy._folder import load_model
from dsnn_hpo.deploy._model import DeployedModel
from dsnn_hpo.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame


class PyfuncModel:
    """A packed model in the shape that MLflow asks of one."""

    def __init__(self, model: DeployedModel) -> None:
        self._model = model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> DataFrame:  # noqa: ARG002 - MLflow's
        """Returns a row an image: ``index`` and ``label`` of the most probable class, and its ``probability``.

        Args:
            model_input: images, uint8 of shape (n, c, h, w), or (c, h, w) for one; whole numbers of another dtype (JSON
                knows no uint8) if they are 0 to 255.
            params: none are known.

        Raises:
            InputError: the images have another shape, or are no pixels.
        """
        # MLflow, which calls this, brings it along.
        from pandas import DataFrame

        found = self._model.predict(_pixels(model_input))
        return DataFrame(
            {
                "index": found.indices.numpy(),
                "label": list(found.labels),
                "probability": found.probabilities.amax(dim=1).double().numpy(),
            }
        )


def _pixels(model_input: Any) -> npt.NDArray[np.uint8]:
    values = np.asarray(model_input)
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "iu" or (values.size and (values.min() < 0 or values.max() > 255)):
        raise InputError(f"images must be uint8, pixels of 0 to 255, not {values.dtype}")
    return values.astype(np.uint8)


def _load_pyfunc(path: str) -> PyfuncModel:
    """Returns the model of a packed folder; this is the name that MLflow looks for. Raises ModelFolderError."""
    return PyfuncModel(load_model(Path(path)))
