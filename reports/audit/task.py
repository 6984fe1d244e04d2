"""The images of the committed audit: Fashion-MNIST seen in changing light.

A small network nearly solves plain Fashion-MNIST, so the noise of seeds hides the effect of BAM.
Here an object of 20x20 pixels lies anywhere in 32x32, each image has a random contrast, half of
them are negatives, and light falls from one side. The meaning of a pixel depends on the whole
image, which an attention module sees and a small convolution does not.

``python reports/audit/task.py FASHION_MNIST DIR`` writes ``DIR/train``, ``val`` and ``test``, with
one folder per class, as ``imagefolder:DIR`` takes them. FASHION_MNIST is a folder as torchvision
takes it, with ``FashionMNIST/raw``. The test images are made from its test set only.
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
    """Change contrast and level, invert half of the images, and add light from one side."""
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
    published_train, published_test = (
        FashionMNIST(source, train=True),
        FashionMNIST(source, train=False),
    )
    order = rng.permutation(len(published_train))[: TRAIN + VALIDATION]
    splits = [
        ("train", published_train, order[:TRAIN]),
        ("val", published_train, order[TRAIN:]),
        ("test", published_test, np.arange(len(published_test))),
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
            target = folder / split / published_train.classes[label].replace("/", "-")
            target.mkdir(parents=True, exist_ok=True)
            pixels = (255 * canvas.clip(0, 1)).round().astype(np.uint8)
            Image.fromarray(pixels).save(target / f"{number:05d}.png")


if __name__ == "__main__":
    main()
