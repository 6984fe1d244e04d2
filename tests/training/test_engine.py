"""Training: its steps by hand, what it learns, what it leaves alone."""

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn

from bamsearch.data.splits import Data, permutation
from bamsearch.errors import DesignError, DeviceError, DivergedError, InvalidValueError, OutputError
from bamsearch.records import Design, Insertion
from bamsearch.training.engine import Trained
from bamsearch.training.initial_model import InitialModel
from bamsearch.training.recipe import RECIPES, Recipe
from bamsearch.training.trainer import TrainerState


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 10))


def by_hand(network: nn.Module, data: Data, recipe: Recipe, seed: int) -> tuple[list, list]:
    """Weight and bias after an epoch of SGD on softmax regression, in double precision."""
    pixels = data.train.images.double().numpy() / 255
    mean, std = (np.array(v)[:, None, None] for v in (data.mean, data.std))
    inputs = ((pixels - mean) / std).reshape(len(pixels), -1)
    targets = np.eye(10)[data.train.labels.numpy()]
    weight, bias = (p.detach().double().numpy().copy() for p in network[1].parameters())
    moved = [np.zeros_like(weight), np.zeros_like(bias)]
    order = permutation(len(pixels), seed, 0).numpy()
    losses = []
    for step in range(len(pixels) // recipe.batch_size):
        rows = order[step * recipe.batch_size :][: recipe.batch_size]
        probabilities = softmax(inputs[rows] @ weight.T + bias, axis=1)
        losses += [-np.log(probabilities[targets[rows] == 1])]
        error = (probabilities - targets[rows]) / len(rows)
        slopes = [error.T @ inputs[rows], error.sum(0)]
        for k, (value, slope) in enumerate(zip((weight, bias), slopes, strict=True)):
            moved[k] = recipe.momentum * moved[k] + slope + recipe.weight_decay * value
            value -= recipe.lr * moved[k]
    return [weight, bias], losses


def test_an_epoch_is_sgd_by_hand(train, digits):
    network = linear()
    recipe = Recipe("r", 1, 500, lr=0.05, momentum=0.8, weight_decay=0.01, schedule="step")
    expected, losses = by_hand(network, digits, recipe, seed=4)
    trained = train(network, digits, recipe, seed=4, device="cpu")
    for result, value in zip(trained.module[1].parameters(), expected, strict=True):
        np.testing.assert_allclose(result.detach().numpy(), value, rtol=1e-4, atol=1e-6)
    assert len(losses) == 2  # two batches of 500; 445 images are left out
    assert trained.rows[0].train_loss == pytest.approx(np.concatenate(losses).mean(), rel=1e-5)
    scores = trained.module(
        (digits.validation.images / 255 - torch.tensor(digits.mean)[:, None, None])
        / torch.tensor(digits.std)[:, None, None]
    )
    right = int((scores.argmax(1) == digits.validation.labels).sum())
    assert (trained.right, trained.images) == (right, 176)
    row = trained.rows[0]
    assert row.validation_accuracy == pytest.approx(right / 176)
    entropy = nn.functional.cross_entropy(scores, digits.validation.labels).item()
    assert row.validation_loss == pytest.approx(entropy, rel=1e-4)


def test_validation_images_are_seen_in_eval_mode(train, digits, design, quick):
    # dropout and batch norm would else tell
    trained = train(design(("1", 4, 2)), digits, quick, device="cpu")
    mean, std = (torch.tensor(v)[:, None, None] for v in (digits.mean, digits.std))
    scores = trained.module.eval()((digits.validation.images / 255 - mean) / std)
    labels = digits.validation.labels
    assert trained.right == int((scores.argmax(1) == labels).sum())
    entropy = nn.functional.cross_entropy(scores, labels).item()
    assert trained.rows[-1].validation_loss == pytest.approx(entropy, rel=1e-4)


def test_the_network_that_was_given_is_not_changed(train, digits, quick):
    network = linear()
    before = network[1].weight.clone()
    trained = train(network, digits, quick, device="cpu")
    assert torch.equal(network[1].weight, before)
    assert not torch.equal(trained.module[1].weight, before)


def test_the_rate_of_each_epoch_is_in_its_row(train, digits):
    recipe = Recipe(
        "r", epochs=4, batch_size=1000, lr=0.1, schedule="step", milestones=(1, 3), augment="none"
    )
    trained = train(linear(), digits, recipe, device="cpu")
    assert [row.lr for row in trained.rows] == pytest.approx([0.1, 0.01, 0.01, 0.001])
    assert [row.epoch for row in trained.rows] == [1, 2, 3, 4]


def test_short_learns_the_digits(train, digits):
    model = "bamsearch.examples:resnet20"
    design = Design(model, (3, 8, 8), [Insertion("layer1"), Insertion("layer2")], num_classes=10)
    trained = train(design, digits, RECIPES["short"].changed(epochs=3), device="cpu")
    assert trained.accuracy > 0.85
    low, high = trained.interval
    assert 0 < low < trained.accuracy < high <= 1


def weights(trained: Trained) -> dict[str, bytes]:
    return {k: v.numpy().tobytes() for k, v in trained.module.state_dict().items()}


def test_a_seed_is_a_training_bit_for_bit(train, digits, design, quick):
    first = train(design(("1", 4, 2)), digits, quick, seed=1, device="cpu")
    torch.manual_seed(5)  # what was drawn before changes nothing
    second = train(design(("1", 4, 2)), digits, quick, seed=1, device="cpu")
    other = train(design(("1", 4, 2)), digits, quick, seed=2, device="cpu")
    assert weights(first) == weights(second)
    assert weights(first) != weights(other)


def seen(train, monkeypatch, digits, design: Design, quick: Recipe, seed: int) -> list[bytes]:
    """All that a network was given in a training, as bytes."""
    inputs: list[bytes] = []
    plain = TrainerState.__init__

    def spied(trainer, *args) -> None:
        plain(trainer, *args)
        trainer.module.register_forward_pre_hook(
            lambda module, args: inputs.append(args[0].numpy().tobytes())
        )

    with monkeypatch.context() as patch:
        patch.setattr(TrainerState, "__init__", spied)
        train(design, digits, quick, seed=seed, device="cpu")
    return inputs


def test_designs_with_one_seed_see_the_same_images(train, monkeypatch, digits, design, quick):
    base = seen(train, monkeypatch, digits, design(), quick, 0)
    placed = seen(train, monkeypatch, digits, design(("1", 4, 2), ("3", 2, 1)), quick, 0)
    assert len(base) == 2 * (5 + 1)  # two epochs of 5 steps and one validation batch
    assert base == placed
    assert base[:5] != base[6:11]  # another epoch, another order
    assert base[5] == base[11]
    assert base != seen(train, monkeypatch, digits, design(), quick, 1)


def test_the_callers_random_state_is_left(train, digits, design, quick):
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    train(design(), digits, quick.changed(epochs=1), device="cpu")
    assert torch.equal(torch.rand(3), expected)


def test_the_test_split_is_not_touched(train, digits, design, quick, monkeypatch):
    monkeypatch.setattr(digits, "test", lambda: pytest.fail("the test split was read"))
    train(design(), digits, quick.changed(epochs=1), device="cpu")


def test_mixed_precision_computes_in_bfloat16_and_keeps_float32(train, digits, quick):
    kinds = set()

    class Spy(nn.Linear):
        def forward(self, x):
            output = super().forward(x)
            kinds.add(output.dtype)
            return output

    network = nn.Sequential(nn.Flatten(), Spy(192, 10))
    recipe = quick.changed(epochs=1, precision="bf16-mixed")
    trained = train(network, digits, recipe, device="cpu")
    assert torch.bfloat16 in kinds
    assert trained.module[1].weight.dtype == torch.float32


def test_new_parameters_learn_at_their_own_rate(train, digits):
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.Linear(16, 10))
    before = [p.detach().clone() for p in network.parameters()]
    fresh = frozenset({"2.weight", "2.bias"})
    start = InitialModel(None, network, digits.mean, digits.std, "a file", fresh)
    recipe = Recipe("r", 1, 1000, lr=0.01, momentum=0, weight_decay=0, new_lr_factor=0.0)
    trained = train(start, digits, recipe, device="cpu")
    moved = [
        not torch.equal(start, two)
        for start, two in zip(before, trained.module.parameters(), strict=True)
    ]
    assert moved == [True, True, False, False]


def test_a_diverged_loss_says_where_and_what_to_try(train, digits, tmp_path):
    recipe = Recipe("r", 2, 256, lr=1e30)
    says = r"the loss is (nan|inf) in epoch 1, step [23] of 5, at a learning rate of \S+: "
    with pytest.raises(DivergedError, match=says + "start again with `lr=1e\\+29`"):
        train(linear(), digits, recipe, device="cpu", output=tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint.pt").is_file()


def test_what_is_not_fit_is_refused(train, digits, design, quick):
    with pytest.raises(DesignError, match=r"3x16x16 and 10 classes, but digits has 3x8x8 and 10"):
        train(Design(design().model, (3, 16, 16), num_classes=10), digits, quick)
    with pytest.raises(DesignError, match=r"insert resnet18 --data digits -o DIR"):
        train(Design("resnet18", (3, 224, 224)), digits, quick)
    with pytest.raises(InvalidValueError, match=r"recipe fine-tune requires trained weights"):
        train(design(), digits, RECIPES["fine-tune"], device="cpu")
    with pytest.raises(DeviceError, match=r"16-mixed needs a GPU"):
        train(design(), digits, quick.changed(precision="16-mixed"), device="cpu")
    with pytest.raises(InvalidValueError, match=r"nothing to resume"):
        train(design(), digits, quick, device="cpu", resume=True)


def test_a_training_is_not_overwritten(train, digits, quick, tmp_path):
    once = quick.changed(epochs=1)
    train(linear(), digits, once, device="cpu", output=tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(OutputError, match=r"already has a training: continue with `resume="):
        train(linear(), digits, once, device="cpu", output=tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
