"""The documentation says what the program does."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from dsnn_hpo.experiment import ExperimentConfig, build
from dsnn_hpo.search_space import HYPERPARAMETERS
from dsnn_hpo.trial import OBJECTIVES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
REFERENCE = (ROOT / "docs" / "experiment.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_readme_s_experiment_has_twelve_lines_and_runs(tmp_path):
    [text] = blocks("yaml")
    assert len(text.splitlines()) == 12
    file = tmp_path / "experiment.yaml"
    file.write_text(text)
    assert build(ExperimentConfig.from_file(file)).config.name == "my_first_search"


def test_the_readme_s_python_compiles_and_uses_public_names():
    texts = blocks("python")
    assert texts
    for text in texts:
        compile(text, "README.md", "exec")
        for module, names in re.findall(r"^from (dsnn_hpo\S*) import (.*)$", text, re.MULTILINE):
            assert set(names.split(", ")) <= set(importlib.import_module(module).__all__)


def test_the_readme_s_frozen_network_runs():
    [text] = [text for text in blocks("python") if "freeze" in text]
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
    x = torch.randn(8, 1, 8, 8)
    names = {"network": network.eval(), "calibration": x, "x": x[:2]}
    exec(text, names)
    assert names["logits"].shape == (2, 3)


def anchors(text: str) -> set[str]:
    """Returns the names of the headings outside of code, as they are linked to."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_what_a_page_links_to_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        file, _, anchor = target.partition("#")
        path = (ROOT / page).parent / file if file else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target


def keys(schema: dict) -> set[str]:
    models = [schema, *schema["$defs"].values()]
    return {key for model in models for key in model.get("properties", {})}


@pytest.mark.parametrize("key", sorted(keys(ExperimentConfig.model_json_schema())))
def test_every_key_is_explained(key):
    assert re.search(rf"[`.]{key}`", REFERENCE) or f"## `{key}`" in REFERENCE


@pytest.mark.parametrize("name", [*OBJECTIVES, *HYPERPARAMETERS])
def test_every_objective_and_hyperparameter_is_explained(name):
    assert f"`{name}`" in REFERENCE
