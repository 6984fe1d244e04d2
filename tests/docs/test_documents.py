from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_the_document_shows_is_so(run_document, path):
    languages = run_document(path)
    if path.name == "README.md":
        assert {"python", "console"} <= set(languages)


@pytest.fixture
def document(tmp_path):

    def write(text: str) -> Path:
        path = tmp_path / "document.md"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_true_blocks_run_in_order_and_share_names(document, run_document):
    text = (
        "```python\nimport pathlib\npathlib.Path('a').write_text('yes\\n')\nx = 2\n```\n\ntext\n\n"
        "```console\n$ cat a\nyes\n$ python -c \\\n>   'print(3)' | cat\n3\n\n"
        "$ ls nothing* || true\n```\n\n"
        "```python\nassert x == 2\n```\n"
    )
    assert run_document(document(text)) == ["python", "console", "python"]


@pytest.mark.parametrize(
    "text",
    [
        "```python\nassert 1 == 2\n```\n",
        "```console\n$ python -c 'print(1)'\n2\n```\n",
        "```console\n$ python -c 'print(1)'\n```\n",
        "```console\n$ python -c 'print(1)'\n1\n\n2\n```\n",
        "```console\n$ python -c 'print(1); raise SystemExit(3)'\n1\n```\n",
        "```console\n$ python -c 'raise SystemExit(3)' | cat\n```\n",
        "```console\n$ curl example.org\n```\n",
    ],
)
def test_a_wrong_block_fails(document, run_document, text):
    with pytest.raises(AssertionError):
        run_document(document(text))


def test_a_skipped_block_is_not_run_and_has_a_reason(document, run_document):
    wrong = "```console\n$ curl example.org\n```\n"
    assert run_document(document(f"<!-- skip: needs a network -->\n{wrong}")) == []
    assert run_document(document(f"<!-- skip: needs a network -->\n\n{wrong}")) == []
    for marker in ("<!-- skip: -->\n", "<!-- skip: needs a network -->\nWords.\n\n"):
        with pytest.raises(AssertionError):
            run_document(document(marker + wrong))
