from __future__ import annotations

import pytest

from dsnn_hpo.errors import RunFolderError
from dsnn_hpo.experiment import RunFolder, default_folder


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b")
    folder.create()
    assert folder.path.is_dir()


def test_a_folder_with_anything_of_the_user_s_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunFolderError, match="not an empty folder"):
        RunFolder(tmp_path).create()
    with pytest.raises(RunFolderError, match="not an empty folder"):
        RunFolder(tmp_path / "thesis.tex").create()


def test_a_preparation_that_was_killed_is_taken_over(tmp_path):
    folder = RunFolder(tmp_path)
    folder.lock().close()
    folder.space.write_text("name: dsnn")
    (tmp_path / ".split.npz.1.tmp").touch()
    folder.create()


def test_a_folder_that_cannot_be_made_is_an_input_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="cannot make the run folder"):
        RunFolder(tmp_path / "file" / "run").create()


def test_the_lock_ends_with_its_file(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.lock(), pytest.raises(RunFolderError, match="in use"):
        folder.lock()
    folder.lock().close()


def test_default_folders_differ(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = default_folder("digits")
    first.mkdir(parents=True)
    assert default_folder("digits") != first
    assert first.parts[:2] == ("runs", "digits")
