"""The `task:` section of an experiment file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from dsnn_hpo.trial import Scalar


def _without_nul(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a path cannot have a NUL character")
    return path


class TaskConfig(BaseModel):
    """What is learnt: data, network, and how the data are cut, cropped and batched."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = Field(
        description="digits, fashion_mnist, mnist, idx, cifar10, cifar100, caltech101, image_folder or npz"
    )
    model: str = Field(
        description="mlp, cnn, resnet20, resnet18, mobilenet_v2, vgg11, vgg16, vgg19, googlenet, or your own as "
        "`module:function`, called as function(input_shape, n_classes, **model_arguments)"
    )
    path: Annotated[Path, AfterValidator(_without_nul)] | None = Field(
        default=None, description="where the data set lies: a folder or an archive; relative to the experiment file"
    )
    model_arguments: dict[str, Scalar] = Field(
        default_factory=dict,
        description="fixed arguments of the network, e.g. {width: 16}; searched ones go into the space",
    )
    batch_size: int | None = Field(
        strict=True,
        default=None,
        ge=2,
        le=65536,
        description="training batch size, where the search space does not search it (then 64)",
    )
    image_size: int | None = Field(
        strict=True, default=None, ge=8, le=1024, description="images are resized to this many pixels square"
    )
    n_train: int | None = Field(strict=True, default=None, ge=2, description="train on this many images instead of all")
    n_validation: int | None = Field(
        strict=True, default=None, ge=2, description="validate on this many images instead of a fraction"
    )
    validation_fraction: float = Field(
        strict=True, default=0.2, gt=0.0, lt=1.0, description="share of the images that validate"
    )
    test_fraction: float = Field(
        strict=True,
        default=0.2,
        gt=0.0,
        lt=1.0,
        description="share of the images that test, where the set has no test images of its own",
    )
    normalization: Literal["standard", "imagenet"] = Field(
        default="standard", description="by the training split's own mean and deviation, or by ImageNet's"
    )
    augmentation: tuple[Literal["flip", "crop", "cutout"], ...] = Field(
        default=(), description="applied to training batches: horizontal flip, padded random crop, cutout"
    )
    schedule: Literal["cosine", "constant"] = Field(
        default="cosine",
        description="learning rate over the maximal fidelity, where the search space does not search it",
    )
