from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from dsnn_hpo.data import check_dataset, load_dataset
from dsnn_hpo.errors import DataError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def write(path, colour, size=(12, 10), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path)


def test_classes_are_the_sorted_folders_and_every_format_is_read(tmp_path):
    for i, suffix in enumerate(("png", "jpg", "JPEG", "bmp", "webp")):
        write(tmp_path / "red" / f"{i}.{suffix}", RED)
        write(tmp_path / "blue" / f"{i}.{suffix}", BLUE)
    (tmp_path / "red" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    check_dataset("image_folder", tmp_path)
    dataset = load_dataset("image_folder", tmp_path)
    assert dataset.classes == ("blue", "red")
    assert dataset.input_shape == (3, 10, 12)
    assert dataset.pool.labels.tolist() == [0] * 5 + [1] * 5
    means = dataset.pool.images.float().mean(dim=(2, 3))
    assert (means[:5, 2] > 250).all()
    assert (means[5:, 0] > 250).all()
    assert dataset.test is None


def test_folders_train_and_test_are_kept_apart(tmp_path):
    for name, colour in (("a", RED), ("b", GREEN)):
        write(tmp_path / "train" / name / "1.png", colour)
        write(tmp_path / "train" / name / "2.png", colour)
        write(tmp_path / "test" / name / "3.png", colour)
    dataset = load_dataset("image_folder", tmp_path)
    assert (len(dataset.pool), len(dataset.test)) == (4, 2)
    assert dataset.classes == ("a", "b")
    assert dataset.test.images[1, :, 0, 0].tolist() == list(GREEN)


def test_class_of_the_test_folder_alone_is_refused(tmp_path):
    write(tmp_path / "train" / "a" / "1.png", RED)
    write(tmp_path / "test" / "b" / "1.png", RED)
    with pytest.raises(DataError, match="b: is a class that the folder 'train' lacks"):
        load_dataset("image_folder", tmp_path)


def test_images_of_different_sizes_need_an_image_size(tmp_path):
    write(tmp_path / "a" / "1.png", RED, size=(12, 10))
    write(tmp_path / "a" / "2.png", RED, size=(30, 40))
    with pytest.raises(DataError, match=r"2\.png: is \(30, 40\).*set image_size"):
        load_dataset("image_folder", tmp_path)
    dataset = load_dataset("image_folder", tmp_path, image_size=16)
    assert dataset.input_shape == (3, 16, 16)
    assert (dataset.pool.images[:, 0] == 255).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "LA"])
def test_every_mode_of_8_bits_becomes_rgb(tmp_path, mode):
    suffix = "jpg" if mode == "CMYK" else "png"
    write(tmp_path / "a" / f"1.{suffix}", (255, 255, 255), mode=mode)
    dataset = load_dataset("image_folder", tmp_path)
    assert dataset.input_shape[0] == 3
    assert (dataset.pool.images > 250).all()


def test_palette_with_transparency_keeps_its_colours(tmp_path):
    (tmp_path / "a").mkdir()
    image = Image.new("RGB", (8, 8), GREEN).convert("P")
    image.save(tmp_path / "a" / "1.png", transparency=bytes([255] * 4))
    assert load_dataset("image_folder", tmp_path).pool.images[0, :, 0, 0].tolist() == list(GREEN)


def test_more_than_8_bits_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.full((8, 8), 40_000, dtype=np.uint16)).save(tmp_path / "a" / "1.png")
    with pytest.raises(DataError, match=r"1\.png: has more than 8 bits"):
        load_dataset("image_folder", tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp"])
@pytest.mark.parametrize("n_kept", [0, 20, -30])
def test_broken_image_is_named(tmp_path, suffix, n_kept):
    rng = np.random.default_rng(0)
    for i in range(2):
        path = tmp_path / "a" / f"{i}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:n_kept])
    for image_size in (None, 8):
        with pytest.raises(DataError, match=rf"1\.{suffix}: is not a readable image"):
            load_dataset("image_folder", tmp_path, image_size=image_size)


def test_decompression_bomb_is_refused(tmp_path, monkeypatch):
    write(tmp_path / "a" / "1.png", RED, size=(100, 100))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 6000)
    with pytest.raises(DataError, match=r"1\.png: is not a readable image.*decompression bomb"):
        load_dataset("image_folder", tmp_path)


def test_empty_class_is_named(tmp_path):
    write(tmp_path / "a" / "1.png", RED)
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match=r"b: holds no image"):
        load_dataset("image_folder", tmp_path)


@pytest.mark.parametrize("name", ["image_folder", "caltech101"])
def test_missing_folder_says_what_is_expected(tmp_path, name):
    with pytest.raises(DataError, match="missing folders of images, one a class"):
        check_dataset(name, tmp_path / "nowhere")


@pytest.mark.parametrize("inner", ["", "101_ObjectCategories"])
def test_caltech101_leaves_the_background_out(tmp_path, inner):
    for name in ("airplanes", "BACKGROUND_Google", "yin_yang"):
        write(tmp_path / inner / name / "image_0001.jpg", RED)
    check_dataset("caltech101", tmp_path)
    assert load_dataset("caltech101", tmp_path, image_size=8).classes == ("airplanes", "yin_yang")
