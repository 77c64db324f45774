"""Where the kernels run: on a GPU, or in Triton's interpreter, which only a process of its own can choose."""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch

IS_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
IS_INSTALLED = importlib.util.find_spec("triton") is not None


@pytest.fixture(params=["interpreter", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Returns the device whose tensors the kernels take."""
    if request.param == "interpreter":
        if not IS_INTERPRETED:
            pytest.skip("test_interpreter.py runs this in a process of its own")
        return "cpu"
    if IS_INTERPRETED or not torch.cuda.is_available():
        pytest.skip("no GPU")
    return "cuda"


def _mend_interpreter() -> None:
    """Lets Triton's interpreter loop up to a number of run time, with numpy 2.4, and compute with bfloat16."""
    import numpy as np
    import triton.language as tl
    from triton.runtime import interpreter

    patch_tensor, convert = interpreter._patch_lang_tensor, interpreter._convert_float
    dot = interpreter.InterpreterBuilder.create_dot

    def patch_tensor_too(tensor, scope):
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    def convert_exactly(data, source, target, rounding):
        if (source, target) == (tl.bfloat16, tl.float32):
            return data.view(np.uint16).astype(np.uint32) << 16
        if (source, target) == (tl.float32, tl.bfloat16):
            bits = data.view(np.uint32).astype(np.uint64)
            rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
            return np.where(np.isnan(data.view(np.float32)), (bits >> 16) | 0x40, rounded).astype(np.uint16)
        return convert(data, source, target, rounding)

    def dot_of_floats(self, a, b, *rest):
        a, b = (self.cast_impl(x, tl.float32) if x.dtype.scalar == tl.bfloat16 else x for x in (a, b))
        return dot(self, a, b, *rest)

    interpreter._patch_lang_tensor = patch_tensor_too
    interpreter._convert_float = convert_exactly
    interpreter.InterpreterBuilder.create_dot = dot_of_floats
    # NaN and infinity are among the inputs.
    np.seterr(all="ignore")


if IS_INTERPRETED and IS_INSTALLED:
    _mend_interpreter()
