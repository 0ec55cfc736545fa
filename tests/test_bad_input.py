"""Bad and poor books through the library and the command line: a clear word, nothing half-written, nothing lost."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import collectlab as cl
from collectlab.book import partial
from collectlab.book.freeze import freeze
from collectlab.book.simulate import write_book
from collectlab.core.errors import BookError, CollectlabError, FrameError, NotAvailable
from collectlab.report.cli import _run
from collectlab.report.month import open_month

ROOT = Path(__file__).parents[1]
HOSTILE = "<script>document.title='run'</script><img src=x onerror=alert(1)>"
MONTHS = pd.date_range("2025-11-30", "2026-10-31", freq="ME")


def book(days_past_due, ids=None, **more):
    """Accounts with one row of days past due each, month by month up to 2026-10."""
    table = np.atleast_2d(days_past_due)
    ids = ids or [f"A{i}" for i in range(len(table))]
    months = MONTHS[-table.shape[1] :]
    accounts = pd.DataFrame({"account_id": ids, "product": "card", "originated_on": "2024-01-15"})
    snapshots = pd.DataFrame(
        {
            "account_id": np.repeat(ids, len(months)),
            "as_of": np.tile(months.strftime("%Y-%m-%d"), len(ids)),
            "days_past_due": table.ravel(),
            "amount_past_due": table.ravel() * 10.0,
            "balance": 1000.0,
        }
    )
    return {"accounts": accounts, "snapshots": snapshots, **more}


def written(frames, folder: Path) -> Path:
    folder.mkdir()
    for name, frame in frames.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    return folder


def call(*arguments, capsys):
    code = _run([str(a) for a in arguments])
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return code, told.out, told.err


# --- rows at fault ------------------------------------------------------------------------------------------


def test_columns_named_like_the_checks_own_words_do_not_hide_the_rule():
    reasons = pd.DataFrame(
        {
            "account_id": ["A0", "nobody"],
            "noted_on": "2026-05-01",
            "reason": "unwilling",
            "n": 7,
            "example": "x",
        }
    )
    opened = cl.open_book(book([[0, 5], [0, 0]], reasons=reasons))
    assert opened.quarantine.values.tolist() == [["reasons", "account_id is not in accounts", 1, "nobody"]]


def test_a_late_date_is_told_with_what_is_allowed_even_where_the_last_day_was_set_aside():
    frames = book([[0, 5], [0, 0]])
    twice = pd.DataFrame({"account_id": "A0", "as_of": "2027-05-31", "days_past_due": [1, 2], "balance": 1.0})
    frames["snapshots"] = pd.concat([frames["snapshots"], twice])
    frames["payments"] = pd.DataFrame({"account_id": ["A0"], "paid_on": "2031-01-01", "amount": 5.0})
    opened = cl.open_book(frames)
    late = [line for line in opened.remarks if "paid_on" in line]
    assert len(late) == 1 and "Allowed: up to 2027-05-31" in late[0]
    assert opened.as_of == MONTHS[-1].date()


def test_check_says_what_how_many_which_and_what_is_allowed(tmp_path, capsys):
    place = written(book([[0, -3], [0, 5]]), tmp_path / "b")
    code, out, _ = call("check", place, capsys=capsys)
    assert code == 1
    assert "1 of 4 rows: days_past_due < 0 (account_id A0 (-3)). Allowed: whole days ≥ 0." in out
    assert "quarantine/" not in out  # check writes nothing
    code, out, _ = call("freeze", place, tmp_path / "f", capsys=capsys)
    assert code == 0 and "quarantine/snapshots.parquet" in out
    kept = pd.read_parquet(tmp_path / "f" / "quarantine" / "snapshots.parquet")
    assert kept["days_past_due"].tolist() == [-3]


def test_a_damaged_file_is_named(tmp_path):
    rows = 20_000
    frames = book(np.zeros((rows, 1), dtype=int))
    place = written(frames, tmp_path / "b")
    data = bytearray((place / "snapshots.parquet").read_bytes())
    data[100:20_000] = b"\xff" * 19_900
    (place / "snapshots.parquet").write_bytes(bytes(data))
    with pytest.raises(BookError, match=r"snapshots\.parquet cannot be read to its end"):
        cl.open_book(place)


# --- populations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("population", "words"),
    [
        ("product = 'none such'", "no account satisfies"),
        ("CAST(product AS INT) = 1", "fails on the accounts"),
        ("1=1; SELECT 1", "where("),
        ("1=1); SELECT (1=1", "allowed: one condition"),
        ("prodct = 'card'", "Columns of accounts: account_id, product"),
        ("originated_on > '2030-01-01'", "no account satisfies"),
    ],
)
def test_a_population_that_picks_nobody_or_nothing_is_told_before_the_run(
    tmp_path, capsys, population, words
):
    place = written(book([[0, 5]]), tmp_path / "b")
    (tmp_path / "report.yml").write_text(
        f"book: {place}\nparams: {ROOT / 'params'}\nnotebooks: {ROOT / 'notebooks'}\n", encoding="utf-8"
    )
    code, _, err = call(
        "report", tmp_path / "report.yml", "--out", tmp_path / "out", "-q",
        "-p", f"population={population}", capsys=capsys,
    )  # fmt: skip
    assert code in (3, 4) and words in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["group", "two words", "quo\"te's", "order", "<b>"])
def test_columns_of_any_name_can_be_filtered_and_grouped_by(name):
    rng = np.random.default_rng(3)
    frames = book(rng.choice([0, 0, 15, 45], (40, 12)))
    for table in ("accounts", "snapshots"):
        frames[table][name] = np.where(np.arange(len(frames[table])) % 2, "x", "y")
    opened = cl.open_book(frames)
    quoted = '"' + name.replace('"', '""') + '"'
    half = opened.where(f"{quoted} = 'x'")
    assert half.reconciliation["accepted"].tolist() == [20, 240]
    episodes = opened.episodes()
    for result in (
        cl.survival.cumulative_incidence(episodes, entry="entry_day", by=name),
        cl.cure.cure_rate(episodes, by=name),
        cl.roll_rates.roll_rates(opened.table("snapshots"), by=name),
        cl.portfolio.delinquency_rate(opened.table("snapshots"), by=name),
    ):
        # An episode takes the account's own column; the snapshots have one of their own.
        assert result.table.columns[0] == name and set(result.table[name].dropna()) == {"x", "y"}


def test_a_column_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(FrameError, match=r"no column 'grupo'.*Columns here: account_id"):
        cl.cure.cure_rate(cl.open_book(book([[0, 5, 0]])).episodes(), by="grupo")


def test_the_first_contact_can_be_grouped_by_a_column_it_uses_itself():
    actions = pd.DataFrame(
        {"account_id": ["A0"], "at": "2026-09-29 10:00:00", "channel": "call", "outcome": "promise"}
    )
    opened = cl.open_book(book([[0, 5, 0], [0, 5, 0]], actions=actions))
    table = cl.actions.time_to_first_contact(opened, by="outcome").table
    assert table.columns[0] == "outcome" and set(table["outcome"]) == {"cured"}


def test_surveys_without_a_score_are_left_out_in_one_line():
    opened = cl.open_book(book([[0, 5]], surveys=pd.DataFrame({"account_id": ["A0"], "at": "2026-10-01"})))
    with pytest.raises(NotAvailable, match="score"):
        cl.actions.satisfaction(opened)


# --- poor books still make a report -------------------------------------------------------------------------

POOR = {
    "one snapshot of one account": book([[45]]),
    "never late": book(np.zeros((5, 12), dtype=int)),
    "all cured": book(np.tile([0, 15], (6, 6))),
    "none cured, ids that are markup": book(
        np.tile(np.arange(12) * 30, (6, 1)), ids=[f"{HOSTILE}{i}" for i in range(6)]
    ),
    "no follow-up": book(np.array([[0], [15], [45], [100]])),
}


@pytest.mark.parametrize("kind", POOR)
def test_each_part_of_a_poor_book_is_made_or_left_out_in_one_line(kind):
    month = open_month(POOR[kind], "2026-10", params=ROOT / "params")
    made = 0
    for chapter in ("overview", "strategy", "results", "problems"):
        module = importlib.import_module(f"collectlab.report.chapters.{chapter}")
        for name, function in list(vars(module).items()):
            if name.startswith("_") or not hasattr(function, "__wrapped__"):
                continue
            if function.__module__ != module.__name__:
                continue
            parameters = list(inspect.signature(function).parameters.values())[1:]
            needed = [
                p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD
            ]
            part = function(month, *(["product"] if needed == ["by"] else []))
            shown = part._repr_html_()
            assert "<script" not in shown and "<img" not in shown, name
            if part.left_out:
                assert "\n" not in part.left_out and part.left_out.startswith("Left out: ")
            made += part.result is not None
    assert made >= 3  # what was supplied, who is overdue, the strategy in force


# --- nothing half-written, nothing lost ---------------------------------------------------------------------


def test_what_a_killed_run_left_is_cleared_and_what_a_running_one_holds_is_not(tmp_path):
    target = tmp_path / "a[b] c"
    code = (
        "import sys, time; from pathlib import Path; from collectlab.book.partial import partial_folder\n"
        "with partial_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').touch(); print(folder, flush=True); time.sleep(60)"
    )

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE, text=True
        )
        return process, Path(process.stdout.readline().strip())

    killed, left = start()
    running, held = start()
    try:
        killed.kill()
        killed.wait()
        assert (left / "half").exists()
        with partial.partial_folder(target) as mine:
            assert sorted(tmp_path.iterdir()) == sorted([held, mine])
        assert list(tmp_path.iterdir()) == [held]
    finally:
        for process in (killed, running):
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_earlier_folder_comes_back_where_the_new_one_cannot_take_its_place(tmp_path, monkeypatch, fault):
    target = tmp_path / "book"
    target.mkdir()
    (target / "earlier").touch()
    rename, calls = Path.rename, []

    def fails_second(self, to):
        calls.append(to)
        if len(calls) == 2:
            raise fault
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fails_second)
    with pytest.raises(type(fault)), partial.partial_folder(target) as place:
        (place / "book").mkdir()
        partial.publish(place / "book", target)
    assert [p.name for p in tmp_path.iterdir()] == ["book"] and (target / "earlier").exists()


@pytest.mark.parametrize("about", ["name: mine\nsynthetic: true\n", "rebuilt_by: [\n", b"\xff\xfe"])
def test_a_simulation_does_not_replace_a_book_of_someone_else(tmp_path, about):
    place = tmp_path / "mine"
    place.mkdir()
    (place / "book.yml").write_bytes(about if isinstance(about, bytes) else about.encode())
    with pytest.raises(BookError, match="not a simulated book"):
        write_book(place, accounts=10, months=1, truth_accounts=0)
    assert [p.name for p in place.iterdir()] == ["book.yml"]


def test_a_frozen_simulation_is_not_replaced_but_a_simulation_is(tmp_path):
    write_book(tmp_path / "s", accounts=20, months=3, truth_accounts=0)
    first = (tmp_path / "s" / "accounts.parquet").read_bytes()
    freeze(tmp_path / "s", tmp_path / "f")
    with pytest.raises(BookError, match="not a simulated book"):
        write_book(tmp_path / "f", accounts=20, months=3, truth_accounts=0)
    write_book(tmp_path / "s", accounts=20, months=3, truth_accounts=0)
    assert (tmp_path / "s" / "accounts.parquet").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f", "s"]


def test_a_full_disk_stops_a_simulation_and_leaves_nothing(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    try:
        mounted = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small disk cannot be mounted here")
    try:
        with pytest.raises(OSError, match="No space left on device"):
            write_book(small / "s", accounts=500, months=6, truth_accounts=0)
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


@pytest.mark.parametrize(
    "frames",
    [
        {},
        {"accounts": pd.DataFrame(), "snapshots": pd.DataFrame()},
        {k: v.iloc[:0] for k, v in book([[0, 5]]).items()},
        {k: v for k, v in book([[0, 5]]).items() if k == "accounts"},
        book([[0, 5]]) | {"accounts": 3},
        book([[0, 5]]) | {"accounts": None},
    ],
)
def test_no_book_at_all_is_a_book_error(frames):
    with pytest.raises(BookError) as caught:
        cl.open_book(frames)
    assert isinstance(caught.value, CollectlabError) and str(caught.value)


# --- the action log against the contact rules ---------------------------------------------------------------


def log(n=4, **columns):
    """Calls at ten in the morning, one account each, with columns put in the place of others."""
    frame = pd.DataFrame(
        {
            "action_id": [f"N{i}" for i in range(n)],
            "account_id": [f"A{i}" for i in range(n)],
            "at": [f"2026-03-{i + 2:02d} 10:00:00" for i in range(n)],
            "channel": "call",
        }
    )
    return frame.assign(**columns)


def audited(frame, rules="us", **options):
    return cl.conduct.audit(frame, rules, folder=ROOT / "params" / "contact_rules", **options)


OWNERS = pd.DataFrame({"account_id": ["A0", "A1", "A2", "A3"], "originated_on": "2026-03-03"})
CHANNELS = "sms, email, app, chat, robot_call, call, letter, visit, legal, agency, other"


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (log(at=["tomorrow", None, "2026-03-04 10:00", "9999-12-31 10:00"]), {},
         "3 at is missing or no local time (account_id A0, A1, A3; allowed: a date and time of the years 1900 to 2199)"),
        (log(), {"as_of": "2026-03-04"}, "1 in the future (account_id A3; allowed: up to as_of)"),
        (log(), {"accounts": OWNERS}, "1 before the account existed (account_id A0; allowed: on or after originated_on)"),
        (log(), {"accounts": OWNERS.iloc[1:]}, "1 account_id is not in accounts (account_id A0; allowed:"),
        (log(channel=["fax", "Call", None, "call"]), {},
         f"3 unknown channel (channel 'Call', 'fax', (missing); allowed: {CHANNELS})"),
        (log(outcome=["hung up", None, "contact", "contact"], party=[None, "dog", None, None]), {},
         "2 unknown outcome or party (outcome 'hung up'; party 'dog'; allowed: no_answer, contact,"),
        (pd.concat([log(), log()]), {}, "4 copy of another row (a reload) (account_id A0, A1, A2, …; allowed: each action once)"),
    ],
)  # fmt: skip
def test_actions_that_cannot_be_judged_are_counted_named_and_not_lost(frame, options, words):
    found = audited(frame, **options)
    told = next(n for n in found.notes if "were set aside" in n)
    assert words in told
    assert found.judged + found.set_aside["rows"].sum() == found.rows_in == len(frame)


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (pd.concat([log(), log(action_id=["M0", "M1", "M2", "M3"])]), {},
         "4 actions are like another in account, time, channel and result, with an action_id of their own"),
        (log(action_id=["N0", "N0", "N0", "N3"]), {},
         "1 action_id stands on actions of different accounts, times or channels (N0)"),
        (log(), {}, "bear no time zone; they were taken as local time at the debtor's place"),
        (log(), {"time_zone": "Asia/Shanghai"}, "they were read as UTC and turned to Asia/Shanghai"),
        (log(agent="Kim", team=["T1", "T2", "T1", "T1"]), {}, "1 agent stands in more than one team (Kim)"),
        (log(at=[f"2026-03-0{i + 2}" for i in range(4)]), {}, "not judged, because at has dates only, no hours"),
        (log(connected=None, outcome=None), {"rules": "cn"}, "it is not known whether they were answered"),
        (log(connected=True), {"rules": "cn"}, "Night rest, 22:00–08:00 (standard) / Night rest, 22:00–08:00 (guideline)"),
        (log(at=[f"2031-03-0{i + 2} 10:00" for i in range(4)]), {"rules": "au"}, "no holidays are listed for 2031"),
        (log(), {"rules": "uk", "holds": pd.DataFrame({"account_id": ["zz"], "from": ["2026-03-01"], "to": [None]})},
         "1 of 1 holds are of accounts that are not known here (account_id zz)"),
    ],
)  # fmt: skip
def test_what_a_reader_of_the_audit_must_know_is_said(frame, options, words):
    assert words in " ".join(audited(frame, **options).notes)


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (log(at=["2026-03-02T10:00:00Z", *["2026-03-02 10:00"] * 3]), {}, "1 rows have a time zone and 3 have none"),
        (log(at=pd.date_range("2026-03-02 10:00", periods=4, tz="UTC")), {}, "Needed: time_zone"),
        (log(at=range(4)), {}, "at is BIGINT. Allowed: dates with times"),
        (log(connected=["yes", "perhaps", "no", None]), {}, "connected: 1 of 4 are neither true nor false ('perhaps')"),
        (log(connected=[0, 1, 7, 1]), {}, "connected: 1 of 4 are neither true nor false ('7')"),
        (log(), {"by": "taem"}, "no column 'taem' in actions or accounts"),
        (log(), {"by": 3}, "by is 3. Allowed: a column, a list of columns, or None."),
        (log(all="x"), {"by": "all"}, "'all' is what everybody together is called"),
        (log().drop(columns="action_id").assign(__account="x"), {}, "'__account' bears a name that the audit uses itself"),
        (log(), {"accounts": OWNERS.assign(originated_on="soon")}, "originated_on of 4 is no date (account_id A0 ('soon')"),
        (log(), {"rules": "uk", "holds": pd.DataFrame({"account_id": ["A1"], "from": ["soon"], "to": [None]})},
         "1 of 1 have no date in from or to"),
        (log(), {"time_zone": "Mars"}, "no time zone or column of accounts 'Mars'"),
        (log(), {"period": ("2026-04-01", "2026-03-01")}, "before it begins"),
        (log(), {"rules": "fr"}, "no contact rules for 'fr'. Shipped in"),
        (log(), {"rules": None}, "Allowed: a jurisdiction such as 'us', or the path of a file"),
        (log().iloc[:0], {}, "there are no actions in this book or period"),
        (log(channel="fax"), {}, "none of 4 actions can be judged: 4 unknown channel (channel 'fax'; allowed: sms"),
    ],
)  # fmt: skip
def test_logs_and_questions_the_audit_refuses(frame, options, words):
    with pytest.raises(CollectlabError) as caught:
        audited(frame, **options)
    assert words in str(caught.value)


HOSTILE_LOGS = {
    "every fault a row can have": (
        dict(
            n=8,
            action_id=["N0", "N1", "N2", "N3", "N4", "N5", "N5", "N7"],
            account_id=["A0", "A1", "A2", "A3", "A0", "A1", "A2", "A3"],
            at=[
                "2026-03-02T10:00:00Z",
                "2031-01-01 10:00:00",
                "2020-01-01 10:00:00",
                *["2026-03-02 10:00:00"] * 5,
            ],
            channel=["call", "call", "call", "fax", *["call"] * 4],
            outcome=[None, None, None, None, "hung up", None, None, None],
        ),
        (
            "1 of 8 rows: at is no date and time (account_id A0 (2026-03-02T10:00:00Z))",
            "1 of 8 rows: at after the book's last snapshot (2026-10-31) (account_id A1",
            "1 of 8 rows: at before the account's originated_on (account_id A2",
            "1 of 8 rows: channel is unknown (account_id A3 (fax))",
            "1 of 8 rows: outcome is unknown (account_id A0 (hung up))",
            "2 of 8 rows: same action_id as another row, with other facts (account_id A1, A2)",
        ),
    ),
    "midnights": (dict(at="2026-03-02 00:00:00"), ()),
    "flags of text": (dict(agreed="asked"), ("agreed is neither true nor false",)),
    "nothing known": (dict(connected=None, outcome=None), ()),
}


@pytest.mark.parametrize("kind", HOSTILE_LOGS)
def test_a_book_with_a_bad_log_is_checked_and_its_parts_are_made_or_left_out(kind, tmp_path, capsys):
    from collectlab.report.chapters import cases, conduct

    columns, told = HOSTILE_LOGS[kind]
    actions = log(**columns)
    place = tmp_path / "b"
    place.mkdir()
    for name, frame in (book([[0, 15, 45]] * 4) | {"actions": actions}).items():
        frame.to_csv(place / f"{name}.csv", index=False)
    code, out, _ = call("check", place, capsys=capsys)
    assert code == bool(told) and all(words in out for words in told)
    month = open_month(place, "2026-10", contact_rules="cn", params=ROOT / "params")
    for part in (conduct.violations, conduct.who, cases.problems):
        made = part(month)
        assert made.result is not None or (
            "\n" not in made.left_out and made.left_out.startswith("Left out: ")
        )
    rows = cl.open_book(place).reconciliation.set_index("table").loc["actions"]
    assert rows["rows_in"] == rows["accepted"] + rows["quarantined"] == len(actions)
