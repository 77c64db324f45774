from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dsnn_hpo.models import build_model
from dsnn_hpo.operators import ShiftConfig, ShiftLayer, convert_, matching, stages


@pytest.mark.parametrize(
    ("name", "shape", "arguments", "n_layers"),
    [
        # The classifier belongs to the last stage.
        ("resnet20", (3, 32, 32), {}, [7, 6, 7]),
        ("resnet20", (1, 8, 8), {"depth": 1}, [3, 2, 3]),
        ("resnet18", (3, 32, 32), {"width": 4}, [5, 5, 5, 6]),
        # The ImageNet form: the first convolution and the pooling halve the sides.
        ("resnet18", (3, 96, 96), {"width": 4}, [1, 4, 5, 5, 6]),
        ("cnn", (1, 28, 28), {}, [1, 1, 2]),
        ("vgg11", (3, 32, 32), {}, [1, 1, 2, 2, 3]),
        ("mlp", (1, 8, 8), {}, [3]),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_stages_of_shipped_networks(name, shape, arguments, n_layers, device):
    with torch.device(device):
        model = build_model(name, shape, 10, arguments)
    found = stages(model, shape)
    layers = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert sorted(found) == sorted(layers)
    assert list(found.values()) == sorted(found.values())
    counts = Counter(found.values())
    assert [counts[stage] for stage in range(len(counts))] == n_layers


def test_shortcuts_belong_to_the_stage_they_lead_to():
    model = build_model("resnet18", (3, 32, 32), 10, {"width": 4})
    found = stages(model, (3, 32, 32))
    for name in found:
        if "shortcut" in name:
            assert found[name] == found[f"{name.split('.shortcut')[0]}.conv1"]


class Gated(nn.Module):
    """Weighs channels by their means, twice through one layer; has a layer that is not used."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Conv2d(2, 2, 1)
        self.first = nn.Conv2d(1, 2, 3, padding=1)
        self.gate = nn.Conv2d(2, 2, 1)
        self.second = nn.Conv2d(2, 2, 3, padding=1)
        self.down = nn.Conv2d(2, 2, 3, stride=2, padding=1)
        self.dropout = nn.Dropout(0.5)
        self.up = nn.ConvTranspose2d(2, 2, 2, stride=2)
        self.third = nn.Conv2d(2, 2, 1)
        self.head = nn.Linear(2, 2)

    def forward(self, x):
        x = self.first(x)
        x = self.second(x * self.gate(x.mean((2, 3), keepdim=True)))
        x = self.down(x)
        x = self.dropout(x * self.gate(x.mean((2, 3), keepdim=True)))
        return self.head(F.relu(self.third(self.up(x))).mean((2, 3)))


def test_layers_without_a_resolution_of_their_own_follow_the_rest():
    found = stages(Gated(), (1, 8, 8))
    assert found == {"first": 0, "gate": 0, "second": 0, "down": 1, "third": 2, "head": 2}
    assert list(found) == ["first", "gate", "second", "down", "third", "head"]


def test_model_and_random_state_are_as_before():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Conv2d(2, 2, 3)).double()
    model[1].eval()
    modes, state = [m.training for m in model.modules()], {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    assert stages(model, (1, 8, 8)) == {"0": 0, "3": 1}
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(m._forward_hooks for m in model.modules())


def test_a_model_that_cannot_run_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Linear(5, 2))
    with pytest.raises(RuntimeError):
        stages(model, (1, 8, 8))
    assert all(m.training for m in model.modules())
    assert not any(m._forward_hooks for m in model.modules())


def test_layers_that_are_converted_already_have_no_stage():
    model = build_model("cnn", (1, 8, 8), 10, {})
    convert_(model, matching("0", ShiftConfig()), from_trained=False)
    found = stages(model, (1, 8, 8))
    assert "0" not in found
    assert isinstance(model[0], ShiftLayer)
