"""Data sets to tensors: readers, seeded splits, normalised and augmented batches."""

from dsnn_hpo.data._batches import AUGMENTATIONS, batches, check_augmentation
from dsnn_hpo.data._folder import read_class_folders, read_image
from dsnn_hpo.data._prepare import PreparedData, prepare
from dsnn_hpo.data._registry import DATASETS, DatasetSource, check_dataset, load_dataset
from dsnn_hpo.data._samples import Dataset, Samples
from dsnn_hpo.data._split import Split, load_split, make_split

__all__ = [
    "AUGMENTATIONS",
    "DATASETS",
    "Dataset",
    "DatasetSource",
    "PreparedData",
    "Samples",
    "Split",
    "batches",
    "check_augmentation",
    "check_dataset",
    "load_dataset",
    "load_split",
    "make_split",
    "prepare",
    "read_class_folders",
    "read_image",
]
