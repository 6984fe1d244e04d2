"""The commands of faults.py, and their files without dates, durations and numbers of retries."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import sqlite3
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NET = '''"""A network of 1,000 weights with three stages."""

from torch import nn


def stage(before, after, stride):
    convolution = nn.Conv2d(before, after, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.stage1 = stage(3, 4, 1)
        self.stage2 = stage(4, 8, 2)
        self.stage3 = stage(8, 8, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, images):
        features = self.stage3(self.stage2(self.stage1(images)))
        return self.fc(self.pool(features).flatten(1))


def net(num_classes=10):
    return Net(num_classes)


def score(module, design):
    """Create a mark, which shows the campaign that a trial is running."""
    open("mark", "w").close()
    return sum(1 / bam.reduction + bam.dilation for bam in design.insertions)
'''


@dataclass(frozen=True)
class Command:
    """A command to disturb.

    Attributes:
        name: name in the table.
        text: arguments.
        before: commands that create its inputs.
        share: number of kills out of 100.
    """

    name: str
    text: str
    before: tuple[str, ...] = ()
    share: int = 10


_DATA = "net.py:net --data digits"
_SEARCH = f"search {_DATA} --budget-gflops +20% --no-random --name run"
_PARAMS = f"{_SEARCH} --score params --trials 4"
_TRAIN = f"train {_DATA} --epochs 2 -o trained"
_INSERT = f"insert {_DATA} --weights trained/model.safetensors -o placed"

COMMANDS = (
    Command("search", _PARAMS, share=24),
    Command("search --score train", f"{_SEARCH} --trials 2 --epochs 1", share=12),
    Command("train", _TRAIN, share=24),
    Command("verify", "verify run --seeds 2 --looks 1 --epochs 1", (_PARAMS,), share=6),
    Command(
        "audit",
        f"audit {_DATA} --designs 8 --seeds 2 --score-seeds 1 --scores params,snip --epochs 1",
        share=6,
    ),
    Command("insert", _INSERT, (_TRAIN,), share=12),
    Command("export", "export placed -o placed.pt2", (_TRAIN, _INSERT), share=6),
    Command("report", "report run -o report", (_PARAMS,), share=10),
)

WORKERS = Command(
    "search --storage",
    f"{_SEARCH} --score net.py:score --sampler random --trials 4 --heartbeat 1 "
    "--storage sqlite:///shared.db",
)
"""A search with workers."""

_UNREAD = ("lock", ".lock", "log.txt", "net.py", "mark")
_DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(\+00:00|Z| UTC)?")
_COUNTED = ("median time per score", "retried after an interruption")
_ROWS = re.compile(rf'((?:{"|".join(_COUNTED)})(?:\W+|</th><td class="r">))[\d.e-]+')
_VARIABLE = ("number", "seconds", "scoring (s)", "retries")
_SECONDS = re.compile(r'("(?:seconds|retries|retried|number)": )[\d.e+-]+')


def content(folder: Path) -> dict[str, object]:
    """Content by file, without the parts that differ between equal runs."""
    contents = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name in _UNREAD or path.suffix in (".db", ".db-wal", ".db-shm"):
            continue
        if path.is_dir():
            # An empty folder is a leftover.
            if not any(path.iterdir()):
                contents[name] = "empty folder"
        elif path.name == "checkpoint.pt":
            contents[name] = _checkpoint(path)
        elif path.suffix == ".pt2":
            contents[name] = _archive(path)
        elif path.suffix == ".safetensors":
            contents[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            contents[name] = plain(path.read_text(encoding="utf-8", errors="replace"), path.name)
    return contents


def _archive(path: Path) -> dict[str, int]:
    """Checksum by member; 0 for members with random names."""
    with zipfile.ZipFile(path) as archive:
        members = {member.filename.partition("/")[2]: member.CRC for member in archive.infolist()}
    drawn = (".data/serialization_id", "models/model.json")
    return {name: 0 if name in drawn else checksum for name, checksum in members.items()}


def plain(text: str, name: str = "") -> str:
    """A text without dates and durations."""
    if name.endswith(".csv"):
        header, *rows = csv.reader(text.splitlines())
        columns = [i for i, title in enumerate(header) if title not in _VARIABLE]
        return "\n".join(",".join(row[i] for i in columns) for row in (header, *rows) if row)
    text = _ROWS.sub(r"\1…", text)
    return _SECONDS.sub(r"\1…", _DATE.sub("DATE", text))


def _checkpoint(path: Path) -> object:
    import torch

    return _without_seconds(torch.load(path, weights_only=True))


def _without_seconds(value: Any) -> object:
    import torch

    if isinstance(value, dict):
        return {key: _without_seconds(item) for key, item in value.items() if key != "seconds"}
    if isinstance(value, list | tuple):
        return [_without_seconds(item) for item in value]
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.numpy().tobytes()).hexdigest()
    return value


def finished(folder: Path) -> Counter[str]:
    """Counts of finished trials, trainings, test results and looks on disk."""
    counts: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.jsonl")):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                counts[plain(line.decode(errors="replace"))] += 1
    for path in sorted(folder.rglob("test.json")):
        counts[f"{path.relative_to(folder)} {path.read_text()}"] += 1
    for path in sorted(folder.rglob("evidence.json")):
        openings = json.loads(path.read_text())["openings"]
        counts.update(f"look at plan {o['plan']}, {o['seeds']} seeds" for o in openings)
    return counts


def unfinished(folder: Path) -> Iterator[str]:
    """Trials of databases that are still running or waiting."""
    for path in sorted(folder.rglob("*.db")):
        connection = sqlite3.connect(path)
        rows = connection.execute("SELECT state, COUNT(*) FROM trials GROUP BY state").fetchall()
        connection.close()
        for state, number in rows:
            if state in ("RUNNING", "WAITING"):
                yield f"{number} trials {state.lower()} in {path.name}"
