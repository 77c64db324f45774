"""Triton kernels of adder layers: a program sums the distances of a tile of pixels and a tile of channels.

Nothing is shared between programs, so sums do not depend on their order. A GPU takes a magnitude for free as it adds, so
that ``sum |x - w|`` itself is the fastest form there.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _power(distance, exponent):
    """distance**exponent for distance >= 0; 0 for 0, whatever the exponent."""
    return tl.where(distance > 0, tl.exp2(exponent * tl.log2(distance)), distance)


@triton.jit
def adder_forward_kernel(
    x_ptr, weight_ptr, y_ptr,
    n_pixels, height, width, n_channels, out_height, out_width, n_rows,
    x_image, x_channel, x_row, x_column, y_image, y_channel, y_row, y_column,
    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, exponent,
    KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr, IS_POWER: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_M: tl.constexpr,
):  # fmt: skip
    """Minus the sum of |x - w|**exponent; the weight is (group, tap, channel, row), channels and rows of a group."""
    pixel = tl.program_id(0).to(tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)
    row = tl.program_id(1) * BLOCK_M + tl.arange(0, BLOCK_M)
    group = tl.program_id(2)
    is_pixel, is_row = pixel < n_pixels, row < n_rows
    out_x, out_y, image = pixel % out_width, pixel // out_width % out_height, pixel // (out_width * out_height)
    source = x_ptr + image * x_image + group.to(tl.int64) * n_channels * x_channel
    weights = weight_ptr + group.to(tl.int64) * KERNEL_H * KERNEL_W * n_channels * n_rows + row
    total = tl.zeros((BLOCK_P, BLOCK_M), tl.float32)
    for tap in range(KERNEL_H * KERNEL_W):
        in_y = out_y * stride_h - pad_h + tap // KERNEL_W * dilation_h
        in_x = out_x * stride_w - pad_w + tap % KERNEL_W * dilation_w
        is_inside = is_pixel & (in_y >= 0) & (in_y < height) & (in_x >= 0) & (in_x < width)
        at = source + in_y * x_row + in_x * x_column
        for channel in range(n_channels):
            x = tl.load(at + channel * x_channel, mask=is_inside, other=0.0).to(tl.float32)
            w = tl.load(weights + (tap * n_channels + channel) * n_rows, mask=is_row, other=0.0).to(tl.float32)
            distance = tl.abs(x[:, None] - w[None, :])
            if IS_POWER:
                distance = _power(distance, exponent)
            total += distance
    target = y_ptr + image * y_image + out_y * y_row + out_x * y_column
    target = target[:, None] + (group * n_rows + row).to(tl.int64)[None, :] * y_channel
    tl.store(target, (-total).to(y_ptr.dtype.element_ty), mask=is_pixel[:, None] & is_row[None, :])


@triton.jit
def adder_grad_input_kernel(
    grad_ptr, x_ptr, weight_ptr, out_ptr,
    n_pixels, height, width, n_channels, out_height, out_width, n_rows,
    x_image, x_channel, x_row, x_column, grad_image, grad_channel, grad_row, grad_column,
    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, exponent,
    KERNEL_H: tl.constexpr, KERNEL_W: tl.constexpr, IS_POWER: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The sum of grad * slope(w - x); x and the result have one layout; the weight is (group, tap, row, channel)."""
    pixel = tl.program_id(0).to(tl.int64) * BLOCK_P + tl.arange(0, BLOCK_P)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    group = tl.program_id(2)
    is_pixel, is_channel = pixel < n_pixels, channel < n_channels
    in_x, in_y, image = pixel % width, pixel // width % height, pixel // (width * height)
    at = image * x_image + in_y * x_row + in_x * x_column
    at = at[:, None] + (group * n_channels + channel).to(tl.int64)[None, :] * x_channel
    is_target = is_pixel[:, None] & is_channel[None, :]
    x = tl.load(x_ptr + at, mask=is_target, other=0.0).to(tl.float32)
    source = grad_ptr + image * grad_image + group.to(tl.int64) * n_rows * grad_channel
    weights = weight_ptr + group.to(tl.int64) * KERNEL_H * KERNEL_W * n_channels * n_rows + channel
    total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
    for tap in range(KERNEL_H * KERNEL_W):
        # The output pixels that read this one by this tap, in steps of the stride.
        down = in_y + pad_h - tap // KERNEL_W * dilation_h
        across = in_x + pad_w - tap % KERNEL_W * dilation_w
        is_read = is_pixel & (down >= 0) & (across >= 0) & (down % stride_h == 0) & (across % stride_w == 0)
        is_read = is_read & (down // stride_h < out_height) & (across // stride_w < out_width)
        gradients = source + down // stride_h * grad_row + across // stride_w * grad_column
        for row in range(n_rows):
            grad = tl.load(gradients + row * grad_channel, mask=is_read, other=0.0).to(tl.float32)
            w = tl.load(weights + (tap * n_rows + row) * n_channels, mask=is_channel, other=0.0).to(tl.float32)
            slope = w[None, :] - x
            if IS_POWER:
                # p d |d|**(p - 2), which is 0 for 0
                slope = exponent * slope * _power(tl.abs(slope), exponent - 2)
            else:
                # Comparisons with NaN fail, which keeps it.
                slope = tl.where(slope > 1, 1.0, tl.where(slope < -1, -1.0, slope))
            total += grad[:, None] * slope
    tl.store(out_ptr + at, total.to(out_ptr.dtype.element_ty), mask=is_target)
