"""The random numbers of stochastic rounding: a function of a seed and an element's position, on every device.

Philox4x32-10, a counter-based generator (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
Element i takes word ``i % 4`` of the block at the counter ``(i // 4 mod 2**32, i // 2**34, stream, 0)`` under the key
``(seed mod 2**32, seed // 2**32)``, so that neither threads nor the width of vectors matter.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_N_ROUNDS = 10
_WORD = 0xFFFFFFFF


def draw_seed() -> Tensor:
    """Returns a seed, int64 (), from torch's generator of the CPU; a tensor, so that ``torch.compile`` can trace it."""
    # On the CPU whatever torch's default device.
    return torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64, device="cpu")


def philox4x32(first_counter: int, n_blocks: int, stream: int, seed: int, device: torch.device) -> Tensor:
    """Returns the 32-bit words of ``n_blocks`` blocks from a counter on, int64 (n_blocks, 4), each 0 to 2**32 - 1."""
    counter = torch.arange(first_counter, first_counter + n_blocks, device=device)
    c0, c1 = counter & _WORD, (counter >> 32) & _WORD
    c2, c3 = torch.full_like(counter, stream), torch.zeros_like(counter)
    k0, k1 = seed & _WORD, (seed >> 32) & _WORD
    for _ in range(_N_ROUNDS):
        # A product of two words may pass 2**63: int64 wraps, and its bits are still right.
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = ((p1 >> 32) & _WORD) ^ c1 ^ k0, p1 & _WORD, ((p0 >> 32) & _WORD) ^ c3 ^ k1, p0 & _WORD
        k0, k1 = (k0 + _KEY_STEPS[0]) & _WORD, (k1 + _KEY_STEPS[1]) & _WORD
    return torch.stack((c0, c1, c2, c3), dim=1)


def uniform_like(x: Tensor, seed: int, stream: int = 0) -> Tensor:
    """Returns multiples of 2**-24 in [0, 1), float32, of the shape of ``x``; element i is the i-th in memory.

    The memory meant is that of ``torch.empty_like(x)``: the order of ``x`` itself, if that is dense.
    """
    layout = torch.empty_like(x, dtype=torch.float32)
    words = philox4x32(0, -(-x.numel() // 4), stream, seed, x.device)
    flat = (words >> 8).to(torch.float32).mul_(2.0**-24).reshape(-1)[: x.numel()]
    return flat.as_strided(layout.size(), layout.stride())


def unsigned(seed: int | None) -> int:
    """Returns a seed's 64 bits as a number from 0 on; 0 for None, where nothing is random."""
    return 0 if seed is None else seed & 0xFFFFFFFFFFFFFFFF
