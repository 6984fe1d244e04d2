import pytest
import torch

from bamsearch.data.random_splits import permutation, stratified


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_a_permutation_has_every_number_once(count):
    assert sorted(permutation(count, 3, 5).tolist()) == list(range(count))


def test_a_permutation_depends_on_every_seed_and_on_nothing_else():
    first = permutation(100, 1, 2).tolist()
    torch.manual_seed(9)
    assert permutation(100, 1, 2).tolist() == first
    others = [permutation(100, *seeds).tolist() for seeds in ((2, 1), (1, 3), (1,), (1, 2, 0))]
    assert first not in others


# 25 of class 0, 9 of class 1, 40 of class 2: a tenth, rounded down, at least one, is 2, 1, 4
LABELS = torch.tensor([0] * 25 + [1] * 9 + [2] * 40)


@pytest.mark.parametrize(
    ("splits", "left"), [(1, [25 - 2, 9 - 1, 40 - 4]), (2, [25 - 4, 9 - 2, 40 - 8])]
)
def test_every_split_has_a_tenth_of_each_class(splits, left):
    parts = stratified(LABELS, splits, seed=0)
    assert LABELS[parts[0]].bincount().tolist() == left
    for part in parts[1:]:
        assert LABELS[part].bincount().tolist() == [2, 1, 4]
    assert sorted(torch.cat(parts).tolist()) == list(range(74))
    assert all(part.tolist() == sorted(part.tolist()) for part in parts)


def test_nothing_is_taken_where_no_split_is_wanted():
    (left,) = stratified(LABELS, 0, seed=0)
    assert left.tolist() == list(range(74))


def test_the_seed_decides_which():
    first, again, other = (stratified(LABELS, 1, seed)[1].tolist() for seed in (4, 4, 5))
    assert first == again != other


def test_which_images_a_class_gives_does_not_depend_on_other_classes():
    with_more = torch.cat([LABELS, torch.tensor([2] * 10)])
    taken = stratified(with_more, 1, seed=0)[1]
    same = stratified(LABELS, 1, seed=0)[1]
    assert taken[taken < 34].tolist() == same[same < 34].tolist()
