"""A library that answers as NVML's Python module does, and fails with its errors, of cards that tests move."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import pynvml


@dataclass
class Card:
    """A card: its counter (mJ), or None without one; its power (mW); the processes that compute on it."""

    uuid: str
    name: str = "NVIDIA H100"
    millijoules: int | None = 5_000_000
    milliwatts: int = 100_000
    pids: list[int] = field(default_factory=list)
    parts: tuple[str, ...] = ()
    is_lost: bool = False
    is_old: bool = False


def library(*cards: Card, fails: type[Exception] | None = None) -> ModuleType:
    """Returns the module, to stand in place of ``pynvml``."""
    module = ModuleType("pynvml")

    def of(card: Card) -> Card:
        if card.is_lost:
            raise pynvml.NVMLError_GpuIsLost
        return card

    def init() -> None:
        if fails is not None:
            raise fails

    def energy(card: Card) -> int:
        if of(card).millijoules is None:
            raise pynvml.NVMLError_NotSupported
        return card.millijoules

    def processes(card: Card) -> list[SimpleNamespace]:
        if of(card).is_old:
            raise pynvml.NVMLLibraryMismatchError("the driver is older than the module")
        return [SimpleNamespace(pid=pid) for pid in card.pids]

    def part(uuid: str) -> tuple[str, Card]:
        for card in cards:
            if uuid in card.parts:
                return uuid, card
        raise pynvml.NVMLError_NotFound

    for name in ("NVMLError", "NVMLError_NotSupported", "NVMLLibraryMismatchError"):
        setattr(module, name, getattr(pynvml, name))
    module.nvmlInit = init
    module.nvmlDeviceGetCount = lambda: len(cards)
    module.nvmlDeviceGetHandleByIndex = lambda index: cards[index]
    module.nvmlDeviceGetName = lambda card: of(card).name
    module.nvmlDeviceGetUUID = lambda card: card.uuid.encode()
    module.nvmlDeviceGetTotalEnergyConsumption = energy
    module.nvmlDeviceGetPowerUsage = lambda card: of(card).milliwatts
    module.nvmlDeviceGetComputeRunningProcesses = processes
    module.nvmlDeviceGetMigMode = lambda card: [1, 1] if card.parts else [0, 0]
    module.nvmlDeviceGetHandleByUUID = part
    module.nvmlDeviceGetDeviceHandleFromMigDeviceHandle = lambda handle: handle[1]
    return module
