"""Networks side by side, with a clock that counts instead of measuring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import bamsearch
from bamsearch import Design, Insertion, profile, save
from bamsearch.attention.bam import BAM
from bamsearch.errors import DesignError, InvalidValueError, ModelError
from bamsearch.profiling.compare import Subject, open_subjects
from bamsearch.records import Cost


class Chain(nn.Module):
    """Convolutions one after the other, each a millisecond to the clock below."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(length)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class ConvolutionClock:
    """A call takes 1 ms for each convolution that it runs."""

    def milliseconds(self, run: Callable[[], object], repeats: int) -> float:
        ran = 0

        def note(module: nn.Module, args: object) -> None:
            nonlocal ran
            ran += isinstance(module, nn.Conv2d)

        handle = nn.modules.module.register_module_forward_pre_hook(note)
        try:
            run()
        finally:
            handle.remove()
        return float(ran)


def subject(length: int, size: int = 8) -> Subject:
    chain = Chain(length)
    return Subject(f"chain{length}", chain, (3, size, size), chain, "", (3, size, size), None)


def test_counts() -> None:
    (profiled,) = profile(subject(2), modes=[])
    # 3 x 3 weights and 3 biases twice; 3 * 3 products at 64 positions twice; 3 * 64 outputs twice
    assert (profiled.cost.params, profiled.cost.macs) == (24, 1152)
    assert profiled.activations[""] == 384
    assert profiled.activations["layers.0"] == 192
    assert profiled.measured == ()
    assert isinstance(profiled.cost, Cost)


def test_one_network_is_timed_alone() -> None:
    (profiled,) = profile(subject(3), modes=["eager"], samples=4, clock=ConvolutionClock())
    (measured,) = profiled.measured
    assert measured.pair is None
    assert measured.timing is not None
    assert set(measured.timing.samples) == {3.0}


def test_others_are_paired_with_the_first() -> None:
    subjects = [subject(2), subject(3), subject(5)]
    base, three, five = profile(*subjects, modes=["eager"], samples=4, clock=ConvolutionClock())
    assert base.measured[0].timing is not None
    assert base.measured[0].timing.median == 2
    assert base.measured[0].pair is None
    pairs = [profiled.measured[0].pair for profiled in (three, five)]
    assert [pair.ratio for pair in pairs if pair] == [1.5, 2.5]
    assert all(pair.low <= pair.ratio <= pair.high for pair in pairs if pair)


def test_a_mode_that_fails_leaves_the_others() -> None:
    # a CUDA graph needs CUDA
    (profiled,) = profile(
        subject(1), modes=["cudagraph", "eager"], samples=3, clock=ConvolutionClock()
    )
    failed, worked = profiled.measured
    assert failed.timing is None
    assert failed.trouble
    assert "cudagraph" in failed.trouble
    assert worked.timing is not None


def test_other_inputs_are_not_compared() -> None:
    _, other = profile(
        subject(1, 8), subject(1, 16), modes=["eager"], samples=3, clock=ConvolutionClock()
    )
    assert other.measured[0].timing is None
    assert "(3, 16, 16)" in str(other.measured[0].trouble)


def test_memory_on_request() -> None:
    (profiled,) = profile(subject(2), memory=True, modes=[])
    inference, training = profiled.memory
    assert (inference.train, training.train) == (False, True)
    assert inference.bytes is None
    assert training.bytes is not None
    assert training.bytes > 0


def test_a_design_shows_where_its_time_goes(tmp_path: Path) -> None:
    design = Design("resnet18", (3, 64, 64), (Insertion("layer2", 8, 2), Insertion("layer3")))
    save(design, tmp_path)
    opened = open_subjects(["resnet18", str(tmp_path)])
    base, inserted = profile(*opened, modes=["eager"], samples=3, clock=ConvolutionClock())
    sites = inserted.measured[0].sites
    assert [(site.name, insertion.reduction) for site, insertion, _ in sites] == [
        ("layer2", 8),
        ("layer3", 16),
    ]
    # four convolutions in a BAM, and resnet18 has 20 of its own
    assert [timing.median for _, _, timing in sites] == [4, 4]
    pair = inserted.measured[0].pair
    assert pair is not None
    assert pair.ratio == 28 / 20
    assert base.measured[0].sites == ()
    assert inserted.cost.params > base.cost.params


def test_what_a_target_is(tmp_path: Path) -> None:
    save(Design("resnet18", (3, 32, 32), (Insertion("layer1"),)), tmp_path / "design")
    by_folder, by_file, detector, tokens = open_subjects(
        [
            str(tmp_path / "design"),
            str(tmp_path / "design" / "design.json"),
            "ssdlite320_mobilenet_v3_large",
            "vit_b_32",  # no site is needed to be profiled
        ]
    )
    assert by_folder.design == by_file.design
    assert any(isinstance(module, BAM) for module in by_folder.module.modules())
    assert (detector.part, detector.input_shape) == ("backbone", (3, 320, 320))
    assert tokens.design is None


def test_a_model_is_built_as_its_design_has_it(tmp_path: Path) -> None:
    save(Design("resnet18", (3, 32, 48), (Insertion("layer1"),), num_classes=7), tmp_path)
    base, other, _ = open_subjects(["resnet18", "squeezenet1_1", str(tmp_path)])
    assert base.input_shape == (3, 32, 48)
    assert base.model.fc.out_features == 7
    assert other.input_shape == (3, 224, 224)
    (subject, _) = open_subjects(["resnet18", str(tmp_path)], (64, 64), 5)
    assert subject.input_shape == (3, 64, 64)
    assert subject.model.fc.out_features == 5


def test_what_is_not_a_target(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="did you mean resnet18"):
        open_subjects(["resnet81"])
    with pytest.raises(DesignError, match="no design at"):
        open_subjects([str(tmp_path / "nowhere" / "design.json")])


def test_python_has_the_options_of_the_command(tmp_path: Path) -> None:
    design = Design("resnet18", (3, 32, 32), (Insertion("layer1", 4, 2),))
    (tmp_path / "ms.csv").write_text("site,r,d,ms\nbase,,,7\nlayer1,4,2,0.5\n")
    base, inserted = bamsearch.profile(
        *("resnet18", design),
        modes=[],
        batch_size=3,
        fit_batch=True,
        latency_table=tmp_path / "ms.csv",
        trace=tmp_path / "trace.json",
    )
    assert (base.predicted_ms, inserted.predicted_ms) == (None, 7.5)
    assert base.latency_table == inserted.latency_table
    assert base.batch_size == 3
    assert (tmp_path / "trace.json").exists()
    digits = bamsearch.profile("resnet18", data="digits", modes=[])[0].subject
    assert (digits.input_shape, digits.model.fc.out_features) == ((3, 8, 8), 10)
    with pytest.raises(InvalidValueError, match="needs the MODEL without BAM"):
        bamsearch.profile(design, latency_table=tmp_path / "ms.csv")
    wrong = Design("resnet18", (3, 32, 32), (Insertion("layer1", 8, 2),))
    with pytest.raises(InvalidValueError, match="has no time for layer1"):
        bamsearch.profile("resnet18", wrong, modes=[], latency_table=tmp_path / "ms.csv")


def test_what_python_can_profile(tmp_path: Path) -> None:
    design = Design("resnet18", (3, 64, 64), (Insertion("layer1"),))
    save(design, tmp_path)
    module = torch.nn.Conv2d(3, 2, 3)
    profiled = bamsearch.profile("resnet18", design, tmp_path, module, input_size=64, modes=[])
    names = [profile.subject.name for profile in profiled]
    assert names == ["resnet18", "resnet18", str(tmp_path), "torch.nn.modules.conv:Conv2d"]
    base, first, second, custom = (profile.cost for profile in profiled)
    assert (custom.params, custom.macs) == (2 * (27 + 1), 62 * 62 * 2 * 27)
    assert first == second
    assert first.params - base.params == sum(value.numel() for value in BAM(64).parameters())
    with pytest.raises(InvalidValueError, match="profile needs a network"):
        bamsearch.profile()
    with pytest.raises(InvalidValueError, match="networks must be"):
        bamsearch.profile(3)
