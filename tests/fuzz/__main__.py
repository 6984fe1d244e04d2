"""Spoil files at random and read them: ``python -m tests.fuzz --examples 100000``, from the root.

Prints for each reader how many inputs it read, how many it refused, and what it should not have
raised; exits with 1 if there was any of that. With ``--engine atheris`` coverage guides the choice
(``pip install atheris``): ``--reader`` names the one.
"""

import argparse
import random
import re
import sys
import time
import traceback
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .mutations import spoil
from .reader import Reader, expected

_SLOW = 200
"""Times as many inputs for a fast reader as for a slow one."""


def main() -> int:
    """Parse the command line and run."""
    line = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    line.add_argument("--examples", type=int, default=10_000, help="inputs of all readers together")
    line.add_argument("--seed", type=int, default=0)
    line.add_argument("--reader", default="", help="only those whose name this expression matches")
    line.add_argument("--engine", choices=("random", "atheris"), default="random")
    line.add_argument("--commands", action="store_true", help="whole commands; seconds each")
    options = line.parse_args()
    with TemporaryDirectory(prefix="bamsearch-fuzz-") as folder:
        readers = {
            name: reader
            for name, reader in _made(Path(folder), options).items()
            if re.search(options.reader, name)
        }
        if options.engine == "atheris":
            return with_atheris(readers, options.examples, options.seed)
        return at_random(readers, options.examples, options.seed)


def _made(folder: Path, options: argparse.Namespace) -> dict[str, Reader]:
    """The readers; imported here, so that atheris sees which lines of bamsearch they reach."""
    watched = nullcontext()
    if options.engine == "atheris":
        import atheris

        watched = atheris.instrument_imports(include=["bamsearch"])
    with watched:
        if options.commands:
            from .command_readers import command_readers as make
        else:
            from .readers import make_readers as make
        return make(folder)


def at_random(readers: dict[str, Reader], examples: int, seed: int) -> int:
    """Try each reader with its share of the inputs; 1 if any raised what it should not have."""
    shares = {name: 1 if reader.slow else _SLOW for name, reader in readers.items()}
    whole = sum(shares.values())
    unexpected: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for name, reader in readers.items():
        ends: Counter[str] = Counter()
        began = time.monotonic()
        for number in range(-(-examples * shares[name] // whole)):
            numbers = random.Random(f"{seed} {name} {number}")
            content = (reader.spoil or spoil)(numbers.choice(reader.whole), numbers.choice)
            try:
                ends[expected(reader.read, content)] += 1
            except Exception as error:
                ends["unexpected"] += 1
                where = traceback.extract_tb(error.__traceback__)[-1]
                message = f"{name}: {type(error).__name__} at {where.filename}:{where.lineno}"
                if not unexpected[message]:
                    print(f"{message}: {str(error)[:300]} (input {number})", flush=True)
                unexpected[message] += 1
        total += ends
        seconds = time.monotonic() - began
        print(f"{name:28} {_counts(ends)} {seconds:7.1f} s", flush=True)
    print(f"{'all':28} {_counts(total)}")
    for message, count in unexpected.most_common():
        print(f"{count:7,} {message}")
    return 1 if unexpected else 0


def with_atheris(readers: dict[str, Reader], examples: int, seed: int) -> int:
    """The same, guided by what lines are reached; ends at the first unexpected exception."""
    import atheris

    names = list(readers)

    def one(data: bytes) -> None:
        provider = atheris.FuzzedDataProvider(data)

        def pick(several: Any) -> Any:
            return several[provider.ConsumeIntInRange(0, len(several) - 1)]

        reader = readers[pick(names)]
        expected(reader.read, (reader.spoil or spoil)(pick(reader.whole), pick))

    # Enough random bytes for every choice: libFuzzer starts with one byte.
    limits = [f"-runs={examples}", f"-seed={seed + 1}", "-len_control=0", "-max_len=256"]
    atheris.Setup([sys.argv[0], *limits], one)
    atheris.Fuzz()
    return 0


def _counts(ends: Counter[str]) -> str:
    parts = (f"{ends[end]:8,} {end}" for end in ("read", "refused", "unexpected"))
    return f"{sum(ends.values()):8,} tried {' '.join(parts)}"


if __name__ == "__main__":
    sys.exit(main())
