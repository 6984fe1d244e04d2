"""Reports of runs and audits: values first, then text, CSV, Markdown, HTML and JSON."""

from typing import Literal

ReportFormat = Literal["csv", "md", "html", "json"]
FORMATS: tuple[ReportFormat, ...] = ("md", "html", "csv", "json")
