"""Single images and class folders as a deployed model takes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from dsnn_hpo.data import load_dataset, read_class_folders, read_image
from dsnn_hpo.errors import DataError


@pytest.fixture
def gradient(tmp_path):
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    Image.fromarray(pixels).save(tmp_path / "gradient.png")
    return tmp_path / "gradient.png", pixels


def test_colours_and_grey(gradient):
    file, pixels = gradient
    assert np.array_equal(read_image(file, (3, 6, 8)).numpy(), pixels.transpose(2, 0, 1))
    grey = np.array(Image.fromarray(pixels).convert("L"))
    assert np.array_equal(read_image(file, (1, 6, 8)).numpy(), grey[None])
    assert read_image(file, (3, 4, 5)).shape == (3, 4, 5)
    Image.fromarray(grey).save(file)
    assert np.array_equal(read_image(file, (1, 6, 8)).numpy(), grey[None])
    assert np.array_equal(read_image(file, (3, 6, 8)).numpy(), np.stack([grey] * 3))


def test_what_cannot_be_read(gradient, tmp_path):
    with pytest.raises(DataError, match="has 1 channel or 3, not 4"):
        read_image(gradient[0], (4, 6, 8))
    with pytest.raises(DataError, match=r"nowhere\.png: is not a readable image"):
        read_image(tmp_path / "nowhere.png", (3, 6, 8))


def test_class_folders_are_read_as_the_data_set_is(gradient, tmp_path):
    _, pixels = gradient
    for name, shift in (("b", 0), ("a", 50), ("b", 100)):
        (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels + np.uint8(shift)).save(tmp_path / "set" / name / f"{shift}.png")
    samples = read_class_folders(tmp_path / "set", ("c", "b", "a"), (3, 5, 5))
    assert samples.labels.tolist() == [2, 1, 1]
    assert torch.equal(samples.images, load_dataset("image_folder", tmp_path / "set", 5).pool.images)
    with pytest.raises(DataError, match=r"set/b: there is no class 'b' \(.*allowed: a\)"):
        read_class_folders(tmp_path / "set", ("a",), (3, 5, 5))
