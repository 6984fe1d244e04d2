"""What is timed: placement, modes, and every way in which it can fail."""

from __future__ import annotations

import contextlib
import gc
import json
import weakref
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bamsearch.errors import BamsearchError, DeviceError, InvalidValueError, OutputError
from bamsearch.profiling import workload as module
from bamsearch.profiling.workload import Workload, workloads, write_trace

SHAPE = (3, 8, 8)


def workload(model: nn.Module, shape: tuple[int, ...], **conditions) -> Workload:
    return workloads([model], shape, **conditions)[0]


def largest_batch(model: nn.Module, shape: tuple[int, ...], **conditions) -> int:
    return module.largest_batch([model], shape, **conditions)


class Net(nn.Module):
    """A small network that keeps what it was given last."""

    def __init__(self, wrap=lambda tensor: tensor) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.wrap = wrap

    def forward(self, image):
        SEEN.append(SimpleNamespace(image=image, net=self, grad=torch.is_grad_enabled()))
        return self.wrap(self.norm(self.layer(image)))


class Greedy(nn.Module):
    """Runs out of memory from a batch on."""

    def __init__(self, most: int, error: type[Exception] = torch.OutOfMemoryError) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.most = most
        self.error = error

    def forward(self, image):
        stored = image + self.weight
        KEPT.append(weakref.ref(stored))
        if len(image) > self.most:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB\nmore of that")
        return stored


SEEN: list[SimpleNamespace] = []
KEPT: list[weakref.ref] = []


@pytest.fixture(scope="module", autouse=True)
def quick_collections():
    """What other tests left is not looked at in each collection of garbage after a failure."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_seen():
    SEEN.clear()
    KEPT.clear()


@pytest.fixture
def gpu(monkeypatch):
    """A CUDA device, as far as what is asked of it before a model runs; that runs on the CPU."""
    monkeypatch.setattr(
        module, "resolve_device", lambda name: SimpleNamespace(type="cuda", index=0)
    )
    monkeypatch.setattr(module, "device_facts", lambda device, threads: None)
    monkeypatch.setattr(
        module, "preserve_torch_state", lambda device, threads: contextlib.nullcontext()
    )
    monkeypatch.setattr(module, "_prepared_copy", lambda model, *_: model)
    monkeypatch.setattr(
        module,
        "_input",
        lambda shape, device, conditions: torch.zeros(conditions["batch_size"], *shape),
    )
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    return emptied


# What is called.


def test_it_runs_a_copy_in_eval_mode_without_gradients():
    net = Net().train()
    work = workload(net, SHAPE, batch_size=2)
    assert len(SEEN) == 1
    work.run()
    seen = SEEN[-1]
    assert seen.net is work.module
    assert seen.net is not net
    assert (seen.net.training, net.training, seen.grad) == (False, True, False)
    assert tuple(seen.image.shape) == (2, *SHAPE)
    assert SEEN[0].image is seen.image, "the input is allocated once"


def test_training_runs_forward_and_backward_and_leaves_no_gradients():
    net = Net().eval()
    grown = []
    hook = net.layer.weight.register_hook(grown.append)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    work = workload(net, SHAPE, batch_size=2, train=True)
    hook.remove()
    work.module.layer.weight.register_hook(grown.append)
    with torch.inference_mode():
        work.run()
    assert len(grown) == 1
    assert work.module.training
    assert all(parameter.grad is None for parameter in work.module.parameters())
    assert work.module.norm.num_batches_tracked == 2
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_gradients_of_before_are_not_copied():
    net = Net()
    net(torch.zeros(2, *SHAPE)).sum().backward()
    work = workload(net, SHAPE)
    assert all(parameter.grad is None for parameter in work.module.parameters())
    assert net.layer.weight.grad is not None


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensor: (tensor, 3),
        lambda tensor: [tensor, None, tensor.int()],
        lambda tensor: OrderedDict(out=tensor, aux=(tensor * 2, "text")),
        lambda tensor: tensor.half(),
    ],
    ids=["tuple", "list", "dict", "half"],
)
def test_any_output_can_be_trained(wrap):
    workload(Net(wrap), SHAPE, batch_size=2, train=True).run()


@pytest.mark.parametrize("wrap", [lambda tensor: tensor.detach(), lambda tensor: 3.0])
def test_an_output_that_nothing_learns_from(wrap):
    with pytest.raises(InvalidValueError, match="no output depends on a trainable parameter"):
        workload(Net(wrap), SHAPE, batch_size=2, train=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtype_is_of_weights_and_input(dtype):
    work = workload(Net(), SHAPE, dtype=dtype)
    wanted = getattr(torch, dtype)
    assert SEEN[-1].image.dtype == work.module.layer.weight.dtype == wanted
    assert work.module.norm.num_batches_tracked.dtype == torch.int64


def test_channels_last_is_for_four_axes_and_for_five():
    class Video(nn.Module):
        def __init__(self):
            super().__init__()
            self.cube = nn.Conv3d(3, 4, 3)
            self.flat = nn.Conv2d(4, 4, 3)

        def forward(self, clip):
            SEEN.append(clip)
            cube = self.cube(clip)
            return self.flat(cube[:, :, 0])

    work = workload(Video(), (3, 4, 8, 8), memory_format="channels_last", batch_size=2)
    last, last_3d = torch.channels_last, torch.channels_last_3d
    assert work.module.cube.weight.is_contiguous(memory_format=last_3d)
    assert work.module.flat.weight.is_contiguous(memory_format=last)
    assert SEEN[-1].is_contiguous(memory_format=last_3d)
    assert not SEEN[-1].is_contiguous()
    work = workload(Net(), SHAPE, memory_format="channels_last")
    assert SEEN[-1].image.is_contiguous(memory_format=last)
    work.move()
    assert work.module.layer.weight.is_contiguous(memory_format=last)


def test_moving_changes_addresses_and_nothing_else():
    work = workload(Net(), SHAPE)
    tensors = [*work.module.parameters(), *work.module.buffers()]
    places, values = [t.data_ptr() for t in tensors], [t.clone() for t in tensors]
    said = work.run()
    work.move()
    assert all(t.data_ptr() != address for t, address in zip(tensors, places, strict=True))
    assert all(torch.equal(t, value) for t, value in zip(tensors, values, strict=True))
    assert torch.equal(work.run(), said)


def test_the_input_is_the_same_each_time_and_the_random_state_is_kept():
    plain, random = Net(), Net(nn.Dropout())
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    workload(plain, SHAPE)
    workload(random, SHAPE, batch_size=2, train=True)
    assert torch.equal(torch.rand(2), wanted)
    first = SEEN[0].image
    workload(plain, SHAPE)
    assert torch.equal(SEEN[-1].image, first)


def test_several_workloads_are_under_the_same_conditions():
    first, second = workloads([Net(), Net()], SHAPE, batch_size=3)
    assert first.module is not second.module
    assert (first.conditions, first.facts) == (second.conditions, second.facts)


# Conditions.


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1"),
        ({"threads": 0}, "threads must be an integer of at least 1"),
        ({"dtype": "float64"}, "dtype must be one of float32, bfloat16, float16"),
        ({"memory_format": "NHWC"}, "memory_format must be one of"),
        ({"mode": "fast"}, "mode must be one of eager, compile, cudagraph"),
    ],
)
def test_impossible_conditions(wrong, said):
    with pytest.raises(InvalidValueError, match=said):
        workload(Net(), SHAPE, **wrong)
    with pytest.raises(InvalidValueError, match=said):
        largest_batch(Net(), SHAPE, **wrong)


def test_a_condition_that_there_is_not():
    with pytest.raises(TypeError, match="unknown conditions: batchsize; choose from device, batch"):
        workload(Net(), SHAPE, batchsize=3)


def test_an_impossible_shape():
    with pytest.raises(InvalidValueError, match="input_shape must be"):
        workload(Net(), (8, 8))


# Devices and modes.


def test_no_such_device():
    with pytest.raises(DeviceError, match="device cuda:9 does not exist: use `device="):
        workload(Net(), SHAPE, device="cuda:9")


@pytest.mark.parametrize(("device", "train"), [("cpu", False), ("gpu", True)])
def test_a_cuda_graph_is_for_inference_on_cuda(device, train, request):
    if device == "gpu":
        request.getfixturevalue("gpu")
    with pytest.raises(
        DeviceError, match="mode cudagraph supports only inference on a CUDA device"
    ):
        workload(Net(), SHAPE, mode="cudagraph", train=train)


def test_compile_calls_what_torch_compiled(monkeypatch):
    networks = []

    def compiled(net, dynamic):
        assert dynamic is False
        networks.append(net)

        def call(image):
            return net(image) * 2

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    work = workload(Net(), SHAPE, mode="compile")
    assert networks == [work.module]
    assert torch.equal(work.run(), work.module(SEEN[-1].image) * 2)


def test_a_model_that_cannot_be_compiled(monkeypatch):
    def compiled(net, dynamic):
        def call(image):
            raise RuntimeError("backend='inductor' raised:\nInvalidCxxCompiler: none found.\n\nSet")

        return call

    monkeypatch.setattr(torch, "compile", compiled)
    said = (
        "^Net does not run in float32, mode compile, on cpu: InvalidCxxCompiler: none found. "
        "Use `mode=eager`$"
    )
    with pytest.raises(DeviceError, match=said):
        workload(Net(), SHAPE, mode="compile")


def test_many_variants_of_one_function_are_all_compiled(monkeypatch):
    """torch goes back to eager, with a mere warning, at the ninth."""
    real = torch.compile
    graphs = []

    def counting(graph, example_inputs):
        graphs.append(graph)
        return graph

    monkeypatch.setattr(
        torch, "compile", lambda net, dynamic: real(net, dynamic=dynamic, backend=counting)
    )
    torch.compiler.reset()
    for size in range(4, 16):
        workload(nn.Sequential(nn.Conv2d(3, 1, 1)), (3, size, size), mode="compile").run()
    torch.compiler.reset()
    assert len(graphs) == 12


class Graph:
    """torch.cuda.CUDAGraph, which keeps addresses and nothing else."""

    replayed = 0

    def replay(self):
        Graph.replayed += 1


@pytest.fixture
def capture(gpu, monkeypatch):
    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda which: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda which: contextlib.nullcontext())
    Graph.replayed = 0


@pytest.mark.usefixtures("capture")
def test_a_cuda_graph_is_warmed_up_captured_once_and_replayed():
    work = workload(Net().eval(), SHAPE, mode="cudagraph")
    assert (len(SEEN), Graph.replayed) == (4, 1)
    work.run()
    work.run()
    assert (len(SEEN), Graph.replayed) == (4, 3)


@pytest.mark.usefixtures("capture")
def test_a_cuda_graph_keeps_model_and_input_alive():
    work = workload(Net().eval(), SHAPE, mode="cudagraph")
    net, image = weakref.ref(SEEN[-1].net), weakref.ref(SEEN[-1].image)
    run = work.run
    SEEN.clear()
    del work
    assert net() is not None
    assert image() is not None
    del run


@pytest.mark.usefixtures("capture")
def test_a_model_that_cannot_be_captured(monkeypatch):
    @contextlib.contextmanager
    def refuse(which):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nSearch")
        yield

    monkeypatch.setattr(torch.cuda, "graph", refuse)
    with pytest.raises(DeviceError, match=r"mode cudagraph.*is capturing\. Use `mode=eager`"):
        workload(Net(), SHAPE, mode="cudagraph")


# What fails when it runs.


def test_a_dtype_that_the_device_lacks():
    def lacks(tensor):
        if tensor.dtype == torch.float16:
            raise RuntimeError("\"slow_conv2d_cpu\" not implemented for 'Half'")
        return tensor

    workload(Net(lacks), SHAPE)
    with pytest.raises(DeviceError, match=r"in float16.*for 'Half'\. Use `dtype=float32`$"):
        workload(Net(lacks), SHAPE, dtype="float16")


def test_a_model_that_is_fed_wrongly():
    with pytest.raises(DeviceError, match=r"Given groups=1.*Does the model accept a single tensor"):
        workload(Net(), (5, 8, 8))


def test_an_error_without_words():
    def fail(tensor):
        raise ValueError

    with pytest.raises(DeviceError, match=r"on cpu: ValueError\. Does"):
        workload(Net(fail), SHAPE)


def test_errors_of_ours_are_not_wrapped():
    def fail(tensor):
        raise BamsearchError("as it is")

    with pytest.raises(BamsearchError, match=r"^as it is$"):
        workload(Net(fail), SHAPE)


def test_ctrl_c_is_not_an_error():
    def stop(tensor):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        workload(Net(stop), SHAPE)


def test_batch_norm_and_a_batch_of_one():
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    workload(pooled, SHAPE)
    workload(pooled, SHAPE, batch_size=2, train=True)
    with pytest.raises(DeviceError, match=r"more than 1 value per.*use `batch_size=2` or more"):
        workload(pooled, SHAPE, train=True)


# Memory.


def test_out_of_memory_says_which_batch_fits(gpu):
    with pytest.raises(
        DeviceError,
        match=r"^Greedy with a batch of 64 does not fit into the memory of .*, but a batch of "
        r"16 does: use `batch_size=16`, or `fit_batch` to choose it automatically$",
    ) as caught:
        workload(Greedy(17), SHAPE, batch_size=64)
    assert "\n" not in str(caught.value)
    assert gpu, "what the attempts took is given back"


@pytest.mark.usefixtures("gpu")
def test_out_of_memory_with_a_batch_of_one():
    with pytest.raises(DeviceError, match=r"does not fit.*, nor does a smaller batch: use another"):
        workload(Greedy(0), SHAPE, batch_size=4)
    with pytest.raises(DeviceError, match=r"^Greedy with a batch of 1 does not fit.*another"):
        largest_batch(Greedy(0), SHAPE, batch_size=4)


def test_on_a_cpu_no_batch_is_looked_for():
    with pytest.raises(DeviceError, match=r"of 64 does not fit into the memory of cpu: use a sm"):
        workload(Greedy(16), SHAPE, batch_size=64)
    assert len(KEPT) == 1


@pytest.mark.parametrize(
    ("batch_size", "most", "fits"),
    [(64, 100, 64), (64, 64, 64), (64, 63, 32), (64, 1, 1), (48, 20, 12), (7, 6, 3), (1, 1, 1)],
)
def test_the_largest_batch_is_halved_until_it_runs(batch_size, most, fits):
    assert largest_batch(Greedy(most), SHAPE, batch_size=batch_size) == fits


def test_the_largest_batch_of_two_is_what_both_run_with():
    assert module.largest_batch([Greedy(40), Greedy(9)], SHAPE, batch_size=64) == 8


def test_the_largest_batch_of_a_training_step_has_its_backward():
    class GreedyBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, tensor):
            return tensor.clone()

        @staticmethod
        def backward(ctx, grown):
            if len(grown) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return grown

    net = Net(GreedyBackward.apply)
    assert largest_batch(net, SHAPE, batch_size=32) == 32
    assert largest_batch(net, SHAPE, batch_size=32, train=True) == 4


def test_a_failed_attempt_keeps_nothing():
    assert largest_batch(Greedy(8), SHAPE, batch_size=64) == 8
    assert len(KEPT) == 4
    assert all(reference() is None for reference in KEPT)


def test_the_largest_batch_of_a_model_that_fails_otherwise():
    with pytest.raises(DeviceError, match="does not run in float32"):
        largest_batch(Net(), (5, 8, 8), batch_size=4)


# Traces.


def test_the_calls_are_in_it(tmp_path: Path) -> None:
    work = workload(nn.Conv2d(3, 2, 1), (3, 4, 4), device="cpu")
    write_trace(work, tmp_path / "trace.json")
    names = {
        event["name"]
        for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
        if "name" in event
    }
    assert "aten::conv2d" in names
    assert {f"call {number}" for number in range(5)} <= names


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    work = workload(nn.Conv2d(3, 2, 1), (3, 4, 4), device="cpu")
    with pytest.raises(OutputError, match="cannot be written"):
        write_trace(work, tmp_path / "no" / "trace.json")
