from __future__ import annotations

import os
import pickle

import pytest
import torch

from dsnn_hpo.errors import TrialError
from dsnn_hpo.training import Checkpoint, load_checkpoint
from dsnn_hpo.trial import Epoch


@pytest.fixture
def checkpoint():
    return Checkpoint(
        epoch=2,
        network_state={"weight": torch.arange(4.0)},
        optimizer_state={"state": {0: {"step": 3, "buffer": torch.ones(2)}}, "param_groups": [{"betas": (0.9, 0.99)}]},
        curve=(Epoch(1, 0.5, 0.25, 0.1, 2.0), Epoch(2, 0.4, 0.2, 0.05, 2.5)),
        train_energy_j=12.5,
        co2_g=0.125,
        start_epoch=1,
        energy_j=4.5,
        trial_id=7,
    )


def test_what_is_saved_is_loaded_and_nothing_is_left_beside_it(tmp_path, checkpoint):
    path = tmp_path / "checkpoint.pt"
    path.write_text("an older file")
    checkpoint.save(path)
    loaded = load_checkpoint(path)
    assert (loaded.epoch, loaded.curve) == (2, checkpoint.curve)
    assert (loaded.train_energy_j, loaded.co2_g) == (12.5, 0.125)
    assert (loaded.start_epoch, loaded.energy_j, loaded.trial_id) == (1, 4.5, 7)
    assert torch.equal(loaded.network_state["weight"], torch.arange(4.0))
    assert loaded.optimizer_state["param_groups"] == [{"betas": (0.9, 0.99)}]
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_failing_to_write_leaves_the_old_file(tmp_path, checkpoint, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path)

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(path)
    monkeypatch.undo()
    assert load_checkpoint(path).epoch == 2
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file_is_named(tmp_path, checkpoint, keep):
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(TrialError, match=r"checkpoint\.pt: is not a readable checkpoint .*delete it"):
        load_checkpoint(path)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_other_content_is_refused_and_not_run(tmp_path):
    path = tmp_path / "checkpoint.pt"
    for content in ({"format": 2}, {"epoch": 1}, [1], torch.ones(2), {"format": 1, "epoch": 1}):
        torch.save(content, path)
        with pytest.raises(TrialError, match="is not a readable checkpoint"):
            load_checkpoint(path)
    torch.save({"format": 1, "epoch": Malicious(tmp_path / "owned")}, path)
    with pytest.raises(TrialError, match="is not a readable checkpoint"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Malicious(tmp_path / "owned")))
    with pytest.raises(TrialError, match="is not a readable checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "owned").exists()


def test_missing_file_is_no_damage(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "none.pt")
