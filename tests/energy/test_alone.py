"""One measurement at a time, between real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dsnn_hpo.energy import measuring_alone
from dsnn_hpo.energy._alone import LOCK
from dsnn_hpo.errors import EnergyError

HOLD = """
import sys, time
from pathlib import Path
from dsnn_hpo.energy import measuring_alone
with measuring_alone(Path(sys.argv[1])):
    began = time.monotonic()
    print("holds", flush=True)
    sys.stdin.readline()
    print(began, time.monotonic(), flush=True)
"""


def holder(folder):
    command = [sys.executable, "-W", "error", "-c", HOLD, str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_take_turns(tmp_path):
    first, second = holder(tmp_path), holder(tmp_path)
    spans = []
    # Whichever comes first; the other holds it only when that has ended.
    waiting = [first, second]
    time.sleep(1.0)
    for process in waiting:
        process.stdin.write("\n")
        process.stdin.flush()
    for process in waiting:
        told, _ = process.communicate(timeout=120)
        assert told.startswith("holds\n")
        spans.append([float(moment) for moment in told.splitlines()[1].split()])
    (_, ended), (began, _) = sorted(spans)
    assert began >= ended


def test_whoever_waits_too_long_is_told(tmp_path):
    with holder(tmp_path) as other:
        assert other.stdout.readline() == "holds\n"
        started = time.monotonic()
        with pytest.raises(EnergyError, match=r"other processes of this machine .* waited for its turn; `fuser "):
            measuring_alone(tmp_path, wait_s=0.3).__enter__()
        assert 0.3 <= time.monotonic() - started < 10
        other.communicate("\n")


def test_a_process_that_is_killed_gives_its_turn_back(tmp_path):
    with holder(tmp_path) as other:
        assert other.stdout.readline() == "holds\n"
        other.kill()
    with measuring_alone(tmp_path, wait_s=10.0) as waited_s:
        assert waited_s < 10


def test_an_error_gives_the_turn_back(tmp_path):
    with pytest.raises(ZeroDivisionError), measuring_alone(tmp_path):
        _ = 1 / 0
    with measuring_alone(tmp_path, wait_s=0.0) as waited_s:
        assert waited_s < 1


def test_a_process_that_was_forked_meanwhile_keeps_nobody_waiting(tmp_path):
    with measuring_alone(tmp_path):
        links = {int(link.name): link for link in Path("/proc/self/fd").iterdir()}
        [descriptor] = [fd for fd, link in links.items() if link.exists() and link.resolve() == tmp_path / LOCK]
        # What a fork does to it.
        copy = os.dup(descriptor)
    try:
        with measuring_alone(tmp_path, wait_s=0.0) as waited_s:
            assert waited_s < 1
    finally:
        os.close(copy)


def test_a_long_wait_is_logged(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("dsnn_hpo.energy._alone._LONG_S", 0.0)
    with measuring_alone(tmp_path), pytest.raises(EnergyError):
        measuring_alone(tmp_path, wait_s=0.5).__enter__()
    assert [record.getMessage() for record in caplog.records] == [
        f"waiting for other processes to end measuring ({tmp_path / LOCK})"
    ]


def test_the_system_s_folder_is_the_default(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with measuring_alone():
        assert (tmp_path / LOCK).exists()


def test_no_folder_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(EnergyError, match=r"cannot be made: No such file or directory; set TMPDIR"):
        measuring_alone(tmp_path / "none").__enter__()


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnergyError, match="cannot be opened"):
        measuring_alone(tmp_path).__enter__()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_other_users_share_it_in_a_folder_for_all():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o1777)
        mask = os.umask(0o077)
        try:
            with measuring_alone(folder):
                pass
        finally:
            os.umask(mask)
        os.seteuid(65534)
        try:
            with measuring_alone(folder, wait_s=0.0) as waited_s:
                assert waited_s < 1
        finally:
            os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_a_folder_that_may_not_be_written_to_is_an_error():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        os.seteuid(65534)
        try:
            with pytest.raises(EnergyError, match=r"cannot be made: Permission denied; set TMPDIR"):
                measuring_alone(folder).__enter__()
        finally:
            os.seteuid(0)
