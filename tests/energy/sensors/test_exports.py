from __future__ import annotations

from dsnn_hpo.energy import sensors


def test_public_names_are_listed():
    public = {name for name, value in vars(sensors).items() if getattr(value, "__module__", "").startswith("dsnn_hpo.")}
    # A path and a choice of words have no module.
    assert public | {"POWERCAP", "Part"} == set(sensors.__all__)
