"""Experiment files that are wrong, each with what its message must say. `{data}` stands for a folder that exists."""

from __future__ import annotations

GOOD = """\
name: digits
task: {dataset: digits, model: cnn}
search_space: dsnn
objectives: [error, inference_energy_j]
fidelity: {min_epochs: 1, max_epochs: 9, eta: 3}
optimizer: smac
budget: {trials: 22}
"""


def changed(old: str, new: str) -> str:
    """Returns the good file with one change."""
    assert old in GOOD
    return GOOD.replace(old, new)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]" for i in range(9)
)

SPACE_FILES = {
    "empty_space.yaml": "name: empty\nhyperparameters: []\n",
    "no_mapping.yaml": "- 1\n- 2\n",
    "unknown_hyperparameter.yaml": "hyperparameters:\n  - {name: learning_rat, type: uniform_float, lower: 0.1, upper: 0.2}\n",
    "reversed.yaml": "hyperparameters:\n  - {name: lr, type: uniform_float, lower: 0.5, upper: 0.2}\n",
    "negative_lr.yaml": "hyperparameters:\n  - {name: lr, type: uniform_float, lower: -0.5, upper: 0.2}\n",
    "bits.yaml": "hyperparameters:\n  - {name: weight_bits, type: uniform_int, lower: 1, upper: 16}\n",
    "optimizer.yaml": "hyperparameters:\n  - {name: optimizer, type: categorical, choices: [SGD, Adamm]}\n",
    "deep.yaml": "hyperparameters:\n  - {name: shift_depth, type: uniform_int, lower: 1, upper: 500}\n",
    "batch.yaml": "hyperparameters:\n  - {name: batch_size, type: uniform_int, lower: 16, upper: 64}\n",
    "stages.yaml": "hyperparameters:\n  - {name: stage4_operator, type: categorical, choices: [adder, conv]}\n",
    "bad_table.yaml": "name: mine\nversion: 1\ndescription: of nothing\n",
    "condition.yaml": "hyperparameters:\n  - {name: lr, type: uniform_float, lower: 0.1, upper: 0.2}\n"
    "conditions:\n  - {type: EQ, child: lr, parent: nothing, value: 1}\n",
}

MODEL_FILES = {
    "my_models.py": "import torch\n"
    "def not_a_network(input_shape, n_classes): return 3\n"
    "def wrong_shape(input_shape, n_classes): return torch.nn.Flatten()\n"
    "def crashes(input_shape, n_classes): raise RuntimeError('no such luck')\n",
    "broken_models.py": "import a_module_that_does_not_exist\n",
}

# name: (file, what the message must contain)
MALFORMED: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "empty": ("", ("mapping",)),
    "comment only": ("# nothing\n", ("mapping",)),
    "a list": ("- name\n- task\n", ("mapping", "list")),
    "a number": ("3\n", ("mapping", "int")),
    "not YAML": ("name: [unclosed\ntask: {\n", ("line",)),
    "a tab": ("name: digits\n\ttask: {}\n", ("line 2",)),
    "not text": (b"\xff\xfe\x00name: digits", ("UTF-8",)),
    "NUL bytes": ("name: di\0gits\n", ("experiment.yaml",)),
    "a YAML bomb": (BOMB, ("experiment.yaml",)),
    "deep nesting": ("[" * 5000, ("experiment.yaml",)),
    "huge": ("name: " + "x" * 3_000_000, ("experiment.yaml",)),
    "a python object": ("name: !!python/object/apply:os.system ['true']\n", ("python",)),
    "a key twice": (GOOD + "name: again\n", ("line 8", "'name'", "line 1")),
    "wrong key": (changed("objectives:", "objectivs:"), ("objectivs", "did you mean 'objectives'")),
    "wrong key below": (changed("eta: 3", "etta: 3"), ("experiment.yaml:5", "fidelity.etta", "did you mean 'eta'")),
    "missing key": (changed("name: digits\n", ""), ("name: missing",)),
    "missing task": (changed("task: {dataset: digits, model: cnn}\n", ""), ("task: missing",)),
    "missing model": (changed(", model: cnn", ""), ("task.model: missing",)),
    "wrong type": (changed("max_epochs: 9", "max_epochs: many"), ("fidelity.max_epochs", "whole number", "'many'")),
    "a list for a mapping": (changed("{trials: 22}", "[22]"), ("budget", "[22]")),
    "a bad name": (changed("name: digits", "name: a/b"), ("experiment.yaml:1", "name", "'a/b'")),
    "epochs reversed": (changed("min_epochs: 1", "min_epochs: 10"), ("fidelity", "10", "9")),
    "no epochs": (changed("min_epochs: 1", "min_epochs: 0"), ("fidelity.min_epochs", "0")),
    "eta of one": (changed("eta: 3", "eta: 1"), ("fidelity.eta", "2")),
    "no objective": (changed("[error, inference_energy_j]", "[]"), ("objectives", "at least 1")),
    "unknown objective": (
        changed("inference_energy_j", "inference_energy"),
        ("objectives.1", "did you mean 'inference_energy_j'"),
    ),
    "objective twice": (changed("inference_energy_j", "error"), ("objectives", "twice", "error")),
    "unknown optimizer": (changed("optimizer: smac", "optimizer: smack"), ("optimizer", "did you mean 'smac'")),
    "unknown optimizer option": (
        changed("optimizer: smac", "optimizer: {name: random, initial: 3}"),
        ("optimizer.initial", "(allowed: evaluate_default, name)"),
    ),
    "a prior of no objective": (
        changed("optimizer: smac", "optimizer: {name: bayesian, priors: {eror: {}}}"),
        ("experiment.yaml:6: optimizer: priors", "did you mean 'error'"),
    ),
    "a prior that does not fit": (
        changed("optimizer: smac", "optimizer: {name: bayesian, priors: {error: {lr: {mu: 3, sigma: 2}}}}"),
        ("experiment.yaml:6: optimizer: priors: error: lr", "0.0001 to 0.1"),
    ),
    "a prior with a wrong key": (
        changed("optimizer: smac", "optimizer: {name: bayesian, priors: {error: {lr: {mu: 3, sigmas: 2}}}}"),
        ("optimizer.priors.error.lr.sigmas", "did you mean 'sigma'"),
    ),
    "no budget": (changed("{trials: 22}", "{}"), ("budget", "trials", "wall_time_s")),
    "negative budget": (changed("trials: 22", "trials: -1"), ("budget.trials", "-1")),
    "no workers": (GOOD + "execution: {workers: 0}\n", ("execution.workers", "0")),
    "negative seed": (GOOD + "seed: -1\n", ("seed", "-1")),
    "unknown country": (GOOD + "energy: {country: XYZ}\n", ("XYZ",)),
    "idle of a process": (GOOD + "energy: {idle: subtract}\n", ("energy", "scope: machine")),
    "unknown table": (
        GOOD + "energy: {hardware: horowitz-45mn}\n",
        ("experiment.yaml:8: energy.hardware", "did you mean 'horowitz-45nm'"),
    ),
    "no table": (GOOD + "energy:\n  hardware: nowhere.yaml\n", ("experiment.yaml:9: energy.hardware", "nowhere.yaml")),
    "a bad table": (
        GOOD + "energy: {hardware: bad_table.yaml}\n",
        ("experiment.yaml:8: energy.hardware", "bad_table.yaml", "is missing"),
    ),
    "a folder for a table": (GOOD + "energy: {hardware: ./}\n", ("experiment.yaml:8: energy.hardware",)),
    "unknown memory": (GOOD + "energy: {memory: flatt}\n", ("experiment.yaml:8", "energy.memory", "flatt")),
    "two repeats": (GOOD + "energy: {final_repeats: 2}\n", ("energy", "at least 3")),
    "a wide interval": (GOOD + "energy: {final_ci: 1.5}\n", ("energy.final_ci", "1.5")),
    "no joules": (changed("{trials: 22}", "{energy_wh: 0}"), ("experiment.yaml:7", "budget.energy_wh", "0")),
    "short final window": (GOOD + "energy: {final_window_s: 2}\n", ("energy.final_window_s", "5")),
    "short window": (GOOD + "energy: {window_s: 0.1}\n", ("energy.window_s", "2")),
    "file store": (GOOD + "tracking: {uri: ./mlruns}\n", ("mlruns", "sqlite")),
    "unknown scheme": (GOOD + "tracking: {uri: 'ftp://host/x'}\n", ("ftp",)),
    "unknown data set": (changed("dataset: digits", "dataset: digit"), ("did you mean 'digits'",)),
    "data not there": (changed("dataset: digits", "dataset: cifar10, path: nowhere"), ("nowhere", "cifar-10")),
    "too many images": (changed("model: cnn", "model: cnn, n_train: 100000"), ("100000",)),
    "unknown model": (changed("model: cnn", "model: resnet21"), ("resnet21", "did you mean 'resnet20'")),
    "unknown model argument": (
        changed("model: cnn", "model: cnn, model_arguments: {widht: 3}"),
        ("widht", "did you mean 'width'"),
    ),
    "no such module": (changed("model: cnn", "model: 'no_such_module:build'"), ("no_such_module",)),
    "no such function": (changed("model: cnn", "model: 'my_models:nothing'"), ("my_models", "nothing")),
    "module does not import": (
        changed("model: cnn", "model: 'broken_models:build'"),
        ("a_module_that_does_not_exist",),
    ),
    "not a network": (changed("model: cnn", "model: 'my_models:not_a_network'"), ("int",)),
    "network of the wrong shape": (changed("model: cnn", "model: 'my_models:wrong_shape'"), ("shape", "(2, 10)")),
    "network that crashes": (changed("model: cnn", "model: 'my_models:crashes'"), ("no such luck",)),
    "space not there": (changed("search_space: dsnn", "search_space: nowhere.yaml"), ("nowhere.yaml", "dsnn")),
    "space misspelt": (changed("search_space: dsnn", "search_space: dsn"), ("dsnn",)),
    "empty space": (changed("search_space: dsnn", "search_space: empty_space.yaml"), ("empty_space.yaml",)),
    "space is a list": (changed("search_space: dsnn", "search_space: no_mapping.yaml"), ("no_mapping.yaml",)),
    "unknown hyperparameter": (
        changed("search_space: dsnn", "search_space: unknown_hyperparameter.yaml"),
        ("unknown_hyperparameter.yaml", "learning_rat"),
    ),
    "reversed bounds": (changed("search_space: dsnn", "search_space: reversed.yaml"), ("reversed.yaml", "lr")),
    "illegal bounds": (
        changed("search_space: dsnn", "search_space: negative_lr.yaml"),
        ("negative_lr.yaml", "lr", "-0.5"),
    ),
    "illegal bits": (changed("search_space: dsnn", "search_space: bits.yaml"), ("weight_bits",)),
    "unknown choice": (changed("search_space: dsnn", "search_space: optimizer.yaml"), ("Adamm", "did you mean 'Adam'")),
    "deeper than the model": (changed("search_space: dsnn", "search_space: deep.yaml"), ("shift_depth", "500", "cnn")),
    "a stage beyond the model's": (
        changed("search_space: dsnn", "search_space: stages.yaml"),
        ("search_space: ", "stages.yaml", "stage4_operator", "cnn has 3 stages"),
    ),
    "unknown fixed hyperparameter": (
        GOOD + "fixed: {opertor: adder}\n",
        ("experiment.yaml:8: fixed", "did you mean 'operator'"),
    ),
    "illegal fixed value": (GOOD + "fixed: {operator: addre}\n", ("fixed: operator", "did you mean 'adder'")),
    "fixed and searched": (GOOD + "fixed: {lr: 0.1}\n", ("dsnn.yaml", "lr", "fixed to 0.1")),
    "two operators": (GOOD + "fixed: {operator: adder}\n", ("dsnn.yaml", "shift_type", "operator", "remove one")),
    "a list of fixed values": (GOOD + "fixed: {operator: [adder]}\n", ("fixed.operator", "['adder']")),
    "batch size twice": (
        changed("model: cnn}", "model: cnn, batch_size: 32}").replace("search_space: dsnn", "search_space: batch.yaml"),
        ("batch_size", "32"),
    ),
    "numbers as words": (changed("trials: 22", "trials: yes"), ("budget.trials", "True")),
    "a number in quotes": (changed("trials: 22", "trials: '22'"), ("budget.trials", "'22'")),
    "a truth for a seed": (GOOD + "seed: true\n", ("seed", "True")),
    "no such user": (changed("dataset: digits", "dataset: cifar10, path: ~nosuchuser/x"), ("nosuchuser",)),
    "NUL in a path": (changed("dataset: digits", 'dataset: cifar10, path: "a\\0b"'), ("task.path", "NUL")),
    "endless name of a space": (changed("search_space: dsnn", f"search_space: {'x' * 300}.yaml"), ("search_space",)),
    "null as an argument": (
        changed("model: cnn", "model: cnn, model_arguments: {width: ~}"),
        ("model_arguments.width", "None"),
    ),
    "optimizer without a name": (changed("optimizer: smac", "optimizer: {n_initial: 3}"), ("optimizer", "name")),
    "a number for a key": (GOOD + "3: x\n", ("3", "keys should be strings")),
    "schedule without meaning": (changed("model: cnn", "model: cnn, schedule: stepwise"), ("task.schedule", "cosine")),
    "the whole machine, twice": (
        GOOD + "execution: {workers: 2}\nenergy: {scope: machine}\n",
        ("energy.scope", "2 workers"),
    ),
    "bad condition": (changed("search_space: dsnn", "search_space: condition.yaml"), ("condition.yaml", "nothing")),
}
