"""Members of the front as logged models, and as versions of registered ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from dsnn_hpo import tracking
from dsnn_hpo.deploy import load_model, save_model
from dsnn_hpo.errors import ArtifactError, InputError, ModelFolderError, TrackingError
from dsnn_hpo.tracking import Content, Packed, Registration, Target
from dsnn_hpo.tracking.mlflow import MlflowClient
from tests.deploy.networks import facts_of, frozen, pixels
from tests.report.synthetic import history, measured_again, prefix
from tests.tracking.conftest import free_port, render

SHAPE = (1, 8, 8)
DIGEST = "d" * 64


@pytest.fixture(scope="session")
def packed_folder(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("packed") / "model"
    executor = frozen("cnn", "shift", SHAPE)
    save_model(executor, facts_of(executor), folder)
    return folder


@pytest.fixture
def content(packed_folder):
    return Content(render, packed=lambda _: Packed(packed_folder, SHAPE, "digits", DIGEST))


def models_of(store, run):
    client = MlflowClient(store.uri)
    experiment = client.get_experiment_by_name(run.header.name)
    models = client.search_logged_models([experiment.experiment_id], max_results=100)
    return {int(model.tags["dsnn_hpo.trial"]): model for model in models}, len(models)


def test_each_member_of_the_front_is_a_logged_model_with_figures_and_data(store, content, packed_folder):
    run = history(27)
    status = store.sync(run, content)
    client = MlflowClient(store.uri)
    models, n_models = models_of(store, run)
    members = {member.trial.id: member for member in run.front()}
    assert models.keys() == members.keys()
    assert n_models == len(members)
    for trial, model in models.items():
        assert model.status == "READY"
        assert model.tags["pareto"] == "true"
        child = client.get_run(model.source_run_id)
        assert child.data.tags["dsnn_hpo.key"] == members[trial].trial.key
        assert [output.model_id for output in child.outputs.model_outputs] == [model.model_id]
        assert [(i.dataset.name, i.dataset.digest) for i in child.inputs.dataset_inputs] == [("digits", DIGEST[:36])]
        figures = {metric.key: metric.value for metric in model.metrics}
        assert figures == {**members[trial].values, "test_error": members[trial].test_values["error"]}
        assert {(m.dataset_name, m.dataset_digest) for m in model.metrics} == {("digits", DIGEST[:36])}
        assert model.params == {name: str(value) for name, value in members[trial].trial.config.items()}
        # No second point in the run's own curves.
        assert len(client.get_metric_history(model.source_run_id, "error")) == sum(
            r.trial.key == members[trial].trial.key for r in run.results
        )
    folder = Path(next(iter(models.values())).artifact_location.removeprefix("file://"))
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    packed = {f"model/{path.name}" for path in packed_folder.iterdir()}
    assert names == {"MLmodel", "requirements.txt", "python_env.yaml", *packed}
    assert store.sync(run, content) == status
    assert models_of(store, run)[1] == n_models


def test_it_loads_and_predicts_as_the_packed_folder_does(store, content, packed_folder):
    with warnings.catch_warnings():
        # MLflow warns of type hints of its own.
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

    run = history(9)
    store.sync(run, content)
    models, _ = models_of(store, run)
    folder = next(iter(models.values())).artifact_location.removeprefix("file://")
    loaded = mlflow.pyfunc.load_model(folder)
    images = pixels(5, SHAPE).numpy()
    expected = load_model(packed_folder).predict(images)
    found = loaded.predict(images)
    assert found["index"].tolist() == expected.indices.tolist()
    assert tuple(found["label"]) == expected.labels
    assert np.array_equal(found["probability"].to_numpy(np.float32), expected.probabilities.amax(dim=1).numpy())
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, *SHAPE)
    assert loaded.metadata.signature.outputs.input_names() == ["index", "label", "probability"]
    with pytest.raises(Exception, match="shape"):
        loaded.predict(images[:, :, :4])


def test_loading_it_does_not_take_mlflow(packed_folder):
    code = (
        "import sys; from dsnn_hpo.deploy.pyfunc import _load_pyfunc; import numpy as np\n"
        f"print(len(_load_pyfunc({str(packed_folder)!r}).predict(np.zeros((2, 1, 8, 8), np.uint8))))\n"
        "print('mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "False"]


def test_a_front_that_churns_uploads_no_model_until_a_member_stays(store, content, monkeypatch):
    from dsnn_hpo.tracking import _session

    monkeypatch.setattr(_session, "_REFRESH_S", 0.0)
    monkeypatch.setattr(_session, "_REFRESH_SHARE", 1e9)
    run = history(45)
    session = store.session(content)
    ever, stayed, before = set(), set(), set()
    for n in range(3, len(run.events) - 1, 2):
        session.sync(prefix(run, n), final=False)
        front = {m.trial.id for m in prefix(run, n).front()}
        ever |= front
        stayed |= front & before
        before = front
    session.sync(run, final=True)
    models, n_models = models_of(store, run)
    front = {m.trial.id for m in run.front()}
    assert n_models == len(models)
    assert front <= models.keys() <= stayed | front < ever
    assert {trial for trial, model in models.items() if model.tags["pareto"] == "true"} == front
    assert len(models) > len(front), "a former member keeps its model"


def test_figures_measured_again_are_those_of_the_model(store, content):
    search = history(27)
    run = measured_again(search)
    store.sync(prefix(run, len(search.events) - 1), content)
    store.sync(run, content)
    models, _ = models_of(store, run)
    for member in run.front():
        shown = {m.key: m.value for m in sorted(models[member.trial.id].metrics, key=lambda m: m.timestamp)}
        assert shown["inference_energy_j"] == member.values["inference_energy_j"]
        assert models[member.trial.id].tags["pareto"] == "true"
    assert {t for t, m in models.items() if m.tags["pareto"] == "true"} == {m.trial.id for m in run.front()}


CALLS = ("create_logged_model", "log_model_artifacts", "log_inputs", "log_outputs", "finalize_logged_model")


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("arrives", [True, False])
def test_a_call_that_breaks_leaves_no_model_twice(store, content, monkeypatch, method, arrives):
    run = history(18)
    real = getattr(MlflowClient, method)
    n_calls = 0

    def breaks(client, *args, **kwargs):
        nonlocal n_calls
        n_calls += 1
        done = real(client, *args, **kwargs) if arrives or n_calls % 2 == 0 else None
        if n_calls % 2:
            raise OSError("the line is dead")
        return done

    kinds = set()
    session = store.session(content)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, method, breaks)
        for attempt in range(6):
            session = store.session(content) if attempt % 2 else session
            try:
                session.sync(run, final=True)
            except TrackingError as error:
                kinds.add(type(error))
    assert kinds == {ArtifactError if method == "log_model_artifacts" else TrackingError}
    store.sync(run, content)
    client = MlflowClient(store.uri)
    models, n_models = models_of(store, run)
    assert n_models == len(models) == len(run.front())
    for model in models.values():
        assert model.status == "READY"
        child = client.get_run(model.source_run_id)
        assert [output.model_id for output in child.outputs.model_outputs] == [model.model_id]
        assert len(child.inputs.dataset_inputs) == 1


def test_a_damaged_model_is_told_and_costs_nothing_else(store, packed_folder):
    run = history(9)
    first = run.front()[0].trial.id

    def packed(result):
        if result.trial.id == first:
            raise ModelFolderError("models/0/model.json: is damaged")
        return Packed(packed_folder, SHAPE, "digits", DIGEST)

    with pytest.raises(ModelFolderError, match="is damaged"):
        store.sync(run, Content(render, packed=packed))
    models, _ = models_of(store, run)
    assert models.keys() == {m.trial.id for m in run.front()} - {first}


@pytest.fixture
def registering(store, content):
    run = history(27)

    def register(*names, trial=None, content=content):
        trial = run.front()[0].trial.id if trial is None else trial
        target = Target(store.uri, None, store.artifact_root)
        return tracking.register(run, target, content, Registration(trial, "digits small", names))

    return run, register


def test_a_trial_becomes_a_version_once(store, registering):
    run, register = registering
    registered = register("champion", "tiny")
    assert registered.version == "1"
    assert registered.uris[:2] == ("models:/digits small@champion", "models:/digits small@tiny")
    assert register("champion") == tracking.Registered("digits small", "1", registered.model_id, registered.uris[::2])
    client = MlflowClient(store.uri, registry_uri=store.uri)
    version = client.get_model_version_by_alias("digits small", "champion")
    member = run.front()[0]
    assert version.source == f"models:/{registered.model_id}"
    assert json.loads(client.get_logged_model(registered.model_id).tags["mlflow.modelVersions"]) == [
        {"name": "digits small", "version": 1}
    ]
    assert version.tags == {
        **{name: f"{value:.6g}" for name, value in member.values.items()},
        "dsnn_hpo.run_id": run.header.run_id,
        "dsnn_hpo.trial": str(member.trial.id),
    }
    other = next(r.trial.id for r in run.results if r.values and r.trial.id != member.trial.id)
    assert register("champion", trial=other).version == "2"
    assert str(client.get_model_version_by_alias("digits small", "champion").version) == "2"
    assert other in models_of(store, run)[0], "a trial off the front gets its logged model first"


def test_what_cannot_be_registered_is_told(registering):
    run, register = registering
    failed = next(r for r in run.results if not r.values)
    with pytest.raises(InputError, match=r"no finished trial 9999; on its front are \d+"):
        register(trial=9999)
    with pytest.raises(InputError, match=f"trial {failed.trial.id} failed: "):
        register(trial=failed.trial.id)
    with pytest.raises(InputError, match="has no packed model"):
        register(content=Content(render))
    for name in ("", " ", "a/b", "a:b"):
        with pytest.raises(InputError, match="--name"):
            Registration(0, name)
    for alias in ("latest", "v1", "", "a b", "a@b"):
        with pytest.raises(InputError, match="--alias"):
            Registration(0, "name", (alias,))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_served_model_answers(store, content, packed_folder, tmp_path):
    run = history(9)
    store.sync(run, content)
    models, _ = models_of(store, run)
    shutil.copytree(next(iter(models.values())).artifact_location.removeprefix("file://"), tmp_path / "served")
    port = free_port()
    program = Path(sys.executable).parent
    command = [str(program / "mlflow"), "models", "serve", "-m", str(tmp_path / "served"), "--env-manager", "local"]
    environment = {**tracking.ui_environment(), "PATH": f"{program}:{os.environ['PATH']}"}
    root = Path(__file__).parents[2]
    environment["PYTHONPATH"] = f"{root}:{environment.get('PYTHONPATH', '')}"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--port", str(port)], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        tracking.wait_until_up(f"http://127.0.0.1:{port}", 120, server)
        images = pixels(3, SHAPE).numpy()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            json.dumps({"inputs": images.tolist()}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            rows = json.load(answer)["predictions"]
    finally:
        import signal

        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    expected = load_model(packed_folder).predict(images)
    assert [row["index"] for row in rows] == expected.indices.tolist()
    assert [row["label"] for row in rows] == list(expected.labels)
    assert [row["probability"] for row in rows] == pytest.approx(expected.probabilities.amax(dim=1).tolist())
