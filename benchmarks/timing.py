"""Times of functions that take turns, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Turns:
    """How long to measure: ``n_rounds`` rounds, in each of which every function runs for at least ``turn_s`` seconds."""

    n_rounds: int
    turn_s: float


def interleaved(works: Sequence[Work], turns: Turns) -> list[list[float]]:
    """Returns the seconds a call of each function, one figure a round.

    A function repeats its call within its turn, and so finds in the caches what it left there. Each round begins with
    another function. On one thread it is the processor's time that counts, which neighbours on the machine disturb less
    than the clock on the wall.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    counts = [_calls_a_turn(work, turns.turn_s) for work in works]
    seconds: list[list[float]] = [[] for _ in works]
    for round_number in range(turns.n_rounds):
        for position in range(len(works)):
            index = (round_number + position) % len(works)
            work, count = works[index], counts[index]
            work()
            started = clock()
            for _ in range(count):
                work()
            seconds[index].append((clock() - started) / count)
    return seconds


def ratios(works: Sequence[Work], turns: Turns) -> tuple[float, list[float]]:
    """Returns the first function's median seconds, and of each other one its time over the first's, the rounds' median."""
    ours, *peers = interleaved(works, turns)
    return statistics.median(ours), [
        statistics.median(peer / own for peer, own in zip(seconds, ours, strict=True)) for seconds in peers
    ]


def fastest(works: Sequence[Work], turn_s: float) -> Work:
    """Returns the function that takes the least time: the best form of a peer that has several."""
    seconds = interleaved(works, Turns(3, turn_s))
    return works[min(range(len(works)), key=lambda i: statistics.median(seconds[i]))]


def _calls_a_turn(work: Work, turn_s: float) -> int:
    work()
    started = time.perf_counter()
    work()
    one_call_s = max(time.perf_counter() - started, 1e-7)
    return max(1, round(turn_s / one_call_s))
