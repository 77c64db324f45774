"""Bad experiment files: exit code 2 and a message of one screen that says what is wrong, never a traceback."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("malformed", Path(__file__).with_name("malformed.py"))
malformed = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(malformed)

N_LINES_OF_A_SCREEN = 24


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, text in {**malformed.SPACE_FILES, **malformed.MODEL_FILES}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in malformed.MODEL_FILES:
        sys.modules.pop(Path(name).stem, None)


def run_main(monkeypatch, *arguments: str) -> int:
    from dsnn_hpo.cli import main

    monkeypatch.setattr(sys, "argv", ["dsnn-hpo", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("name", malformed.MALFORMED)
@pytest.mark.parametrize("command", ["check", "run"])
def test_bad_file_gives_exit_code_2_and_a_message(name, command, folder, monkeypatch, capsys):
    content, expected = malformed.MALFORMED[name]
    file = folder / "experiment.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(folder.iterdir())
    exit_code = run_main(monkeypatch, command, str(file))
    out, err = capsys.readouterr()
    assert exit_code == 2, err
    assert out == ""
    assert "Traceback" not in err
    assert len(err.splitlines()) <= N_LINES_OF_A_SCREEN
    assert len(err) < 3000
    for part in expected:
        assert part in err
    left = [path for path in sorted(folder.iterdir()) if path.name != "__pycache__"]
    assert left == [path for path in before if path.name != "__pycache__"]


def test_there_are_at_least_forty():
    assert len(malformed.MALFORMED) >= 40


def test_good_file_is_good(folder, monkeypatch, capsys):
    file = folder / "experiment.yaml"
    file.write_text(malformed.GOOD)
    assert run_main(monkeypatch, "check", str(file)) == 0
    assert "22 trainings" in capsys.readouterr().out


def test_missing_file_and_folder(folder, monkeypatch, capsys):
    assert run_main(monkeypatch, "run", "nowhere.yaml") == 2
    assert "nowhere.yaml" in capsys.readouterr().err
    assert run_main(monkeypatch, "run", str(folder)) == 2
    err = capsys.readouterr().err
    assert "folder" in err or "directory" in err


def test_as_a_process_too(folder):
    (folder / "experiment.yaml").write_text(malformed.MALFORMED["unknown objective"][0])
    ended = subprocess.run(
        [sys.executable, "-m", "dsnn_hpo", "run", "experiment.yaml"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "did you mean 'inference_energy_j'" in ended.stderr
    assert "Traceback" not in ended.stderr
