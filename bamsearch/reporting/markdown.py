"""A report as GitHub-flavoured Markdown; templates/report.md.j2 sets the order."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

from bamsearch.reporting.content import Report
from bamsearch.reporting.network import found_picture
from bamsearch.reporting.network_text import network_text
from bamsearch.reporting.tables import Table, comparison_table, front_table, run_content
from bamsearch.reporting.text import title
from bamsearch.text import printable, printable_lines

if TYPE_CHECKING:
    from jinja2 import Environment


def markdown(report: Report, *, charts: bool) -> str:
    """The report of a run as Markdown.

    Args:
        report: the report.
        charts: refer to ``network.svg`` and the other charts beside the file; otherwise the network
            is drawn as text and the other charts are left out.
    """
    return render_markdown(
        "report.md.j2",
        title=title(report.record.run),
        charts=charts,
        network=network_text(found_picture(report.record)),
        comparison=comparison_table(report),
        front=front_table(report),
        **run_content(report),
    )


def render_markdown(template: str, **content: Any) -> str:
    """A template of a Markdown report with its content."""
    return markdown_environment().get_template(template).render(content)


def escaped(text: str) -> str:
    """Text that Markdown shows literally, on one line, also in a table."""
    line = printable(" ".join(text.split()) or text).replace("&", "&amp;")
    line = re.sub(r"([\\`*\[\]<>|~$#])", r"\\\1", line)
    # Inside a word _ is not emphasis: mobilenet_v2 stays readable.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line)


def table_lines(table: Table) -> str:
    """A table in GitHub-flavoured Markdown."""
    marks = {"l": "---", "r": "---:"}
    lines = [table.header, tuple(marks[letter] for letter in table.align)]
    texts = [" | ".join(escaped(cell) for cell in lines[0]), " | ".join(lines[1])]
    texts += [" | ".join(escaped(cell) for cell in row) for row in table.rows]
    return "\n".join(f"| {text} |" for text in texts)


def code_block(text: str) -> str:
    """Text in a fenced block; the fence is longer than any in the text."""
    text = printable_lines(text)
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


@cache
def markdown_environment() -> Environment:
    """The Markdown templates and their filters."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    # Autoescape is for HTML; here a filter escapes every value.
    templates = Environment(
        loader=PackageLoader("bamsearch.reporting"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {"md": escaped, "table": table_lines, "code": code_block}
    return templates
