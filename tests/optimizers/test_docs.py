"""What docs/optimizers.md tells users of Python to write works."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "optimizers.md"


def test_the_example_finds_configurations_of_interest():
    [code] = re.findall(r"```python\n(.*?)```", DOCS.read_text(), flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, DOCS.name, "exec"), names)
    found = names["front"](names["results"], names["objectives"], 9)
    assert names["spent"] >= 20 * 9
    assert sum(member.values["error"] <= 0.5 and member.values["size"] <= 1.8 for member in found) >= 3
    assert {trial.trial.fidelity for trial in names["results"]} == {1, 3, 9}
    assert {"y" in trial.trial.config for trial in names["results"]} == {True, False}
