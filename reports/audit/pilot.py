"""Choice of the task of the committed audit: variation between designs and between seeds.

For each kind of images of task.py, in ``FOLDER/KIND``, a few designs of the network are trained
with two seeds. A task is suitable for an audit if designs differ by more than seeds do.

``OMP_NUM_THREADS=1 python reports/audit/pilot.py FOLDER`` writes ``reports/audit/pilot.md``.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from bamsearch.data.loading import load_data
from bamsearch.records import Design, Insertion
from bamsearch.score.trained import train_once
from bamsearch.training.recipe import find_recipe

HERE = Path(__file__).parent
KINDS = ("plain", "light")
SEEDS = (0, 1)
EPOCHS = 6
DESIGNS = {
    "base": (),
    "layer2": (Insertion("layer2", 4, 4),),
    "layer3": (Insertion("layer3", 4, 2),),
    "both": (Insertion("layer2", 4, 4), Insertion("layer3", 4, 2)),
}


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
def main(folder: Path) -> None:
    """Train the designs, and write the page."""
    recipe = find_recipe("short").changed(epochs=EPOCHS)
    names = " | ".join(DESIGNS)
    lines = [
        "# Choice of the task",
        "",
        f"Accuracy on the validation images, mean of {len(SEEDS)} seeds, {EPOCHS} epochs of recipe "
        "short. Noise: standard deviation of a training around the mean of its design. Spread: "
        "standard deviation of the means of designs.",
        "",
        f"| images | {names} | noise | spread |",
        f"| --- | {' | '.join('---:' for _ in DESIGNS)} | ---: | ---: |",
    ]
    for kind in KINDS:
        data = load_data(f"imagefolder:{folder / kind}", input_size=(32, 32))
        reached = np.array(
            [
                [
                    train_once(
                        Design(
                            "reports/audit/network.py:conv3",
                            data.facts.input_shape,
                            insertions,
                            num_classes=data.facts.classes,
                        ),
                        data,
                        recipe,
                        seed=seed,
                    ).percent
                    for seed in SEEDS
                ]
                for insertions in DESIGNS.values()
            ]
        )
        means = reached.mean(axis=1)
        noise = float(np.sqrt(reached.var(axis=1, ddof=1).mean()))
        cells = " | ".join(f"{mean:.2f}" for mean in means)
        lines.append(f"| {kind} | {cells} | {noise:.2f} | {means.std(ddof=1):.2f} |")
        print(lines[-1], flush=True)
    (HERE / "pilot.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
