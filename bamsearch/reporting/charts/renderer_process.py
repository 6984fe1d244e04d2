"""The process of :mod:`bamsearch.reporting.charts.renderer`: a line of JSON in, one out.

It is run as a file and imports nothing of bamsearch. It reads no files and no network.
"""

from __future__ import annotations

import json
import sys


def main() -> None:
    """Answer each line of stdin until its end."""
    import vl_convert  # of the package vl_convert_python

    for line in sys.stdin.buffer:
        question = json.loads(line)
        try:
            text = vl_convert.vegalite_to_svg(
                question["spec"], vl_version=question["version"], allowed_base_urls=[]
            )
            answer = {"svg": text}
        except ValueError as error:
            answer = {"error": str(error)}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
