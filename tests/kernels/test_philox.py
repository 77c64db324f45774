import pytest
import torch

from dsnn_hpo.kernels._philox import draw_seed, philox4x32, uniform_like

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("counter", "stream", "seed", "expected"),
    [
        # Known answers of the generator's authors (Random123, kat_vectors), those whose last counter word is zero.
        (0, 0, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ],
)
def test_words_are_the_published_ones(counter, stream, seed, expected):
    assert philox4x32(counter, 1, stream, seed, CPU).tolist() == [expected]


def philox_by_definition(counter, stream, seed):
    words = [counter % 2**32, counter >> 32, stream, 0]
    keys = [seed % 2**32, (seed >> 32) % 2**32]
    for _ in range(10):
        products = 0xD2511F53 * words[0], 0xCD9E8D57 * words[2]
        words = [
            (products[1] >> 32) ^ words[1] ^ keys[0],
            products[1] % 2**32,
            (products[0] >> 32) ^ words[3] ^ keys[1],
            products[0] % 2**32,
        ]
        keys = [(keys[0] + 0x9E3779B9) % 2**32, (keys[1] + 0xBB67AE85) % 2**32]
    return words


@pytest.mark.parametrize("seed", [0, 1, -1, 2**63 - 1, -(2**63), 0x123456789ABCDEF])
@pytest.mark.parametrize("first", [0, 2**32 - 2, 2**40 + 5])
def test_words_equal_the_definition_in_whole_numbers(seed, first):
    got = philox4x32(first, 4, 3, seed, CPU).tolist()
    assert got == [philox_by_definition(first + i, 3, seed) for i in range(4)]


def test_numbers_follow_the_order_of_memory_and_not_that_of_the_shape():
    flat = uniform_like(torch.empty(2 * 3 * 4 * 5), 11)
    nhwc = torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert torch.equal(uniform_like(nhwc, 11).permute(0, 2, 3, 1).flatten(), flat)
    assert not torch.equal(uniform_like(nhwc, 12), uniform_like(nhwc, 11))
    assert not torch.equal(uniform_like(nhwc, 11, stream=1), uniform_like(nhwc, 11))


def test_numbers_are_uniform_multiples_of_2_to_the_minus_24():
    numbers = uniform_like(torch.empty(100_000), 5).double()
    assert torch.equal((numbers * 2**24).round() / 2**24, numbers)
    assert 0 <= numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    counts = torch.histc(numbers, 16, 0, 1)
    # 5 standard deviations of a count of 100,000 / 16
    assert (counts - 6250).abs().max() < 5 * (6250 * 15 / 16) ** 0.5


def test_seeds_come_from_torchs_generator():
    torch.manual_seed(3)
    first, second = draw_seed(), draw_seed()
    torch.manual_seed(3)
    assert draw_seed() == first != second
