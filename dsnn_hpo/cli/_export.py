"""What `dsnn-hpo export` prints."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from dsnn_hpo.cli._console import console

if TYPE_CHECKING:
    from dsnn_hpo.experiment import Exported


def print_exported(made: Exported) -> None:
    """Prints sizes, the error of the executor beside the reported one, and how to go on."""
    out = console()
    lines = [
        f"trial {made.trial}: {made.folder}",
        f"size:    {made.weight_bytes:,} bytes of packed weights, {made.folder_bytes:,} bytes of files",
        f"error:   {made.errors['test']:.2%} of the test images ({1 - made.errors['test']:.2%} are right), "
        f"{made.errors['validation']:.2%} of those for validation",
    ]
    for part, error in made.reported.items():
        if error != made.errors[part]:
            lines.append(f"         the search reported {error:.2%} ({part}): that of the network in floating point")
    if made.c is not None:
        lines.append(f"C:       {made.c_file}, {made.c.flash_bytes:,} bytes of flash for its tables, ")
        lines[-1] += f"{made.c.ram_bytes:,} bytes of RAM"
        if made.c.multiplied:
            lines.append(f"         multiplies in {', '.join(made.c.multiplied)}: kept as 8-bit integers by the search")
    lines.append(f"use it:  dsnn-hpo predict {shlex.quote(str(made.folder))} IMAGES...")
    for line in lines:
        out.print(line, markup=False)
