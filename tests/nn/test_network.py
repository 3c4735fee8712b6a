"""Networks: seeded layers, and answers from trained arrays."""

import numpy as np
import pytest

from decoupled.errors import UsageError
from decoupled.nn.layers import BatchNorm, BatchNormReLU, Dense, Identity, ReLU, Tanh
from decoupled.nn.network import Architecture, Network, build_layer
from decoupled.nn.targets import CLASSIFICATION, REGRESSION, Targets

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
    with pytest.raises(UsageError, match=r"takes inputs of shape \(N, 6\), not \(2, 5\)"):
        Network(SMALL, good).outputs(np.zeros((2, 5)))


def test_no_inputs_give_no_answers() -> None:
    assert Network(SMALL, arrays(SMALL)).predict(np.zeros((0, 6), np.float32)).shape == (0,)


def of(targets: Targets, loss: str) -> Network:
    architecture = Architecture((6, 5, 3), loss=loss)
    return Network(architecture, arrays(architecture), targets)


X = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)


def test_answers_are_the_labels_that_were_trained_on() -> None:
    labels = np.array(["cat", "dog", "owl"])
    network, numbers = of(Targets(CLASSIFICATION, labels), "softmax"), of(Targets(CLASSIFICATION), "softmax")

    assert network.predict(X).tolist() == labels[numbers.predict(X)].tolist()
    assert network.evaluate(X, network.predict(X)).accuracy == 1


def test_values_are_answered_in_the_users_units_and_scored_in_them() -> None:
    mean, deviation = np.array([1e5, 0.0, -3.0]), np.array([1e4, 1.0, 1e-3])
    network, raw = of(Targets(REGRESSION, mean=mean, deviation=deviation), "squared"), of(Targets(REGRESSION), "squared")

    np.testing.assert_allclose(network.predict(X), raw.predict(X) * deviation + mean)
    score = network.evaluate(X, network.predict(X) + [10, 0, 0])
    assert score.mae == pytest.approx(10 / 3, rel=1e-3)
    assert score.r2 == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_an_answer_has_the_shape_of_a_target(shape: tuple[int, ...]) -> None:
    architecture = Architecture((6, 5, 1), loss="squared")
    network = Network(architecture, arrays(architecture), Targets(REGRESSION, shape=shape))

    assert network.predict(X).shape == (50, *shape)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_probabilities_are_those_of_the_answers(loss: str) -> None:
    network = Network(Architecture((6, 5, 3), loss=loss), arrays(Architecture((6, 5, 3), loss=loss)))

    found = network.predict_proba(X)

    answers = network.predict(X)
    assert ((found > 0) & (found < 1)).all()
    assert (found.argmax(axis=1) == answers).all() if loss == "softmax" else ((found > 0.5) == answers).all()
    if loss == "softmax":
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_values_have_no_probabilities() -> None:
    with pytest.raises(UsageError, match="no probabilities"):
        of(Targets(REGRESSION), "squared").predict_proba(X)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_inputs_that_are_not_finite_are_refused_with_the_first_row(value: float) -> None:
    x = X.copy()
    x[7, 2] = value

    for ask in (Network(SMALL, arrays(SMALL)).predict, lambda x: Network(SMALL, arrays(SMALL)).evaluate(x, np.zeros(50, int))):
        with pytest.raises(UsageError, match="not finite, first in row 7"):
            ask(x)


@pytest.mark.parametrize(
    ("targets", "y", "said"),
    [
        (Targets(CLASSIFICATION, np.array(["cat", "dog", "owl"])), np.full(50, "catfish"), "label 'catfish'"),
        (Targets(CLASSIFICATION, np.array(["cat", "dog", "owl"])), np.zeros(50), "float64, but the network's labels are <U3"),
        (Targets(CLASSIFICATION), np.full(50, 3), "label 3"),
        (Targets(CLASSIFICATION), np.full(50, np.nan), "label nan"),
        (Targets(CLASSIFICATION), np.zeros((50, 2), int), "one label a sample"),
        (Targets(CLASSIFICATION), np.zeros(49, int), "50 inputs and 49 targets"),
        (Targets(CLASSIFICATION), np.array(1), "50 inputs and 1 targets"),
    ],
)
def test_targets_that_the_network_was_not_trained_for_are_refused(targets: Targets, y: np.ndarray, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        of(targets, "softmax").evaluate(X, y)
