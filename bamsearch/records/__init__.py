"""Immutable records shared between layers and processes and stored on disk.

Only these outlive a process: live modules never leave the process that made them. The records use
the standard library only.
"""

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
from bamsearch.records.budgets import Budget, Quantity
from bamsearch.records.choices import (
    DType,
    How,
    Init,
    Kind,
    Layout,
    MemoryFormat,
    Mode,
    Objective,
    ReferenceKind,
    Role,
    Variant,
    check_choice,
    check_input_shape,
    check_positive,
)
from bamsearch.records.costs import (
    Cost,
    ModelSummary,
)
from bamsearch.records.data import DataFacts, ValueRange, check_value_range, value_range_text
from bamsearch.records.designs import (
    DESIGN_VERSION,
    Design,
    Insertion,
    Site,
)
from bamsearch.records.evidence import Accuracy, Difference, Evidence, Verdict
from bamsearch.records.latencies import (
    POOR_ERROR,
    POOR_R2,
    HeldOut,
    LatencyConditions,
    LatencyEntry,
    LatencyFit,
    LatencyTable,
)
from bamsearch.records.learned import Effect, Estimate, Gain, Learned
from bamsearch.records.openings import Expected, Opening, Over, VerifyPlan
from bamsearch.records.runs import (
    BASE_SEEDS,
    MEASURED,
    RUN_VERSION,
    Finalist,
    Run,
    RunRecord,
    Trial,
)
from bamsearch.records.timings import (
    NOISY,
    DeviceFacts,
    Memory,
    PairedTiming,
    Timing,
)

__all__ = [
    "ANOTHER_SEED",
    "BASE_SEEDS",
    "DESIGN_VERSION",
    "MEASURED",
    "NOISY",
    "POOR_ERROR",
    "POOR_R2",
    "RUN_VERSION",
    "TRAIN",
    "Accuracy",
    "Agreement",
    "Audit",
    "Audited",
    "Budget",
    "Ceiling",
    "Cited",
    "Cost",
    "DType",
    "DataFacts",
    "Design",
    "DeviceFacts",
    "Difference",
    "Effect",
    "Estimate",
    "Evidence",
    "Expected",
    "Finalist",
    "Gain",
    "HeldOut",
    "How",
    "Init",
    "Insertion",
    "Kind",
    "LatencyConditions",
    "LatencyEntry",
    "LatencyFit",
    "LatencyTable",
    "Layout",
    "Learned",
    "Measure",
    "Memory",
    "MemoryFormat",
    "Mode",
    "ModelSummary",
    "Objective",
    "Opening",
    "Over",
    "PairedTiming",
    "Quantity",
    "ReferenceKind",
    "Role",
    "Run",
    "RunRecord",
    "Setting",
    "Site",
    "Timing",
    "Trial",
    "ValueRange",
    "Variant",
    "Verdict",
    "VerifyPlan",
    "check_choice",
    "check_input_shape",
    "check_positive",
    "check_value_range",
    "cited",
    "value_range_text",
]
