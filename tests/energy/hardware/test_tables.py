"""The tables that ship, and what a user's own may not say."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from dsnn_hpo.energy import hardware
from dsnn_hpo.energy.hardware import DEFAULT_TABLE, load_table, table_names
from dsnn_hpo.energy.hardware._fields import COUNTED_OPERATORS
from dsnn_hpo.errors import InputError
from dsnn_hpo.operators import _work_of_functions as functions
from dsnn_hpo.operators import _work_of_layers as layers

OWN = """
name: mine
version: 3
technology: a chip
sources: {measured: on my bench}
operations:
  int:
    addition:
      scaling: linear
      widths:
        8: {pj: 1.0, source: measured, verified: true}
        32: {pj: 4.0, source: measured, verified: true}
    shift:
      widths:
        8: {pj: 0.5, source: measured, verified: true}
    comparison: {same_as: addition, source: measured, verified: false}
memory:
  levels:
    near: {size_bytes: 100, pj_per_byte: 1, source: measured, verified: true}
    far: {pj_per_byte: 10, source: measured, verified: true}
  weights: smallest
  activations: near
"""


def own(tmp_path: Path, old: str = "", new: str = "") -> Path:
    assert old in OWN
    file = tmp_path / "mine.yaml"
    file.write_text(OWN.replace(old, new, 1) if old else OWN)
    return file


def test_public_names_are_listed():
    public = {n for n, v in vars(hardware).items() if getattr(v, "__module__", "").startswith("dsnn_hpo.")}
    assert public | {"DEFAULT_TABLE", "MemoryModel", "Scaling"} == set(hardware.__all__)


def test_the_shipped_tables():
    assert table_names() == ("horowitz-45nm", "paper-compatible", "shiftaddnet-45nm", "zynq-7-zc706")
    assert DEFAULT_TABLE in table_names()


@pytest.mark.parametrize("name", table_names())
def test_a_shipped_table_says_where_each_figure_is_from(name):
    table = load_table(name)
    assert table.name == name
    assert table.description
    assert pickle.loads(pickle.dumps(table)) == table  # noqa: S301
    cited = {figure.source for costs in table.costs.values() for figure in costs.figures.values()}
    if table.memory is not None:
        cited |= {level.cost.source for level in table.memory.levels}
    if table.row_stationary is not None:
        cited.add(table.row_stationary.dram.source)
    assert cited == set(table.sources)


@pytest.mark.parametrize("name", table_names())
def test_figures_from_memory_and_estimates_are_never_called_verified(name):
    table = load_table(name)
    unread = {
        n for n, text in table.sources.items() if "from memory" in text or "our" in text.split() or "assumption" in text
    }
    figures = [figure for costs in table.costs.values() for figure in costs.figures.values()]
    assert unread
    assert not [figure for figure in figures if figure.verified and figure.source in unread]


def test_operators_of_the_counts_are_known():
    counted = {*layers._SHIFT_OPERATORS.values(), *(f.name for f in functions._FUNCTIONS.values())}
    counted |= {"conv", "linear", "adder", "winograd_adder", "min_conv", "spatial_shift", "batch_norm", "fixed_point"}
    assert counted == set(COUNTED_OPERATORS)


def test_a_table_of_ones_own(tmp_path):
    table = load_table(own(tmp_path))
    assert (table.name, table.version, table.activation_bits, table.skips_zeros) == ("mine", 3, None, False)
    assert table.cost("addition", 8, "int").pj == 1.0
    assert table.cost("comparison", 32, "int").pj == 4.0
    assert not table.cost("comparison", 32, "int").verified
    assert table.memory is not None
    assert table.memory.level("smallest", 100).name == "near"
    assert table.memory.level("smallest", 101).name == "far"
    assert table.row_stationary is None


@pytest.mark.parametrize(
    ("bits", "pj", "rule"),
    [
        (20, 2.5, "linear between 8 and 32 bits"),
        (4, 0.5, "linear from 8 bits"),
        (64, 8.0, "linear from 32 bits"),
    ],
)
def test_widths_between_are_derived_and_say_so(tmp_path, bits, pj, rule):
    figure = load_table(own(tmp_path)).cost("addition", bits, "int")
    assert figure.pj == pytest.approx(pj)
    assert (figure.source, figure.verified) == (rule, False)


def test_a_multiplication_grows_with_the_square():
    table = load_table("horowitz-45nm")
    # 8 bits: 0.2 pJ, 32 bits: 3.1 pJ; (16*16 - 8*8) / (32*32 - 8*8) = 192 / 960 = 1/5 of the way
    assert table.cost("multiplication", 16, "int").pj == pytest.approx(0.2 + 2.9 / 5)
    assert table.cost("multiplication", 4, "int").pj == pytest.approx(0.2 / 4)


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        ("addition:", "adition:", "operations.int.adition", "did you mean 'addition'?"),
        ("  int:", "  integer:", "operations.integer", "no kind of number 'integer'"),
        ("pj: 1.0", "pj: -1.0", "operations.int.addition.widths.8.pj", "0 or more, not -1.0"),
        ("pj: 1.0", "pj: cheap", "operations.int.addition.widths.8.pj", "number of picojoules"),
        ("pj: 1.0", "pj: .inf", "operations.int.addition.widths.8.pj", "number of picojoules"),
        ("pj: 1.0, ", "", "operations.int.addition.widths.8", "`pj` is missing"),
        ("8: {pj: 1.0", "eight: {pj: 1.0", "operations.int.addition.widths.eight", "whole number of bits from 1 to 64"),
        ("source: measured", "source: mesured", "operations.int.addition.widths.8.source", "did you mean 'measured'?"),
        ("verified: true", "verified: 1", "operations.int.addition.widths.8.verified", "true or false"),
        ("scaling: linear", "scaling: cubic", "operations.int.addition.scaling", "allowed: linear, quadratic"),
        ("same_as: addition", "same_as: shiftt", "operations.int.comparison.same_as", "did you mean 'shift'?"),
        ("version: 3", "version: 0", "version", "at least 1"),
        ("version: 3", "colour: red", "colour", "no key 'colour'"),
        ("technology: a chip", "", "", "`technology` is missing"),
        ("weights: smallest", "weights: middle", "memory.weights", "allowed: far, near, smallest"),
        ("size_bytes: 100", "size_bytes: 1.5", "memory.levels.near.size_bytes", "whole number"),
        ("version: 3", "version: 3\ncharged: {conf: [addition]}", "charged.conf", "did you mean 'conv'?"),
        ("version: 3", "version: 3\ncharged: {conv: addition}", "charged.conv", "must be a list"),
        ("version: 3", "version: 3\nrow_stationary: {n_elements: 4}", "row_stationary", "is missing"),
        ("version: 3", "version: 3\nskip_zeros: 'yes'", "skip_zeros", "true or false"),
        ("version: 3", "version: 3\nactivation_bits: 64", "activation_bits", "from 1 to 32"),
        ("{measured: on my bench}", "[measured]", "sources", "must be a mapping"),
    ],
)  # fmt: skip
def test_errors_say_where_and_what_would_be_right(tmp_path, old, new, where, what):
    file = own(tmp_path, old, new)
    with pytest.raises(InputError) as caught:
        load_table(file)
    assert str(caught.value).startswith(f"{file}: {where}")
    assert what in str(caught.value)


def test_no_such_table(tmp_path):
    with pytest.raises(InputError, match="did you mean 'horowitz-45nm'"):
        load_table("horowitz-45mn")
    with pytest.raises(InputError, match="no such file"):
        load_table(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(InputError, match="must be a mapping"):
        load_table(str(tmp_path / "empty.yaml"))


def test_a_width_that_the_table_lacks(tmp_path):
    with pytest.raises(InputError, match=r"no cost of shift on 16-bit int.*lists 8 bits; add 16, or `scaling: linear`"):
        load_table(own(tmp_path)).cost("shift", 16, "int")


def test_an_operation_that_the_table_lacks(tmp_path):
    with pytest.raises(InputError, match=r"no cost of shift on float.*add operations\.float\.shift.*addition \(int\)"):
        load_table(own(tmp_path)).cost("shift", 32, "float")
