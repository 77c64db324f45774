from __future__ import annotations

import numpy as np
import pytest
import torch

from dsnn_hpo.data import Dataset, Samples, Split, load_dataset, make_split, prepare
from dsnn_hpo.errors import DataError


def rows(*numbers):
    return np.asarray(numbers, dtype=np.int64)


@pytest.fixture
def dataset():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (10, 3, 4, 4), dtype=torch.uint8, generator=generator)
    pool = Samples(images, torch.arange(10) % 2)
    test = Samples(255 - images[:4], torch.arange(4) % 2)
    return Dataset("toy", ("a", "b"), pool, test)


def test_moments_are_those_of_the_training_part_alone(dataset):
    data = prepare(dataset, Split(rows(0, 3, 4), rows(1, 2), rows(0, 1), test_is_pool=False))
    pixels = dataset.pool.images[[0, 3, 4]].double() / 255
    assert torch.allclose(data.mean.double(), pixels.mean(dim=(0, 2, 3)), atol=1e-7)
    assert torch.allclose(data.std.double(), pixels.std(dim=(0, 2, 3), correction=0), atol=1e-7)
    assert data.mean.dtype == data.std.dtype == torch.float32


def test_parts_are_the_rows_of_the_split(dataset):
    data = prepare(dataset, Split(rows(0, 3), rows(1, 2), rows(2, 3), test_is_pool=False))
    assert torch.equal(data.train.images, dataset.pool.images[[0, 3]])
    assert torch.equal(data.validation.labels, dataset.pool.labels[[1, 2]])
    assert torch.equal(data.test.images, dataset.test.images[[2, 3]])
    assert (data.n_classes, data.input_shape) == (2, (3, 4, 4))


def test_test_part_of_the_pool(dataset):
    data = prepare(dataset, Split(rows(0, 3), rows(1, 2), rows(8, 9), test_is_pool=True))
    assert torch.equal(data.test.images, dataset.pool.images[[8, 9]])


def test_imagenet_moments(dataset):
    split = Split(rows(0, 3), rows(1, 2), rows(2, 3), test_is_pool=False)
    assert prepare(dataset, split, "imagenet").mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    digits = load_dataset("digits")
    with pytest.raises(DataError, match="3 channels, digits has 1"):
        prepare(digits, make_split(digits, 0), "imagenet")


def test_constant_channel_has_deviation_one(dataset):
    dataset.pool.images[:, 1] = 7
    data = prepare(dataset, Split(rows(0, 3), rows(1, 2), rows(2, 3), test_is_pool=False))
    assert data.std[1] == 1.0


@pytest.mark.parametrize(
    "split",
    [
        Split(rows(0, 10), rows(1), rows(0), test_is_pool=False),
        Split(rows(0), rows(-1), rows(0), test_is_pool=False),
        Split(rows(0), rows(1), rows(4), test_is_pool=False),
        Split(rows(), rows(1), rows(0), test_is_pool=False),
    ],
)
def test_split_of_another_set_is_refused(dataset, split):
    with pytest.raises(DataError, match="does not fit the data set toy"):
        prepare(dataset, split)


def test_samples_refuse_other_types():
    with pytest.raises(ValueError, match="images must be uint8"):
        Samples(torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="labels must be int64"):
        Samples(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64))
