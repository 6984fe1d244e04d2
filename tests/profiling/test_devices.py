import subprocess

import pytest
import torch

from bamsearch.errors import DeviceError
from bamsearch.profiling import devices
from bamsearch.profiling.devices import Device, list_devices, resolve_device


@pytest.fixture
def present(monkeypatch):
    def have(*names):
        result = [Device(name, "") for name in names]
        monkeypatch.setattr(devices, "list_devices", lambda: result)

    return have


@pytest.mark.parametrize(
    ("here", "name", "device"),
    [
        (["cpu"], "auto", "cpu"),
        (["cpu", "mps"], "auto", "mps"),
        (["cpu", "cuda:0", "cuda:1"], "auto", "cuda:0"),
        (["cpu", "cuda:0", "cuda:1"], "cuda", "cuda:0"),
        (["cpu", "cuda:0", "cuda:1"], "cuda:1", "cuda:1"),
        (["cpu", "cuda:0"], "cpu", "cpu"),
    ],
)
def test_resolve(present, here, name, device):
    present(*here)
    assert resolve_device(name) == torch.device(device)


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_here(present, name):
    present("cpu")
    with pytest.raises(DeviceError, match=f"device {name} does not exist: use `device=cpu`"):
        resolve_device(name)


def test_the_cpu_comes_first():
    assert list_devices()[0].name == "cpu"


def test_gpus_are_described(monkeypatch):
    about = type("Properties", (), {"name": "NVIDIA H200", "total_memory": 139 * 2**30})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: about)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert list_devices()[1:] == [
        Device("cuda:0", "NVIDIA H200, 139 GiB"),
        Device("cuda:1", "NVIDIA H200, 139 GiB"),
    ]


def test_facts_of_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    monkeypatch.setattr(devices, "_driver", lambda: "580.65.06")
    facts = devices.device_facts(torch.device("cuda:0"))
    assert (facts.kind, facts.name, facts.driver) == ("cuda", "NVIDIA H200", "580.65.06")
    assert (facts.threads, facts.cudnn_benchmark) == (None, False)
    assert facts.versions["cuda"] == "13.0"
    assert facts.versions["cudnn"] == "91002"
    assert facts.tf32 is True, "torch allows it for convolutions unless told otherwise"


def test_facts_of_an_apple_gpu():
    facts = devices.device_facts(torch.device("mps"))
    assert (facts.kind, facts.threads, facts.tf32) == ("mps", None, None)


@pytest.mark.parametrize(
    ("kernel", "tool", "driver"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar 5", "", "550.54.15"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  R", "", "580.65.06"),
        (None, "550.54.15\n550.54.15\n", "550.54.15"),
        (None, "", None),
    ],
)
def test_the_driver(kernel, tool, driver, monkeypatch, tmp_path):
    info = tmp_path / "version"
    if kernel is not None:
        info.write_text(kernel)
    monkeypatch.setattr(devices, "_DRIVER_INFO", info)
    monkeypatch.setattr(devices, "_nvidia_smi", lambda: tool)
    devices._driver.cache_clear()
    assert devices._driver() == driver
    devices._driver.cache_clear()


@pytest.mark.parametrize(
    ("text", "name"),
    [("processor\t: 0\nmodel name\t: AMD EPYC 9B45 \nflags\t: fpu", "AMD EPYC 9B45"), ("", None)],
)
def test_the_processor(text, name, monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(text)
    monkeypatch.setattr(devices, "_CPU_INFO", info)
    assert devices.cpu_name() == name if name else devices.cpu_name()


@pytest.mark.parametrize(
    ("tool", "said"), [(None, ""), ("printf 550.54.15", "550.54.15"), ("exec sleep 60", "")]
)
def test_nvidia_smi_is_asked_if_it_is_there(tool, said, monkeypatch):
    def run(command, timeout, **options):
        assert command[1:] == ["--query-gpu=driver_version", "--format=csv,noheader"]
        if "sleep" in tool:
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, 0, stdout=said)

    monkeypatch.setattr(devices.shutil, "which", lambda name: tool and f"/usr/bin/{name}")
    monkeypatch.setattr(devices.subprocess, "run", run)
    assert devices._nvidia_smi() == said
