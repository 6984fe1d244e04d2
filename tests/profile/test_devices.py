import pytest
import torch

from bamsearch.errors import DeviceError
from bamsearch.profile import devices
from bamsearch.profile.devices import Device, list_devices, resolve_device


@pytest.fixture
def present(monkeypatch):
    def have(*names):
        found = [Device(name, "") for name in names]
        monkeypatch.setattr(devices, "list_devices", lambda: found)

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
    with pytest.raises(DeviceError, match=f"no device {name} here: give --device cpu"):
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
