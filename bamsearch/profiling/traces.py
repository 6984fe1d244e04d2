"""Record traces with torch.profiler, for chrome://tracing or Perfetto."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from bamsearch.files import written
from bamsearch.profiling.workload import Workload

_CALLS = 5


def write_trace(work: Workload, path: Path) -> None:
    """Trace a few calls of a workload, after a warm-up call, and write the trace to path.

    Raises:
        OutputError: the file cannot be written.
    """
    activities = [ProfilerActivity.CPU]
    if work.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    work.run()
    # Without acc_events torch 2.11 warns that it discards earlier cycles; there is only one.
    with profile(
        activities=activities, record_shapes=True, profile_memory=True, acc_events=True
    ) as traced:
        for call in range(_CALLS):
            with torch.profiler.record_function(f"call {call}"):
                work.run()
    with written(path, "", RuntimeError):
        # torch.profiler ignores write errors: check first.
        path.touch()
        traced.export_chrome_trace(str(path))
