from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dsnn_hpo.data import Samples, batches
from dsnn_hpo.errors import DataError

MEAN, STD = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.4])
PLAIN = {"mean": torch.zeros(3), "std": torch.ones(3)}


def samples(n=37, height=16, width=24):
    generator = torch.Generator().manual_seed(0)
    # From 1, so that black shows where an augmentation put it.
    images = torch.randint(1, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator)
    return Samples(images, torch.arange(n))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def collected(*args, **kwargs):
    parts = list(batches(*args, **kwargs))
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])


def test_without_a_generator_all_come_in_order_and_normalised():
    given = samples()
    parts = list(batches(given, 10, mean=MEAN, std=STD))
    assert [len(labels) for _, labels in parts] == [10, 10, 10, 7]
    images, labels = collected(given, 10, mean=MEAN, std=STD)
    assert labels.tolist() == list(range(37))
    assert images.dtype == torch.float32
    expected = (given.images.double() / 255 - MEAN.reshape(1, 3, 1, 1)) / STD.reshape(1, 3, 1, 1)
    assert torch.allclose(images.double(), expected, atol=1e-5)


def test_with_a_generator_all_come_shuffled_and_reproducibly():
    given = samples()
    images, labels = collected(given, 10, **PLAIN, generator=seeded())
    assert sorted(labels.tolist()) == list(range(37))
    assert labels.tolist() != list(range(37))
    assert torch.allclose(images * 255, given.images[labels].float(), atol=1e-3)
    assert collected(given, 10, **PLAIN, generator=seeded())[1].tolist() == labels.tolist()
    assert collected(given, 10, **PLAIN, generator=seeded(1))[1].tolist() != labels.tolist()


def test_flip_mirrors_about_half_left_to_right():
    given = samples(200)
    images, labels = collected(given, 64, **PLAIN, augmentation=("flip",), generator=seeded())
    originals = given.images[labels].float() / 255
    is_same = (images - originals).abs().amax(dim=(1, 2, 3)) < 1e-6
    is_mirrored = (images - originals.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-6
    assert (is_same ^ is_mirrored).all()
    assert 70 < int(is_mirrored.sum()) < 130


def test_crop_shifts_each_image_by_its_own_offset_into_black():
    given = samples(60)
    images, labels = collected(given, 60, **PLAIN, augmentation=("crop",), generator=seeded())
    padded = functional.pad(given.images[labels].float() / 255, (3, 3, 2, 2))
    offsets = set()
    for image, frame in zip(images, padded, strict=True):
        found = [
            (y, x)
            for y in range(5)
            for x in range(7)
            if torch.allclose(frame[:, y : y + 16, x : x + 24], image, atol=1e-6)
        ]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) > 15
    assert {y for y, _ in offsets} == set(range(5))
    assert {x for _, x in offsets} == set(range(7))


def test_cutout_sets_one_rectangle_of_each_image_to_the_mean():
    given = samples(80)
    cut, labels = collected(given, 80, mean=MEAN, std=STD, augmentation=("cutout",), generator=seeded())
    whole = (given.images[labels].float() / 255 - MEAN.reshape(3, 1, 1)) / STD.reshape(3, 1, 1)
    is_cut = (cut == 0).all(dim=1)
    assert torch.equal(torch.where(is_cut[:, None], whole, cut), whole)
    heights, widths = is_cut.any(dim=2).sum(dim=1), is_cut.any(dim=1).sum(dim=1)
    assert torch.equal(is_cut.sum(dim=(1, 2)), heights * widths)
    assert (int(heights.max()), int(widths.max())) == (4, 6)
    assert int((heights * widths).min()) > 0
    assert len({tuple(mask.flatten().tolist()) for mask in is_cut}) > 50


@pytest.mark.parametrize("size", [1, 2, 8])
def test_all_augmentations_keep_small_shapes(size):
    names = ("crop", "flip", "cutout")
    given = samples(9, size, size)
    images, labels = collected(given, 4, **PLAIN, augmentation=names, generator=seeded())
    assert images.shape == (9, 3, size, size)
    again, _ = collected(given, 4, **PLAIN, augmentation=names[::-1], generator=seeded())
    assert torch.equal(images, again)
    assert sorted(labels.tolist()) == list(range(9))


def test_samples_themselves_never_change():
    given = samples()
    before = given.images.clone()
    for images, labels in batches(given, 10, mean=MEAN, std=STD):
        images.zero_()
        labels.zero_()
    assert torch.equal(given.images, before)
    assert given.labels.tolist() == list(range(37))


def test_mistakes_show_at_the_call():
    given = samples()
    with pytest.raises(DataError, match=r"'flop' .*did you mean 'flip'"):
        batches(given, 10, **PLAIN, augmentation=("flop",), generator=seeded())
    with pytest.raises(ValueError, match="needs a generator"):
        batches(given, 10, **PLAIN, augmentation=("flip",))
    with pytest.raises(ValueError, match="batch_size is 0"):
        batches(given, 0, **PLAIN)
