from __future__ import annotations

import errno
import json
import random

import pytest

from dsnn_hpo.errors import JournalError
from dsnn_hpo.journal import Asked, Header, History, Journal, Lost, Mark, Measured, Told, _file, read
from dsnn_hpo.trial import FailureCause, Fidelity, Provenance, Result, Trial, TrialState

HEADER = Header(
    run_id="r1",
    name="digits",
    created=1.0,
    experiment={"name": "digits"},
    experiment_text="name: digits # ü\n",
    objectives=("error", "inference_energy_j"),
    fidelity=Fidelity(1, 9, 3),
    versions={"smac": "2.4.1"},
)


def trial(id_: int, fidelity: int = 9) -> Trial:
    return Trial(id_, {"lr": 0.1, "optimizer": "SGD"}, fidelity, seed=id_)


def told(id_: int, error: float = 0.1, fidelity: int = 9) -> Told:
    values = {"error": error, "inference_energy_j": 1.0}
    return Told(Result(trial(id_, fidelity), TrialState.COMPLETED, values=values), 3.0)


EVENTS = (Mark("started", 1.0), Asked(trial(0), 2.0), Asked(trial(1), 2.0), told(1))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal.create(path, HEADER) as journal:
        for event in EVENTS:
            journal.append(event)
    return path


def test_what_was_written_is_read(path):
    history = read(path)
    assert history.header == HEADER
    assert history.events == EVENTS
    assert [waiting.trial.id for waiting in history.in_flight] == [0]
    assert [r.trial.id for r in history.results] == [1]
    assert not history.finished


def test_resuming_appends(path):
    journal, history = Journal.resume(path)
    with journal:
        journal.append(Mark("finished", 9.0))
    assert history.events == EVENTS
    assert read(path).finished


def test_a_second_journal_is_refused(path):
    with pytest.raises(FileExistsError):
        Journal.create(path, HEADER)


def test_every_line_is_json_for_other_tools(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["run", "started", "asked", "asked", "told"]


def test_a_torn_last_line_is_dropped_at_any_byte(path):
    data = path.read_bytes()
    start = data.rindex(b"\n", 0, -1) + 1
    for end in range(start + 1, len(data)):
        path.write_bytes(data[:end])
        with pytest.warns(UserWarning, match="line 5 is torn"):
            journal, history = Journal.resume(path)
        journal.close()
        assert history.events == EVENTS[:-1]
        assert path.read_bytes() == data[:start]


def test_damage_elsewhere_names_the_line(path):
    lines = path.read_bytes().splitlines(keepends=True)
    rng = random.Random(0)
    for number in range(1, len(lines)):
        for _ in range(40):
            position = rng.randrange(len(lines[number - 1]) - 1)
            broken = bytearray(lines[number - 1])
            broken[position] ^= 1 << rng.randrange(7)
            if bytes(broken) == lines[number - 1] or b"\n" in broken[:-1] or b"\r" in broken:
                continue
            path.write_bytes(b"".join([*lines[: number - 1], bytes(broken), *lines[number:]]))
            with pytest.raises(JournalError, match=f"line {number} is damaged"):
                read(path)


def test_a_missing_line_in_the_middle_of_a_line_pair_is_damage(path):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:-1] + lines[2])
    with pytest.raises(JournalError, match="line 2 is damaged"):
        read(path)


def test_an_empty_journal_and_a_missing_one_are_errors(tmp_path):
    with pytest.raises(JournalError, match="no such journal"):
        read(tmp_path / "none.jsonl")
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(JournalError, match="empty"):
        read(empty)


def test_another_format_is_refused(path):
    path.write_bytes(b"")
    from dsnn_hpo import journal as module

    record = {**module._file._header_to_json(HEADER), "format": 99}
    path.write_bytes(module._file._encode(record))
    with pytest.raises(JournalError, match="format 99 is not 2"):
        read(path)


def test_running_time_leaves_pauses_out(path):
    journal, _ = Journal.resume(path)
    with journal:
        journal.append(Mark("resumed", 100.0))
        journal.append(Mark("finished", 110.0))
    assert read(path).running_s == pytest.approx((3.0 - 1.0) + 10.0)


def test_front_is_that_of_the_highest_fidelity_reached(path):
    journal, _ = Journal.resume(path)
    with journal:
        journal.append(told(2, error=0.01, fidelity=3))
    assert [r.trial.id for r in read(path).front()] == [1]


def test_a_lost_attempt_is_kept_and_its_trial_stays_in_flight(path):
    journal, _ = Journal.resume(path)
    lost = Lost(trial(0), 1, "the worker process died of SIGKILL", 2.5, 7.0, 4.0)
    with journal:
        journal.append(lost)
    history = read(path)
    assert history.events[-1] == lost
    assert [(w.trial.id, w.n_lost) for w in history.in_flight] == [(0, 1)]
    assert (history.n_lost, history.energy_j) == (1, 7.0)


def test_a_history_grows_as_one_that_is_read_whole():
    failed = Told(Result(trial(0), TrialState.FAILED, error="no", cause=FailureCause.DIVERGED, n_epochs=2), 4.0)
    events = [
        *EVENTS,
        Lost(trial(0), 1, "gone", 1.0, 3.0, 3.5),
        failed,
        Mark("interrupted", 5.0),
        Mark("resumed", 50.0),
    ]
    grown = History(HEADER)
    for n, event in enumerate(events, start=1):
        before = grown
        grown = grown.extended(event)
        whole = History(HEADER, events[:n])
        assert grown == whole
        names = ("in_flight", "n_asked", "n_epochs", "n_lost", "energy_j", "running_s", "front_fidelity", "finished")
        assert [getattr(grown, name) for name in names] == [getattr(whole, name) for name in names]
        assert (len(before.events), len(grown.events)) == (n - 1, n)


def test_two_histories_may_grow_from_one():
    start = History(HEADER, EVENTS)
    one, other = start.extended(told(0)), start.extended(Mark("failed", 3.0))
    assert [*one.events] == [*EVENTS, told(0)]
    assert [*other.events] == [*EVENTS, Mark("failed", 3.0)]
    assert (len(one.results), len(other.results), len(start.results)) == (2, 1, 1)


class FullDisk:
    """A file on a disk that takes ``n_bytes`` more, until somebody makes room."""

    def __init__(self, file, n_bytes, n_refusals):
        self.file, self.n_bytes, self.n_refusals = file, n_bytes, n_refusals

    def write(self, data):
        if not self.n_refusals:
            return self.file.write(data)
        if not self.n_bytes:
            self.n_refusals -= 1
            self.n_bytes = 10
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.file.write(data[: self.n_bytes])
        self.n_bytes = 0
        return written

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_disk_that_is_full_for_a_while_holds_up_the_run_only(path):
    journal, _ = Journal.resume(path)
    with journal:
        journal._file = FullDisk(journal._file, 7, n_refusals=3)
        with pytest.warns(UserWarning, match="No space left on device"):
            journal.append(told(0))
        journal.append(Mark("finished", 9.0))
    assert read(path).events == [*EVENTS, told(0), Mark("finished", 9.0)]


def test_a_disk_that_stays_full_ends_the_run_with_a_whole_journal(path, monkeypatch):
    monkeypatch.setattr(_file, "RETRY_S", 0.5)
    journal, _ = Journal.resume(path)
    with journal:
        journal._file = FullDisk(journal._file, 7, n_refusals=10**6)
        with (
            pytest.warns(UserWarning, match="waits"),
            pytest.raises(JournalError, match=r"cannot be written: No space"),
        ):
            journal.append(told(0))
    assert read(path).events == EVENTS


def test_a_measurement_takes_the_place_of_the_figures_and_survives_the_file(tmp_path):
    path = tmp_path / "again.jsonl"
    how = Provenance("cpu: rapl", "measured", "machine", "a CPU", 0.01, 5, remarks=("busy machine",))
    events = [Asked(trial(0), 1.0), told(0, 0.1), Asked(trial(1), 2.0), told(1, 0.2)]
    again = Measured(trial(1), {"error": 0.05}, {"error": how}, 3.0, 9.0)
    with Journal.create(path, HEADER) as journal:
        for event in (*events, again, Mark("finished", 10.0, "", 2.5)):
            journal.append(event)
    history = read(path)
    assert list(history.events[-2:]) == [again, Mark("finished", 10.0, "", 2.5)]
    assert history.measured == {1: again}
    assert [r.values["error"] for r in history.results] == [0.1, 0.2]
    assert [r.values["error"] for r in history.latest_results()] == [0.1, 0.05]
    assert history.latest_results()[1].provenance == {"error": how}
    assert [m.trial.id for m in history.front()] == [1]
    assert history.energy_j == pytest.approx(sum(r.energy_j for r in history.results) + 3.0 + 2.5)
