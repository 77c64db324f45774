import pytest
from pydantic import ValidationError

from dsnn_hpo.errors import InputError
from dsnn_hpo.tracking import Content, TrackingConfig, check_uri, open_mirror, run_link, view_link
from tests.tracking.conftest import render


def test_possible_stores(tmp_path):
    check_uri(f"sqlite:///{tmp_path}/new/mlflow.db")
    check_uri("sqlite:///mlflow.db")
    check_uri("http://127.0.0.1:5000")
    check_uri("https://user:secret@mlflow.example/prefix")
    (tmp_path / "empty.db").touch()
    check_uri(f"sqlite:///{tmp_path}/empty.db")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("file:./mlruns", "no longer keeps runs"),
        ("./mlruns", "no longer keeps runs"),
        ("mlruns", "no longer keeps runs"),
        ("", "no longer keeps runs"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("htp://127.0.0.1:5000", "did you mean 'http'?"),
        ("postgres://u:secret@host/db", "did you mean 'postgresql'?"),
        ("http://", "names no host"),
        ("http://host:99999", "names no host"),
        ("postgresql+nosuchdriver://u:secret@host/db", "install a driver (psycopg2)"),
        ("sqlite:////proc/version/mlflow.db", "cannot be created"),
    ],
)
def test_impossible_stores_are_told_with_what_is_right(uri, said):
    with pytest.raises(InputError) as caught:
        check_uri(uri)
    assert said in str(caught.value)
    assert str(caught.value).startswith("tracking.uri: ")
    assert "secret" not in str(caught.value)


def test_files_that_are_no_database(tmp_path):
    (tmp_path / "note.txt").write_text("a note, not a database")
    with pytest.raises(InputError, match="not a SQLite database"):
        check_uri(f"sqlite:///{tmp_path}/note.txt")
    with pytest.raises(InputError, match="is a folder"):
        check_uri(f"sqlite:///{tmp_path}")
    assert (tmp_path / "note.txt").read_text() == "a note, not a database"


def test_a_mirror_checks_before_it_starts(tmp_path):
    with pytest.raises(InputError):
        open_mirror(TrackingConfig(uri="file:./mlruns"), f"sqlite:///{tmp_path}/mlflow.db", tmp_path, Content(render))


def test_links_open_the_pages_for_training():
    link = run_link("http://127.0.0.1:5000/", "3", "abc")
    assert link == "http://127.0.0.1:5000/#/experiments/3/runs/abc?workflowType=machine_learning"
    assert (
        run_link("", "3", "abc", "a.html") == "#/experiments/3/runs/abc/artifacts/a.html?workflowType=machine_learning"
    )
    assert "viewStateShareKey=dsnn-hpo-abc" in view_link("", "3", "abc")


def test_config_refuses_unknown_keys():
    assert TrackingConfig().uri is None
    with pytest.raises(ValidationError, match="url"):
        TrackingConfig(url="http://127.0.0.1:5000")
