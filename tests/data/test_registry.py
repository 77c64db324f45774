from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dsnn_hpo.data
from dsnn_hpo.data import DATASETS, check_dataset, load_dataset
from dsnn_hpo.errors import DataError


def test_public_names_exist_and_are_sorted_out():
    public = {name for name in vars(dsnn_hpo.data) if not name.startswith("_")}
    assert set(dsnn_hpo.data.__all__) == public


def test_digits_need_no_files():
    check_dataset("digits")
    dataset = load_dataset("digits")
    assert len(dataset.pool) == 1797
    assert dataset.input_shape == (1, 8, 8)
    assert dataset.test is None
    assert (int(dataset.pool.images.min()), int(dataset.pool.images.max())) == (0, 255)
    assert len(dataset.classes) == 10


def test_digits_take_no_path(tmp_path):
    with pytest.raises(DataError, match="takes no path"):
        check_dataset("digits", tmp_path)


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"digits", "fashion_mnist"}))
def test_a_set_without_a_default_place_needs_a_path(name):
    with pytest.raises(DataError, match=f"'{name}' needs a path: .*To get it: "):
        check_dataset(name)


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"digits"}))
def test_a_missing_set_says_what_is_expected_and_how_to_get_it(name, tmp_path):
    with pytest.raises(DataError, match=f"'{name}' is not at .*Expected: .*To get it: "):
        load_dataset(name, tmp_path / "nowhere")


def test_unknown_name_shows_the_nearest():
    with pytest.raises(DataError, match=r"'fashion-mnist' .*did you mean 'fashion_mnist'"):
        load_dataset("fashion-mnist", Path())


def test_image_size_resizes_any_set():
    dataset = load_dataset("digits", image_size=16)
    original = load_dataset("digits")
    assert dataset.input_shape == (1, 16, 16)
    means = [float(each.pool.images.float().mean()) for each in (dataset, original)]
    assert means[0] == pytest.approx(means[1], rel=0.02)
    # Halving again averages: close to the original, since it was doubled bilinearly.
    difference = dataset.pool.images[:, :, ::2, ::2].float() - original.pool.images.float()
    assert np.abs(difference.numpy()).mean() < 25


def test_image_size_of_the_set_changes_nothing():
    assert (load_dataset("digits", image_size=8).pool.images == load_dataset("digits").pool.images).all()


@pytest.mark.parametrize("image_size", [0, -3, 100_000])
def test_impossible_image_size_is_refused(image_size):
    with pytest.raises(DataError, match=f"image_size is {image_size}"):
        load_dataset("digits", image_size=image_size)
