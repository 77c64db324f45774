"""The digits that scikit-learn carries: 1,797 real handwritten digits of 8x8 pixels, nothing to download."""

from __future__ import annotations

import numpy as np
import torch

from dsnn_hpo.data._samples import Dataset, Samples

# The bundled images count ink from 0 to 16.
MAX_INK = 16


def read_digits() -> Dataset:
    """Returns the digits of Alpaydin & Kaynak (UCI, 1998) as scikit-learn bundles them; it has no test set."""
    # Imported at first use: scikit-learn takes a second to import and no other data set needs it.
    from sklearn.datasets import load_digits

    ink, labels = load_digits(return_X_y=True)
    pixels = np.rint(ink * 255 / MAX_INK).astype(np.uint8).reshape(-1, 1, 8, 8)
    pool = Samples(torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64)))
    return Dataset("digits", tuple(str(digit) for digit in range(10)), pool, test=None)
