"""``python -m bamsearch`` is ``bamsearch``."""

from bamsearch.cli.main import main

if __name__ == "__main__":
    main()
