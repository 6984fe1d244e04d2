"""Counts of multiply-adds by bamsearch and other tools, written to ``reports/counting/``.

``classifiers``: every torchvision classifier at each input size of its published weights, counted
by fvcore with our handles, by ``FlopCounterMode`` on the meta device divided by 2, and as published
by torchvision (``_ops``). About 5 minutes and 8 GB. ``tools``: six networks counted by
ptflops, torchinfo, thop and torchprofile; ``pip install -c constraints.txt -e '.[bench]'``.

    OMP_NUM_THREADS=1 python benchmarks/counting_compare.py [classifiers] [tools]

The same versions write the same bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn
from torchvision import models

from bamsearch.graph.models import build_model, published
from bamsearch.profiling.counting import count

REPORTS = Path(__file__).parents[1] / "reports" / "counting"
COMMAND = "OMP_NUM_THREADS=1 python benchmarks/counting_compare.py"
SIX = (
    "resnet101",
    "efficientnet_b0",
    "vit_b_16",
    "swin_t",
    "convnext_tiny",
    "mobilenet_v3_small",
)
VIDEO = frozenset(models.list_models(module=models.video))
# Without these, a network consists of products, pools and elementwise multiplication.
NO_PRODUCTS = (
    nn.modules.batchnorm._BatchNorm,
    nn.LayerNorm,
    nn.ReLU,
    nn.ReLU6,
    nn.GELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Dropout,
)
# Pools and elementwise products are at most 1.2%; wrong counts are off by 4% or more.
TOLERANCE = 0.02

Count = Callable[[nn.Module, torch.Tensor], float]


def classifiers() -> list[list[str]]:
    names = [
        name
        for module in (models, models.quantization, models.video)
        for name in models.list_models(module=module)
    ]
    rows = []
    for name in sorted(names):
        for shape, gmacs, params in _published(name):
            print(name, shape, file=sys.stderr)
            rows.append(_compared(name, shape, gmacs, params))
    return rows


def _published(name: str) -> list[tuple[tuple[int, ...], float, int]]:
    """Input, GMACs and parameters of each of a model's published weights."""
    rows = set()
    for entry in models.get_model_weights(name):
        crop = entry.transforms.keywords["crop_size"]
        size = crop if isinstance(crop, tuple) else (crop, crop)
        clip = (16,) if name in VIDEO else ()
        rows.add(((3, *clip, *size), entry.meta["_ops"], entry.meta["num_params"]))
    return sorted(rows)


def _compared(name: str, shape: tuple[int, ...], gmacs: float, params: int) -> list[str]:
    model = build_model(name, shape, initialise=False)
    if "googlenet" in name:
        # Published without its auxiliary heads, which do not run in eval mode.
        del model.aux1, model.aux2
        model.aux1, model.aux2 = None, None
    ours = count(model, shape, counter="fvcore")
    meta = count(model, shape, counter="FlopCounterMode")
    off = round(round(ours.conv_linear_macs / 1e9, 3) - gmacs, 3)
    agree = (
        ours.conv_linear_macs == meta.conv_linear_macs
        and ours.macs == meta.macs
        and off == 0
        and ours.params == params
    )
    return [
        name,
        "x".join(map(str, shape)),
        str(ours.params),
        str(ours.params - params),
        str(ours.macs),
        str(ours.macs - meta.macs),
        str(ours.conv_linear_macs),
        str(ours.conv_linear_macs - meta.conv_linear_macs),
        f"{gmacs:.3f}",
        f"{off:.3f}",
        "yes" if agree else "no",
    ]


CLASSIFIER_COLUMNS = [
    "model",
    "input",
    "params",
    "params - published",
    "macs",
    "macs - meta",
    "conv_linear_macs",
    "conv_linear_macs - meta",
    "_ops (G)",
    "conv_linear_macs - _ops (G)",
    "agree",
]


def write_classifiers() -> bool:
    rows = classifiers()
    agreed = sum(row[-1] == "yes" for row in rows)
    short = [[row[0], row[1], _giga(row[4]), _giga(row[6]), *row[7:]] for row in rows]
    head = ["model", "input", "GMACs", "products", "- meta", "_ops", "- _ops", "agree"]
    text = f"""\
# Counts of every torchvision classifier

    {COMMAND} classifiers

{_versions(["torch", "torchvision", "fvcore"])}

One multiply-add is 1. GMACs is bamsearch's total, fvcore's convention: products, normalisation and
pooling. *Products* excludes the latter two, as the `_ops` that torchvision publishes to three
decimals. *meta* is torch's `FlopCounterMode` on the meta device, halved; it is independent of
fvcore. Differences are in multiply-adds, those from `_ops` in 10^9; `classifiers.csv` also compares
the totals of the two counters and the parameters.

**{agreed} of {len(rows)}** published rows agree in all three, and in the number of parameters.

{_table(head, short)}"""
    _write("classifiers", CLASSIFIER_COLUMNS, rows, text)
    return agreed == len(rows)


def _ptflops(backend: str) -> Count:
    def counted(model: nn.Module, image: torch.Tensor) -> float:
        import ptflops

        macs, _ = ptflops.get_model_complexity_info(
            model,
            tuple(image.shape[1:]),
            as_strings=False,
            print_per_layer_stat=False,
            backend=backend,
        )
        return float(macs)

    return counted


def _torchinfo(model: nn.Module, image: torch.Tensor) -> float:
    import torchinfo

    return float(torchinfo.summary(model, input_data=image, verbose=0).total_mult_adds)


def _thop(model: nn.Module, image: torch.Tensor) -> float:
    import thop

    macs, _ = thop.profile(model, inputs=(image,), verbose=False)
    return float(macs)


def _torchprofile(model: nn.Module, image: torch.Tensor) -> float:
    import torchprofile

    return float(torchprofile.profile_macs(model, image))


def _ours(model: nn.Module, image: torch.Tensor) -> float:
    return float(count(model, tuple(image.shape[1:])).macs)


TOOLS: dict[str, tuple[Count, str]] = {
    "bamsearch": (_ours, "products; BatchNorm 2, LayerNorm 5 per element; adaptive pooling 1"),
    "ptflops": (
        _ptflops("pytorch"),
        "products; biases; BatchNorm and LayerNorm 2, rectifiers and softmax 1 per element; pools "
        "twice if a module calls the function; elementwise + and ×",
    ),
    "ptflops aten": (_ptflops("aten"), "products, with the bias of a linear layer"),
    "torchinfo": (_torchinfo, "parameters of a layer × output positions of a convolution"),
    "thop": (_thop, "products of layers; normalisation 4 per element; pooling"),
    "torchprofile": (_torchprofile, "products; normalisation, pooling and × 1 per element"),
}

WHY = {
    ("ptflops", "swin_t"): "`F.linear` is not counted (commented out in `patch_functional`): "
    "the projections of attention, 1.387 G",
    ("ptflops aten", "vit_b_16"): "no rule for fused attention: its products, 0.715 G",
    ("torchinfo", "vit_b_16"): "a linear layer counts once, not once per token; no attention",
    ("torchinfo", "swin_t"): "a linear layer counts once, not once per position; no attention",
    ("torchinfo", "convnext_tiny"): "a linear layer counts once, not once per position",
    ("thop", "vit_b_16"): "layers only: neither attention's projections nor its products",
    ("thop", "swin_t"): "layers only: neither attention's projections nor its products",
}
"""Reasons for wrong counts, from the source of each tool."""

TOOL_COLUMNS = [
    "model",
    "_ops (G)",
    "tool",
    "total (G)",
    "total - _ops (%)",
    "products (G)",
    "products - _ops (%)",
    "correct",
    "reason",
]


def tools() -> list[list[str]]:
    rows = []
    for name in SIX:
        reference = published(name)
        assert reference is not None
        for tool, (counted, _) in TOOLS.items():
            print(name, tool, file=sys.stderr)
            total = _counted(counted, name, stripped=False)
            products = _counted(counted, name, stripped=True)
            if tool == "bamsearch":
                products = count(build_model(name), (3, 224, 224)).conv_linear_macs / 1e9
                right = round(products, 3) == reference.gmacs
            else:
                right = abs(products / reference.gmacs - 1) <= TOLERANCE
            rows.append(
                [
                    name,
                    f"{reference.gmacs:.3f}",
                    tool,
                    f"{total:.4f}",
                    f"{100 * (total / reference.gmacs - 1):+.2f}",
                    f"{products:.4f}",
                    f"{100 * (products / reference.gmacs - 1):+.2f}",
                    "yes" if right else "no",
                    "" if right else WHY.get((tool, name), "unknown"),
                ]
            )
    return rows


def _counted(counted: Count, name: str, stripped: bool) -> float:
    """Count of a network by a tool, in 10^9."""
    model = build_model(name).eval()
    if stripped:
        _strip(model)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return counted(model, torch.zeros(1, 3, 224, 224)) / 1e9


def _strip(model: nn.Module) -> None:
    """Remove norms, activations and biases from a network, so that all tools count products."""
    for path, module in list(model.named_modules()):
        for name in ("bias", "in_proj_bias"):
            if isinstance(getattr(module, name, None), nn.Parameter):
                setattr(module, name, None)
        if isinstance(module, NO_PRODUCTS):
            parent, _, child = path.rpartition(".")
            setattr(model.get_submodule(parent), child, nn.Identity())


def write_tools() -> bool:
    rows = tools()
    names = [name for name in TOOLS if name != "bamsearch"]
    rights = {tool: sum(row[2] == tool and row[7] == "yes" for row in rows) for tool in TOOLS}
    summary = [[tool, f"{rights[tool]} of {len(SIX)}", TOOLS[tool][1]] for tool in TOOLS]
    text = f"""\
# Counting tools compared

    pip install -c constraints.txt -e '.[bench]'
    {COMMAND} tools

{_versions(["torch", "torchvision", "ptflops", "torchinfo", "thop", "torchprofile"])}

One input of 3x224x224; one multiply-add is 1 in all of these tools, so no halving is needed. `_ops`
is the number that torchvision publishes: convolution, linear layers and the products of attention.

*Total* is a tool's total in its own convention. *Products* is the fair comparison: the same tool on
the same network without normalisation, activations and biases, so that only products remain, and in
some tools pools and elementwise multiplication (at most 1.2% here). For bamsearch it is
`conv_linear_macs` of the whole network. *Correct* means equal to all three decimals of `_ops` for
bamsearch, and within {TOLERANCE:.0%} of it for the other tools.

{_table(["tool", "correct", "counts"], summary)}
{_table(["model", "_ops", "tool", "total", "%", "products", "%", "correct", "reason"], rows)}"""
    _write("tools", TOOL_COLUMNS, rows, text)
    missing = [row[2] for row in rows if row[-1] == "unknown" and row[2] in names]
    return rights["bamsearch"] == len(SIX) and not missing


def _giga(macs: str) -> str:
    return f"{int(macs) / 1e9:.3f}"


def _versions(packages: Sequence[str]) -> str:
    return ", ".join(f"{package} {version(package)}" for package in packages) + "."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def lines() -> Iterator[str]:
        for cells in (head, ["---"] * len(head), *rows):
            yield f"| {' | '.join(cells)} |\n"

    return "".join(lines())


def _write(name: str, columns: Sequence[str], rows: Sequence[Sequence[str]], text: str) -> None:
    REPORTS.mkdir(parents=True, exist_ok=True)
    with (REPORTS / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    (REPORTS / f"{name}.md").write_text(text, encoding="utf-8", newline="\n")
    print(f"Written   reports/counting/{name}.csv, {name}.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    tables = {"classifiers": write_classifiers, "tools": write_tools}
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=" or ".join(tables))
    wanted = parser.parse_args().tables or list(tables)
    if unknown := set(wanted) - set(tables):
        parser.error(f"no table {', '.join(sorted(unknown))}: there are {', '.join(tables)}")
    if not all([tables[name]() for name in wanted]):
        sys.exit("some counts disagree: see the tables")


if __name__ == "__main__":
    main()
