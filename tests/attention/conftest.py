"""What the tests of attention share: modules and maps with nothing left at a default value."""

import warnings

import pytest
import torch

from bamsearch.attention.bam import BAM

SIZES = {"N": 3, "C": 8, "T": 2, "H": 5, "W": 7}


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def make_bam():
    """A factory of BAMs whose weights, norms and statistics are all random, so each one shows."""

    def make(*args, gate=None, **kwargs):
        bam = BAM(*args, **kwargs)
        with torch.no_grad():
            for parameter in bam.parameters():
                parameter.normal_(std=0.5)
            for name, buffer in bam.named_buffers():
                if name.endswith("running_mean"):
                    buffer.normal_()
                elif name.endswith("running_var"):
                    buffer.uniform_(0.5, 2)
            if gate is not None:
                bam.gate.fill_(gate)
        return bam

    return make


@pytest.fixture
def make_map():
    """A factory of random maps, H not W, in a layout: ``make_map("NHWC", C=3)``."""

    def make(layout="NCHW", **sizes):
        return torch.randn([(SIZES | sizes)[axis] for axis in layout])

    return make


@pytest.fixture(scope="session")
def count_macs():
    """fvcore's totals by operator, with adaptive_avg_pool3d counted as it counts the 2d one."""
    with warnings.catch_warnings():
        # fvcore runs on TorchScript, which torch has deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        from fvcore.nn import FlopCountAnalysis
        from fvcore.nn.jit_handles import elementwise_flop_counter

    def count(module, x):
        analysis = FlopCountAnalysis(module.eval(), x)
        analysis.set_op_handle("aten::adaptive_avg_pool3d", elementwise_flop_counter(1, 0))
        analysis.unsupported_ops_warnings(False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            return dict(analysis.by_operator())

    return count
