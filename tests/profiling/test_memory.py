"""Memory: bytes by hand on the CPU, and what happens when it runs out."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from bamsearch.attention.bam import BAM
from bamsearch.errors import DeviceError, InvalidValueError
from bamsearch.profiling import memory
from bamsearch.profiling.memory import peak_memory

F32 = 4


def saved(model: nn.Module, shape: tuple[int, ...], **options) -> int:
    memory_use = peak_memory(model, shape, train=True, **options)
    assert (memory_use.method, memory_use.reason, memory_use.already) == (memory.SAVED, None, 0)
    assert memory_use.bytes is not None
    return memory_use.bytes


def convolution(bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(3, 8, 3, padding=1, bias=bias)


class Linear(nn.Linear):
    """Takes an image: a Linear on the flattened map."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))


IMAGE = 3 * 4 * 5 * F32
MAP = 8 * 4 * 5 * F32


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        # the gradient of the weight needs the input; weight and bias are there anyway
        pytest.param(Linear(60, 7), IMAGE, id="linear"),
        pytest.param(convolution(), IMAGE, id="convolution"),
        # ReLU keeps its output alone, once, though the next convolution keeps it too
        pytest.param(nn.Sequential(convolution(), nn.ReLU()), IMAGE + MAP, id="relu"),
        pytest.param(
            nn.Sequential(convolution(), nn.ReLU(), nn.Conv2d(8, 2, 1)), IMAGE + MAP, id="shared"
        ),
        # a sigmoid's output, too
        pytest.param(
            nn.Sequential(convolution(), nn.ReLU(), nn.Sigmoid()), IMAGE + 2 * MAP, id="sigmoid"
        ),
        # batch norm keeps its input, mean and inverse deviation of 8 channels; running statistics
        # are buffers
        pytest.param(
            nn.Sequential(convolution(), nn.BatchNorm2d(8)), IMAGE + MAP + 2 * 8 * F32, id="norm"
        ),
        # nothing above has a gradient to give
        pytest.param(
            nn.Sequential(convolution().requires_grad_(False), nn.Conv2d(8, 2, 1)),
            MAP,
            id="frozen",
        ),
    ],
)
def test_by_hand(model: nn.Module, expected: int) -> None:
    assert saved(model, (3, 4, 5)) == expected


def test_it_grows_with_the_batch_and_shrinks_with_the_dtype() -> None:
    model = nn.Sequential(convolution(), nn.ReLU())
    single = saved(model, (3, 4, 5))
    assert saved(model, (3, 4, 5), batch_size=6) == 6 * single
    assert saved(model, (3, 4, 5), dtype="bfloat16") == single // 2
    memory_use = peak_memory(
        model,
        [3, 4, 5],
        batch_size=2,
        dtype="bfloat16",
        memory_format="channels_last",
        train=True,
    )
    assert (memory_use.input_shape, memory_use.batch_size, memory_use.dtype) == (
        (3, 4, 5),
        2,
        "bfloat16",
    )
    assert (memory_use.memory_format, memory_use.train, memory_use.device.kind) == (
        "channels_last",
        True,
        "cpu",
    )
    assert memory_use.bytes == single


def test_a_view_keeps_its_whole_storage() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = convolution()

        def forward(self, x: Tensor) -> Tensor:
            first, second = self.convolution(x).chunk(2, dim=1)
            return first.sigmoid() * second  # keeps the sigmoid, half a map, and second's storage

    assert saved(Half(), (3, 4, 5)) == IMAGE + MAP // 2 + MAP


def test_what_is_dropped_before_backward_is_not_kept() -> None:
    class Dropped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = convolution(), convolution()

        def forward(self, x: Tensor) -> Tensor:
            self.unused(x).sigmoid().exp()
            return self.used(x)

    assert saved(Dropped(), (3, 4, 5)) == IMAGE


def test_checkpointing_keeps_less() -> None:
    class Checkpointed(nn.Module):
        def __init__(self, inner: nn.Module, reentrant: bool) -> None:
            super().__init__()
            self.first, self.inner, self.reentrant = convolution(), inner, reentrant

        def forward(self, x: Tensor) -> Tensor:
            return checkpoint(self.inner, self.first(x), use_reentrant=self.reentrant)

    inner = nn.Sequential(nn.Sigmoid(), nn.ReLU(), nn.Sigmoid())
    plain = saved(nn.Sequential(convolution(), inner), (3, 4, 5))
    assert plain == IMAGE + 3 * MAP
    for reentrant in (False, True):
        assert saved(Checkpointed(inner, reentrant), (3, 4, 5)) == IMAGE + MAP


def test_bam_needs_more_than_nothing_and_the_model_stays_as_it_is() -> None:
    base = nn.Sequential(convolution(), nn.ReLU()).eval()
    state = {name: value.clone() for name, value in base.state_dict().items()}
    random = torch.get_rng_state()
    with_bam = saved(nn.Sequential(base, BAM(8, 2, 1)), (3, 4, 5))
    assert with_bam > saved(base, (3, 4, 5))
    assert not base.training
    assert not base._forward_hooks
    assert not base._forward_pre_hooks
    assert all(torch.equal(state[name], value) for name, value in base.state_dict().items())
    assert all(parameter.grad is None for parameter in base.parameters())
    assert not torch.equal(random, torch.get_rng_state())  # BAM's weights, made here
    after = torch.get_rng_state()
    saved(base.train(), (3, 4, 5))
    assert base.training
    assert torch.equal(after, torch.get_rng_state())


def test_inference_on_a_cpu_has_no_number_and_says_why() -> None:
    memory_use = peak_memory(convolution(), (3, 4, 5), train=False)
    assert memory_use.bytes is None
    assert memory_use.method == memory.NONE
    assert memory_use.reason == "torch does not record peak memory of cpu in inference"


class Greedy(nn.Module):
    """Runs out of memory over a batch, as an allocator says it."""

    def __init__(self, most: int, error: Exception | None = None) -> None:
        super().__init__()
        self.convolution, self.most = convolution(), most
        self.tried: list[int] = []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    def forward(self, x: Tensor) -> Tensor:
        self.tried.append(len(x))
        if len(x) > self.most:
            raise self.error
        return self.convolution(x)

    def __deepcopy__(self, memo: object) -> Greedy:
        copied = Greedy(self.most, self.error)
        copied.tried = self.tried
        return copied


def test_too_little_memory_is_said() -> None:
    model = Greedy(5)
    message = "^Greedy with a batch of 24 does not fit into the memory of cpu: use a smaller"
    with pytest.raises(DeviceError, match=message):
        peak_memory(model, (3, 4, 5), batch_size=24, train=True)
    assert peak_memory(model, (3, 4, 5), batch_size=5, train=True).bytes == 5 * IMAGE


def test_other_failures_are_said_as_they_are() -> None:
    with pytest.raises(DeviceError, match="does not run in float32"):
        peak_memory(Greedy(0, RuntimeError("no kernel")), (3, 4, 5), train=True)
    with pytest.raises(DeviceError, match="device cuda:77 does not exist"):
        peak_memory(convolution(), (3, 4, 5), device="cuda:77", train=False)
    good = {"input_shape": (3, 4, 5), "train": False}
    for wrong in (
        {"batch_size": 0},
        {"input_shape": (3, 4)},
        {"dtype": "int8"},
        {"memory_format": "nhwc"},
    ):
        with pytest.raises(InvalidValueError):
            peak_memory(convolution(), **(good | wrong))


def test_a_failure_leaves_no_hooks_on() -> None:
    with pytest.raises(DeviceError):
        peak_memory(Greedy(0, RuntimeError("no")), (3, 4, 5), train=True)
    x = torch.ones(2, requires_grad=True)
    assert isinstance(x.exp().grad_fn._saved_result, Tensor)


def test_the_allocators_peak(monkeypatch) -> None:
    """CUDA by a stand-in: what is called, in which order, and what is returned."""
    calls = []

    class Work:
        device = torch.device("cuda:0")

        def run(self) -> None:
            calls.append("run")

    def build(*args, **options) -> list[Work]:
        calls.append("build")
        return [Work()]

    cuda = memory.torch.cuda
    monkeypatch.setattr(memory, "workloads", build)
    monkeypatch.setattr(memory, "resolve_device", torch.device)
    monkeypatch.setattr(memory, "preserve_torch_state", lambda device: nullcontext())
    monkeypatch.setattr(memory, "device_facts", lambda device: f"facts of {device}")
    monkeypatch.setattr(cuda, "memory_allocated", lambda device: 7)
    monkeypatch.setattr(cuda, "reset_peak_memory_stats", lambda device: calls.append("reset"))
    monkeypatch.setattr(cuda, "synchronize", lambda device: calls.append("wait"))
    monkeypatch.setattr(cuda, "max_memory_allocated", lambda device: calls.append("read") or 4096)
    memory_use = peak_memory(convolution(), (3, 4, 5), device="cuda:0", train=False)
    assert calls == ["build", "reset", "run", "wait", "read"]
    assert (memory_use.bytes, memory_use.already, memory_use.method) == (4096, 7, memory.ALLOCATOR)
    assert memory_use.device == "facts of cuda:0"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu() -> None:
    model = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU())
    memory_use = [
        peak_memory(model, (3, 256, 256), device="cuda", batch_size=8, train=train).bytes
        for train in (False, True)
    ]
    activation = 8 * 64 * 256 * 256 * F32
    assert 2 * activation <= memory_use[0] < 4 * activation
    assert memory_use[0] <= memory_use[1]
