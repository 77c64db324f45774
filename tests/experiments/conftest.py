from __future__ import annotations

import pickle
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def cifar10_archive(tmp_path: Path) -> Path:
    """Returns a small archive in the form in which CIFAR-10 is published for Python: 300 images to learn, 40 to test.

    Each class has a colour of its own, under noise.
    """
    rng = np.random.default_rng(0)
    colours = rng.integers(40, 216, (10, 3, 1))
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, n in [*((f"data_batch_{i}", 60) for i in range(1, 6)), ("test_batch", 40)]:
            labels = [i % 10 for i in range(n)]
            planes = np.clip(colours[labels] + rng.normal(0, 30, (n, 3, 1024)), 0, 255).astype(np.uint8)
            content = {b"batch_label": name.encode(), b"labels": labels, b"data": planes.reshape(n, 3072)}
            data = pickle.dumps(content, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    return path


@pytest.fixture
def caltech101_folder(tmp_path: Path) -> Path:
    """Returns a folder as Caltech-101 extracts to, of three categories and the background, images of many sizes."""
    rng = np.random.default_rng(0)
    root = tmp_path / "101_ObjectCategories"
    for category in ("BACKGROUND_Google", "accordion", "airplanes", "anchor"):
        (root / category).mkdir(parents=True)
        for number in range(10):
            height, width = rng.integers(40, 90, 2)
            image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
            image.save(root / category / f"image_{number:04d}.jpg")
    return root
