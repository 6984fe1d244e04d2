"""Immutable records shared between layers and processes and stored on disk.

Only these outlive a process: live modules never leave the process that made them. The records use
the standard library only.
"""

from bamsearch.records.arguments import (
    BaselineKind,
    DType,
    How,
    Init,
    InputShape,
    Kind,
    Layout,
    MemoryFormat,
    Mode,
    Objective,
    Role,
    Variant,
    check_choice,
    check_input_shape,
    check_input_size,
    check_positive,
    checked,
)
from bamsearch.records.audits import (
    ANOTHER_SEED,
    TRAIN,
    Agreement,
    Audit,
    Audited,
    Ceiling,
    Cited,
    Measure,
    Setting,
    cited,
)
from bamsearch.records.data import DataFacts, ValueRange, check_value_range, value_range_text
from bamsearch.records.designs import Design, Insertion, Site
from bamsearch.records.evidence import (
    Accuracy,
    AnalysisPlan,
    Difference,
    Evidence,
    Expected,
    Opening,
    Over,
    Verdict,
)
from bamsearch.records.problems import Budget, Cost, ModelSummary, Quantity
from bamsearch.records.runs import BASE_SEEDS, MEASURED, Finalist, Run, RunRecord, Trial
from bamsearch.records.timings import (
    DeviceFacts,
    HeldOut,
    LatencyConditions,
    LatencyEntry,
    LatencyFit,
    LatencyTable,
    Memory,
    PairedTiming,
    Timing,
)
from bamsearch.records.training_analysis import AccuracyEstimate, Effect, Gain, TrainingAnalysis
