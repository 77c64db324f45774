import math

import pytest
import torch
from torch import nn

from dsnn_hpo.models import MODELS, build_model, n_convolutions
from dsnn_hpo.models._blocks import strides_that_fit
from dsnn_hpo.models._mobilenet import _scaled
from dsnn_hpo.models._resnet import SubsampledShortcut
from dsnn_hpo.operators import ShiftConfig, ShiftLayer, convert_, matching

CIFAR = (3, 32, 32)


def n_parameters(name, input_shape=CIFAR, n_classes=10, **arguments):
    with torch.device("meta"):
        return sum(p.numel() for p in build_model(name, input_shape, n_classes, arguments).parameters())


def output_sizes(name, input_shape):
    """The height of every convolution's output, in order, on the meta device."""
    with torch.device("meta"):
        model = build_model(name, input_shape, 10, {})
        sizes = []
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda _m, _i, output: sizes.append(output.shape[-2]))
        model(torch.empty(2, *input_shape))
    return sizes


@pytest.mark.parametrize("input_shape", [(1, 8, 8), (1, 28, 28), CIFAR, (3, 9, 17)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_every_network_trains_a_step_at_every_size(name, input_shape):
    torch.manual_seed(0)
    model = build_model(name, input_shape, 7, {})
    output = model(torch.randn(2, *input_shape))
    assert output.shape == (2, 7)
    output.logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    # Every weight takes part: none is cut off by a branch that nothing reads.
    assert all(p.grad.abs().sum() > 0 for p in model.parameters() if p.dim() > 1)


@pytest.mark.parametrize("input_shape", [(3, 64, 64), (3, 224, 224)], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_every_network_takes_large_inputs(name, input_shape):
    with torch.device("meta"):
        assert build_model(name, input_shape, 5, {})(torch.empty(2, *input_shape)).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mlp", 0),
        ("cnn", 3),
        ("resnet20", 19),
        ("resnet18", 20),
        ("mobilenet_v2", 52),
        ("vgg11", 8),
        ("vgg16", 13),
        ("vgg19", 16),
        ("googlenet", 64),
    ],
)
def test_numbers_of_convolutions(name, expected):
    assert n_convolutions(name, CIFAR, 10, {}) == expected
    assert n_convolutions(name, (1, 8, 8), 10, {}) <= expected  # fewer where a projection is not needed


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # The published counts: ResNet20 (option A) 0.27 M; ResNet18 and MobileNetV2 as in their CIFAR forms.
        ("resnet20", 269_722),
        ("resnet18", 11_173_962),
        ("mobilenet_v2", 2_236_682),
        # The usual CIFAR forms with a bias in each convolution: 9,231,114, 14,728,266, 20,040,522 and 6,166,250.
        ("vgg11", 9_231_114 - 2_752),
        ("vgg16", 14_728_266 - 4_224),
        ("vgg19", 20_040_522 - 5_504),
        ("googlenet", 6_166_250 - 7_904),
        ("mlp", 3072 * 256 + 2 * 256 + 256 * 256 + 2 * 256 + 2570),
        ("cnn", 27 * 16 + 144 * 32 + 288 * 64 + 2 * (16 + 32 + 64) + 650),
    ],
)
def test_parameter_counts_of_the_standard_networks(name, expected):
    assert n_parameters(name) == expected


def test_mobilenet_v2_has_its_published_size_for_imagenet():
    assert n_parameters("mobilenet_v2", (3, 224, 224), 1000) == 3_504_872
    assert n_parameters("mobilenet_v2", (3, 224, 224), 1000, width=0.5) == 1_968_680


def test_resnet18_has_its_published_size_for_imagenet():
    assert n_parameters("resnet18", (3, 224, 224), 1000) == 11_689_512


@pytest.mark.parametrize(
    ("name", "smaller", "larger"),
    [
        ("mlp", {"width": 16}, {"width": 32}),
        ("mlp", {"depth": 1}, {"depth": 3}),
        ("cnn", {"width": 8}, {"width": 9}),
        ("cnn", {"depth": 1}, {"depth": 5}),
        ("resnet20", {"width": 8}, {"width": 20}),
        ("resnet20", {"depth": 1}, {"depth": 9}),
        ("resnet18", {"width": 16}, {"width": 32}),
        ("resnet18", {"depth": 1}, {"depth": 2}),
        ("mobilenet_v2", {"width": 0.35}, {"width": 1.4}),
        ("vgg11", {"width": 8}, {"width": 16}),
        ("vgg16", {"width": 8}, {"width": 16}),
        ("vgg19", {"width": 8}, {"width": 16}),
    ],
)
def test_width_and_depth_change_the_network(name, smaller, larger):
    assert n_parameters(name, **smaller) < n_parameters(name, **larger)


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_resnet20s_depth_counts_blocks_a_stage(depth):
    assert n_convolutions("resnet20", CIFAR, 10, {"depth": depth}) == 6 * depth + 1


def test_standard_sizes_of_the_feature_maps():
    assert output_sizes("resnet20", CIFAR) == [32] * 7 + [16] * 6 + [8] * 6
    assert set(output_sizes("vgg19", CIFAR)) == {32, 16, 8, 4, 2}
    assert output_sizes("mobilenet_v2", CIFAR)[-1] == 4
    assert output_sizes("googlenet", CIFAR)[-1] == 8
    assert output_sizes("resnet18", CIFAR)[0] == 32
    assert output_sizes("resnet18", CIFAR)[-1] == 4


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_large_inputs_use_the_strides_of_imagenet(name):
    sizes = output_sizes(name, (3, 224, 224))
    assert sizes[0] == 112
    assert sizes[-1] == 7


@pytest.mark.parametrize("name", [name for name in MODELS if name != "mlp"])
def test_small_inputs_do_not_vanish(name):
    assert min(output_sizes(name, (1, 8, 8))) == 2


def test_strides_are_dropped_where_they_do_not_fit():
    assert strides_that_fit((1, 32, 32), (2, 2, 2, 2, 2)) == (2, 2, 2, 2, 1)
    assert strides_that_fit((1, 8, 64), (1, 2, 2, 2)) == (1, 2, 2, 1)
    assert strides_that_fit((1, 9, 9), (2, 2, 2)) == (2, 2, 2)
    assert strides_that_fit((1, 8, 8), (1, 4, 2)) == (1, 4, 1)


def test_the_shortcut_of_option_a_subsamples_and_adds_zero_channels():
    x = torch.arange(2 * 16.0).reshape(1, 2, 4, 4)
    got = SubsampledShortcut(3, 2)(x)
    assert got.shape == (1, 5, 2, 2)
    assert torch.equal(got[:, 1:3], x[:, :, ::2, ::2])
    assert got[:, [0, 3, 4]].abs().sum() == 0


def test_convolutions_start_with_the_variance_of_he():
    torch.manual_seed(0)
    model = build_model("vgg11", CIFAR, 10, {})
    convolution = [m for m in model.modules() if isinstance(m, nn.Conv2d)][3]
    expected = math.sqrt(2 / (9 * convolution.out_channels))
    assert convolution.weight.std().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_every_network_runs_fully_converted(name):
    torch.manual_seed(0)
    model = build_model(name, (1, 8, 8), 3, {})
    convert_(model, matching("*", ShiftConfig("PS", 4, 8, 8)), from_trained=False)
    assert not any(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules())
    output = model(torch.randn(4, 1, 8, 8))
    assert output.isfinite().all()
    output.sum().backward()
    layers = [m for m in model.modules() if isinstance(m, ShiftLayer)]
    assert all(m.sign.grad.abs().sum() > 0 for m in layers)


def test_mobilenet_v2s_channels_are_multiples_of_8_that_lose_at_most_a_tenth():
    assert [_scaled(16, width) for width in (0.05, 0.5, 0.7, 0.9, 1.0, 1.4)] == [8, 8, 16, 16, 16, 24]
    assert all(_scaled(c, w / 20) >= 0.9 * c * w / 20 for c in (16, 24, 32, 320) for w in range(1, 41))


def test_vggs_last_pooling_takes_the_maximum():
    model = build_model("vgg11", CIFAR, 10, {})
    pooled = model[:-2](x := torch.randn(2, *CIFAR))
    last_maps = model.eval()[:-3](x)
    assert last_maps.shape[-2:] == (2, 2)
    assert pooled.shape == (2, 512, 1, 1)
    torch.testing.assert_close(model[:-2](x), last_maps.amax((2, 3), keepdim=True))
