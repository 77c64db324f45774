import subprocess
import sys
from pathlib import Path

import pytest

from dsnn_hpo.errors import InputError, TrackingError
from dsnn_hpo.tracking import ui_command, ui_environment, wait_until_up
from tests.tracking.conftest import free_port

_SYNC_UNDER_AUDIT = """
import sys
sys.path.insert(0, sys.argv[2])
seen = set()
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        seen.add(f"{event} {arguments}")
sys.addaudithook(hook)
from pathlib import Path
from dsnn_hpo import tracking
from tests.report.synthetic import history
from tests.tracking.conftest import render
folder = Path(sys.argv[1])
tracking.sync(history(9), tracking.TrackingConfig(), f"sqlite:///{folder}/mlflow.db", folder, tracking.Content(render))
print(sorted(seen))
"""


def test_the_server_is_for_this_machine_only(tmp_path):
    command = ui_command(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts", 5123)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "5123"
    assert command[command.index("--default-artifact-root") + 1] == (tmp_path / "artifacts").as_uri()
    assert ui_environment()["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_server_needs_no_server():
    with pytest.raises(InputError, match="is a server already"):
        ui_command("http://127.0.0.1:5000", None, 5001)


def test_waiting_ends_with_the_process_or_the_time():
    base_url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(TrackingError, match=r"not up after 0\.5 s"):
        wait_until_up(base_url, 0.5)
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(TrackingError, match="exit code 3"):
        wait_until_up(base_url, 30, process)


def test_nothing_is_sent_anywhere_else(tmp_path):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", _SYNC_UNDER_AUDIT, str(tmp_path), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""
