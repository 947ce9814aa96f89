"""`treadle db`: what becomes of runs that are over, and taking a run along."""

from __future__ import annotations

from commandline import Commands


def test_a_failed_run_is_exported_imported_and_retried_elsewhere(treadle: Commands) -> None:
    assert treadle("run", "graphs:failing").code == 1
    run_id = treadle.latest()["run_id"]
    assert treadle("db", "export", "--out", "run.jsonl").code == 0
    exported = treadle("db", "export", run_id)
    assert exported.out == (treadle.folder / "run.jsonl").read_text()
    assert len(exported.lines) == 1 + len(treadle.events())
    again = treadle("db", "import", "run.jsonl")
    assert (again.code, "exists already; nothing was imported" in again.err) == (1, True)
    elsewhere = ("--store", "sqlite:///elsewhere.db")
    assert treadle("db", "import", "run.jsonl", *elsewhere).out == f"{run_id}\n"
    (treadle.folder / "fixed").touch()
    assert treadle("retry", *elsewhere).json["seen"][-1] == "fixed"


def test_pruned_runs_are_gone_and_vacuum_gives_their_space_back(treadle: Commands) -> None:
    ids = []
    for letter in "xyz":
        treadle("run", "graphs:plain", "--state", '{"n": 1, "seen": ["%s"]}' % (letter * 100_000))
        ids.append(treadle.latest()["run_id"])
    assert treadle("db", "prune", "--json").lines == []
    pruned = treadle("db", "prune", "--older-than", "0s", "--keep", "1")
    assert sorted(pruned.out.split()) == sorted(ids[:2])
    assert [row["run_id"] for row in treadle("runs", "--json").lines] == ids[2:]
    sizes = treadle("db", "vacuum", "--json").json
    assert sizes["after"] < sizes["before"] - 100_000


def test_what_db_cannot_do_is_said(treadle: Commands) -> None:
    for arguments, code, said in (
        (("prune", "--older-than", "soon"), 2, "'soon' is no time; nothing was removed."),
        (("import", "nowhere.jsonl"), 3, "There is no nowhere.jsonl"),
        (("import", "graphs.py"), 2, "This is not an exported run"),
        (("export",), 3, "There is no run here yet."),
    ):
        done = treadle("db", *arguments)
        assert (done.code, said in done.err) == (code, True), done.err


def test_migrate_makes_the_store(treadle: Commands) -> None:
    assert "up to date" in treadle("db", "migrate").out
    assert (treadle.folder / ".treadle" / "treadle.db").exists()
    assert treadle("db", "migrate", "--json").json["up_to_date"] is True
