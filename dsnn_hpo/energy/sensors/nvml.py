"""The one door to NVML: the energy of NVIDIA's cards that this process may use.

A card of Volta's generation or later counts its energy; of an older one the power is read ten times a second and
integrated. Either way the figure is the whole card's, also where a process has only a part of it (MIG), or shares it.

``CUDA_VISIBLE_DEVICES`` is followed as CUDA does: indices, or the beginning of a UUID; the first that names no card
ends the list.

Source: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from dsnn_hpo.energy.sensors._family import family
from dsnn_hpo.energy.sensors._sampler import Sampler
from dsnn_hpo.energy.sensors._sensor import Found, Lack, SensorFacts
from dsnn_hpo.errors import SensorError

SAMPLE_S = 0.1
_NO_DRIVER = ("LibraryNotFound", "DriverNotLoaded")


@dataclass(frozen=True, slots=True)
class _Card:
    """A card by NVML's handle, and what is to be said of how it was chosen."""

    handle: Any
    name: str
    remarks: tuple[str, ...] = ()


class CardSensor:
    """The energy of one card, by its counter or, where it has none, by its power."""

    def __init__(self, library: ModuleType, card: _Card) -> None:
        self._library, self._card = library, card
        self._has_counter = _has_counter(library, card.handle)
        kind = "nvml counter" if self._has_counter else "nvml power"
        self.facts = SensorFacts(card.name, "gpu", kind, True, "device")
        self.remarks: tuple[str, ...] = ()
        self._others_before: int | None = 0
        self._last, self._last_s, self._sum_j = 0.0, 0.0, 0.0
        self._sampler = Sampler(self._integrate, SAMPLE_S)

    def start(self) -> None:
        """Begins to read; raises SensorError where the card cannot be read."""
        self._others_before = self._others()
        self._sum_j = 0.0
        self._last, self._last_s = self._read(), time.monotonic()
        if not self._has_counter:
            self._sampler.start()

    def joules(self) -> float:
        """Returns the joules since ``start``; raises SensorError where the card is lost or its counter went back."""
        if self._has_counter:
            spent_j = self._read() - self._last
        else:
            self._sampler.stop()
            self._integrate()
            spent_j = self._sum_j
        if spent_j < 0:
            raise SensorError(
                f"the energy counter of {self._card.name} went back by {-spent_j:.3f} J: the driver was reset"
            )
        self.remarks = (*self._card.remarks, *self._shared(self._others_before, self._others()))
        return spent_j

    def _shared(self, before: int | None, after: int | None) -> tuple[str, ...]:
        if before is None or after is None:
            return (f"whether other processes used {self._card.name} is not known: its driver is too old",)
        most = max(before, after)
        return (f"{self._card.name} was shared with other processes ({most})",) if most else ()

    def _integrate(self) -> None:
        # The trapezoidal rule.
        watts, now = self._read(), time.monotonic()
        self._sum_j += (self._last + watts) / 2 * (now - self._last_s)
        self._last, self._last_s = watts, now

    def _read(self) -> float:
        """Returns the counter in joules or, without one, the power in watts."""
        library = self._library
        read = library.nvmlDeviceGetTotalEnergyConsumption if self._has_counter else library.nvmlDeviceGetPowerUsage
        return float(self._ask(read)) / 1000.0

    def _others(self) -> int | None:
        """Returns how many processes that are not this one or its children compute on the card; None: it is not told."""
        try:
            running = {process.pid for process in self._library.nvmlDeviceGetComputeRunningProcesses(self._card.handle)}
        except (self._library.NVMLError_NotSupported, self._library.NVMLLibraryMismatchError):
            return None
        except self._library.NVMLError as error:
            raise SensorError(f"{self._card.name} cannot be read: {error}") from error
        others = running - family()
        # In a container NVML may know this process by another number, which is then among the others.
        ours = 1 if others == running and uses_cuda() else 0
        return max(0, len(others) - ours)

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        try:
            return question(self._card.handle)
        except self._library.NVMLError as error:
            raise SensorError(f"{self._card.name} cannot be read: {error}") from error


def find_cards(environment: Mapping[str, str] | None = None) -> Found:
    """Returns a sensor for each card that this process may use; none, and no lack, where there is no driver."""
    environment = os.environ if environment is None else environment
    # At first use: it is of no use to whoever only searches.
    import pynvml

    library: ModuleType = pynvml
    try:
        library.nvmlInit()
        handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount())]
        chosen, lacks = _visible(library, handles, environment)
        return Found(tuple(CardSensor(library, card) for card in chosen), tuple(lacks))
    except (library.NVMLError, SensorError) as error:
        if type(error).__name__.removeprefix("NVMLError_") in _NO_DRIVER:
            return Found()
        mend = "nvidia-smi   # says what is wrong with the driver; after an update of it, restart the machine"
        return Found(lacks=(Lack("gpu", f"NVIDIA's cards cannot be read: {error}", mend),))


def uses_cuda() -> bool:
    """Returns whether this process has used a card, by torch; does not load torch."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def synchronise() -> None:
    """Waits until the card has done what it was given, if torch has used one; does not load torch."""
    if uses_cuda():
        sys.modules["torch"].cuda.synchronize()


def _visible(library: ModuleType, handles: list[Any], environment: Mapping[str, str]) -> tuple[list[_Card], list[Lack]]:
    """Returns the cards that ``CUDA_VISIBLE_DEVICES`` leaves, each once, and what it names in vain."""
    names = [f"card {i} ({_decoded(library.nvmlDeviceGetName(handle))})" for i, handle in enumerate(handles)]
    uuids = [_decoded(library.nvmlDeviceGetUUID(handle)) for handle in handles]
    listed = environment.get("CUDA_VISIBLE_DEVICES")
    wanted = [str(i) for i in range(len(handles))] if listed is None else [word.strip() for word in listed.split(",")]
    by_index = listed is not None and environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"
    kinds = {name.partition("(")[2] for name in names}
    chosen: dict[int, tuple[str, ...]] = {}
    for word in wanted:
        if word in ("", "-1"):
            break
        index = int(word) if word.isdigit() else _by_uuid(library, word, uuids)
        if index is None or index >= len(handles):
            what = f"CUDA_VISIBLE_DEVICES names {word!r}, which is none of the {len(handles)} cards"
            return _cards(handles, names, chosen), [Lack("gpu", what, "nvidia-smi -L   # lists the cards")]
        remarks = chosen.get(index, ())
        if (not word.isdigit() and word.startswith("MIG-")) or _is_split(library, handles[index]):
            remarks += (f"{names[index]} is split (MIG): the energy is the whole card's",)
        if word.isdigit() and by_index and len(kinds) > 1:
            remarks += ("cards differ, and without CUDA_DEVICE_ORDER=PCI_BUS_ID their numbers may, too",)
        chosen[index] = tuple(dict.fromkeys(remarks))
    return _cards(handles, names, chosen), []


def _cards(handles: list[Any], names: list[str], chosen: Mapping[int, tuple[str, ...]]) -> list[_Card]:
    return [_Card(handles[index], names[index], remarks) for index, remarks in chosen.items()]


def _by_uuid(library: ModuleType, word: str, uuids: list[str]) -> int | None:
    """Returns the index of the card of which this is the beginning of a UUID, or of a part's (MIG), or None."""
    if word.startswith("MIG-GPU-"):
        # Before driver 470: MIG-<UUID of the card>/<instance>/<instance>.
        word = word.removeprefix("MIG-").partition("/")[0]
    elif word.startswith("MIG-"):
        with contextlib.suppress(library.NVMLError):
            part = library.nvmlDeviceGetHandleByUUID(word)
            word = _decoded(library.nvmlDeviceGetUUID(library.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(part)))
    matches = [index for index, uuid in enumerate(uuids) if uuid.startswith(word)]
    # Of two cards CUDA takes neither.
    return matches[0] if len(matches) == 1 else None


def _is_split(library: ModuleType, handle: Any) -> bool:
    try:
        return bool(library.nvmlDeviceGetMigMode(handle)[0])
    except library.NVMLError:
        return False


def _has_counter(library: ModuleType, handle: Any) -> bool:
    """Returns whether the card counts its energy; raises SensorError where its power cannot be read either."""
    with contextlib.suppress(library.NVMLError_NotSupported):
        library.nvmlDeviceGetTotalEnergyConsumption(handle)
        return True
    try:
        library.nvmlDeviceGetPowerUsage(handle)
    except library.NVMLError as error:
        raise SensorError(f"a card has neither an energy counter nor a power meter ({error})") from error
    return False


def _decoded(text: str | bytes) -> str:
    return text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text
