from __future__ import annotations

import numpy as np
import pytest

from dsnn_hpo.data import check_dataset, load_dataset
from dsnn_hpo.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


@pytest.fixture
def path(tmp_path):
    return tmp_path / "set.npz"


def test_reads_train_and_test(path):
    np.savez(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:6], y_test=LABELS[:6])
    check_dataset("npz", path)
    dataset = load_dataset("npz", path)
    assert dataset.input_shape == (3, 6, 5)
    assert np.array_equal(dataset.pool.images.permute(0, 2, 3, 1).numpy(), IMAGES)
    assert dataset.test.labels.tolist() == LABELS[:6].tolist()


def test_reads_grey_floats_without_a_test_set(path):
    np.savez_compressed(path, x=IMAGES[..., 0] / 255, y=(LABELS * 10).astype(np.int16))
    dataset = load_dataset("npz", path)
    assert np.array_equal(dataset.pool.images[:, 0].numpy(), IMAGES[..., 0])
    assert dataset.classes == ("0", "10", "20")
    assert dataset.test is None


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"x": IMAGES}, "has no y;"),
        ({"images": IMAGES}, "has no x;"),
        ({"x_train": IMAGES}, "has no y_train"),
        ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES}, "one of x_test and y_test"),
        ({"x": IMAGES[0, 0], "y": LABELS}, r"x has shape \(5, 3\)"),
        ({"x": IMAGES.transpose(0, 3, 1, 2), "y": LABELS}, r"x has shape \(12, 3, 6, 5\)"),
        ({"x": IMAGES, "y": LABELS[:5]}, r"y is int64 \(5,\)"),
        ({"x": IMAGES, "y": LABELS / 2}, "y is float64"),
        ({"x": IMAGES.astype(np.int32), "y": LABELS}, "x is int32"),
        ({"x": IMAGES * 1.0, "y": LABELS}, "floats must lie in"),
        ({"x": np.full((12, 6, 5), np.nan), "y": LABELS}, "floats must lie in"),
        ({"x": np.array([{}] * 12), "y": LABELS}, "not a readable .npz"),
        ({"x": IMAGES[:0], "y": LABELS[:0]}, "training set is empty"),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS + 1},
            "label 3 occurs in the test set",
        ),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, :5], "y_test": LABELS},
            r"training images are \(3, 6, 5\).*test images \(3, 5, 5\)",
        ),
    ],
)
def test_wrong_content_is_named(path, arrays, reason):
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=reason) as caught:
        load_dataset("npz", path)
    assert "set.npz" in str(caught.value)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95])
def test_truncated_archive_is_named(path, keep):
    np.savez(path, x=IMAGES, y=LABELS)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(DataError, match=r"set\.npz: is not a readable \.npz archive"):
        load_dataset("npz", path)


def test_damaged_member_is_named(path):
    np.savez(path, x=IMAGES, y=LABELS)
    data = bytearray(path.read_bytes())
    data[300] ^= 255
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"set\.npz: is not a readable \.npz archive"):
        load_dataset("npz", path)


def test_missing_archive_says_what_is_expected(path):
    with pytest.raises(DataError, match=r"missing the archive.*x_train, y_train"):
        check_dataset("npz", path)
