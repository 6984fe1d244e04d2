"""The report room: what a run found, as values, then as text, CSV, Markdown, HTML and JSON."""
