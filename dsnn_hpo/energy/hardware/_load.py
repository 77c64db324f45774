"""Reading tables of energies, those that ship with the package and a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import cast, get_args

from dsnn_hpo.energy.hardware import _fields as fields
from dsnn_hpo.energy.hardware._fields import Section
from dsnn_hpo.energy.hardware._table import (
    SMALLEST,
    Costs,
    EnergyTable,
    Figure,
    FlatMemory,
    MemoryLevel,
    RowStationary,
    Scaling,
)
from dsnn_hpo.errors import InputError, one_of
from dsnn_hpo.operators import NumberKind, Operation
from dsnn_hpo.search_space import read_yaml

DEFAULT_TABLE = "horowitz-45nm"
"""The table to use where none is named: 45 nm, accumulation and memory included."""

_MOST_BITS = 64
_ARRAY_SIZES = (
    "n_elements",
    "input_register_bytes",
    "weight_register_bytes",
    "sum_register_bytes",
    "buffer_bytes",
)
_ARRAY_COSTS = ("dram", "buffer", "array", "register", "weight_register")


def table_names() -> tuple[str, ...]:
    """Returns the names of the tables that ship with the package, sorted."""
    return tuple(sorted(file.stem for file in _folder().glob("*.yaml")))


def load_table(name_or_path: str | Path = DEFAULT_TABLE) -> EnergyTable:
    """Returns a table that ships with the package, by name, or a user's own: anything with a folder or suffix is a path.

    Raises InputError, saying where and what would be right: no such table; the file cannot be read, or is no table:
    an unknown key, operation, kind or operator, a negative or missing figure, a source that is not cited.
    """
    path = Path(name_or_path)
    if str(name_or_path) and path.name == str(name_or_path) and not path.suffix:
        if path.name not in table_names():
            raise InputError(
                f"no energy table named {one_of(path.name, table_names())}; or give the path of a YAML file"
            )
        path = _folder() / f"{path.name}.yaml"
    return _table(Section.of(read_yaml(path.expanduser(), InputError), str(path)))


def _folder() -> Path:
    return Path(str(resources.files("dsnn_hpo.energy.hardware"))) / "tables"


def _table(top: Section) -> EnergyTable:
    top.require_keys(
        "name", "version", "technology", "sources", "operations",
        optional=("description", "activation_bits", "skip_zeros", "charged", "memory", "row_stationary"),
    )  # fmt: skip
    sources = {name: top.section("sources").text(name) for name in top.section("sources").listed()}
    return EnergyTable(
        name=top.text("name"),
        version=top.whole("version", 1),
        technology=top.text("technology"),
        description=top.text("description") if "description" in top else "",
        sources=sources,
        activation_bits=top.whole("activation_bits", 1, 32) if top.get("activation_bits") is not None else None,
        skips_zeros=top.flag("skip_zeros") if "skip_zeros" in top else False,
        charged=_charged(top.section("charged")) if "charged" in top else None,
        costs=_operations(top.section("operations"), sources),
        memory=_memory(top.section("memory"), sources) if "memory" in top else None,
        row_stationary=_row_stationary(top.section("row_stationary"), sources) if "row_stationary" in top else None,
    )


def _charged(section: Section) -> dict[str, tuple[Operation, ...]]:
    section.require_known(fields.COUNTED_OPERATORS, "operator")
    return {
        operator: cast("tuple[Operation, ...]", section.names(operator, get_args(Operation), "operation"))
        for operator in section.listed()
    }


def _operations(section: Section, sources: Mapping[str, str]) -> dict[tuple[NumberKind, Operation], Costs]:
    section.require_known(get_args(NumberKind), "kind of number")
    costs: dict[tuple[NumberKind, Operation], Costs] = {}
    for kind in cast("list[NumberKind]", section.listed()):
        of_kind = section.section(kind)
        of_kind.require_known(get_args(Operation), "operation")
        operations = cast("list[Operation]", of_kind.listed())
        # Those that cost the same as another come after it.
        for operation in sorted(operations, key=lambda name: "same_as" in of_kind.section(name)):
            costs[kind, operation] = _costs(of_kind.section(operation), kind, sources, costs)
    return costs


def _costs(
    section: Section,
    kind: NumberKind,
    sources: Mapping[str, str],
    known: Mapping[tuple[NumberKind, Operation], Costs],
) -> Costs:
    if "same_as" not in section:
        section.require_keys("widths", optional=("scaling",))
        widths = section.section("widths")
        figures = {bits: _figure(widths.section(bits), "pj", sources) for bits in widths.widths(_MOST_BITS)}
        scaling = section.choice("scaling", get_args(Scaling), "scaling") if "scaling" in section else None
        return Costs(figures, cast("Scaling | None", scaling))
    section.require_keys("same_as", "source", "verified")
    like = cast("Operation", section.choice("same_as", [op for of, op in known if of == kind], "operation with widths"))
    source, verified = _source(section, sources), section.flag("verified")
    template = known[kind, like]
    return Costs({bits: Figure(f.pj, source, verified) for bits, f in template.figures.items()}, template.scaling)


def _memory(section: Section, sources: Mapping[str, str]) -> FlatMemory:
    section.require_keys("levels", "weights", "activations", optional=("fused",))
    levels = section.section("levels")
    return FlatMemory(
        tuple(_level(levels.section(name), name, sources) for name in levels.listed()),
        section.choice("weights", [SMALLEST, *levels.listed()], "memory"),
        section.choice("activations", [SMALLEST, *levels.listed()], "memory"),
        frozenset(_fused(section)),
    )


def _level(section: Section, name: str, sources: Mapping[str, str]) -> MemoryLevel:
    section.require_keys("pj_per_byte", "source", "verified", optional=("size_bytes",))
    size = section.whole("size_bytes", 1) if "size_bytes" in section else None
    return MemoryLevel(name, size, _cost(section, "pj_per_byte", sources))


def _row_stationary(section: Section, sources: Mapping[str, str]) -> RowStationary:
    section.require_keys(*_ARRAY_SIZES, *_ARRAY_COSTS, optional=("fused",))
    sizes: dict[str, int] = {name: section.whole(name, 1) for name in _ARRAY_SIZES}
    costs = {name: _figure(section.section(name), "pj_per_byte", sources) for name in _ARRAY_COSTS}
    return RowStationary(**sizes, **costs, fused=frozenset(_fused(section)))  # type: ignore[arg-type]


def _fused(section: Section) -> tuple[str, ...]:
    return section.names("fused", fields.COUNTED_OPERATORS, "operator") if "fused" in section else ()


def _figure(section: Section, key: str, sources: Mapping[str, str]) -> Figure:
    section.require_keys(key, "source", "verified")
    return _cost(section, key, sources)


def _cost(section: Section, key: str, sources: Mapping[str, str]) -> Figure:
    return Figure(section.cost(key), _source(section, sources), section.flag("verified"))


def _source(section: Section, sources: Mapping[str, str]) -> str:
    return section.choice("source", sources, "source cited under `sources`")
