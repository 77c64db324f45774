"""Folders that are truncated, flipped or made to harm: refused with the file's name, or harmless; never a crash."""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
import shutil

import pytest
import torch

from dsnn_hpo.deploy import _described, load_model, save_model
from dsnn_hpo.deploy._files import CARD, MODEL, SUMS, WEIGHTS, sha256, sums_of
from dsnn_hpo.deploy._tensors import from_bytes, to_bytes
from dsnn_hpo.errors import DsnnHpoError, ModelFolderError
from dsnn_hpo.executor import Executor
from dsnn_hpo.kernels import Implementation
from tests.deploy.networks import facts_of, frozen, normalised, pixels

NETWORKS = [("cnn", "shift"), ("resnet20", "shift and adder"), ("cnn", "winograd"), ("mobilenet_v2", "minimum")]
NASTY = (
    *(-1, 0, 1, 2, 3, 5, 127, 128, 255, 256, 2**15, 2**24, 2**31 - 1, 2**31, 2**63, -(2**63), 10**30),
    *(0.5, -0.0, 1e300, 1e-300, float("nan"), float("inf"), True, False, None),
    *("", "x", "1", "step1.values", "\0", [], [1], [[0, 1]], {}, {"kind": "dense"}),
)


@pytest.fixture(params=NETWORKS, ids=[" ".join(pair) for pair in NETWORKS])
def saved(request, tmp_path):
    """Returns an executor, and the folder that it was saved to."""
    executor = frozen(*request.param)
    save_model(executor, facts_of(executor), tmp_path / "model")
    return executor, tmp_path / "model"


def write(folder, model, weights):
    """Writes both files and all their checksums, as somebody would who means harm."""
    model = {**model, "weights_bytes": len(weights), "weights_sha256": sha256(weights)}
    files = {MODEL: json.dumps(model).encode(), WEIGHTS: weights}
    for name, content in {**files, SUMS: sums_of(files)}.items():
        (folder / name).write_bytes(content)


def is_refused(folder, file=""):
    """Returns whether loading refuses the folder; what it loads must run alike everywhere."""
    try:
        loaded = load_model(folder)
    except ModelFolderError as error:
        return file in str(error)
    x = normalised(pixels(3, loaded.input_shape)) if loaded.input_shape[0] == 3 else torch.rand(3, *loaded.input_shape)
    executor = Executor(loaded.plan)
    assert torch.equal(executor.run(x), executor.run(x, Implementation.REFERENCE))
    return False


def places(value, path=()):
    """Yields the path of each value in a tree."""
    yield path
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(child, (*path, key))


def mutated(tree, rng):
    """Returns a tree with one value replaced, removed, doubled, exchanged with another or changed by a little."""
    tree = copy.deepcopy(tree)
    path = rng.choice([path for path in places(tree) if path])
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    key = path[-1]
    old, kind = parent[key], rng.randrange(6)
    if kind == 0 and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(rng.choice(parent)))
    elif kind == 1:
        del parent[key]
    elif kind == 2 and isinstance(parent, dict):
        parent[rng.choice(["kind", "extra", *parent])] = copy.deepcopy(old)
    elif kind == 3 and isinstance(old, int | float) and not isinstance(old, bool):
        parent[key] = old + rng.choice([-2, -1, 1, 2, 4])
    elif kind == 4 and isinstance(parent, list):
        other = rng.randrange(len(parent))
        parent[key], parent[other] = parent[other], parent[key]
    else:
        parent[key] = rng.choice(NASTY)
    return tree


def test_flipped_bits_and_truncations(saved):
    _, folder = saved
    rng = random.Random(0)
    contents = {name: (folder / name).read_bytes() for name in (MODEL, WEIGHTS, SUMS)}
    for number in range(120):
        name = rng.choice([*contents])
        content = bytearray(contents[name])
        if number % 3:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        else:
            del content[rng.randrange(len(content)) :]
        (folder / name).write_bytes(content)
        # A flipped sum says that its file is damaged: one of the two is.
        assert is_refused(folder, "" if name == SUMS else name), (name, number)
        (folder / name).write_bytes(contents[name])
    assert not is_refused(folder)


def test_flipped_bits_under_fitting_checksums(saved):
    _, folder = saved
    rng = random.Random(1)
    model, weights = json.loads((folder / MODEL).read_bytes()), (folder / WEIGHTS).read_bytes()
    n_header = 8 + int.from_bytes(weights[:8], "little")
    n_refused = 0
    for number in range(100):
        content = bytearray(weights)
        # Half of them in the header, which says what lies where.
        content[rng.randrange(n_header if number % 2 else len(content))] ^= 1 << rng.randrange(8)
        write(folder, model, bytes(content))
        n_refused += is_refused(folder)
    assert n_refused > 50
    for end in range(0, len(weights), len(weights) // 20):
        write(folder, model, weights[:end])
        assert is_refused(folder)


def test_hostile_plans(saved):
    _, folder = saved
    rng = random.Random(2)
    model, weights = json.loads((folder / MODEL).read_bytes()), (folder / WEIGHTS).read_bytes()
    n_refused = 0
    for _ in range(200):
        # Mostly in the plan, where the harm would be.
        hostile = {**model, "plan": mutated(model["plan"], rng)} if rng.random() < 0.9 else mutated(model, rng)
        if not isinstance(hostile, dict):
            continue
        write(folder, hostile, weights)
        n_refused += is_refused(folder)
    assert n_refused > 150


def test_hostile_tensors(saved):
    _, folder = saved
    rng = random.Random(3)
    torch.manual_seed(3)
    model, weights = json.loads((folder / MODEL).read_bytes()), (folder / WEIGHTS).read_bytes()
    tensors = from_bytes(weights)
    n_refused = 0
    for _ in range(100):
        hostile = dict(tensors)
        name = rng.choice([*hostile])
        old = hostile[name]
        changes = (
            lambda old=old: old.to(rng.choice([torch.float64, torch.int8, torch.int64, torch.uint8, torch.float16])),
            lambda old=old: old[:-1].clone(),
            lambda old=old: old[None].clone(),
            lambda old=old: torch.cat([old, old]),
            lambda old=old: old.flatten().clone(),
            lambda old=old: torch.full_like(old, rng.choice([0, 1, 100, -1 if old.dtype.is_signed else 255])),
            lambda old=old: (
                torch.full_like(old, float("nan")) if old.is_floating_point() else torch.full_like(old, 127)
            ),
            lambda old=old: old.new_zeros((0, *old.shape[1:])),
            lambda old=old: torch.randint(0, 127, old.shape).to(old.dtype),
            lambda old=old: (torch.randn(old.shape) * 1e30).to(old.dtype),
        )
        hostile[name] = rng.choice(changes)()
        if rng.random() < 0.1:
            hostile["extra"] = torch.zeros(3)
        write(folder, model, to_bytes(hostile))
        n_refused += is_refused(folder)
    assert n_refused > 40


def test_a_flipped_bit_in_the_card_is_harmless(saved):
    executor, folder = saved
    card = bytearray((folder / CARD).read_bytes())
    card[5] ^= 0x80
    (folder / CARD).write_bytes(card)
    x = normalised(pixels(2, executor.plan.input_shape))
    assert torch.equal(load_model(folder)(x), executor(x))


@pytest.fixture
def model_folder(tmp_path):
    executor = frozen("cnn", "shift")
    save_model(executor, facts_of(executor), tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("name", [MODEL, WEIGHTS, SUMS])
@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device", "pickle", "empty", "large"])
def test_what_is_no_file_of_a_model(name, kind, model_folder):
    path = model_folder / name
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"a": 1}))
    elif kind == "empty":
        path.touch()
    elif kind == "large":
        # Sparse: it takes no room.
        with path.open("wb") as stream:
            stream.truncate(2**40)
    with pytest.raises(ModelFolderError, match=name):
        load_model(model_folder)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format": 1' + "0" * 10_000 + "}",
        "null",
        '{"a": NaN}',
        "",
    ],
)
def test_hostile_json(text, model_folder):
    files = {MODEL: text.encode(), WEIGHTS: (model_folder / WEIGHTS).read_bytes()}
    for name, content in {**files, SUMS: sums_of(files)}.items():
        (model_folder / name).write_bytes(content)
    with pytest.raises(ModelFolderError, match=MODEL):
        load_model(model_folder)


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(ModelFolderError, match=r"is .* an exported model"):
        load_model(tmp_path / "nowhere")
    shutil.copy(__file__, tmp_path / MODEL)
    with pytest.raises(DsnnHpoError, match=r"weights\.safetensors: cannot be read"):
        load_model(tmp_path)


def whole(model, activation):
    return {
        "activation": activation,
        "first_channel": 0,
        "n_channels": model["plan"]["activations"][activation]["channels"],
    }


def test_few_bytes_that_would_fill_the_memory(model_folder, monkeypatch):
    monkeypatch.setattr(_described, "MAX_LAYER_WEIGHTS", 100)
    with pytest.raises(ModelFolderError, match=r"plan\.steps\.1\.weight: \d+ weights, at most 100 of a layer"):
        load_model(model_folder)


def step_with(model, kind, having=()):
    steps = model["plan"]["steps"]
    return next(step for step in steps if step["kind"] == kind and all(step.get(key) for key in having))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: step_with(m, "convolve").update(padding=[9, 1, 1, 1]),
            r"plan\.steps\.1\.target: is .*, the sums are",
        ),
        (lambda m: step_with(m, "convolve").update(stride=[0, 1]), r"steps\.1\.convolve\.stride\.0: .* greater than"),
        (lambda m: step_with(m, "convolve")["source"].update(activation=99), r"source\.activation: there are"),
        (lambda m: step_with(m, "convolve")["source"].update(whole(m, 1)), "not all of it is written yet"),
        (lambda m: step_with(m, "convolve")["clamp"].update(lowest=-200), r"clamp: expected -?\d+ <= lowest"),
        (lambda m: step_with(m, "convolve")["weight"].update(groups=3), "weight"),
        (
            lambda m: m["plan"]["steps"].append({"kind": "dequantise", "name": "", "source": whole(m, 1), "scale": 1}),
            "the last step, and no other, writes the output",
        ),
        (lambda m: m["plan"]["steps"].pop(0), "the first step, and no other, quantises"),
        (lambda m: m["plan"]["steps"].insert(1, m["plan"]["steps"][1]), "is another one's"),
        (lambda m: m["plan"]["activations"].append(m["plan"]["activations"][0]), "no step writes it"),
        (lambda m: m["plan"]["activations"][0].update(height=8192, width=8192), "target"),
        (lambda m: step_with(m, "mean_pool")["rows"].__setitem__(0, [0, 4000]), r"rows: a window is empty or reaches"),
        (lambda m: m.update(format=2), "format: Input should be 1"),
        (lambda m: m.update(classes=["a"]), "classes: 1 names for 10 outputs"),
        (lambda m: m.update(surprise=1), "surprise: Extra inputs are not permitted"),
    ],
)
def test_the_field_is_named(change, message, model_folder):
    model, weights = json.loads((model_folder / MODEL).read_bytes()), (model_folder / WEIGHTS).read_bytes()
    change(model)
    write(model_folder, model, weights)
    with pytest.raises(ModelFolderError, match=rf"model\.json: .*{message}"):
        load_model(model_folder)
