"""What the kernels' tests share: every instruction set that this processor has, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dsnn_hpo.kernels import _library, available_isas, isa


@pytest.fixture(params=["portable", "avx2", "avx512", "avx512vnni"])
def each_isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Makes the compiled library use one instruction set for a test."""
    loaded = _library.library()
    if loaded is None:
        pytest.skip("the compiled kernels are not built")
    if request.param not in available_isas():
        pytest.skip(f"this processor has no {request.param}")
    before = isa()
    _library.set_isa(loaded, request.param)
    yield request.param
    _library.set_isa(loaded, before)
