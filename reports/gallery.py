"""Regenerate the gallery: the reports from their records, the published figures, the index.

    make gallery

A run's record is ``run.json`` and ``trials.jsonl`` in its folder; its report is in ``report/``.
The same records give the same bytes.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import FileSystemLoader

from bamsearch.graph.placement import plan_insertions
from bamsearch.profiling.costs import DesignCosts
from bamsearch.profiling.summary import summarise
from bamsearch.records.audit_files import read_audit
from bamsearch.records.run_files import read_record
from bamsearch.reporting.content import Report, make_report
from bamsearch.reporting.documents import AuditDocument, RunDocument, write_texts
from bamsearch.reporting.markdown import markdown_environment
from bamsearch.reporting.network import found_picture
from bamsearch.reporting.network_svg import network_svg
from bamsearch.reporting.page import html_environment
from bamsearch.reporting.tables import Table, several_notes, several_table

HERE = Path(__file__).parent

AUDIT = "audit/fashion-mnist-light"

RUNS = {
    "fashion-mnist-light": "A search with training on the task of the audit, verified",
    "resnet101-8g": "resnet101 under 8 GFLOPs, ranked by snip",
    "resnet50-paper": "resnet50, one r and one d at the paper's sites: all designs",
    "densenet121-stages": "densenet121, r and d per stage",
    "mobilenet_v2-blocks": "mobilenet_v2, BAM in any block",
}

PUBLISHED = {
    "resnet18": (11.69, 11.71),
    "resnet50": (25.56, 25.92),
    "resnet101": (44.55, 44.91),
    "resnext50_32x4d": (25.03, 25.39),
    "squeezenet1_1": (1.24, 1.26),
}
"""10^6 parameters without and with BAM, r = 16, on ImageNet: Park et al. 2018, arXiv 1807.06514."""

CIFAR = (
    ("no BAM", "21.49"),
    ("d = 1, 2, 4, 6 at r = 16", "20.47, 20.28, 20.00, 20.08"),
    ("r = 4, 8, 16, 32 at d = 4", "20.46, 20.56, 20.00, 21.24"),
    ("BAM in every block", "20.88"),
    ("BAM at the bottlenecks", "20.00"),
)
"""Error of ResNet-50 on CIFAR-100 in percent, one training each: the same paper's ablations."""


def published_table() -> Table:
    """Published numbers of parameters next to those counted here."""
    rows = []
    for model, (base, bam) in PUBLISHED.items():
        summary = summarise(model)
        counted = DesignCosts(summary).cost(plan_insertions(summary.sites)).params
        millions = [f"{number / 1e6:.2f}" for number in (summary.base.params, counted)]
        same = millions == [f"{base:.2f}", f"{bam:.2f}"]
        rows.append(
            (
                model,
                f"{base:.2f} M",
                f"{summary.base.params:,}",
                f"{bam:.2f} M",
                f"{counted:,}",
                "yes" if same else "no",
            )
        )
    header = ("network", "published", "counted", "with BAM, published", "counted", "agree")
    return Table(header, "lrrrrl", tuple(rows))


def main() -> None:
    """Write all reports and the index."""
    reports: dict[str, Report] = {}
    for name in RUNS:
        reports[name] = make_report(read_record(HERE / name), f"reports/{name}")
        RunDocument(reports[name], HERE / name).write()
    # Accuracies and zero-cost scores share no column.
    compared = [report for report in reports.values() if not report.trained]
    audit = AuditDocument(read_audit(HERE / AUDIT), HERE / AUDIT, f"reports/{AUDIT}")
    audit.write()
    content = {
        "audit": audit.report,
        "audit_folder": AUDIT,
        "runs": RUNS,
        "reports": reports,
        "networks": {name: network_svg(found_picture(r.record)) for name, r in reports.items()},
        "table": several_table(compared),
        "notes": several_notes(compared),
        "published": published_table(),
        "cifar": Table(("ResNet-50 on CIFAR-100", "error, %"), "lr", CIFAR),
    }
    markdown = markdown_environment().overlay(loader=FileSystemLoader(HERE))
    page = html_environment()
    texts = {
        "README.md": markdown.get_template("README.md.j2").render(content),
        "index.html": page.from_string((HERE / "index.html.j2").read_text(encoding="utf-8")).render(
            content
        ),
    }
    for path in write_texts(texts, HERE):
        print(f"Written   {path.relative_to(HERE.parent)}")


if __name__ == "__main__":
    main()
