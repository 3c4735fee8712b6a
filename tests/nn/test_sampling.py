"""Sampling goes on token by token, from no more of what was before than a window holds."""

from itertools import islice

import numpy as np

from decoupled.nn.sampling import continued
from decoupled.tensors import Array

VOCABULARY, CONTEXT = 7, 4


def successor(window: Array) -> Array:
    """Logits that are sure of the number after each token."""
    assert window.shape == (1, CONTEXT)
    logits: Array = np.eye(VOCABULARY)[(window + 1) % VOCABULARY] * 20
    return logits


def test_the_likeliest_token_follows_at_no_temperature_however_long_the_text_is() -> None:
    assert list(islice(continued(successor, [3], CONTEXT, 0.0, seed=0), 10)) == [4, 5, 6, 0, 1, 2, 3, 4, 5, 6]
    assert list(islice(continued(successor, range(6), CONTEXT, 0.0, seed=0), 3)) == [6, 0, 1]


def test_a_position_is_read_that_sees_only_what_was_before() -> None:
    """A window that is not full is read at its last token, not at its end."""
    seen = list[Array]()

    def outputs(window: Array) -> Array:
        seen.append(window.copy())
        return successor(window)

    list(islice(continued(outputs, [1, 2], CONTEXT, 0.0, seed=0), 4))

    assert [window[0].tolist() for window in seen] == [[1, 2, 0, 0], [1, 2, 3, 0], [1, 2, 3, 4], [2, 3, 4, 5]]


def test_tokens_are_drawn_as_often_as_their_logits_say_at_each_temperature() -> None:
    shares = np.array([0.5, 0.25, 0.125, 0.125, 0, 0, 0])

    def outputs(window: Array) -> Array:
        with np.errstate(divide="ignore"):
            return np.broadcast_to(np.log(shares), (1, CONTEXT, VOCABULARY))

    for temperature, expected in ((1.0, shares), (0.5, shares**2 / (shares**2).sum())):
        drawn = np.bincount(list(islice(continued(outputs, [0], CONTEXT, temperature, seed=1), 4000)), minlength=VOCABULARY)
        np.testing.assert_allclose(drawn / 4000, expected, atol=0.03)


def test_a_seed_decides_what_is_drawn() -> None:
    def outputs(window: Array) -> Array:
        return np.zeros((1, CONTEXT, VOCABULARY))

    drawn = [list(islice(continued(outputs, [0], CONTEXT, 1.0, seed), 20)) for seed in (1, 1, 2)]

    assert drawn[0] == drawn[1] != drawn[2]
