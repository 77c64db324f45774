"""Every network that ships can be frozen, wholly or partly converted, and runs the same everywhere."""

from __future__ import annotations

import pytest
import torch

from dsnn_hpo.executor import freeze
from dsnn_hpo.models import MODELS, build_model
from dsnn_hpo.operators import ShiftConfig, convert_, last_convolutions, only

SMALL = {
    "mlp": {"width": 24},
    "cnn": {"width": 5},
    "resnet20": {"width": 6, "depth": 1},
    "resnet18": {"width": 4, "depth": 1},
    "mobilenet_v2": {"width": 0.1},
    "vgg11": {"width": 4},
    "vgg16": {"width": 4},
    "vgg19": {"width": 4},
    "googlenet": {},
}
SLOW = {"googlenet"}


def models():
    assert SMALL.keys() == MODELS.keys()
    return [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SMALL]


def frozen_inputs(name, n=6, size=(3, 9, 11)):
    torch.manual_seed(1)
    x = torch.randn(n, *size)
    return build_model(name, size, 10, SMALL[name]), x


@pytest.mark.parametrize("name", models())
@pytest.mark.parametrize("shift_type", ["Q", "PS"])
def test_a_shift_network_runs_the_same_everywhere_and_nearly_as_its_float_evaluation(
    name, shift_type, prepared, same_everywhere, is_close
):
    network, x = frozen_inputs(name)
    network = prepared(network, x, shift_type=shift_type, weight_bits=4)
    executor = freeze(network, x)
    same_everywhere(executor, x)
    assert is_close(network, executor, x)


@pytest.mark.parametrize("depth", [0, 1, 2, 4, 100])
@pytest.mark.parametrize("bits", [2, 6])
def test_any_depth_of_conversion_and_number_of_bits_freezes(depth, bits, prepared, same_everywhere, is_close):
    network, x = frozen_inputs("resnet20")
    network = prepared(network, x, shift=False)
    config = ShiftConfig(weight_bits=bits)
    network = convert_(network, only(last_convolutions(network, depth), config), from_trained=True).eval()
    executor = freeze(network, x)
    same_everywhere(executor, x)
    assert is_close(network, executor, x)
    kinds = executor.describe()
    assert ("int8" in kinds) == (depth < 7)
    assert "shift" in kinds


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("shift_type", ["Q", "PS"])
@pytest.mark.parametrize("formats", [(2, 6, "nearest"), (4, 3, "floor"), (8, 8, "nearest"), (3, 32, "floor")])
def test_any_format_of_weights_and_activations_freezes(bits, shift_type, formats, prepared, same_everywhere):
    network, x = frozen_inputs("cnn", n=3)
    integer, fraction, rounding = formats
    network = prepared(
        network,
        x,
        shift_type=shift_type,
        weight_bits=bits,
        activation_integer_bits=integer,
        activation_fraction_bits=fraction,
        activation_rounding=rounding,
    )
    same_everywhere(freeze(network, x), x)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vgg11"])
def test_one_sample_and_many_give_the_same_logits(name, prepared, same_everywhere):
    network, x = frozen_inputs(name, n=40)
    executor = freeze(prepared(network, x, weight_bits=4), x)
    together = same_everywhere(executor, x)
    one_by_one = torch.cat([executor(sample) for sample in x.split(1)])
    assert torch.equal(one_by_one, together)


@pytest.mark.slow
def test_a_large_input_takes_more_memory_than_a_chunk_has(prepared, same_everywhere):
    torch.manual_seed(0)
    x = torch.randn(3, 3, 130, 97)
    network = prepared(build_model("resnet18", (3, 130, 97), 5, {"width": 8}), x, weight_bits=5)
    same_everywhere(freeze(network, x), x)
