"""What the tests of the graph share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bamsearch.attention.bam import BAM

# Networks that tests share, and designs name: unrewritable.py.
sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def silence() -> Callable[[nn.Module], nn.Module]:
    """Force every BAM's map to exactly 0: sigmoid(-2e5) underflows."""

    def force(model: nn.Module) -> nn.Module:
        bams = [module for module in model.modules() if isinstance(module, BAM)]
        assert bams, "nothing to silence"
        with torch.no_grad():
            for bam in bams:
                bam.channel.norm.bias.fill_(-1e5)
                bam.spatial.norm.bias.fill_(-1e5)
        return model

    return force


def _same(a: Any, b: Any, path: str) -> None:
    assert type(a) is type(b), f"{path}: {type(a)} is not {type(b)}"
    if isinstance(a, Tensor):
        assert a.dtype == b.dtype, path
        assert torch.equal(a, b), f"{path}: the values differ"
    elif isinstance(a, dict):
        assert list(a) == list(b), path
        for key in a:
            _same(a[key], b[key], f"{path}[{key!r}]")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (item, other) in enumerate(zip(a, b, strict=True)):
            _same(item, other, f"{path}[{i}]")
    else:
        assert a == b, path


@pytest.fixture
def same() -> Callable[[Any, Any], None]:
    """``same(a, b)``: the same containers, class for class, and the same bits in every tensor."""
    return lambda a, b: _same(a, b, "output")
