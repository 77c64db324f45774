"""The file of C computes the executor's logits, bit by bit, with integers alone."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dsnn_hpo.deploy import DeployedModel, ModelFacts, Preprocessing, write_c
from dsnn_hpo.errors import FreezeError, InputError
from dsnn_hpo.executor import Executor, freeze
from dsnn_hpo.kernels import Implementation
from dsnn_hpo.kernels.plan import Activation, Clamp, Convolve, Plan, Quantise, Slice
from dsnn_hpo.kernels.plan_weight import DenseWeight
from dsnn_hpo.operators import Adder, MinConv, SpatialShift, WinogradAdder, convert_, matching, set_progress_
from tests.deploy.networks import CHOICES, SMALL, facts_of, frozen, normalised, pixels
from tests.executor.test_random_networks import CONFIGS, networks

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


class Compiled:
    """A file of C as a library of this process."""

    def __init__(self, text, folder, n_outputs):
        source, library = folder / "model.c", folder / "model.so"
        source.write_text(text)
        subprocess.run(["gcc", *STRICT, "-O1", "-shared", "-fPIC", source, "-o", library], check=True)
        self._library = ctypes.CDLL(str(library))
        self._n_outputs = n_outputs

    def logits(self, images):
        found = np.empty((len(images), self._n_outputs), dtype=np.uint32)
        for image, row in zip(images.numpy(), found, strict=True):
            self._library.model_logits(np.ascontiguousarray(image).ctypes, row.ctypes)
        return torch.from_numpy(found.view(np.float32))

    def predict(self, images):
        return [self._library.model_predict(np.ascontiguousarray(image).ctypes) for image in images.numpy()]

    def classes(self):
        pointers = (ctypes.c_char_p * self._n_outputs).in_dll(self._library, "model_classes")
        return tuple(pointer.decode() for pointer in pointers)


def model_of(executor: Executor) -> DeployedModel:
    return DeployedModel(executor, facts_of(executor))


def check(executor, folder, n=6):
    """Checks a few images, the darkest and the brightest among them; returns what was written."""
    made = write_c(model_of(executor))
    compiled = Compiled(made.text, folder, executor.plan.n_outputs)
    shape = executor.plan.input_shape
    images = torch.cat(
        [pixels(n, shape), torch.zeros(1, *shape, dtype=torch.uint8), torch.full((1, *shape), 255).byte()]
    )
    expected = executor.run(normalised(images), Implementation.REFERENCE)
    assert torch.equal(compiled.logits(images).view(torch.int32), expected.view(torch.int32))
    assert compiled.predict(images) == expected.argmax(1).tolist()
    assert compiled.classes() == facts_of(executor).classes
    return made


@pytest.mark.parametrize("choice", [*CHOICES, "winograd"])
@pytest.mark.parametrize("model", ["cnn", "resnet20"])
def test_logits_are_the_executors_bits(model, choice, tmp_path):
    made = check(frozen(model, choice), tmp_path)
    code = re.sub(r"/\*.*?\*/", "", made.text, flags=re.DOTALL)
    assert not re.search(r"\b(float|double)\b|\d\.\d|#include <math", code)
    assert bool(made.multiplied) == (choice not in ("shift", "two-term"))
    assert ("kept as 8-bit integers" in made.text) == bool(made.multiplied)


@pytest.mark.parametrize(
    "model", [pytest.param(m, marks=pytest.mark.slow) if m == "googlenet" else m for m in SMALL if m != "cnn"]
)
def test_every_family_of_networks(model, tmp_path):
    check(frozen(model, "shift"), tmp_path, n=2)


def test_grey_images_without_a_border_of_their_own(tmp_path):
    check(frozen("cnn", "two-term", (1, 8, 8)), tmp_path)


def test_inner_loops_of_shifts_sums_and_adders_have_no_multiplication(tmp_path):
    kinds = set()
    for choice in ("shift", "two-term", "shift of 6 bits", "adder", "minimum", "winograd"):
        text = re.sub(r"/\*.*?\*/", "", write_c(model_of(frozen("cnn", choice))).text, flags=re.DOTALL)
        for name, body in re.findall(
            r"^static int64_t (sum_\w+)\([^)]*\)\n\{\n(.*?)^\}", text, re.DOTALL | re.MULTILINE
        ):
            kinds.add(name)
            # A star that is no pointer's.
            products = re.findall(r"[\w\)\]] \* [\w(]|\*=|\w / \w|%", body)
            assert bool(products) == (name == "sum_int8"), name
    assert {"sum_shift32", "sum_two_term", "sum_distance", "sum_minimum", "sum_int8", "sum_places"} <= kinds


def test_sanitizers_find_nothing(tmp_path):
    executor = frozen("resnet20", "shift and adder")
    text = write_c(model_of(executor)).text
    shape = executor.plan.input_shape
    image = ", ".join(map(str, pixels(1, shape).flatten().tolist()))
    main = (
        f"int main(void)\n{{\n    static const uint8_t image[] = {{{image}}};\n    return model_predict(image);\n}}\n"
    )
    (tmp_path / "main.c").write_text(text + main)
    program = tmp_path / "main"
    sanitizers = "-fsanitize=address,undefined"
    subprocess.run(
        ["gcc", *STRICT, "-g", sanitizers, "-fno-sanitize-recover", tmp_path / "main.c", "-o", program], check=True
    )
    ended = subprocess.run([program], capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    assert ended.returncode == int(executor(normalised(pixels(1, shape))).argmax())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@settings(max_examples=25, derandomize=True, deadline=None)
@given(networks(), CONFIGS, st.sampled_from(["none", "shift", "two-term", "adder", "minimum", "spatial", "winograd"]))
def test_random_networks(tmp_path_factory, drawn, config, kind):
    """Strides, paddings, dilations, groups, windows, sums and concatenations, as they come."""
    network, x = drawn
    operators = {"shift": config, "two-term": replace(config, shift_type="two_term"), "adder": Adder()}
    operators |= {"minimum": MinConv(), "spatial": SpatialShift(pointwise=config), "winograd": WinogradAdder()}
    if kind != "none":
        network = convert_(network, matching("*", operators[kind]), from_trained=False)
    set_progress_(network, 1.0)
    shape = tuple(x.shape[1:])
    n_channels = shape[0]
    scale = float(x.abs().max())
    facts = ModelFacts(
        "random",
        tuple(str(i) for i in range(network(x).shape[1])),
        Preprocessing((0.5,) * n_channels, (float(torch.tensor(1 / scale)),) * n_channels),
        "noise",
    )
    model = DeployedModel(freeze(network.eval(), x), facts)
    images = pixels(3, shape)
    compiled = Compiled(write_c(model).text, tmp_path_factory.mktemp("random"), len(facts.classes))
    assert torch.equal(compiled.logits(images).view(torch.int32), model.logits(images).view(torch.int32))


def test_a_winograd_adder_that_writes_the_output(tmp_path):
    torch.manual_seed(0)
    layer = WinogradAdder().layer(nn.Conv2d(3, 5, 3), from_trained=False)
    x = normalised(pixels(20, (3, 3, 3)))
    executor = freeze(nn.Sequential(layer, nn.Flatten()).eval(), x)
    assert executor.plan.steps[-1].weight.bits == 16
    check(executor, tmp_path)


def linear(weight, scale, bias):
    """Returns an executor of one int8 layer on a grey pixel, q itself."""
    n = len(scale)
    activation = Activation(1, 1, 1, 1.0, 0)
    steps = (
        Quantise("input", Slice(0, 0, 1), 255.0, 0.0, Clamp(0, 255)),
        Convolve(
            "layer",
            Slice(0, 0, 1),
            None,
            DenseWeight(torch.tensor(weight, dtype=torch.int8).view(n, 1, 1, 1)),
            (1, 1),
            (0, 0, 0, 0),
            (1, 1),
            torch.tensor(scale),
            torch.tensor(bias),
            None,
            Clamp(0, 0),
        ),
    )
    return Executor(Plan((1, 1, 1), n, (activation,), steps))


def test_float32_in_integers_is_ieee_754(tmp_path):
    """Products and sums of random bits: normal and subnormal numbers, zeros of both signs, cancellation."""
    generator = np.random.default_rng(0)
    n = 4000
    bits = generator.integers(0, 2**32, (2, n), dtype=np.uint32)
    # Exponents up to 2**60, so that nothing becomes infinite; a tenth of them near each other, a tenth near zero.
    exponents = generator.integers(0, 187, (2, n))
    exponents[1, : n // 5] = np.clip(exponents[0, : n // 5] + generator.integers(-2, 12, n // 5), 0, 187)
    exponents[:, n // 5 : n // 3] = generator.integers(0, 4, (2, n // 3 - n // 5))
    numbers = ((bits & 0x807FFFFF) | (exponents.astype(np.uint32) << 23)).view(np.float32)
    numbers[1, -100:] = -numbers[0, -100:] * 85
    numbers[:, -200:-150] = np.float32(-0.0)
    weight = generator.integers(-127, 128, n)
    weight[-100:] = 85
    executor = linear(weight.tolist(), numbers[0], numbers[1])
    how = facts_of(executor).preprocessing
    made = write_c(DeployedModel(executor, facts_of(executor)))
    compiled = Compiled(made.text, tmp_path, n)
    images = torch.tensor([0, 1, 77, 255], dtype=torch.uint8).view(4, 1, 1, 1)
    x = (images.float() / 255 - torch.tensor(how.mean)) / torch.tensor(how.std)
    expected = executor.run(x, Implementation.REFERENCE)
    assert torch.isfinite(expected).all()
    assert torch.equal(compiled.logits(images).view(torch.int32), expected.view(torch.int32))


def test_the_needs_are_those_of_the_compiled_file(tmp_path):
    made = write_c(model_of(frozen("resnet20", "shift")))
    (tmp_path / "model.c").write_text(made.text)
    # As a 64-bit processor lays it out: pointers are twice as long, and tables begin at multiples of 32.
    subprocess.run(["gcc", *STRICT, "-Os", "-c", "model.c"], cwd=tmp_path, check=True)
    sizes = subprocess.run(["size", "-A", "model.o"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    sections = {name: int(size) for name, size in re.findall(r"^(\.\S+) +(\d+)", sizes, re.MULTILINE)}
    constants = sum(size for name, size in sections.items() if name.startswith((".rodata", ".data.rel.ro")))
    assert 0.9 * constants < made.flash_bytes < 1.1 * constants
    assert 0.9 * sections[".bss"] < made.ram_bytes <= sections[".bss"]
    assert sections[".text"] < 6000
    assert f"in flash: {made.flash_bytes} bytes" in made.text
    assert f"in RAM: {made.ram_bytes} bytes" in made.text


def test_what_c_cannot_express_is_refused_by_name():
    with pytest.raises(FreezeError, match="step 'layer' cannot be written in C: its results may reach"):
        write_c(model_of(linear([1, 2], [2.0**126, 1.0], [0.0, 0.0])))


@pytest.mark.parametrize("name", ["", "1st", "A", "a b", "int", "x" * 21, "a;b"])
def test_names_that_are_none_of_c_are_refused(name):
    with pytest.raises(InputError, match="is no prefix for functions of C"):
        write_c(model_of(frozen("cnn", "shift")), name)


def test_texts_of_the_model_cannot_become_code(tmp_path):
    executor = frozen("cnn", "shift")
    facts = facts_of(executor)
    nasty = ('"; int x = 1; //', "*/ int y; /*", "\n#error\n", "??/", "ä\\", *facts.classes[5:])
    hostile = type(facts)("*/ #error", nasty, facts.preprocessing, "/*\n*/ #error")
    made = write_c(DeployedModel(executor, hostile))
    compiled = Compiled(made.text, tmp_path, executor.plan.n_outputs)
    assert compiled.classes() == nasty
