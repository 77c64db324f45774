"""Whether runs can be compared, and what casts doubt on it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from dsnn_hpo.errors import InputError
from dsnn_hpo.journal import History
from dsnn_hpo.report._certainty import mixtures

_SIZES_OF_SPLIT = ("n_train", "n_validation", "validation_fraction", "test_fraction", "image_size")

Runs = Mapping[str, History]


def require_comparable(runs: Runs) -> None:
    """Raises InputError where runs have other objectives or data, no front, or are one and the same run."""
    (first, of_first), *others = runs.items()
    for label, history in others:
        if set(history.header.objectives) != set(of_first.header.objectives):
            raise InputError(
                f"runs of different objectives cannot be compared: {first} has {', '.join(of_first.header.objectives)}; "
                f"{label} has {', '.join(history.header.objectives)}"
            )
        one, other = of_first.header.data_digest, history.header.data_digest
        if one and other and one != other:
            raise InputError(
                f"runs on different data cannot be compared: {first} is on {_data(of_first)}, {label} on {_data(history)}"
            )
    seen: dict[str, str] = {}
    for label, history in runs.items():
        if twin := seen.get(history.header.run_id):
            raise InputError(f"{twin} and {label} are the same run")
        seen[history.header.run_id] = label
        if not history.front():
            raise InputError(f"{label} has no front yet: none of its {len(history.results)} trials completed")


def _data(history: History) -> str:
    task = history.header.experiment.get("task", {})
    return f"{task.get('dataset', 'unknown data')} (SHA-256 {history.header.data_digest[:12]})"


def doubts(runs: Runs, groups: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Returns a warning for each difference that makes the runs' figures less comparable.

    Groups that have the same seeds are compared fairly though their runs split the data differently.
    """
    warnings = [f"{label} is not finished" for label, history in runs.items() if not history.finished]
    warnings += _differing(runs, "the longest training differs", lambda h: f"{h.header.fidelity.max_epochs} epochs")
    warnings += _differing(runs, "the front's trainings differ", lambda h: f"{h.front_fidelity} epochs")
    warnings += _differing(runs, "the sizes of the split differ", _sizes)
    if not _seeds_are_balanced(runs, groups):
        seeds = _differing(runs, "the seed of the split differs", lambda h: str(seed_of(h)))
        warnings += [f"{text}; errors are of other validation images" for text in seeds]
    if not all(history.header.data_digest for history in runs.values()):
        warnings.append("a run does not say which data it had; whether they are the same is not known")
    for name, labels in groups.items():
        found = [seed_of(runs[label]) for label in labels]
        if repeated := sorted({seed for seed in found if found.count(seed) > 1}):
            text = ", ".join(map(str, repeated))
            warnings.append(f"runs of {name} share a seed ({text}): they are not independent, the test is too sure")
    members = [member for history in runs.values() for member in history.front()]
    return warnings + mixtures(members, next(iter(runs.values())).objectives)


def seed_of(history: History) -> int:
    """Returns a run's seed, of its split among other things."""
    return int(history.header.experiment.get("seed", 0))


def _sizes(history: History) -> str:
    task = history.header.experiment.get("task", {})
    return ", ".join(f"{key}: {task[key]}" for key in _SIZES_OF_SPLIT if key in task) or "the default"


def _seeds_are_balanced(runs: Runs, groups: Mapping[str, tuple[str, ...]]) -> bool:
    found = [sorted(seed_of(runs[label]) for label in labels) for labels in groups.values()]
    return len(found) > 1 and all(seeds == found[0] for seeds in found)


def _differing(runs: Runs, what: str, of: Callable[[History], Hashable]) -> list[str]:
    values = {label: of(history) for label, history in runs.items()}
    if len(set(values.values())) == 1:
        return []
    return [f"{what}: {', '.join(f'{label} {value}' for label, value in values.items())}"]
