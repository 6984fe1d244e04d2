"""How bamsearch reads: phrasings and names that are not used, each with a better wording."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = sorted((ROOT / "bamsearch").rglob("*.py"))
PROSE = sorted(
    path
    for pattern in (
        "*.md",
        "Makefile",
        "pyproject.toml",
        "docs/*.md",
        "docs/*.py",
        "search_spaces/*.toml",
        "bamsearch/report/templates/*.j2",
        "bamsearch/report/report.schema.json",
        "benchmarks/*.py",
        "benchmarks/*.md",
        "reports/**/*.py",
        "reports/*.j2",
        "reports/**/README.md",
        "reports/audit/pilot.md",
        "reports/counting/*.md",
    )
    for path in ROOT.glob(pattern)
)

COMPARATIVE = (
    r"(?:longer|more|less|fewer|better|worse|larger|smaller|higher|lower|faster|slower|"
    r"shorter|greater|wider|narrower|different|use)\b"
)
ARCHAIC = r"(?:hitherto|henceforth|lest|thence|whence|thereof|whereof|therein|wherein|whilst)"
# Pattern and better wording.
RULES = [
    (rf"(?<!there )\b(?:is|are|was|were) no (?!{COMPARATIVE})[a-z1]", "is not a …"),
    (r"(?<!there )\b(?:is|are|was|were) none\b", "is not one; say what is missing"),
    (r"\b(?:has|have|had|gives?|takes?|shows?) none\b", "say what is missing"),
    (r"\btold from\b|\bnot told\b|\btells? no\b", "(not) distinguishable from, (not) significant"),
    (r"\b(?:go|goes|gone|went|going) on with\b", "resume, continue"),
    (r"\b(?:go|goes|gone|went) on(?= to\b|[.,;:)]|$| from| after| when| as )", "resume, continue"),
    (r"\banew\b", "again"),
    (r"\d %(?! ?[\d(])(?!\w)", "95%, without a space"),
    (r"\bper cent\b", "percent"),
    (r"\bmend(?:s|ed|ing)?\b", "fix, repair"),
    (r"\bbegun\b", "started"),
    (r"\bfor ever\b", "permanently, forever"),
    (r"\bspoilt\b", "corrupt"),
    (r"\ball (?:of )?what\b|\bwhat(?: really)? fits\b(?! in)|\bthat really fit\b", "feasible designs"),
    (r"\bwhat (?:was|is|were) found\b", "the best design, the result"),
    (r"\basked for\b", "requested"),
    (r"\beverything random\b", "random seed"),
    (r"\bsigns? of life\b", "heartbeat"),
    (r"\b(?:taken|take|takes) for dead\b", "considered dead"),
    (r"\b(?:by|below|under|over|above|after|within|every|of) so (?:many|few)\b", "name the number"),
    (r"\b(?:a|one|seconds|milliseconds|ms|bytes|numbers) an? (?:call|choice|design|trial)\b", "per …"),
    (r"\b(?:a|an|one) [a-z]+ an? (?:epoch|family|process|seed|site|stage|trial|design|run|class)\b", "one per …"),
    (r"\b(?:go|goes|come|comes|know|knows|say|says|tell|tells) not\b", "does not …"),
    (r"\bsa(?:y|ys|id) nothing of\b|\bknows? nothing of\b", "does not show, does not know"),
    (r"\bis to say\b", "state it"),
    (r"\bholds? the truth\b|\bintervals? holds?(?! at| for| simul| over| tog)\b", "contains the truth"),
    (r"\bat work\b", "running"),
    (r"\bneed(?:s|ed)? (?:neither )?a hand\b|\bneither a hand\b", "needs manual work"),
    (r"\bstands? beside\b", "is reported next to"),
    (r"\bturned round\b", "reversed"),
    (r"\ball (?:that )?there (?:is|are)\b", "all …"),
    (r"\bas (?:its|their) words say\b|\bwhat (?:its|their) words say\b", "see the message"),
    (r"\bmade-up\b", "synthetic"),
    (r"\bwhat noise leaves\b", "noise ceiling"),
    (rf"\b{ARCHAIC}\b", "today's word"),
    (r"(?:^|\. )Of (?:the|a|an|all|everything)\b[^,.]*\.(?= |$)", "name the subject"),
    (r"(?:^|\. )Other than\b[^,.]*\.(?= |$)", "overrides …"),
]  # fmt: skip
# An entry of Args, Attributes or Raises in a docstring.
ENTRY = re.compile(r"^ +[a-z_]\w*(?:, \w+)*: (?:of|what|how|whose|where)\b", re.MULTILINE)
NAMES = {*"one found there own given asked told known kept left place what".split()}


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
        yield 1, path.read_text(encoding="utf-8")


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


def test_phrasings():
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
    for path in PYTHON:
        bound = set(names(ast.parse(path.read_text(encoding="utf-8"))))
        corners = any(name == "top" for _, name in bound)  # left, top, right, bottom
        allowed = {"left"} if corners else set()
        wrong += [
            at(path, line, f"{name!r}: name what it holds")
            for line, name in sorted(bound)
            if name in NAMES - allowed
        ]
    assert not wrong, "\n".join(wrong)
