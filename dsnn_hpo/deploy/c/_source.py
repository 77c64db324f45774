"""The whole file: its head, the functions that it needs, tables, steps, and what a caller calls."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dsnn_hpo.data import Samples, batches
from dsnn_hpo.deploy._facts import Preprocessing
from dsnn_hpo.deploy._model import DeployedModel
from dsnn_hpo.deploy.c._steps import StepWriter, Written
from dsnn_hpo.errors import InputError
from dsnn_hpo.kernels.plan import Plan, Quantise
from dsnn_hpo.kernels.winograd import TILE

RUNTIME = Path(__file__).parent / "runtime"
ORDER = (
    *("float32", "rounded", "quantise", "convolution", "convolve", "signed32"),
    *("sum_shift32", "sum_shift64", "sum_two_term", "sum_int8", "sum_distance", "sum_minimum"),
    "convolve_winograd",
    *("rescale", "pool", "max_pool", "mean_pool", "copy", "shift_channels", "dequantise"),
)
POINTER_BYTES = 4
"""On the processors of 32 bits that the file is for."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,19}")


@dataclass(frozen=True, slots=True)
class CSource:
    """A file of C.

    Attributes:
        text: of the file.
        flash_bytes: of its constant tables; the functions add some thousand bytes, more or less by compiler.
        ram_bytes: of its static variables.
        multiplied: names of the layers whose inner loops multiply, int8 ones that were not converted.
    """

    text: str
    flash_bytes: int
    ram_bytes: int
    multiplied: tuple[str, ...]


def write_c(model: DeployedModel, name: str = "model") -> CSource:
    """Returns a model as one file of C99, which computes with integers alone.

    ``int NAME_predict(const uint8_t *pixels)`` returns the class of an image, ``NAME_logits`` its logits as the bits of
    float32 numbers: those of the executor, bit by bit, since the few operations on float32 numbers between the layers
    are done in integers as IEEE 754 has them. Pixels count from 0 to 255, in the order channel, row, column.

    Args:
        model: to write.
        name: prefix of the file's functions.

    Raises:
        InputError: the name is none of C.
        FreezeError: a step cannot be expressed; names it.
    """
    if not _NAME.fullmatch(name) or name in ("int", "char", "long", "short", "static", "struct", "void", "const"):
        raise InputError(f"{name!r} is no prefix for functions of C: up to 20 letters a-z, digits, _; a letter first")
    plan = model.plan
    writer = StepWriter(plan, _input_levels(plan, model.facts.preprocessing))
    written = writer.write()
    tile = 2 * TILE * TILE * written.max_channels if written.has_tiles else 0
    ram = writer.arena_bytes + written.max_taps * POINTER_BYTES + written.max_channels + tile + 4 * plan.n_outputs
    needed = [part for part in ORDER if part in written.needs | {"float32", "quantise"}]
    parts = [
        _head(model, written, ram, name),
        "#include <stddef.h>\n#include <stdint.h>",
        _interface(model, name),
        *(written.tables[:1]),
        _sizes(written),
        *((RUNTIME / f"{part}.c").read_text(encoding="utf-8").rstrip() for part in needed),
        *written.tables[1:],
        f"static uint8_t arena[{writer.arena_bytes}];",
        _functions(plan, written, name),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return CSource(text, written.table_bytes, ram, tuple(written.multiplied))


def _input_levels(plan: Plan, how: Preprocessing) -> Tensor:
    """Returns what each value of a pixel becomes in the first activation, uint8 (channels, 256)."""
    first = plan.steps[0]
    assert isinstance(first, Quantise)
    n_channels = plan.input_shape[0]
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, n_channels, 16, 16)
    samples = Samples(ramp.contiguous(), torch.zeros(1, dtype=torch.int64))
    ((x, _),) = batches(samples, 1, mean=torch.tensor(how.mean), std=torch.tensor(how.std))
    values = (x * first.inverse_scale + first.offset).clamp(first.clamp.lowest, first.clamp.highest)
    return (torch.round(values).long() + plan.zero(first.target)).view(n_channels, 256)


def _head(model: DeployedModel, written: Written, ram: int, name: str) -> str:
    channels, height, width = model.input_shape
    multiplied = "\n".join(f"     {_comment(layer)}" for layer in written.multiplied)
    honest = (
        "   All layers' inner loops are shifts, additions and comparisons."
        if not multiplied
        else "   The inner loops of these layers, kept as 8-bit integers, multiply; all others are shifts, additions and\n"
        f"   comparisons:\n{multiplied}"
    )
    return f"""\
/* {_comment(model.facts.name)}: a network of {len(model.plan.steps)} steps, trained on {_comment(model.facts.dataset)}.
   Written by dsnn-hpo. C99, no floating point, no other files, no memory but this file's own.

     int {name}_predict(const uint8_t *pixels);                     the class, from 0
     void {name}_logits(const uint8_t *pixels, uint32_t *logits);   {model.plan.n_outputs} numbers: the bits of a float each

   pixels: {channels} x {height} x {width} (channel, row, column) of 0 to 255. Not for several threads at once.

   Tables, in flash: {written.table_bytes} bytes; the code adds some thousand. Variables, in RAM: {ram} bytes.

{honest}
   Outside of them there are multiplications: one or two a result, to rescale it, and those that find the place of
   a pixel. */"""


def _comment(text: str) -> str:
    """Returns a text that cannot end a comment, nor begin a line of its own."""
    return "".join(c if c.isascii() and (c.isalnum() or c in " ._-") else "_" for c in text)


def _interface(model: DeployedModel, name: str) -> str:
    classes = ", ".join(f'"{_literal(label)}"' for label in model.classes)
    n = len(model.classes)
    return f"""\
extern const char *const {name}_classes[{n}];
int {name}_predict(const uint8_t *pixels);
void {name}_logits(const uint8_t *pixels, uint32_t *logits);

const char *const {name}_classes[{n}] = {{{classes}}};"""


def _literal(text: str) -> str:
    # Octal escapes of three digits end by themselves, whatever follows.
    plain = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ._-/+")
    return "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode())


def _sizes(written: Written) -> str:
    if not written.max_taps:
        return ""
    return f"enum {{ MAX_TAPS = {written.max_taps}, MAX_CHANNELS = {written.max_channels} }};"


def _functions(plan: Plan, written: Written, name: str) -> str:
    calls = "\n".join(written.calls)
    return f"""\
void {name}_logits(const uint8_t *pixels, uint32_t *logits)
{{
{calls}
}}

int {name}_predict(const uint8_t *pixels)
{{
    static uint32_t logits[{plan.n_outputs}];
    uint32_t largest = 0;
    int i, best = 0;
    {name}_logits(pixels, logits);
    for (i = 0; i < {plan.n_outputs}; i++) {{
        /* Numbers of both signs in the order of integers; -0 is 0. */
        const uint32_t bits = logits[i] == 0x80000000u ? 0 : logits[i];
        const uint32_t key = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
        if (key > largest) {{
            largest = key;
            best = i;
        }}
    }}
    return best;
}}"""
