"""The model card: what a person wants to know before using a model."""

from __future__ import annotations

from collections.abc import Mapping

from dsnn_hpo.deploy._facts import ModelFacts
from dsnn_hpo.executor._describe import described
from dsnn_hpo.kernels.plan import Plan


def model_card(plan: Plan, facts: ModelFacts, n_file_bytes: int) -> str:
    """Returns the card as Markdown."""
    channels, height, width = plan.input_shape
    how = facts.preprocessing
    n_macs = sum(plan.n_macs(step) for step in plan.steps)
    preprocessing = {
        "image": f"{channels} channel{'s' if channels > 1 else ''}, {height} x {width} pixels of 0 to 255",
        "input": "(pixels / 255 - mean) / std",
        "mean": ", ".join(f"{value:g}" for value in how.mean),
        "std": ", ".join(f"{value:g}" for value in how.std),
    }
    size = {
        "weights, packed": f"{plan.n_weight_bytes:,} bytes",
        "weights.safetensors": f"{n_file_bytes:,} bytes",
        "terms summed for an image": f"{n_macs:,}",
    }
    parts = [
        f"# {facts.name}",
        f"A multiplication-free network of {len(plan.steps)} integer steps, trained on {facts.dataset}, exported by "
        "dsnn-hpo.",
        "```python\nfrom dsnn_hpo.deploy import load_model\n\n"
        'model = load_model("this folder")\nprint(model.predict(images).labels)  # images: uint8 (n, '
        f"{channels}, {height}, {width})\n```",
        _table("Figures", facts.figures),
        _table("Size", size),
        _table("Preprocessing", preprocessing),
        _table("Configuration", {name: str(value) for name, value in facts.configuration.items()}),
        _table("Provenance", facts.provenance),
        "## Classes\n\n" + ", ".join(_plain(name) for name in facts.classes),
        f"## Steps\n\n```\n{described(plan)}\n```",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(title: str, rows: Mapping[str, str]) -> str:
    if not rows:
        return ""
    lines = [f"| {_plain(name)} | {_plain(value)} |" for name, value in rows.items()]
    return "\n".join([f"## {title}", "", "| | |", "|---|---|", *lines])


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
