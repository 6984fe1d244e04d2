"""``bamsearch search``, ``runs``, ``spaces``: what they say, and what they refuse."""

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from bamsearch.graph.designs import find_design, load
from bamsearch.profiling.costs import cost_of
from bamsearch.profiling.summary import summarise
from bamsearch.records import Design, Insertion

SMALL = ["resnet18", "--input-size", "64", "--score", "params"]
LINE = ["search", *SMALL, "--budget-gflops", "+2%", "--sampler", "random", "--trials", "6"]


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished(bamsearch_cli, tmp_path_factory):
    """A finished search called ``done``, and the folder where it ran."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = bamsearch_cli(*LINE, "--name", "done")
    assert result.exit_code == 0, result.stderr
    return result, folder


@pytest.fixture
def done(finished):
    """What the finished search printed; a copy of it is in the current folder."""
    result, folder = finished
    shutil.copytree(folder, ".", dirs_exist_ok=True)
    return result


@pytest.fixture
def refused(bamsearch_cli):
    def run(*line: str, code: int = 2) -> str:
        result = bamsearch_cli(*line)
        assert (result.exit_code, result.stdout) == (code, ""), result.stderr
        lines = result.stderr.splitlines()
        assert lines[-1].startswith("bamsearch: "), result.stderr
        assert "unexpected" not in result.stderr
        return lines[-1]

    return run


def test_the_last_screen(done, golden):
    golden(done.stdout, "search_resnet18.txt")


def test_many_sites_are_listed_not_a_column_each(bamsearch_cli, golden):
    line = ["search", "resnet34", "--input-size", "64", "--score", "macs", "--space", "blocks"]
    result = bamsearch_cli(*line, "--sampler", "random", "--trials", "3", "--no-random")
    assert result.exit_code == 0, result.stderr
    golden(result.stdout, "search_blocks.txt")


def test_what_is_tried_is_said_before(bamsearch_cli, golden):
    result = bamsearch_cli("search", "--budget-gflops", "8", "--score", "params", "--dry-run")
    assert result.exit_code == 0, result.stderr
    said = result.stdout.splitlines()
    # Designs are sorted, so that random ones could only tie with the first.
    assert said[-1].startswith("  100 trials and 3 baselines: about ")
    assert said[-1].endswith(" sampler sorted")
    golden("\n".join(said[:-1]) + "\n", "search_dry_run.txt")
    assert "Would write   runs/NAME/run.json" in result.stderr
    assert not Path("runs").exists()


def test_without_a_name_the_folder_says_what_it_is(bamsearch_cli):
    for number in ("001", "002"):
        result = bamsearch_cli(*LINE)
        assert f"Written   runs/resnet18-2pct-{number}\n" in result.stderr
    again = bamsearch_cli("search", *SMALL, "--budget-params", "11.8M", "--trials", "3", "-n")
    assert again.exit_code == 0
    assert sorted(os.listdir("runs")) == ["resnet18-2pct-001", "resnet18-2pct-002"]


def test_json_has_exact_numbers_and_nothing_over_the_budget(bamsearch_cli):
    result = bamsearch_cli(*LINE, "--json", "--name", "as-json")
    content = json.loads(result.stdout)
    base = summarise("resnet18", (64, 64)).base
    limit = base.macs * 102 // 100
    assert content["budget"] == {"gflops": limit}
    assert (content["trials"], content["failed"], content["infeasible_scored"]) == (6, 0, 0)
    assert content["references"]["base"] == {
        "design": {},
        "score": float(base.params),
        "params": base.params,
        "macs": base.macs,
    }
    for trial in (content["best"], *content["pareto"], *content["references"].values()):
        insertions = [Insertion(site, r, d) for site, (r, d) in trial["design"].items()]
        design = Design("resnet18", (3, 64, 64), insertions)
        cost = cost_of(summarise("resnet18", (64, 64)), design).total
        assert (cost.params, cost.macs) == (trial["params"], trial["macs"])
        assert trial["macs"] <= limit


def test_a_design_argument_may_be_a_run(done, bamsearch_cli):
    best = json.loads(Path("runs/done/best/design.json").read_text())["insertions"]
    for word in ("done", "runs/done", "done@1", "runs/done@1"):
        assert [i.site for i in find_design(word)[0].insertions] == [i["site"] for i in best]
    assert find_design("done@2")[0] != find_design("done@1")[0]
    assert load("runs/done") is not None
    profile = bamsearch_cli("profile", "resnet18", "done", "done@2", "--no-time", "--json")
    assert profile.exit_code == 0, profile.stderr
    export = bamsearch_cli("export", "done@2", "--format", "pt2", "--dry-run")
    assert export.exit_code == 0, export.stderr


@pytest.mark.parametrize("word", ["done@0", "done@7"])
def test_a_rank_that_is_not_there(done, refused, word):
    assert "run done has no design" in refused("export", word, "--format", "pt2")


def test_a_model_s_name_is_a_model_even_if_a_run_has_it(bamsearch_cli):
    assert bamsearch_cli(*LINE, "--name", "resnet18").exit_code == 0
    result = bamsearch_cli("profile", "resnet18", "--no-time", "--json")
    [actual] = json.loads(result.stdout)["networks"]
    assert actual["params"] == summarise("resnet18").base.params


def test_resuming_with_more_trials_is_one_longer_search(done, bamsearch_cli):
    longer = bamsearch_cli("search", "--resume", "done", "--trials", "9", "--json")
    assert longer.exit_code == 0, longer.stderr
    whole = bamsearch_cli(*LINE[:-1], "9", "--name", "whole", "--json")
    resumed, other = (json.loads(result.stdout) for result in (longer, whole))
    assert resumed | {"run": ""} == other | {"run": ""}

    def scored(run):
        lines = map(json.loads, Path("runs", run, "trials.jsonl").read_text().splitlines())
        return [(line["design"], line["score"]) for line in lines if line["reference"] is None]

    assert scored("done") == scored("whole")
    assert len(scored("done")) == 9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["resnet34"], "run done has MODEL resnet18, not resnet34"),
        (["--space", "blocks"], "run done has --space stages, not blocks"),
        (["--score", "macs"], "run done has --score params, not macs"),
        (["--budget-gflops", "9"], "run done has --budget-gflops +2%, not 9"),
        (["--budget-params", "45M"], "run done has --budget-params none, not 45M"),
        (["--seed", "1"], "run done has --seed 0, not 1"),
        (["--input-size", "32"], "run done has --input-size 64, 64, not 32, 32"),
        (["--trials", "5"], "--trials 5 is below the 6 trials of run done"),
        (["--name", "other"], "--resume, --name and --output: choose one"),
    ],
)
def test_a_resumed_run_is_the_same_run(done, refused, options, words):
    assert words in refused("search", "--resume", "done", *options)


def test_what_is_the_same_may_be_typed_again(done, bamsearch_cli):
    again = bamsearch_cli(*LINE, "--resume", "done")
    assert again.exit_code == 0, again.stderr
    assert again.stdout == done.stdout


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["--score", "synflw"], "no score is called 'synflw'"),
        (["--space", "stage"], "no space is called 'stage'"),
        (["--space", "mine.toml"], "mine.toml cannot be read"),
        (["--budget-gflops", "much"], "invalid --budget-gflops 'much'"),
        (["--objective", "params"], "--objective must include score"),
        (["--name", "a/b"], "a run cannot be called 'a/b'"),
        (["--resume", "nowhere"], "no run is called 'nowhere': 'bamsearch runs' lists"),
        (["--storage", "there"], "--storage is not a database URL"),
        (["--sampler", "exhaustive", "--trials", "5"], "--sampler exhaustive scores all"),
        (["--trials", "0"], "0 is not in the range"),
    ],
)
def test_what_cannot_be_used(refused, line, words):
    assert words in refused("search", *SMALL, *line)
    assert not list(Path().glob("runs/*"))


def test_a_space_that_matches_no_site(refused):
    Path("mine.toml").write_text(
        'name = "mine"\nsites = ["layer9"]\nreductions = [4]\ndilations = [1]\n'
    )
    said = refused("search", *SMALL, "--space", "mine.toml")
    assert "names 'layer9', but resnet18 has no such site: did you mean layer" in said


def test_an_earlier_run_is_never_lost(done, refused, bamsearch_cli):
    before = Path("runs/done/trials.jsonl").read_bytes()
    assert "is a run already: continue with --resume done" in refused(*LINE, "--name", "done")
    assert "is a run already" in refused(*LINE, "-o", "runs/done")
    Path("notes").mkdir()
    Path("notes/mine").write_text("keep")
    assert "notes exists already" in refused(*LINE, "-o", "notes", "--force")
    assert Path("notes/mine").read_text() == "keep"
    assert Path("runs/done/trials.jsonl").read_bytes() == before
    assert bamsearch_cli(*LINE, "--name", "done", "--force", "--seed", "1").exit_code == 0
    assert Path("runs/done/trials.jsonl").read_bytes() != before


@pytest.mark.parametrize("output", ["runs/done", "."])
def test_force_keeps_files_that_no_search_wrote(done, bamsearch_cli, monkeypatch, output):
    if output == ".":
        monkeypatch.chdir("runs/done")
    folder = Path(output)
    (folder / "thesis.tex").write_text("mine")
    before = (folder / "run.json").read_bytes()
    result = bamsearch_cli(*LINE, "-o", output, "--force", "--seed", "1")
    assert result.exit_code == 0, result.stderr
    assert (folder / "thesis.tex").read_text() == "mine"
    assert (folder / "run.json").read_bytes() != before


def test_what_a_kill_leaves_at_the_very_start_is_removed(bamsearch_cli):
    process = subprocess.Popen(["true"])
    process.wait()
    draft = Path(f"runs/.writing-early-{process.pid}")
    draft.mkdir(parents=True)
    (draft / "run.json").touch()
    result = bamsearch_cli(*LINE, "--name", "early")
    assert result.exit_code == 0, result.stderr
    assert [path.name for path in Path("runs").iterdir()] == ["early"]


def test_the_same_command_resumes_what_a_kill_interrupted(done, refused, bamsearch_cli):
    folder, whole = Path("runs/done"), Path("runs/done/trials.jsonl").read_bytes()
    (folder / "trials.jsonl").write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    log = (folder / "log.txt").read_text().splitlines(keepends=True)
    (folder / "log.txt").write_text("".join(log[:-2]))
    assert "is a run already" in refused(*LINE, "--name", "done", "--seed", "1")
    result = bamsearch_cli(*LINE, "--name", "done")
    assert result.exit_code == 0, result.stderr
    assert "resuming the unfinished search in " in result.stderr
    again = (folder / "trials.jsonl").read_bytes()
    both = [[json.loads(line) for line in text.splitlines()] for text in (whole, again)]
    keys = [
        {(line["reference"], line["number"], line["score"]) for line in lines} for lines in both
    ]
    assert keys[0] == keys[1]
    assert len(both[0]) == len(both[1])
    assert "is a run already" in refused(*LINE, "--name", "done")


@pytest.mark.parametrize("model", ["vit_b_16", "resnet18"])
def test_nothing_to_search_is_exit_3(refused, model):
    line = ["search", model, "--score", "params"]
    if model == "resnet18":
        said = refused(*line, "--input-size", "64", "--budget-gflops", "0.1", code=3)
        smallest = said.rpartition(" ")[2]
        assert "the base alone takes 0.149 GFLOPs" in said
        ok = ["search", model, "--input-size", "64", "--score", "params", "--trials", "1"]
        assert refused(*ok, "--budget-gflops", str(float(smallest) - 0.0001), code=3)
    else:
        assert "no spatial bottleneck" in refused(*line, code=3)


def test_a_run_of_a_newer_version(done, refused):
    path = Path("runs/done/run.json")
    path.write_text(path.read_text().replace('"bamsearch_run": 1', '"bamsearch_run": 99'))
    said = refused("search", "--resume", "done")
    assert "has run format 99, this bamsearch reads up to 1: pip install --upgrade" in said


def test_a_custom_score_gets_the_network_and_the_design(bamsearch_cli):
    Path("mine.py").write_text(
        "def width(module, design):\n"
        "    print('looking at', len(design.insertions))\n"
        "    assert sum(p.numel() for p in module.parameters()) > 11_000_000\n"
        "    if len(design.insertions) == 2: raise ValueError('not two')\n"
        "    return -len(design.insertions)\n"
    )
    line = ["search", "resnet18", "--input-size", "32", "--score", "mine.py:width", "--no-random"]
    result = bamsearch_cli(*line, "--sampler", "random", "--trials", "6", "--json")
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert "looking at 0" in result.stderr
    # The base has the highest value, and such a score may say so.
    assert content["best"]["design"] == {}
    log = next(Path().glob("runs/*/log.txt")).read_text()
    assert log.count("ValueError: not two") == content["failed"]


def test_runs_lists_them(done, bamsearch_cli, refused):
    result = bamsearch_cli("runs", "--json")
    [run] = json.loads(result.stdout)
    assert (run["run"], run["state"], run["trials"], run["total"]) == ("done", "done", 6, 6)
    shown = bamsearch_cli("runs")
    assert "bamsearch report done" in shown.stderr
    assert "--resume" not in shown.stderr
    line = shown.stdout.splitlines()[1].split()
    assert line[:3] == ["done", "resnet18", "stages"]
    assert "6/6" in line
    Path("runs/done/trials.jsonl").write_text("")
    shown = bamsearch_cli("runs", "--json")
    assert json.loads(shown.stdout)[0]["state"] == "interrupted"
    assert "bamsearch search --resume done" in shown.stderr
    Path("runs/done/run.json").write_text("{")
    assert "there are no runs below runs/" in refused("runs", code=3)


def spoilt_score(folder):
    path = folder / "trials.jsonl"
    lines = path.read_text().splitlines()
    item = json.loads(lines[2])
    lines[2] = json.dumps(item | {"score": "12"})
    path.write_text("\n".join(lines) + "\n")


def lock_that_is_a_link(folder):
    (folder / "lock").unlink(missing_ok=True)
    (folder / "lock").symlink_to("lock")


def space_that_is_a_number(folder):
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(content | {"space": 5}))


@pytest.mark.parametrize(
    "spoil", [spoilt_score, lock_that_is_a_link, space_that_is_a_number], ids=lambda f: f.__name__
)
def test_one_bad_folder_hides_no_other(done, bamsearch_cli, spoil):
    shutil.copytree("runs/done", "runs/bad")
    spoil(Path("runs/bad"))
    result = bamsearch_cli("runs", "--json")
    assert result.exit_code == 0, result.stderr
    assert [run["run"] for run in json.loads(result.stdout)] == ["done"]
    assert "warning: runs/bad" in result.stderr


def test_a_folder_that_may_not_be_entered_hides_no_other(done, bamsearch_cli, monkeypatch):
    shutil.copytree("runs/done", "runs/secret")
    is_file = Path.is_file

    def refusing(path):
        if path.parent.name == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", refusing)
    result = bamsearch_cli("runs")
    assert result.exit_code == 0, result.stderr
    assert "done" in result.stdout


@pytest.mark.parametrize("change", [{"space": 5}, {"summary": 5}, {"agreements": [5]}])
def test_a_corrupt_audit_stops_no_search(bamsearch_cli, audit, change):
    folder = Path("audits/a")
    folder.mkdir(parents=True)
    (folder / "audit.json").write_text(json.dumps(json.loads(audit.to_json()) | change))
    assert bamsearch_cli(*LINE, "--name", "other").exit_code == 0


def test_spaces_lists_what_ships(bamsearch_cli, golden):
    golden(bamsearch_cli("spaces").stdout, "spaces.txt")
    names = [space["name"] for space in json.loads(bamsearch_cli("spaces", "--json").stdout)]
    assert names == ["stages", "bottlenecks", "paper", "blocks", "mobile"]


def test_ctrl_c_leaves_what_is_finished_and_says_how_to_resume(preloaded):
    Path("slow.py").write_text(
        "import time\n\ndef score(module, design):\n    time.sleep(0.3)\n    return 1.0\n"
    )
    line = ["search", "resnet18", "--input-size", "32", "--score", "slow.py:score", "--name", "a"]
    process = subprocess.Popen(
        [preloaded / "bamsearch", *line, "--sampler", "random"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    trials = Path("runs/a/trials.jsonl")
    while not trials.exists() or trials.read_bytes().count(b"\n") < 3:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, noted = process.communicate(timeout=900)
    assert process.returncode == 130
    assert said.startswith("resnet18 · 3×32×32 · no budget · score slow.py:score · seed 0\n")
    assert "bamsearch search --resume a --trials 100" in noted
    assert noted.splitlines()[-1] == "bamsearch: interrupted"
    assert "Traceback" not in noted


def test_the_plain_lines_and_the_live_view_tell_the_same(bamsearch_cli, monkeypatch):
    from bamsearch.cli.console import Console
    from bamsearch.cli.text.search_live import TerminalSearchView
    from bamsearch.records.run_files import read_record

    assert bamsearch_cli(*LINE, "--name", "seen").exit_code == 0
    record = read_record(Path("runs/seen"))
    now, shown = [0.0], []
    monkeypatch.setattr(Console, "live", lambda console: nullcontext(shown.append))
    view = TerminalSearchView(Console(), clock=lambda: now[0])
    with view.search(record.run, Path("runs/seen")):
        view.watch([(None, trial) for trial in record.trials[:2]])
        for trial in record.trials[2:4]:
            now[0] += 2
            view.watch([(None, trial)])
    assert view.seconds == 4
    assert "4 of 6 trials · 0.50 per second · 10 s remaining" in shown[-1]
    best = max(record.trials[:4], key=lambda trial: trial.score)
    assert ", ".join(i.site for i in best.design.insertions)[:6] in shown[-1]
    assert shown[-1].splitlines()[-1].split()[0] == str(record.trials[0].number)
