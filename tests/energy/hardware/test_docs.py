"""What docs/hardware.md tells users to write works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from torch import nn

from dsnn_hpo.energy.hardware import HardwareEnergy, hardware_energy, load_table, table_names
from dsnn_hpo.operators import ShiftConfig, convert_, count_operations, matching

GUIDE = (Path(__file__).parents[3] / "docs" / "hardware.md").read_text()


def block(language: str) -> str:
    (text,) = re.findall(rf"```{language}\n(.*?)```", GUIDE, flags=re.DOTALL)
    return text


def test_the_example_runs(capsys):
    names: dict[str, object] = {}
    exec(block("python"), names)
    assert isinstance(names["energy"], HardwareEnergy)
    assert "| total |" in capsys.readouterr().out


def test_the_table_of_ones_own_loads_and_serves(tmp_path):
    file = tmp_path / "my_chip.yaml"
    file.write_text(block("yaml"))
    table = load_table(file)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    convert_(network, matching("*", ShiftConfig(weight_bits=4)), from_trained=False)
    energy = hardware_energy(count_operations(network, (3, 8, 8), activation_bits=8), table)
    # 4 x 6 x 6 outputs of 27 terms: a shift, a sign flip and an addition; a float32 multiplication and addition each; 54 bytes
    # of weights and 4 x 4 of float32; 192 bytes in and 144 out.
    assert energy.total_uj * 1e6 == pytest.approx(144 * 27 * (0.015 + 0.02 + 0.06) + 144 * 2.5 + (54 + 64 + 336) * 3)


def test_every_table_is_named():
    assert all(f"`{name}`" in GUIDE for name in table_names())
