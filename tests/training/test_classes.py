"""The loss of what a network returns, by hand."""

from collections import namedtuple
from math import exp, log

import pytest
import torch
from torch import nn

from bamsearch.errors import DesignError, ModelError, NothingToDoError
from bamsearch.training.classes import check_gives_classes, right, total_loss

SCORES = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
LABELS = torch.tensor([1, 1])
# -log of the softmax at the label
FIRST, SECOND = log(1 + exp(-1)), log(1 + exp(2))


def test_the_loss_is_summed_over_images():
    assert total_loss(SCORES, LABELS).item() == pytest.approx(FIRST + SECOND)
    assert right(SCORES, LABELS).item() == 1


def test_auxiliary_heads_count_three_tenths_each():
    heads = namedtuple("heads", "logits aux")(SCORES, torch.zeros(2, 2))
    assert total_loss(heads, LABELS).item() == pytest.approx(FIRST + SECOND + 0.3 * 2 * log(2))
    assert right(heads, LABELS).item() == 1


def test_label_smoothing_moves_a_share_to_all_classes():
    # of two classes, a smoothing of 0.2 leaves 0.9 at the label
    other = log(1 + exp(1)) * 0.1 + FIRST * 0.9
    assert total_loss(SCORES[:1], LABELS[:1], 0.2).item() == pytest.approx(other)


class Returns(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: [{"boxes": x}],
        lambda x: {"out": x},
        lambda x: x,
    ],
    ids=["detections", "dictionary", "maps"],
)
def test_a_network_without_scores_of_classes_is_not_a_classifier(digits, function):
    with pytest.raises(NothingToDoError, match=r"Your own training loop") as error:
        check_gives_classes(Returns(function), "net", digits.facts)
    assert error.value.exit_code == 3


def test_other_classes_are_named(digits):
    with pytest.raises(DesignError, match=r"net has 7 classes, but digits has 10"):
        check_gives_classes(Returns(lambda x: x.new_zeros(len(x), 7)), "net", digits.facts)


def test_an_input_that_is_not_taken_is_named(digits):
    with pytest.raises(ModelError, match=r"net does not accept images of 3x8x8: "):
        check_gives_classes(nn.Conv2d(1, 10, 3), "net", digits.facts)


def test_the_network_is_left_as_it_was(digits):
    network = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192), nn.Linear(192, 10))
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    check_gives_classes(network, "net", digits.facts)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
