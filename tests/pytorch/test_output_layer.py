"""The network's output layer, which the last stage publishes for the heads before it that read it."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from decoupled.tensors import Tensors
from tests.pytorch import models
from tests.pytorch.headed import CUT, MAKE, first_stage, microbatch

pytestmark = pytest.mark.slow


def test_the_last_stage_publishes_the_output_layer_that_heads_before_it_read() -> None:
    model = models.texts()
    stages = [model.stage(layers, models.training(rate=0.1)) for layers in CUT["texts"][:-1]]
    last = model.stage(CUT["texts"][-1], replace(models.training(None, rate=0.1), heads_before="auto"))
    x, targets = microbatch(model, stages[0])
    leaving = stages[0].forward(x)
    passed = last.forward(stages[1].forward(leaving.outputs).outputs)
    before = stages[0].synthesize(leaving, targets)[0]
    last.backward(passed, last.loss(passed, targets).gradients, want_dx=False)
    last.step(len(targets[0]))

    published = last.published()
    for stage in stages:
        stage.adopt(published)

    own = last.model_state()
    assert [array.shape for array in published] == [(models.TOKENS, 16), (models.TOKENS,)]
    for stage in stages:
        state = stage.state_dict()
        np.testing.assert_array_equal(state["head.module.output.weight"], own["4.1.weight"])
        np.testing.assert_array_equal(state["head.module.output.bias"], own["4.1.bias"])
    assert not np.array_equal(stages[0].synthesize(leaving, targets)[0], before)


@pytest.mark.parametrize("wrong", [(), (np.zeros((models.TOKENS, 16)), np.zeros(models.TOKENS)), (np.zeros(3, np.float32),)])
def test_what_is_not_the_output_layer_is_refused_before_anything_has_changed(wrong: Tensors) -> None:
    _, stage = first_stage("texts")
    before = stage.state_dict()
    with pytest.raises(ValueError, match="not the output layer"):
        stage.adopt(wrong)
    assert all((array == before[name]).all() for name, array in stage.state_dict().items())


def test_nothing_is_published_that_no_head_reads() -> None:
    for kind in ("images", "vectors"):
        training = replace(models.training(None), heads_before="auto")
        assert MAKE[kind]().stage(CUT[kind][-1], training).published() == ()
