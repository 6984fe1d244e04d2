"""Conditions, what running out of memory looks like, and what the caller keeps."""

from __future__ import annotations

import pytest
import torch

from bamsearch.profiling import conditions
from bamsearch.profiling.conditions import DEFAULTS, limit_address_space, preserve_torch_state


def test_the_defaults_are_complete():
    assert DEFAULTS.keys() == conditions.Conditions.__annotations__.keys()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
    ],
)
def test_what_is_out_of_memory(error):
    assert conditions.out_of_memory(error)
    wrapped = RuntimeError("backend='inductor' raised:")
    wrapped.__cause__ = error
    assert conditions.out_of_memory(wrapped)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory")])
def test_what_is_not(error):
    assert not conditions.out_of_memory(error)


def test_with_the_fence_an_allocation_fails_that_does_not_fit(monkeypatch, tmp_path):
    resource = pytest.importorskip("resource")
    if not conditions._OWN_SIZE.exists():
        pytest.skip("no /proc here")
    before = resource.getrlimit(resource.RLIMIT_AS)
    little = tmp_path / "meminfo"
    little.write_text("MemTotal: 9 kB\nMemAvailable:  300000 kB\nBuffers: 1 kB\n")
    monkeypatch.setattr(conditions, "_MEMORY_INFO", little)
    with pytest.raises(RuntimeError) as caught, limit_address_space():
        torch.empty(2**30, dtype=torch.uint8)
    assert conditions.out_of_memory(caught.value)
    assert resource.getrlimit(resource.RLIMIT_AS) == before


@pytest.mark.parametrize("text", [None, "", "MemTotal: 9 kB\n"])
def test_memory_is_not_limited_without_linux(text, monkeypatch, tmp_path):
    info = tmp_path / "meminfo"
    if text is not None:
        info.write_text(text)
    monkeypatch.setattr(conditions, "_MEMORY_INFO", info)
    with limit_address_space():
        assert torch.zeros(3).sum() == 0


def test_inside_gradients_are_on_and_afterwards_all_is_the_callers():
    threads = torch.get_num_threads()

    def fail():
        with preserve_torch_state(torch.device("cpu"), threads + 2):
            assert (torch.is_inference_mode_enabled(), torch.is_grad_enabled()) == (False, True)
            assert torch.get_num_threads() == threads + 2
            torch.rand(3)
            raise ZeroDivisionError

    with torch.inference_mode():
        before = torch.get_rng_state()
        with pytest.raises(ZeroDivisionError):
            fail()
        assert torch.is_inference_mode_enabled()
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_a_gpus_random_state_is_kept_too(monkeypatch):
    said = []
    device = torch.device("cuda:1")

    class Current:
        def __init__(self, which):
            said.append(("current", which))

        def __enter__(self): ...

        def __exit__(self, *error): ...

    monkeypatch.setattr(torch.cuda, "device", Current)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda which: f"state of {which}")
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda *state: said.append(state))
    threads = torch.get_num_threads()
    with preserve_torch_state(device, threads + 1):
        assert torch.get_num_threads() == threads, "they are a CPU's"
        assert said == [("current", device)]
    assert said[1:] == [("state of cuda:1", device)]
