import sys

import pytest
import torch
from torch import nn

from dsnn_hpo import models
from dsnn_hpo.errors import ModelError
from dsnn_hpo.models import MODELS, build_model, model_arguments, n_convolutions, n_stages

SHAPE = (1, 8, 8)
SOURCE = """
from torch import nn

NOT_A_FUNCTION = 3

def network(input_shape, n_classes, *, width=4, p=0.5):
    channels, height, side = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, width, 3), nn.Flatten(), nn.Linear(width * (height - 2) * (side - 2), n_classes)
    )

def returns_text(input_shape, n_classes):
    return "network"

def fails(input_shape, n_classes):
    raise RuntimeError("out of ideas")

def takes_nothing():
    return nn.Identity()
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """A user's module in the current folder, which a console script does not have on its path."""
    (tmp_path / "own_networks.py").write_text(SOURCE)
    (tmp_path / "own_broken.py").write_text("import a_package_that_is_not_there\n")
    (tmp_path / "own_syntax.py").write_text("def network(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", str(tmp_path))])
    yield "own_networks"
    for name in ("own_networks", "own_broken", "own_syntax"):
        sys.modules.pop(name, None)


def test_the_registry_names_the_shipped_networks():
    assert list(MODELS) == [
        "mlp",
        "cnn",
        "resnet20",
        "resnet18",
        "mobilenet_v2",
        "vgg11",
        "vgg16",
        "vgg19",
        "googlenet",
    ]


def test_arguments_are_offered_with_their_defaults():
    assert {name: dict(model_arguments(name)) for name in MODELS} == {
        "mlp": {"width": 256, "depth": 2},
        "cnn": {"width": 16, "depth": 3},
        "resnet20": {"width": 16, "depth": 3},
        "resnet18": {"width": 64, "depth": 2},
        "mobilenet_v2": {"width": 1.0},
        "vgg11": {"width": 64},
        "vgg16": {"width": 64},
        "vgg19": {"width": 64},
        "googlenet": {},
    }


def test_arguments_reach_the_network():
    model = build_model("mlp", SHAPE, 3, {"width": 5, "depth": 1})
    assert [tuple(p.shape) for p in model.parameters()] == [(5, 64), (5,), (5,), (3, 5), (3,)]


def test_equal_seeds_give_equal_networks():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_model("cnn", SHAPE, 3, {}).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_counting_convolutions_draws_no_random_numbers():
    state = torch.get_rng_state()
    assert n_convolutions("vgg19", (3, 32, 32), 10, {"width": 4096}) == 16
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("name", "input_shape", "n_classes", "arguments", "message"),
    [
        ("resnet2O", SHAPE, 10, {}, r"unknown model 'resnet2O' \(did you mean 'resnet20'\?"),
        ("transformer", SHAPE, 10, {}, r"your own: 'module:function'"),
        ("cnn", SHAPE, 10, {"widht": 3}, r"unexpected keyword argument 'widht'; its arguments: width, depth"),
        ("googlenet", SHAPE, 10, {"width": 3}, "its arguments: none"),
        ("cnn", SHAPE, 10, {"width": 0}, "width must be at least 1, not 0"),
        ("mlp", SHAPE, 10, {"depth": -1}, "depth must be at least 1, not -1"),
        ("resnet20", SHAPE, 10, {"width": 8.5}, "width must be a whole number, not 8.5"),
        ("vgg11", SHAPE, 10, {"width": "wide"}, "'vgg11' with arguments .*'wide'.* cannot be built"),
        ("mobilenet_v2", SHAPE, 10, {"width": 0.0}, "width must be at least 0.05"),
        ("cnn", (1, 7, 8), 10, {}, "needs inputs of at least 8x8, not 7x8"),
        ("cnn", (8, 8), 10, {}, r"must be \(channels, height, width\)"),
        ("cnn", (0, 8, 8), 10, {}, "each at least 1"),
        ("cnn", SHAPE, 1, {}, "at least 2 classes, not 1"),
    ],
)
def test_mistakes_are_named(name, input_shape, n_classes, arguments, message):
    with pytest.raises(ModelError, match=message):
        build_model(name, input_shape, n_classes, arguments)
    with pytest.raises(ModelError, match=message):
        n_convolutions(name, input_shape, n_classes, arguments)


def test_arguments_of_an_unknown_model_are_an_error():
    with pytest.raises(ModelError, match="did you mean 'cnn'"):
        model_arguments("cn")


def test_a_users_own_model(own_module):
    path = list(sys.path)
    name = f"{own_module}:network"
    assert dict(model_arguments(name)) == {"width": 4, "p": 0.5}
    assert n_convolutions(name, SHAPE, 3, {}) == 1
    model = build_model(name, SHAPE, 3, {"width": 6})
    assert isinstance(model, nn.Sequential)
    assert model(torch.zeros(2, *SHAPE)).shape == (2, 3)
    assert sys.path == path


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("own_netwroks:network", {}, "cannot import module 'own_netwroks': ModuleNotFoundError"),
        ("own_broken:network", {}, "cannot import .* No module named 'a_package_that_is_not_there'"),
        ("own_syntax:network", {}, "cannot import module 'own_syntax': SyntaxError"),
        (":network", {}, "cannot import module ''"),
        ("own_networks:netwrok", {}, r"has no 'netwrok' \(did you mean 'network'\?"),
        ("own_networks:NOT_A_FUNCTION", {}, "'NOT_A_FUNCTION' is a int, not a function"),
        ("own_networks:network", {"wdith": 3}, "unexpected keyword argument 'wdith'; its arguments: width, p"),
        ("own_networks:takes_nothing", {}, "cannot be called as f"),
        ("own_networks:returns_text", {}, "must return a torch.nn.Module, not str"),
        ("own_networks:fails", {}, "cannot be built: RuntimeError: out of ideas"),
    ],
)
def test_mistakes_in_a_users_own_model_are_named(own_module, name, arguments, message):
    with pytest.raises(ModelError, match=message):
        build_model(name, SHAPE, 3, arguments)


def test_all_lists_exactly_the_public_names():
    public = {name for name in vars(models) if not name.startswith("_")} - {"annotations"}
    assert public == set(models.__all__)


@pytest.mark.parametrize(
    ("name", "arguments", "expected"), [("resnet20", {}, 3), ("cnn", {"depth": 2}, 2), ("mlp", {}, 1)]
)
def test_stages_are_counted_without_a_trace(name, arguments, expected):
    before = torch.get_rng_state()
    assert n_stages(name, (1, 32, 32), 10, arguments) == expected
    assert torch.equal(torch.get_rng_state(), before)


def test_a_network_that_cannot_run_has_no_stages(monkeypatch, tmp_path):
    (tmp_path / "wrong_network.py").write_text(
        "from torch import nn\n\ndef make(shape, n_classes):\n    return nn.Sequential(nn.Conv2d(7, 1, 1))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"'wrong_network:make' .* cannot run on a sample of shape .*RuntimeError"):
        n_stages("wrong_network:make", (1, 8, 8), 10, {})


def test_stages_of_a_network_that_needs_real_values_are_counted(monkeypatch, tmp_path):
    (tmp_path / "looking_network.py").write_text(
        "import torch\nfrom torch import nn\n\n"
        "class Looking(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.a, self.b = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)\n\n"
        "    def forward(self, x):\n        return self.b(self.a(x)) if x.sum().item() == 0 else x\n\n"
        "def make(shape, n_classes):\n    return Looking()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = torch.get_rng_state()
    assert n_stages("looking_network:make", (1, 8, 8), 10, {}) == 2
    assert torch.equal(torch.get_rng_state(), before)
