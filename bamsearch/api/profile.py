"""The public function ``profile``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Unpack

from bamsearch.data.resolving import resolve
from bamsearch.errors import InvalidValueError
from bamsearch.files import check_output_file
from bamsearch.profiling import compare
from bamsearch.profiling.compare import Network, Profiled
from bamsearch.profiling.conditions import Conditions, complete
from bamsearch.profiling.devices import resolve_device
from bamsearch.profiling.timing import Clock
from bamsearch.profiling.workload import largest_batch, workloads, write_trace
from bamsearch.records import Mode, check_input_size
from bamsearch.records.arguments import checked


@checked
def profile(  # noqa: PLR0913
    *networks: Network,
    input_size: tuple[int, int] | int | None = None,
    num_classes: int | None = None,
    data: str | None = None,
    download: bool = False,
    modes: Sequence[Mode] = ("eager",),
    timed: bool = True,
    memory: bool = False,
    samples: int = 40,
    seed: int = 0,
    fit_batch: bool = False,
    latency_table: str | os.PathLike[str] | None = None,
    trace: str | os.PathLike[str] | None = None,
    force: bool = False,
    clock: Clock | None = None,
    step: Callable[[], None] = lambda: None,
    **conditions: Unpack[Conditions],
) -> list[Profiled]:
    """Count and time each network: a single network alone, several paired with the first.

    Args:
        networks: MODELs; designs, their files or folders, and runs; or modules, which are not
            changed.
        input_size: (H, W) of the input of a MODEL or module, or one number for both; None is that
            of its design, else the model's default, and 224x224 for a module.
        num_classes: classes of a MODEL's head; None is the model's default.
        data: name of a data set, which determines input_size and num_classes.
        download: download missing data.
        modes: modes to time; if empty, networks are only counted. Modes in which a network does
            not run are reported, and the other modes are still timed.
        timed: whether to time the networks.
        memory: measure peak memory too.
        samples: number of samples per timing.
        seed: random seed of the weights of MODELs, the order within pairs and the intervals.
        fit_batch: halve the batch until all networks fit into memory.
        latency_table: CSV of an additive latency table of the MODEL without BAM, which predicts
            the latency of the designs; measured in the first mode and written if it is missing.
        trace: file for a torch.profiler trace of the last network in the first mode.
        force: overwrite an existing trace.
        clock: clock for the timings; None is the device's default.
        step: called after each measurement.
        conditions: device, batch_size and so on, without ``mode``.

    Raises:
        ModelError, DesignError, WeightsError: a network cannot be built or counted.
        DeviceError: the device does not exist, or its memory is too small.
        InvalidValueError: no network, or a condition out of range.
        DataError: the data cannot be found.
        OutputError: the trace exists, or a file cannot be written.
    """
    if not networks:
        raise InvalidValueError("profile needs a network: a MODEL, a design or a module")
    trace = None if trace is None else Path(trace)
    check_output_file(trace, force=force)
    size = None if input_size is None else check_input_size(input_size)
    size, num_classes, _ = resolve(data, size, num_classes, download=download, contents=False)
    completed = complete(conditions)
    completed["device"] = str(resolve_device(completed["device"]))
    subjects = compare.open_subjects(networks, size, num_classes, seed)
    if fit_batch:
        completed["batch_size"] = largest_batch(
            [subject.module for subject in subjects], subjects[0].input_shape, **completed
        )
    timing = {"samples": samples, "clock": clock, **completed}
    first_mode: Mode = next(iter(modes), "eager")
    table = None
    if latency_table is not None:
        table = compare.read_or_measure_table(
            Path(latency_table), subjects, timing | {"mode": first_mode}, seed=seed, step=step
        )
    profiled = compare.profile_subjects(
        *(subjects, modes if timed else (), timing),
        seed=seed,
        memory=memory,
        latency_table=table,
        step=step,
    )
    if trace is not None:
        last = subjects[-1]
        completed["mode"] = first_mode
        write_trace(workloads([last.module], last.input_shape, **completed)[0], trace)
    return profiled
