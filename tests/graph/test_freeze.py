"""Batch norms of BAM that stay as they are."""

import copy

import pytest
import torch
import torchvision
from torch import nn

import bamsearch
from bamsearch.attention.bam import BAM


@pytest.fixture(params=["paper", "official"])
def model(request) -> nn.Module:
    return bamsearch.insert_bam(
        torchvision.models.squeezenet1_1(num_classes=4), (3, 64, 64), variant=request.param
    )


def norms(model: nn.Module) -> list[nn.Module]:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
    bams = [module for module in model.modules() if isinstance(module, BAM)]
    return [norm for bam in bams for norm in bam.modules() if isinstance(norm, kinds)]


def test_they_stay_in_eval_mode_and_all_else_trains(model):
    assert bamsearch.freeze_bam_bn(model) is model
    model.eval()
    model.train()
    frozen = norms(model)
    # paper: one norm a branch; official: one and three
    assert len(frozen) == sum(
        2 if b.variant == "paper" else 4 for b in model.modules() if isinstance(b, BAM)
    )
    assert not any(norm.training for norm in frozen)
    assert all(m.training for m in model.modules() if m not in frozen)


def test_their_statistics_stay_and_their_weights_learn(model):
    bamsearch.freeze_bam_bn(model.train())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.randn(2, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    after = model.state_dict()
    for key in before:
        if key.endswith(("running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(before[key], after[key]), key
    learnt = [norm.weight for norm in norms(model)]
    assert any(weight.ne(1).any() for weight in learnt)


def test_without_it_they_would_move(model):
    before = [norm.running_mean.clone() for norm in norms(model.train())]
    model(torch.randn(2, 3, 64, 64))
    assert any(
        not torch.equal(was, norm.running_mean)
        for was, norm in zip(before, norms(model), strict=True)
    )


def test_the_state_is_that_of_any_other(model):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    bamsearch.freeze_bam_bn(model)
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_copy_is_frozen_too_and_apart(model):
    twin = copy.deepcopy(bamsearch.freeze_bam_bn(model)).train()
    assert not any(norm.training for norm in norms(twin))
    assert not set(norms(twin)) & set(norms(model))


def test_a_network_without_bam_is_left_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    assert bamsearch.freeze_bam_bn(model).train()[1].training


@pytest.mark.parametrize("first", ["freeze", "convert"])
def test_conversion_to_sync_batch_norm_may_come_before_or_after(model, first):
    count = len(norms(model))
    if first == "freeze":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(bamsearch.freeze_bam_bn(model))
    else:
        model = bamsearch.freeze_bam_bn(nn.SyncBatchNorm.convert_sync_batchnorm(model))
    model.eval()
    model.train()
    converted = [
        norm
        for bam in model.modules()
        if isinstance(bam, BAM)
        for norm in bam.modules()
        if isinstance(norm, nn.SyncBatchNorm)
    ]
    assert len(converted) == count
    assert not any(norm.training for norm in converted)
