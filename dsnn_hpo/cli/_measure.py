"""What `dsnn-hpo measure` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from dsnn_hpo.cli._console import console
from dsnn_hpo.report import readable, with_interval

if TYPE_CHECKING:
    from dsnn_hpo.experiment import Remeasured, RunMeasurement


def print_measurement(found: RunMeasurement) -> None:
    """Prints the run's figures beside those of this machine, and what changes."""
    out = console()
    names = list(found.compared)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for title in (
        "trial",
        *(title for name, there in found.compared.items() for title in (f"{there} there", f"{name} here", "rank")),
        "front",
    ):
        table.add_column(title.replace(" ", "\n").replace("_", "_\n"), justify="right", no_wrap=True)
    for member in found.members:
        cells = [cell for name in names for cell in _cells(member, name)]
        table.add_row(str(member.trial), *cells, _front(member))
    out.print(table)
    n_moved, n = len(found.changed), len(found.members)
    out.print(f"{n_moved} of {n} configurations change their rank or their place on the front here", markup=False)
    for how in sorted({str(how) for m in found.members for name, how in m.provenance.items() if name in names}):
        out.print(f"here: {how}", markup=False)
    out.print(f"all of it: {found.file}", markup=False)


def _cells(member: Remeasured, name: str) -> tuple[str, str, str]:
    there, here = member.ranks[name]
    rank = str(here) if there == here else f"{there} → {here}"
    return readable(member.there[name]), with_interval(member.here[name], member.provenance[name].ci95), rank


def _front(member: Remeasured) -> str:
    there, here = member.on_front
    words = {(True, True): "stays", (True, False): "leaves", (False, True): "joins", (False, False): "off"}
    return words[there, here]
