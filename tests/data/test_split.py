from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo.data import Dataset, Samples, Split, load_dataset, load_split, make_split
from dsnn_hpo.errors import DataError


def dataset_of(counts, n_test=0):
    labels = torch.tensor([c for c, n in enumerate(counts) for _ in range(n)], dtype=torch.int64)
    pool = Samples(torch.zeros((len(labels), 1, 2, 2), dtype=torch.uint8), labels)
    test = Samples(pool.images[:n_test], labels[:n_test]) if n_test else None
    return Dataset("toy", tuple(f"c{i}" for i in range(len(counts))), pool, test)


def class_counts(dataset, indices):
    return np.bincount(dataset.pool.labels.numpy()[indices], minlength=len(dataset.classes))


@settings(deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(3, 60), min_size=2, max_size=8),
    n_test=st.sampled_from([0, 7]),
    fractions=st.tuples(st.floats(0.05, 0.6), st.floats(0.05, 0.35)),
    n_train=st.none() | st.integers(2, 200),
    seed=st.integers(0, 2**32),
)
def test_parts_are_disjoint_stratified_and_of_the_size_asked_for(counts, n_test, fractions, n_train, seed):
    dataset = dataset_of(counts, n_test)
    validation_fraction, test_fraction = fractions
    arguments = {
        "n_train": n_train,
        "validation_fraction": validation_fraction,
        "test_fraction": test_fraction,
    }
    try:
        split = make_split(dataset, seed, **arguments)
    except DataError as error:
        # Only for want of images.
        assert "cannot be had" in str(error) or "need at least one each" in str(error)  # noqa: PT017
        return
    parts = [split.train, split.validation] + ([split.test] if split.test_is_pool else [])
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together)
    assert split.test_is_pool is (n_test == 0)
    if n_test:
        assert split.test.tolist() == list(range(n_test))
    if n_train is None:
        assert len(together) == sum(counts)
    else:
        assert len(split.train) == n_train
    for part in parts:
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()
        assert class_counts(dataset, part).min() >= 1


@settings(deadline=None, derandomize=True)
@given(counts=st.lists(st.integers(20, 200), min_size=2, max_size=8), seed=st.integers(0, 99))
def test_class_shares_are_within_two_of_the_pools(counts, seed):
    dataset = dataset_of(counts)
    split = make_split(dataset, seed)
    for part in (split.train, split.validation, split.test):
        ideal = len(part) * np.asarray(counts) / sum(counts)
        assert np.abs(class_counts(dataset, part) - ideal).max() <= 2


def test_sizes_of_digits():
    split = make_split(load_dataset("digits"), seed=0)
    assert (len(split.train), len(split.validation), len(split.test)) == (1079, 359, 359)


def test_seeds_reproduce_and_differ():
    dataset = dataset_of([50, 50])
    first, again, other = (make_split(dataset, seed) for seed in (1, 1, 2))
    for part in ("train", "validation", "test"):
        assert np.array_equal(getattr(first, part), getattr(again, part))
        assert not np.array_equal(getattr(first, part), getattr(other, part))


def test_the_test_part_does_not_depend_on_how_much_is_trained_on():
    dataset = dataset_of([50, 50])
    full = make_split(dataset, 3)
    assert np.array_equal(full.test, make_split(dataset, 3, n_train=20).test)
    assert np.array_equal(full.test, make_split(dataset, 3, validation_fraction=0.5).test)


def test_validation_shrinks_with_training_unless_it_is_given():
    dataset = dataset_of([500, 500], n_test=10)
    split = make_split(dataset, 0, n_train=100, validation_fraction=0.2)
    assert (len(split.train), len(split.validation)) == (100, 25)
    split = make_split(dataset, 0, n_train=100, n_validation=60)
    assert (len(split.train), len(split.validation)) == (100, 60)
    split = make_split(dataset, 0, n_validation=60)
    assert (len(split.train), len(split.validation)) == (940, 60)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"n_train": 81}, r"n_train=81 and n_validation=24 .* pool of 120 less 24 for testing leaves 96"),
        ({"n_validation": 97}, "n_validation=97 .* cannot be had"),
        ({"n_train": 1, "n_validation": 10}, "the train part has 1 images; 2 classes need"),
        ({"n_validation": 1}, "the validation part has 1 images"),
        ({"n_validation": -5}, "the validation part has -5 images"),
        ({"validation_fraction": 0.0}, "validation_fraction=0.0 and test_fraction=0.2 must lie between"),
        ({"validation_fraction": 0.8}, "leave something to train on"),
        ({"test_fraction": 0.0}, "test_fraction=0.0 must lie between"),
        ({"test_fraction": float("nan")}, "must lie between"),
    ],
)
def test_the_impossible_is_refused(arguments, reason):
    with pytest.raises(DataError, match=reason):
        make_split(dataset_of([60, 60]), 0, **arguments)


def test_a_class_with_too_few_images_is_named():
    with pytest.raises(DataError, match="class 'c1' of toy has 2 images; it needs 3"):
        make_split(dataset_of([10, 2]), 0)
    assert len(make_split(dataset_of([10, 2], n_test=3), 0).test) == 3


def test_saved_split_is_read_back_and_replaces_the_old(tmp_path):
    path = tmp_path / "split.npz"
    dataset = dataset_of([9, 9])
    for seed in (0, 1):
        split = make_split(dataset, seed)
        split.save(path)
        loaded = load_split(path)
        for part in ("train", "validation", "test"):
            assert np.array_equal(getattr(loaded, part), getattr(split, part))
        assert loaded.test_is_pool is True
    assert [p.name for p in tmp_path.iterdir()] == ["split.npz"]


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_damaged_split_is_named(tmp_path, keep):
    path = tmp_path / "split.npz"
    make_split(dataset_of([9, 9]), 0).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(DataError, match=r"split\.npz: is not a readable split"):
        load_split(path)


def test_split_of_other_indices_is_refused(tmp_path):
    path = tmp_path / "split.npz"
    Split(np.zeros(3), np.zeros(3), np.zeros(3), test_is_pool=True).save(path)
    with pytest.raises(DataError, match="indices are float64"):
        load_split(path)


def test_missing_split_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.npz"):
        load_split(tmp_path / "none.npz")
