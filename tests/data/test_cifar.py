from __future__ import annotations

import os
import pickle
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsnn_hpo.data import _cifar, check_dataset, load_dataset
from dsnn_hpo.data._safe_pickle import read_pickled_dict
from dsnn_hpo.errors import DataError

FOLDERS = {
    ("cifar10", "binary"): "cifar-10-batches-bin",
    ("cifar10", "python"): "cifar-10-batches-py",
    ("cifar100", "binary"): "cifar-100-binary",
    ("cifar100", "python"): "cifar-100-python",
}


def binary_file(name, planes, labels):
    coarse = b"\x07" if name == "cifar100" else b""
    return b"".join(coarse + bytes([label]) + row.tobytes() for label, row in zip(labels, planes, strict=True))


def published_files(name, form, content, pickled):
    if form == "binary":
        return {f"{stem}.bin": binary_file(name, planes, labels) for stem, planes, labels in content}
    key = "labels" if name == "cifar10" else "fine_labels"
    return {stem: pickled({"data": planes}, {key: labels}) for stem, planes, labels in content}


def assert_holds(dataset, content):
    *train, (_, test_planes, test_labels) = content
    planes = np.concatenate([planes for _, planes, _ in train])
    labels = [label for _, _, labels in train for label in labels]
    assert np.array_equal(dataset.pool.images.numpy().reshape(-1, 3072), planes)
    assert dataset.pool.labels.tolist() == labels
    assert np.array_equal(dataset.test.images.numpy().reshape(-1, 3072), test_planes)
    assert dataset.test.labels.tolist() == test_labels
    assert dataset.input_shape == (3, 32, 32)


@pytest.mark.parametrize("place", ["archive", "folder of archive", "extracted", "folder of extracted"])
@pytest.mark.parametrize(("name", "form"), FOLDERS)
def test_reads_both_published_forms_wherever_they_lie(tmp_path, cifar_content, pickled, tar, name, form, place):
    content = cifar_content(name)
    files = published_files(name, form, content, pickled)
    folder = FOLDERS[name, form]
    if "archive" in place:
        archive = f"{name.replace('cifar', 'cifar-')}-{form}.tar.gz"
        tar(tmp_path / archive, {f"{folder}/{file}": data for file, data in files.items()})
        path = tmp_path / archive if place == "archive" else tmp_path
    else:
        (tmp_path / folder).mkdir()
        for file, data in files.items():
            (tmp_path / folder / file).write_bytes(data)
        path = tmp_path / folder if place == "extracted" else tmp_path
    before = sorted(tmp_path.rglob("*"))
    check_dataset(name, path)
    assert_holds(load_dataset(name, path), content)
    assert sorted(tmp_path.rglob("*")) == before


def test_class_names_are_those_published():
    assert len(_cifar.CIFAR10_CLASSES) == 10
    assert len(set(_cifar.CIFAR100_CLASSES)) == 100
    assert list(_cifar.CIFAR100_CLASSES) == sorted(_cifar.CIFAR100_CLASSES)


def test_missing_archive_says_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz.*cs\.toronto\.edu"):
        check_dataset("cifar10", tmp_path)


def test_archive_of_the_other_set_is_refused(tmp_path, cifar_content, pickled, tar):
    files = published_files("cifar100", "binary", cifar_content("cifar100"), pickled)
    with pytest.raises(DataError, match=r"x\.tar\.gz: is no cifar-10-binary"):
        load_dataset("cifar10", tar(tmp_path / "x.tar.gz", files))


def test_archive_paths_are_never_used(tmp_path, cifar_content, pickled, tar):
    content = cifar_content("cifar100")
    files = published_files("cifar100", "binary", content, pickled)
    inner = tmp_path / "inner"
    inner.mkdir()
    archive = tar(inner / "x.tar.gz", {f"../../{file}": data for file, data in files.items()})
    assert_holds(load_dataset("cifar100", archive), content)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["inner", "x.tar.gz"]


def test_links_in_an_archive_are_not_followed(tmp_path):
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        for name in ("train.bin", "test.bin"):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(link)
    with pytest.raises(DataError, match="files are missing"):
        load_dataset("cifar100", tmp_path / "x.tar.gz")


def test_oversized_member_is_refused_before_it_is_read(tmp_path, monkeypatch, cifar_content, pickled, tar):
    files = published_files("cifar100", "binary", cifar_content("cifar100"), pickled)
    archive = tar(tmp_path / "x.tar.gz", files)
    monkeypatch.setattr(_cifar, "MAX_MEMBER_BYTES", 1000)
    with pytest.raises(DataError, match=r"train\.bin: has 18444 bytes"):
        load_dataset("cifar100", archive)


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.99])
def test_truncated_archive_is_named(tmp_path, cifar_content, pickled, tar, keep):
    files = published_files("cifar10", "binary", cifar_content("cifar10"), pickled)
    archive = tar(tmp_path / "x.tar.gz", files)
    data = archive.read_bytes()
    archive.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(DataError, match=r"x\.tar\.gz"):
        load_dataset("cifar10", archive)


def test_truncated_records_are_named(tmp_path, cifar_content, pickled, tar):
    files = published_files("cifar10", "binary", cifar_content("cifar10"), pickled)
    files["data_batch_3.bin"] = files["data_batch_3.bin"][:-1]
    with pytest.raises(DataError, match=r"data_batch_3\.bin: has 18437 bytes, not a multiple.*3073"):
        load_dataset("cifar10", tar(tmp_path / "x.tar.gz", files))


def test_label_outside_the_classes_is_refused(tmp_path, cifar_content, pickled, tar):
    files = published_files("cifar10", "binary", cifar_content("cifar10"), pickled)
    files["test_batch.bin"] = b"\x0a" + files["test_batch.bin"][1:]
    with pytest.raises(DataError, match="label of the test set is 10"):
        load_dataset("cifar10", tar(tmp_path / "x.tar.gz", files))


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_pickle_that_calls_something_is_refused_and_not_run(tmp_path, protocol):
    target = tmp_path / "owned"
    data = pickle.dumps({b"data": Malicious(target)}, protocol=protocol)
    with pytest.raises(DataError, match=r"refused: the pickle names (posix|nt)\.mkdir"):
        read_pickled_dict(data, tmp_path / "data_batch_1")
    assert not target.exists()


def test_malicious_archive_is_refused(tmp_path, cifar_content, pickled, tar):
    files = published_files("cifar10", "python", cifar_content("cifar10"), pickled)
    files["data_batch_2"] = pickle.dumps({"data": Malicious(tmp_path / "owned")}, protocol=2)
    with pytest.raises(DataError, match=r"data_batch_2: refused"):
        load_dataset("cifar10", tar(tmp_path / "x.tar.gz", files))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["builtins\neval", "numpy\nload", "numpy.core.multiarray\nscalar", "os\nsystem"])
def test_every_other_global_is_refused(tmp_path, name):
    with pytest.raises(DataError, match=f"refused: the pickle names {name.replace(chr(10), '.')}"):
        read_pickled_dict(b"\x80\x02c" + name.encode() + b"\n.", tmp_path)


def test_array_whose_shape_exceeds_its_bytes_is_refused(tmp_path, pickled):
    data = pickled({"data": np.zeros((2, 3072), dtype=np.uint8)}, {"labels": [1, 2]})
    for old, new in ((b"M\x02\x00M\x00\x0c", b"M\x03\x00M\x00\x0c"), (b"K\x02M\x00\x0c", b"K\x03M\x00\x0c")):
        data = data.replace(old, new)
    with pytest.raises(DataError, match=r"shape \(3, 3072\) has 6144 bytes"):
        read_pickled_dict(data, tmp_path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pickle.dumps([1, 2], protocol=2), "holds a list, expected a dictionary"),
        (b"", "is not a readable pickle"),
        (b"\x80\x02}(", "is not a readable pickle"),
        (b"\x80\x02}r\xff\xff\xff\x7f.", "declares 2147483647 in 9 bytes"),
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7fx.", "is not a readable pickle"),
        (b"not a pickle", "is not a readable pickle"),
        (b"\x80\x02cnumpy\ndtype\n)R.", "is not a readable pickle"),
        (pickle.dumps({"data": np.zeros((2, 3), dtype=np.float32)}, protocol=2), "not of unsigned bytes"),
    ],
)
def test_damaged_pickle_is_named(tmp_path, content, reason):
    with pytest.raises(DataError, match=reason) as caught:
        read_pickled_dict(content, tmp_path / "data_batch_1")
    assert "data_batch_1" in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "lists", "reason"),
    [
        ({}, {"labels": [1]}, "'data' must be an array"),
        ({"data": np.zeros((2, 5), np.uint8)}, {"labels": [1, 2]}, "'data' must be an array"),
        ({"data": np.zeros((2, 3072), np.uint8)}, {}, "'labels' must be a list"),
        ({"data": np.zeros((2, 3072), np.uint8)}, {"labels": [1]}, "2 images but 1 labels"),
    ],
)
def test_pickle_of_wrong_content_is_named(tmp_path, cifar_content, pickled, tar, arrays, lists, reason):
    files = published_files("cifar10", "python", cifar_content("cifar10"), pickled)
    files["data_batch_1"] = pickled(arrays, lists)
    with pytest.raises(DataError, match=reason):
        load_dataset("cifar10", tar(tmp_path / "x.tar.gz", files))


def test_numpy_itself_reads_the_same(pickled, tmp_path):
    planes = np.arange(600, dtype=np.uint16).astype(np.uint8).reshape(2, 300)
    data = pickled({"data": planes}, {"labels": [3, 4]})
    with warnings.catch_warnings():
        # NumPy warns of its own old module names and of Python 2's booleans.
        warnings.simplefilter("ignore")
        theirs = pickle.loads(data, encoding="bytes")  # noqa: S301 - written above
    ours = read_pickled_dict(data, tmp_path)
    assert np.array_equal(theirs[b"data"], planes)
    assert np.array_equal(ours["data"], planes)
    assert ours["labels"] == theirs[b"labels"] == [3, 4]


@settings(deadline=None, derandomize=True, max_examples=300)
@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3))
def test_altered_pickles_never_give_anything_but_a_dictionary_or_a_data_error(flips):
    content = {b"data": np.zeros((1, 3), np.uint8), b"labels": [1], b"batch_label": "training batch"}
    data = bytearray(pickle.dumps(content, protocol=2))
    for position, byte in flips:
        data[position % len(data)] = byte
    try:
        assert isinstance(read_pickled_dict(bytes(data), Path("batch")), dict)
    except DataError as error:
        reason = str(error)
        assert reason.startswith("batch: ")
