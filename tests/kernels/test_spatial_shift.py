import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from dsnn_hpo.errors import KernelError
from dsnn_hpo.kernels import Implementation, spatial_shift, spatial_shift_reference, use_implementation

# The fixture of instruction sets is the same for all examples.
profile = settings(
    derandomize=True, deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
FORMATS = [torch.contiguous_format, torch.channels_last]


def shifted_by_hand(x, kernel_size, dilation):
    """Element by element, as the definition says."""
    _, n_channels, height, width = x.shape
    size = n_channels // kernel_size**2
    y = torch.zeros(x.shape, dtype=x.dtype)
    for c in range(n_channels):
        group = c // size if size and c < size * kernel_size**2 else kernel_size**2 // 2
        dy, dx = ((part - kernel_size // 2) * dilation for part in divmod(group, kernel_size))
        for i in range(height):
            for j in range(width):
                if 0 <= i + dy < height and 0 <= j + dx < width:
                    y[:, c, i, j] = x[:, c, i + dy, j + dx]
    return y


def one_hot_kernels(n_channels, kernel_size):
    """The depthwise convolution that does the same."""
    size = n_channels // kernel_size**2
    weight = torch.zeros(n_channels, kernel_size**2)
    for c in range(n_channels):
        weight[c, c // size if size and c < size * kernel_size**2 else kernel_size**2 // 2] = 1.0
    return weight.view(n_channels, 1, kernel_size, kernel_size)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from([1, 3]),
    st.integers(1, 3),
    st.sampled_from(FORMATS),
    st.sampled_from([torch.float64, torch.float32, torch.int64]),
)
def test_the_reference_equals_its_definition(shape, kernel_size, dilation, memory_format, dtype):
    x = torch.randint(1, 1000, shape).to(dtype).contiguous(memory_format=memory_format)
    y = spatial_shift_reference(x, kernel_size, dilation)
    assert torch.equal(y, shifted_by_hand(x, kernel_size, dilation))
    assert y.dtype is dtype


@profile
@given(
    st.tuples(st.integers(0, 3), st.integers(1, 80), st.integers(1, 12), st.integers(1, 12)),
    st.sampled_from([1, 3, 5]),
    st.integers(1, 4),
    st.sampled_from(FORMATS),
)
def test_every_instruction_set_equals_the_reference(each_isa, shape, kernel_size, dilation, memory_format):
    x = torch.rand(shape).contiguous(memory_format=memory_format)
    y = spatial_shift(x, kernel_size, dilation)
    assert torch.equal(y, spatial_shift_reference(x, kernel_size, dilation))
    assert y.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("kernel_size", "dilation", "n_channels"), [(3, 1, 9), (3, 2, 31), (5, 1, 60), (3, 1, 150)])
def test_it_is_the_depthwise_convolution_with_one_1_a_kernel(
    each_isa, memory_format, kernel_size, dilation, n_channels
):
    # Large enough for several threads.
    x = torch.randn(9, n_channels, 33, 29).contiguous(memory_format=memory_format).requires_grad_()
    weight = one_hot_kernels(n_channels, kernel_size)
    padding = dilation * (kernel_size // 2)
    expected = F.conv2d(x, weight, padding=padding, dilation=dilation, groups=n_channels)
    y = spatial_shift(x, kernel_size, dilation)
    assert torch.equal(y, expected)
    grad = torch.randn_like(y)
    assert torch.equal(*(torch.autograd.grad(output, x, grad)[0] for output in (y, expected)))


def test_the_gradient_has_a_gradient():
    x = torch.rand(2, 10, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(spatial_shift, (x,))
    assert torch.autograd.gradgradcheck(spatial_shift, (x,))


def test_the_op_is_registered_as_torch_expects():
    for memory_format in FORMATS:
        x = torch.rand(2, 20, 5, 4).contiguous(memory_format=memory_format).requires_grad_()
        torch.library.opcheck(torch.ops.dsnn_hpo.spatial_shift.default, (x, 3, 2))


def test_tensors_of_other_strides_are_taken():
    x = torch.rand(2, 5, 6, 20).permute(0, 3, 1, 2)[:, ::2, 1:, ::2]
    assert torch.equal(spatial_shift(x), spatial_shift_reference(x.contiguous()))


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((2, 3, 4), {}, r"takes images of shape \(n, channels, height, width\), not \(2, 3, 4\)"),
        ((1, 9, 4, 4), {"kernel_size": 2}, "kernel_size must be odd and at least 1, not 2"),
        ((1, 9, 4, 4), {"kernel_size": -1}, "kernel_size must be odd and at least 1, not -1"),
        ((1, 9, 4, 4), {"dilation": 0}, "dilation must be at least 1"),
        ((1, 9, 4, 4), {"dilation": 2**20}, "move by at most 32768 pixels, not 1048576"),
    ],
)
def test_wrong_arguments_are_refused(shape, arguments, message):
    for function in (spatial_shift, spatial_shift_reference):
        with pytest.raises(ValueError, match=message):
            function(torch.zeros(shape), **arguments)


def test_compiled_is_for_float32(each_isa):
    x = torch.rand(1, 9, 4, 4)
    with use_implementation(Implementation.COMPILED):
        assert torch.equal(spatial_shift(x), spatial_shift_reference(x))
        with pytest.raises(KernelError, match=r"float32 tensors, not torch\.float64"):
            spatial_shift(x.double())
