"""What is known of a model besides its steps: how to feed it, what it says, where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dsnn_hpo.trial import Scalar


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """From pixels to the network's inputs: ``(pixels / 255 - mean) / std``, in float32, channel by channel.

    Attributes:
        mean: of each channel, of pixels in [0, 1].
        std: of each channel.
        image_size: to which the data set's images were resized, pixels square; None where they were not.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int | None = None


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What goes into a model's folder besides its plan.

    Attributes:
        name: of the model.
        classes: their names, in the order of the logits.
        preprocessing: from pixels to inputs.
        dataset: that it was trained on.
        configuration: of the search, by name.
        figures: measured values in words, by name, for the model card.
        provenance: where it comes from in words, by name, for the model card.
    """

    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    dataset: str
    configuration: Mapping[str, Scalar] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
