from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo.data import check_dataset, load_dataset
from dsnn_hpo.data._idx import read_idx
from dsnn_hpo.errors import DataError

DEBIAN = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.parametrize("is_gz", [True, False])
@pytest.mark.parametrize("name", ["idx", "mnist", "fashion_mnist"])
def test_reads_what_was_written(tmp_path, write_idx, name, is_gz):
    written = write_idx(tmp_path, is_gz=is_gz)
    check_dataset(name, tmp_path)
    dataset = load_dataset(name, tmp_path)
    assert dataset.input_shape == (1, 9, 7)
    assert np.array_equal(dataset.pool.images[:, 0].numpy(), written["train-images-idx3-ubyte"])
    assert np.array_equal(dataset.test.images[:, 0].numpy(), written["t10k-images-idx3-ubyte"])
    assert np.array_equal(dataset.pool.labels.numpy(), written["train-labels-idx1-ubyte"])
    assert np.array_equal(dataset.test.labels.numpy(), written["t10k-labels-idx1-ubyte"])
    assert len(dataset.classes) == (4 if name == "idx" else 10)


def test_labels_of_an_unknown_set_are_renumbered_and_keep_their_names(tmp_path, write_idx):
    write_idx(tmp_path, first_label=5)
    dataset = load_dataset("idx", tmp_path)
    assert dataset.classes == ("5", "6", "7", "8")
    assert dataset.test.labels.unique().tolist() == [0, 1, 2, 3]


def test_label_outside_known_classes_is_refused(tmp_path, write_idx):
    write_idx(tmp_path, first_label=7)
    with pytest.raises(DataError, match=r"label of the training set is 10; allowed are 0 to 9"):
        load_dataset("mnist", tmp_path)


def test_missing_file_is_named_with_how_to_get_it(tmp_path, write_idx):
    write_idx(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte.*apt-get install dataset-fashion-mnist"):
        check_dataset("fashion_mnist", tmp_path)


def damage_magic(data: bytes) -> bytes:
    return b"\x00\x00\x0d" + data[3:]


def damage_dimensions(data: bytes) -> bytes:
    return data[:3] + b"\x01" + data[4:]


def truncate(data: bytes) -> bytes:
    return data[:-1]


def truncate_header(data: bytes) -> bytes:
    return data[:10]


def lengthen(data: bytes) -> bytes:
    return data + b"\x00"


def declare_terabytes(data: bytes) -> bytes:
    return data[:4] + b"\xff" * 12 + data[16:]


def empty(data: bytes) -> bytes:
    return b""


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (damage_magic, "starts with 0x00000d03"),
        (damage_dimensions, "starts with 0x00000801"),
        (truncate, "there are only 2519"),
        (truncate_header, "ends within its header"),
        (lengthen, "there are more"),
        (declare_terabytes, "more than 4294967296 bytes"),
        (empty, "starts with 0x,"),
    ],
)
@pytest.mark.parametrize("is_gz", [True, False])
def test_damage_is_named_with_its_file(tmp_path, write_idx, is_gz, damage, reason):
    write_idx(tmp_path, is_gz=is_gz)
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' if is_gz else ''}"
    data = path.read_bytes()
    path.write_bytes(gzip.compress(damage(gzip.decompress(data))) if is_gz else damage(data))
    with pytest.raises(DataError, match=reason) as caught:
        load_dataset("idx", tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("cut", [lambda data: data[:-20], lambda data: b"no gzip", lambda data: data[:9]])
def test_damaged_compression_is_named(tmp_path, write_idx, cut):
    write_idx(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(cut(path.read_bytes()))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz"):
        load_dataset("idx", tmp_path)


def test_unequal_numbers_of_images_and_labels_are_refused(tmp_path, write_idx, idx_bytes):
    write_idx(tmp_path)
    labels = np.zeros(39, dtype=np.uint8)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(labels)))
    with pytest.raises(DataError, match=r"40 images.*39 labels"):
        load_dataset("idx", tmp_path)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(flips=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bytes_never_give_anything_but_values_or_a_data_error(tmp_path_factory, flips):
    data = bytearray(gzip.compress(bytes((0, 0, 8, 1, 0, 0, 1, 0)) + bytes(range(256))))
    for position, mask in flips:
        data[position % len(data)] ^= mask
    path = tmp_path_factory.mktemp("idx") / "x.gz"
    path.write_bytes(bytes(data))
    try:
        values = read_idx(path, n_dimensions=1)
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert values.shape == (256,)


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
def test_real_fashion_mnist_is_found_without_a_path():
    dataset = load_dataset("fashion_mnist")
    assert len(dataset.pool) == 60_000
    assert len(dataset.test) == 10_000
    assert dataset.input_shape == (1, 28, 28)
    assert dataset.pool.labels.bincount().tolist() == [6000] * 10
    assert dataset.classes[int(dataset.pool.labels[0])] == "Ankle boot"
