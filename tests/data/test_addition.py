"""addition: bits of two numbers in, the bits of their sum out, and no test pair that was trained on."""

import numpy as np
import pytest

from decoupled.data.addition import addition, to_bits
from decoupled.data.dataset import Array
from decoupled.errors import UsageError


def number(bits: Array) -> Array:
    """Rows of bits, the most significant first, as integers."""
    return np.array([int("".join(map(str, row)), 2) for row in bits.tolist()])


def operands(x: Array, bits: int) -> tuple[Array, Array]:
    return number(x[:, :bits]), number(x[:, bits:])


def pairs(x: Array, bits: int) -> set[tuple[int, int]]:
    return set(zip(*(side.tolist() for side in operands(x, bits)), strict=True))


def test_numbers_are_written_with_the_most_significant_bit_first() -> None:
    assert to_bits(np.array([1, 6, 255]), 8).tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 1, 1, 0],
        [1, 1, 1, 1, 1, 1, 1, 1],
    ]


@pytest.mark.parametrize("bits", [2, 5, 8, 16])
def test_targets_are_the_bits_of_the_sums(bits: int) -> None:
    made = addition(bits)

    for x, y in ((made.x_train, made.y_train), (made.x_test, made.y_test)):
        left, right = operands(x[:2000], bits)
        np.testing.assert_array_equal(number(y[:2000]), left + right)
    assert (made.x.shape, made.outputs, made.targets.task) == ((2 * bits,), bits, "multilabel")


def test_training_and_test_have_no_pair_in_common_and_at_8_bits_all_pairs_together() -> None:
    made = addition(8)
    train, test = pairs(made.x_train, 8), pairs(made.x_test, 8)

    assert not train & test
    assert train | test == {(a, b) for a in range(128) for b in range(128)}
    assert (len(made.x_train), len(made.x_test)) == (12_288, 4096)


def test_where_there_are_too_many_pairs_some_are_drawn_each_once() -> None:
    made = addition(16)
    train, test = pairs(made.x_train, 16), pairs(made.x_test, 16)

    assert len(train) + len(test) == len(made.x_train) + len(made.x_test) == 65_536
    assert not train & test


def test_training_pairs_are_shuffled() -> None:
    left, _ = operands(addition(8).x_train[:1000], 8)

    assert len(set(left.tolist())) > 100


def test_it_is_the_same_every_time() -> None:
    first, again = addition(6), addition(6)

    assert (first.x_train == again.x_train).all()
    assert (first.y_test == again.y_test).all()


@pytest.mark.parametrize("bits", [-1, 0, 1, 17, 64])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(UsageError, match=rf"^addition takes 2 to 16 bits, not {bits}\.$"):
        addition(bits)
