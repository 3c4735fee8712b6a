"""Networks: seeded layers, partitions, and answers from trained arrays."""

import numpy as np
import pytest

from decoupled.nn.layers import BatchNorm, BatchNormReLU, Dense, Identity, ReLU, Tanh
from decoupled.nn.network import Architecture, Network, build_layer, partition

SMALL = Architecture((6, 5, 4, 3))


def arrays(architecture: Architecture) -> dict[str, np.ndarray]:
    layers = [layer for i in range(architecture.layers) for layer in build_layer(architecture, i, seed=3)]
    named = {p.name: p.value for layer in layers for p in layer.parameters}
    for layer in layers:
        named |= layer.state
    return named


def test_a_layer_starts_the_same_for_a_seed_and_differently_for_another() -> None:
    first, again, other = (build_layer(SMALL, 1, seed)[0].parameters[0].value for seed in (7, 7, 8))

    assert (first == again).all()
    assert not (first == other).any()


def test_initial_weights_keep_the_scale_of_activations() -> None:
    weight = build_layer(Architecture((400, 300, 10)), 0, seed=0)[0].parameters[0].value

    assert weight.std() == pytest.approx(np.sqrt(2 / 400), rel=0.02)


def test_hidden_layers_have_batch_norm_and_activation_and_the_last_has_neither() -> None:
    hidden, last = build_layer(SMALL, 0, 0), build_layer(SMALL, 2, 0)

    assert [type(layer) for layer in hidden] == [Dense, BatchNormReLU]
    assert [type(layer) for layer in last] == [Dense, Identity]
    assert [p.name for p in hidden[0].parameters] == ["layer0.weight"]
    assert [p.name for layer in last for p in layer.parameters] == ["layer2.weight", "layer2.bias"]


def test_batch_norm_and_relu_are_one_layer_only_where_they_meet() -> None:
    tanh = build_layer(Architecture((6, 5, 3), activation="tanh"), 0, 0)
    plain = build_layer(Architecture((6, 5, 3), batch_norm=False), 0, 0)

    assert [type(layer) for layer in tanh] == [Dense, BatchNorm, Tanh]
    assert [type(layer) for layer in plain] == [Dense, ReLU]


@pytest.mark.parametrize(
    ("widths", "workers", "stages"),
    [
        ((8, 8, 8, 8, 8), 4, ((0,), (1,), (2,), (3,))),
        ((8, 8, 8, 8, 8), 2, ((0, 1), (2, 3))),
        ((8, 8, 8, 8, 8), 1, ((0, 1, 2, 3),)),
        ((784, 256, 256, 256, 10), 2, ((0,), (1, 2, 3))),
        ((8, 8, 8, 100, 8), 3, ((0, 1), (2,), (3,))),
    ],
)
def test_a_partition_makes_the_heaviest_block_as_light_as_can_be(
    widths: tuple[int, ...], workers: int, stages: tuple[tuple[int, ...], ...]
) -> None:
    assert partition(Architecture(widths), workers) == stages


def test_more_workers_than_layers_are_refused() -> None:
    with pytest.raises(ValueError, match="4 workers cannot share 3 layers"):
        partition(SMALL, 4)


def test_a_network_answers_the_same_in_parts_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = Network(SMALL, arrays(SMALL)), np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)
    whole = network.outputs(x)
    monkeypatch.setattr(Network, "BATCH", 7)

    np.testing.assert_allclose(network.outputs(x), whole, rtol=1e-5)


def test_a_network_refuses_arrays_and_inputs_that_do_not_fit() -> None:
    good = arrays(SMALL)
    with pytest.raises(ValueError, match=r"\['layer2.bias'\] differ"):
        Network(SMALL, {name: value for name, value in good.items() if name != "layer2.bias"})
    with pytest.raises(ValueError, match=r"layer2.bias has shape \(9,\), but the network needs \(3,\)"):
        Network(SMALL, good | {"layer2.bias": np.zeros(9, np.float32)})
    with pytest.raises(ValueError, match=r"takes inputs of shape \(N, 6\), not \(2, 5\)"):
        Network(SMALL, good).outputs(np.zeros((2, 5)))


def test_no_inputs_give_no_answers() -> None:
    assert Network(SMALL, arrays(SMALL)).predict(np.zeros((0, 6), np.float32)).shape == (0,)
