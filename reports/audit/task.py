"""The images of the committed audit: Fashion-MNIST seen in changing light.

Plain Fashion-MNIST is nearly solved by a small network, and seed noise hides what BAM does. Here an
object of 20x20 pixels lies anywhere in 32x32; each image has its own contrast, half of them are
negatives, and light falls from one side. What a pixel means depends on the whole image, which an
attention module sees and a small convolution does not.

``python reports/audit/task.py FASHION_MNIST DIR`` writes ``DIR/train``, ``val`` and ``test``, a
folder a class, as ``imagefolder:DIR`` takes them. FASHION_MNIST is the folder that torchvision
takes, with ``FashionMNIST/raw`` in it. The test images are made of its test set alone.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F
from torchvision.datasets import FashionMNIST

SIZE, OBJECT = 32, 20
TRAIN, VALIDATION = 16_000, 12_000
CONTRAST = (0.15, 0.6)
SLOPE = 0.25

Floats = NDArray[np.float64]


def light(canvas: Floats, rng: np.random.RandomState) -> Floats:
    """Its own contrast and level, a negative or not, and light from a side."""
    contrast, negative = rng.uniform(*CONTRAST), rng.rand() < 0.5
    level = rng.uniform(0, 1 - contrast)
    lit = level + contrast * (1 - canvas if negative else canvas)
    down, right = rng.normal(0, SLOPE, 2)
    ramp = np.linspace(-1, 1, SIZE)
    sloped: Floats = lit + down * ramp[:, None] + right * ramp[None, :]
    return sloped


@click.command(help=__doc__)
@click.argument("source", type=click.Path(exists=True, file_okay=False))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(["light", "plain"]), default="light")
def main(source: str, folder: Path, kind: str) -> None:
    """Write the images of three splits."""
    rng = np.random.RandomState(0)
    known, unseen = FashionMNIST(source, train=True), FashionMNIST(source, train=False)
    order = rng.permutation(len(known))[: TRAIN + VALIDATION]
    splits = [
        ("train", known, order[:TRAIN]),
        ("val", known, order[TRAIN:]),
        ("test", unseen, np.arange(len(unseen))),
    ]
    for split, source_set, rows in splits:
        small = F.interpolate(source_set.data[rows, None].float(), size=OBJECT, mode="area")
        objects: Floats = small[:, 0].double().numpy() / 255
        labels = source_set.targets[rows].tolist()
        for number, (image, label) in enumerate(zip(objects, labels, strict=True)):
            canvas = np.zeros((SIZE, SIZE))
            y, x = rng.randint(0, SIZE - OBJECT + 1, 2)
            canvas[y : y + OBJECT, x : x + OBJECT] = image
            if kind == "light":
                canvas = light(canvas, rng)
            place = folder / split / known.classes[label].replace("/", "-")
            place.mkdir(parents=True, exist_ok=True)
            pixels = (255 * canvas.clip(0, 1)).round().astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{number:05d}.png")


if __name__ == "__main__":
    main()
