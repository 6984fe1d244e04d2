"""One graph for every batch: torch.compile, torch.export, torch.fx and ONNX."""

import copy

import pytest
import torch

CASES = pytest.mark.parametrize(
    ("variant", "layout"),
    [("paper", "NCHW"), ("official", "NTHWC")],
)
TRAINING = pytest.mark.parametrize("training", [False, True])


@pytest.fixture
def bam_and_map(make_bam, make_map, variant, layout):
    bam = make_bam(8, 2, 2, variant=variant, init="identity", layout=layout, gate=0.5)
    return bam, make_map(layout)


def assert_same(bam, other, x, batches):
    """Equal outputs over batches, and equal statistics after them."""
    for n in batches:
        torch.testing.assert_close(other(x[:n]), bam(x[:n]))
    for name, value in other.state_dict().items():
        torch.testing.assert_close(value, bam.state_dict()[name.removeprefix("_orig_mod.")])


@CASES
@TRAINING
def test_compiles_without_a_graph_break(bam_and_map, training):
    torch.compiler.reset()  # all BAMs share one code object, whose recompilations are limited
    bam, x = bam_and_map
    bam.train(training)
    compiled = torch.compile(copy.deepcopy(bam), fullgraph=True, backend="aot_eager")
    assert_same(bam, compiled, x, (3, 1))


@CASES
@TRAINING
def test_exports_with_a_free_batch(bam_and_map, training):
    bam, x = bam_and_map
    bam.train(training)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(copy.deepcopy(bam), (x,), dynamic_shapes=({0: batch},))
    assert_same(bam, program.module(), x, (3, 2, 1))


def test_exports_with_a_free_resolution(make_bam, make_map):
    bam = make_bam(8, 2, 2).eval()
    free = {axis: torch.export.Dim.DYNAMIC for axis in (0, 2, 3)}
    program = torch.export.export(bam, (make_map(),), dynamic_shapes=(free,)).module()
    x = make_map(N=2, H=9, W=4)
    torch.testing.assert_close(program(x), bam(x))


@CASES
@TRAINING
def test_traces_with_fx(bam_and_map, training):
    bam, x = bam_and_map
    bam.train(training)
    traced = torch.fx.symbolic_trace(copy.deepcopy(bam))
    traced.graph.eliminate_dead_code()
    traced.recompile()
    assert_same(bam, traced, x, (3, 1))


@CASES
def test_onnx_runs_the_same(bam_and_map):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    bam, x = bam_and_map
    bam.eval()
    program = torch.onnx.export(
        bam, (x,), dynamo=True, dynamic_shapes=({0: "batch"},), verbose=False
    )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(program.model_proto.SerializeToString(), options)
    name = session.get_inputs()[0].name
    for n in (3, 1):
        (y,) = session.run(None, {name: x[:n].numpy()})
        torch.testing.assert_close(torch.from_numpy(y), bam(x[:n]), rtol=1e-4, atol=1e-5)
