"""A user's blocks: which are trained in stages, with what flows between them, and which are refused with a sentence."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from decoupled import Run, UsageError, user_code
from decoupled.data.source import DataSource
from decoupled.errors import RunFailed
from decoupled.runtime.resolve import resolve
from tests.cluster import Cluster
from tests.datasets import blobs, prices
from tests.pytorch.runs import GPT, alone, assert_same, over_workers
from tests.pytorch.samples import Texts, images

pytestmark = pytest.mark.slow

NETS = Path(__file__).parent / "nets.py"


@pytest.fixture(autouse=True)
def _allowed() -> None:
    user_code.allow(str(NETS))


KINDS = ["several", "in_place", "with_hooks", "lazy", "weight_norm"]


def net(name: str, **args: Any) -> dict[str, Any]:
    return {"model": f"{NETS}:{name}", "args": {"model": args}}


@pytest.mark.parametrize("name", KINDS)
def test_blocks_of_every_kind_train_over_workers_as_in_one_process(name: str) -> None:
    """One stage a block: several tensors, skip connections, changes in place, hooks, parametrisations."""
    there = over_workers(net(name), blobs(), schedule="lockstep", workers=None)

    assert_same(alone(net(name), blobs()).network.arrays, there.network.arrays)


def test_tensors_whose_memory_is_not_in_order_are_put_in_order_on_their_way() -> None:
    """Which changes the order of sums in the next block, and so the last digits."""
    there = over_workers(net("not_in_order"), blobs(), schedule="lockstep", workers=None)

    assert_same(alone(net("not_in_order"), blobs()).network.arrays, there.network.arrays, apart=1e-6)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("late_weights", ["at-forward", "current"])
def test_blocks_of_every_kind_train_without_waiting(name: str, late_weights: str) -> None:
    options = {"late_weights": late_weights}

    report = over_workers(net(name), blobs(), workers=2, epochs=8, lr=0.02, feedback_every=2, dni=options)

    assert report.test_accuracy is not None
    assert report.test_accuracy >= 0.9
    assert report.workers_detail[0].staleness_max > 0


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("schedule", ["lockstep", "dni"])
def test_a_stage_of_frozen_blocks_hands_on_what_comes(which: int, schedule: str) -> None:
    before = resolve(Run(**net("frozen", which=which)), blobs()).model

    report = over_workers(net("frozen", which=which), blobs(), schedule=schedule, workers=None)

    arrays = report.network.arrays
    own = before.stage((which,), _training(which)).model_state()
    for name, array in own.items():
        assert (arrays[name] == array).all(), name
    if schedule == "lockstep":
        assert_same(alone(net("frozen", which=which), blobs()).network.arrays, arrays)


def _training(which: int) -> Any:
    from decoupled.runtime.resolve import training

    return training(Run(**net("frozen", which=which)), 1, has_head=False)


@pytest.mark.parametrize("schedule", ["lockstep", "dni", "1f1b"])
def test_sequences_of_several_lengths_and_a_smaller_last_batch_need_no_padding(schedule: str) -> None:
    data = Texts(lengths=(5, 9, 3), samples=47)
    values = GPT | {"args": {"model": {"width": 16, "heads": 2, "depth": 2, "context": 16}}}

    report = over_workers(values, data, schedule=schedule, epochs=3, batch=10)

    assert [detail.samples for detail in report.workers_detail] == [3 * 47] * 3
    if schedule == "lockstep":
        assert_same(alone(values, data, epochs=3, batch=10).network.arrays, report.network.arrays)


def test_a_parameter_that_two_blocks_share_is_trained_within_one_stage() -> None:
    values = net("shared_in_a_stage")

    there = over_workers(values, blobs(), schedule="lockstep", workers=None, stages=((0,), (1, 2), (3,)))

    arrays = there.network.arrays
    assert_same(alone(values, blobs()).network.arrays, arrays)
    assert (arrays["1.weight"] == arrays["2.weight"]).all()


REFUSED: list[tuple[dict[str, Any], DataSource, str]] = [
    (net("shared_in_a_stage"), blobs(), r"Blocks 1 and 2 share weight .*must be in one stage.*blocks 1 to 2 together"),
    ({"model": "gpt", "args": {"model": {"width": 8, "tied": True}}}, Texts(), r"Blocks 0 and 5 share token.weight"),
    (net("gives", what="none"), blobs(), r"The block Gives must give tensors, one or a tuple of several, and gives NoneType"),
    (net("gives", what="number"), blobs(), r"The block Gives must give tensors, .* gives float"),
    (net("gives", what="dict"), blobs(), r"The block Gives must give tensors, .* gives dict"),
    (net("gives", what="mean"), blobs(), r"Block 1 \(Gives\) must give tensors whose first dimension"),
    (net("gives", what="row"), blobs(), r"Block 1 \(Gives\) must give tensors whose first dimension"),
    (net("gives", what="complex"), blobs(), r"Block 1 \(Gives\) must give tensors whose first dimension"),
    (net("answers", count=5), blobs(), r"The last block gives float32 N x 5, and is to give answers .*, N x 3"),
    (net("answers", count=1), prices(2), r"The last block gives float32 N x 1, and is to give answers .*, N x 2"),
    (net("answers", count=3, are_whole=True), blobs(), r"The last block gives int64 N x 3, and is to give answers of floating"),
    (net("sparse_embedding"), blobs(), r"Block 1 \(WithSparse\) has an embedding with sparse=True"),
    (net("parameter_hook"), blobs(), r"Block 0 \(Linear\): weight has a hook of its own"),
    (net("extra_state"), blobs(), r"_extra_state in its state_dict is a dict"),
    (net("no_fit"), blobs(), r"Block 1 \(Linear\) cannot take float32 \(2, 8\): RuntimeError"),
    (net("too_few"), blobs(), r"Block 1 \(Add\) cannot take .*: ValueError: Add takes 2 tensors, and only 1 flow"),
    ({"model": "vgg"}, blobs(), r"vgg takes images N x channels x height x width"),
    ({"model": "vgg"}, images(side=8), r"vgg takes images of 16 x 16 pixels or more, and these have 8 x 8"),
    ({"model": "resnet"}, blobs(), r"resnet takes images"),
    ({"model": "gpt"}, images(), r"gpt takes sequences of tokens"),
    ({"model": "gpt"}, blobs(), r"gpt takes sequences of tokens"),
    ({"model": "gpt", "args": {"model": {"width": 10}}}, Texts(), r"width=10 is no multiple of heads=4"),
    ({"model": "vgg", "args": {"model": {"width": 0}}}, images(), r"vgg: width: Input should be greater"),
    ({"model": "resnet", "args": {"model": {"depth": 5000}}}, images(), r"resnet: depth: Input should be less"),
    ({"model": "vgg", "args": {"model": {"colour": 1}}}, images(), r"vgg has no option colour; it has width"),
]


@pytest.mark.parametrize(("values", "data", "sentence"), REFUSED, ids=lambda part: part if isinstance(part, str) else "")
def test_what_cannot_be_trained_is_refused_in_a_sentence_before_a_worker_starts(
    values: dict[str, Any], data: DataSource, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence) as refused:
        resolve(Run(**values), data)

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("fails", "sentence"),
    [
        (True, r"Stage 0 cannot train: KeyError: 'no key.* at nets.py:\d+"),
        (False, r"A block gives other tensors in training than in evaluation: float32 \(4, 8\) and float32 \(4, 8\) came"),
    ],
)
def test_what_goes_wrong_in_training_alone_is_told_in_a_sentence(fails: bool, sentence: str) -> None:
    cluster = Cluster(Run(**net("only_in_training", fails=fails), workers=2, stages=((0, 1), (2,))), blobs())

    with pytest.raises(RunFailed, match=sentence) as told:
        cluster.run()

    assert "\n" not in str(told.value)


def test_a_tied_embedding_trains_in_one_process() -> None:
    values = {"model": "gpt", "args": {"model": {"width": 16, "heads": 2, "depth": 1, "tied": True}}}

    arrays = alone(values, Texts()).network.arrays

    assert (arrays["0.token.weight"] == arrays["2.1.weight"]).all()
