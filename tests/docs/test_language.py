"""How bamsearch reads: phrasings and names that are not used, each with a better wording."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = sorted((ROOT / "bamsearch").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
PATTERNS = (
    "*.md",
    "Makefile",
    "pyproject.toml",
    "docs/*.md",
    "docs/*.py",
    "search_spaces/*.toml",
    "bamsearch/reporting/templates/*.j2",
    "bamsearch/reporting/report.schema.json",
    "benchmarks/*.py",
    "benchmarks/*.md",
    "benchmarks/*.c",
    "reports/**/*.py",
    "reports/*.j2",
    "reports/**/README.md",
    "reports/audit/pilot.md",
    "reports/counting/*.md",
)
PROSE = sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern)})

COMPARED = (
    r"(?:better|bigger|cheaper|closer|different|earlier|faster|fewer|further|greater|higher|larger|"
    r"later|less|longer|lower|more|narrower|older|shorter|slower|smaller|stronger|weaker|wider|worse)\b"
)
ONCE = r"(?:call|choice|design|epoch|family|image|network|process|run|seed|site|stage|trial)"
# Pattern and better wording.
RULES = [
    (rf"(?<!there )\b(?:is|are|was|were) no (?!{COMPARED})[a-z1]\w*", "is not a …"),
    (r"(?<!there )\b(?:is|are|was|were) none\b(?! of)", "is not a …"),
    (r"\b(?:has|have|had|gives?|takes?|shows?) none\b(?! of)", "say what is missing"),
    (r"\btold from\b|\bnot told\b|\btells? no\b", "(not) distinguishable from, (not) significant"),
    (r"\b(?:go|goes|gone|went) on(?: with\b| to \w+ \w*ing\b|[.,;:)]|$)", "resume, continue"),
    (r"\b(?:go|goes|gone|went) on (?:from|after|when|as)\b", "resume, continue"),
    (r"\banew\b", "again"),
    (r"\d %(?! ?[\d(])(?!\w)", "95%, without a space"),
    (r"\bper cent\b", "percent"),
    (r"\bmend(?:s|ed|ing)?\b", "fix, repair"),
    (r"\bbegun\b", "started"),
    (r"\bfor ever\b", "permanently"),
    (r"\bspoilt\b", "corrupt"),
    (r"\bwhat fits\b(?! in)|\bthat really fit\b", "feasible designs"),
    (r"\bwhat (?:was|is|were) found\b", "the best design, the result"),
    (r"\basked for\b", "requested"),
    (r"\beverything random\b", "random seed"),
    (r"\bsigns? of life\b", "heartbeat"),
    (r"\b(?:take|takes|taken) for dead\b", "considered dead"),
    (r"\b(?:above|after|below|by|every|of|over|under|within) so (?:few|many)\b", "the number"),
    (rf"\b(?:a|an|one|seconds|milliseconds|ms|bytes|numbers) (?:[a-z]+ )?an? {ONCE}\b", "per"),
    (r"\b(?:go|goes|come|comes|know|knows|say|says|tell|tells) not\b", "does not …"),
    (r"\b(?:knows?|said|says?) nothing of\b", "does not show"),
    (r"\bholds? the truth\b|\bwhat .{,20}\bintervals? holds?\b", "contains the truth, coverage"),
    (r"\bat work\b", "running"),
    (r"\b(?:needs?|needed|neither|without) a hand\b", "manual repairs"),
    (r"\bstands? beside\b", "is reported next to"),
    (r"\bturned round\b", "reversed"),
    (r"\ball (?:that )?there (?:are|is)\b", "all …"),
    (r"\b(?:as|what) (?:its|their) words say\b", "see the message"),
    (r"\bmade-up\b", "synthetic"),
    (r"\bwhat noise leaves\b", "noise ceiling"),
    (r"\b(?:hence|thence|where|there)(?:forth|fore|of|in|upon)\b(?<!therefore)", "plain words"),
    (r"(?:^|\. )Of (?:the|a|an|all|everything)\b[^,.]*\.(?= |$)", "name the subject"),
    (r"(?:^|\. )Other than\b[^,.]*\.(?= |$)", "name the subject"),
]
# An entry of Args, Attributes or Raises in a docstring.
ENTRY = re.compile(r"^ +[a-z_]\w*(?:, \w+)*: (?:of|what|how|whose|where)\b", re.MULTILINE)
NAMES = {
    *("asked", "found", "given", "kept", "known", "left", "made"),
    *("one", "own", "place", "there", "told", "what"),
}


def phrasings(text: str) -> Iterator[tuple[int, str]]:
    """(newlines before it, phrase and better wording) of each phrase that is not used."""
    words = list(re.finditer(r"\S+", text))
    line = " ".join(word[0] for word in words)
    for pattern, better in RULES:
        for match in re.finditer(pattern, line):
            word = words[line.count(" ", 0, match.start())]
            yield text.count("\n", 0, word.start()), f"{match[0].strip()!r}: {better}"


def literals(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, text) of string literals of several words; an expression in an f-string is a 1."""
    parts: set[int] = set()
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.JoinedStr):
            parts |= {id(value) for value in node.values}
            text = "".join(v.value if isinstance(v, ast.Constant) else "1" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value if id(node) not in parts else ""
        if " " in text:
            yield node.lineno, text


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of comments; consecutive lines are one comment."""
    lines: list[tuple[int, str]] = []
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                lines.append((token.start[0], token.string.lstrip("#")))
    while lines:
        start = lines[0][0]
        block = [text for i, (line, text) in enumerate(lines) if line == start + i]
        yield start, "\n".join(block)
        del lines[: len(block)]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """(first line, text) of the prose in a file."""
    if path.suffix == ".py":
        yield from literals(ast.parse(path.read_text(encoding="utf-8")))
        yield from comments(path)
    else:
        # Without the tests of templates.
        yield 1, re.sub(r"\bis (?:not )?none(?= [^<]*[}%]\})", "", path.read_text(encoding="utf-8"))


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, name) of arguments, and of variables of functions; fields of classes are left out."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.Lambda | ast.AsyncFunctionDef):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.arg):
                yield node.lineno, node.arg
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.lineno, node.id
            elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
                yield node.lineno, node.name


def at(path: Path, line: int, message: str) -> str:
    return f"{path.relative_to(ROOT)}:{line}: {message}"


@pytest.mark.parametrize(
    "text",
    [
        "digits are no evidence",
        "the input is a photograph and the network\n    takes none",
        "a score is told from chance",
        "the training goes on after a kill",
        "it goes on with a run",
        "drawn anew for each seed",
        "a 95 % interval",
        "ten per cent",
        "mend the file",
        "a run begun elsewhere",
        "drawn from what fits",
        "40 designs were asked for",
        "seed of everything random",
        "stops below so many points",
        "a row an epoch",
        "milliseconds a trial",
        "Name of a file. Of the run.",
        "Other than the recipe's.",
    ],
)
def test_a_phrase_is_noticed(text):
    assert list(phrasings(text))


@pytest.mark.parametrize(
    "text",
    [
        "there is no site, and there\n    is none to add",
        "it is no longer needed, and no better than params",
        "the base had no BAM, for every seed",
        "that goes on the first page",
        "what fits in memory",
        "once per epoch, 5 % 3 in Python, 95%",
        "recommend, amend",
        "the resumed run, forever",
        "Of ten designs, two failed. Other than the base, all have BAM.",
        "a network gives a site a name",
    ],
)
def test_correct_english_passes(text):
    assert not list(phrasings(text))


def test_the_line_of_a_phrase_and_of_a_name(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        '"""A module.\n\nIt is no\nscript.\n"""\n\n# Drawn\n# anew.\nx = f"{1} % of it"\n'
    )
    result = [(line + n, message) for line, text in texts(path) for n, message in phrasings(text)]
    assert [(line, message.partition(":")[0]) for line, message in result] == [
        (3, "'is no script'"),
        (9, "'1 %'"),
        (8, "'anew'"),
    ]
    tree = ast.parse(
        "class A:\n    place: str\n\ndef f(x, *, what):\n    for one in x:\n        pass\n"
    )
    assert set(names(tree)) == {(4, "x"), (4, "what"), (5, "one")}


def test_phrasings():
    assert all(any(ROOT.glob(pattern)) for pattern in PATTERNS)
    wrong = [
        at(path, line + newlines, message)
        for path in [*PYTHON, *PROSE]
        for line, text in texts(path)
        for newlines, message in phrasings(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_entries_of_docstrings_begin_with_the_thing():
    wrong = [
        at(path, line + text.count("\n", 0, match.start()), f"{match[0].strip()!r}: name the thing")
        for path in PYTHON
        for line, text in literals(ast.parse(path.read_text(encoding="utf-8")))
        for match in ENTRY.finditer(text)
    ]
    assert not wrong, "\n".join(wrong)


def test_names_of_variables_and_arguments_say_what_they_hold():
    wrong = []
    for path in [*PYTHON, *TESTS]:
        bound = set(names(ast.parse(path.read_text(encoding="utf-8"))))
        corners = any(name == "top" for _, name in bound)  # left, top, right, bottom
        allowed = {"left"} if corners else set()
        wrong += [
            at(path, line, f"{name!r}: name what it holds")
            for line, name in sorted(bound)
            if name in NAMES - allowed
        ]
    assert not wrong, "\n".join(wrong)
