"""What a run does around its loop."""

from threadpoolctl import threadpool_info, threadpool_limits

from dsnn_hpo.experiment import ExperimentConfig
from dsnn_hpo.experiment._run import start


def n_threads():
    """Returns how many threads the linear algebra of this process has, at most."""
    return max(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")


def test_workers_have_the_processor_to_themselves(experiment_file, tmp_path):
    seen = []

    class Observer:
        def update(self, history):
            seen.append(n_threads())

    text = experiment_file.read_text().replace("smac", "random").replace("trials: 18", "trials: 2")
    experiment_file.write_text(text)
    with threadpool_limits(2):
        start(ExperimentConfig.from_file(experiment_file), tmp_path / "run", [Observer()])
        assert set(seen) == {1}
        assert n_threads() == 2
