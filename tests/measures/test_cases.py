"""Case files: picked by the stated rule, drawn without anything that tells who it is."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.cases import files, pick, timeline
from collectlab.measures.cases.timeline import two_figures

DAY0 = dt.date(2026, 1, 1)


def on(day: int) -> dt.date:
    return DAY0 + dt.timedelta(days=day)


def snapshots(account: str, *seen: tuple) -> pd.DataFrame:
    """``(day, days past due)`` or ``(day, days past due, status)``."""
    return pd.DataFrame(
        [
            {
                "account_id": account,
                "as_of": on(s[0]),
                "days_past_due": s[1],
                "balance": 12_345.67,
                "status": s[2] if len(s) > 2 else "open",
            }
            for s in seen
        ]
    )


def cured(account: str, deepest: int, until: int = 365) -> pd.DataFrame:
    """In arrears from day 0, ``deepest`` days past due when last seen late, current from then on."""
    later = [(d, 0) for d in range(deepest + 1, until + 1, 30)] + [(until, 0)]
    return snapshots(
        account, (-30, 0), (deepest // 2, deepest // 2), (deepest, deepest), *dict(later).items()
    )


def book_of(*shots: pd.DataFrame, customers: dict[str, str] | None = None, **tables: list[dict]):
    frame = pd.concat(shots, ignore_index=True)
    names = sorted(set(frame["account_id"]))
    accounts = pd.DataFrame({"account_id": names, "originated_on": dt.date(2025, 1, 1)})
    accounts["customer_id"] = [(customers or {}).get(a, f"C{a}") for a in names]
    return open_book(
        {"accounts": accounts, "snapshots": frame}
        | {name: pd.DataFrame(rows) for name, rows in tables.items()}
    )


def plan(account: str, day: int, status: str = "kept") -> dict:
    return {
        "account_id": account,
        "kind": "payment_plan",
        "started_on": on(day),
        "ended_on": on(day + 20),
        "status": status,
        "reason": "mother ill, see mail of Mrs Li",
    }


def call(account: str, day: int, outcome: str = "no_answer", number: int = 0, **more) -> dict:
    at = dt.datetime.combine(on(day), dt.time(10, number % 60))
    blank = {"promised_amount": None, "promised_on": None}
    return (
        {
            "action_id": f"N-{account}-{day}-{number}",
            "account_id": account,
            "at": at,
            "channel": "call",
            "team": "Team X",
            "agent": "AGENT-7",
            "party": "debtor",
            "connected": outcome != "no_answer",
            "outcome": outcome,
            "note": "shouted at me",
        }
        | blank
        | more
    )


def payment(account: str, day: int, amount: float) -> dict:
    return {"account_id": account, "paid_on": on(day), "amount": amount}


def names(found) -> list[str]:
    return [case.who()["account_id"] for case in found.cases]


def test_success_is_cured_for_good_with_a_plan_or_a_kept_promise_from_the_deepest():
    promise = {"promised_amount": 100.0, "promised_on": on(40)}
    book = book_of(
        cured("plan_kept_40", 40),
        cured("plan_broken_100", 100),
        cured("promise_kept_70", 70),
        cured("promise_broken_80", 80),
        cured("nothing_90", 90),
        snapshots("again_95", (-30, 0), (50, 50), (95, 95), (96, 0), (150, 20), (180, 0), (365, 0)),
        cured("too_new_99", 99, until=150),
        arrangements=[plan("plan_kept_40", 20), plan("plan_broken_100", 20, "broken"), plan("again_95", 20), plan("too_new_99", 20)],
        actions=[call("promise_kept_70", 30, "promise", **promise), call("promise_broken_80", 30, "promise", **promise)],
        payments=[payment("promise_kept_70", 43, 90.0), payment("promise_broken_80", 44, 100.0)],
    )  # fmt: skip
    found = pick(book, "success")
    assert names(found) == ["promise_kept_70", "plan_kept_40"]
    assert found.table["score"].tolist() == [70, 40]
    assert found.table["rank"].tolist() == [1, 2]
    assert found.cases[0].why == (
        "picked because: cured from 70 days past due, 90 days without arrears since, with 1 promise kept; "
        "score 70, rank 1 of 2 candidates"
    )
    # 54 days after the cure are enough for a shorter rule, and then a spell 54 days later is far enough away too.
    assert names(pick(book, "success", sustained=30)) == ["too_new_99", "again_95", "promise_kept_70"]


def test_problem_score_is_unpaid_actions_plus_complaints_upheld_plus_violations():
    late = [(d, d) for d in range(30, 361, 30)]
    book = book_of(
        snapshots("open", (-30, 0), *late),
        snapshots("charged_off", (-30, 0), (30, 30), (60, 60), (90, 90, "charged_off"), (360, 90, "charged_off")),
        snapshots("paid_late", (-30, 0), *late),
        snapshots("not_long", (-30, 0), *[(d, 0) for d in range(30, 300, 30)], (330, 30), (360, 60)),
        actions=[
            *(call("open", 10 + i, number=i) for i in range(10)),
            *(call("charged_off", 10 + i, number=i) for i in range(4)),
            call("charged_off", 200, number=50),  # after the end of the episode
            *(call("paid_late", 10 + i, number=i) for i in range(30)),
            *(call("not_long", 331 + i, number=i) for i in range(20)),
        ],
        payments=[payment("paid_late", 36, 5.0), payment("open", 12, 5.0)],
        complaints=[
            {"account_id": "charged_off", "at": on(20), "upheld": True, "kind": "he said so"},
            {"account_id": "open", "at": on(20), "upheld": False, "kind": "he said so"},
        ],
    )  # fmt: skip
    violations = pd.DataFrame(
        {
            "action_id": ["V1", "V1", "V2", "V3"],
            "account_id": ["paid_late", "paid_late", "paid_late", "not_long"],
            "at": [dt.datetime(2026, 2, 1, 23)] * 2
            + [dt.datetime(2026, 2, 2, 23), dt.datetime(2026, 12, 1, 23)],
        }
    )
    found = pick(book, "problem", violations=violations)
    # charged_off: 4 unpaid + 20; paid_late: 3 after day 36 + 2 × 5; open: 7 after day 12.
    assert names(found) == ["charged_off", "paid_late", "open"]
    assert found.table["score"].tolist() == [24, 13, 7]
    assert found.table["actions_since_payment"].tolist() == [4, 3, 7]
    assert "not_long" not in names(pick(book, "problem", number=10))
    assert names(pick(book, "problem")) == ["charged_off", "open", "paid_late"]


def test_period_is_when_the_episode_ended():
    book = book_of(cured("a", 40), cured("b", 100))
    assert names(pick(book, "success")) == ["b", "a"]
    assert names(pick(book, "success", period=(on(0), on(60)))) == ["a"]


def test_one_case_per_customer_and_its_rank_stays():
    book = book_of(
        *(cured(a, d) for a, d in {"a": 90, "b": 80, "c": 70}.items()), customers={"a": "X", "b": "X"}
    )
    found = pick(book, "success")
    assert names(found) == ["a", "c"]
    assert found.table["rank"].tolist() == [1, 3]


def test_ties_do_not_hang_on_the_order_of_the_rows():
    shots = pd.concat([cured(f"a{i:02d}", 60) for i in range(20)])
    first = pick(book_of(shots), "success")
    again = pick(book_of(shots.sample(frac=1, random_state=3)), "success")
    assert names(first) == names(again)
    assert names(first) != ["a00", "a01", "a02"]  # drawn, not the first in the file
    pd.testing.assert_frame_equal(first.table, again.table)
    assert "tied with 19 and drawn by a hash" in first.cases[0].why


def test_a_book_of_accounts_and_snapshots_is_ranked_by_days_past_due():
    late = [(d, d) for d in range(30, 361, 30)]
    book = book_of(cured("a", 40), cured("b", 100), snapshots("c", (-30, 0), *late))
    assert names(pick(book, "success")) == ["b", "a"]
    found = pick(book, "problem")
    assert names(found) == ["c"]
    shown = files(book, found)
    assert "Actions" not in shown.files[0].display_table()
    assert shown.plot().figure is not None


def test_nothing_to_pick_is_said_in_one_line():
    book = book_of(snapshots("a", (-30, 0), (30, 0), (60, 0)))
    with pytest.raises(NotAvailable, match="no episode of this book or period was cured for good"):
        pick(book, "success")
    with pytest.raises(NotAvailable, match="charged off or long overdue"):
        pick(book, "problem")


@pytest.fixture(scope="module")
def told():
    book = book_of(
        cured("L-4711", 70),
        customers={"L-4711": "LI WEI"},
        actions=[
            call("L-4711", 12, "contact", party="third_party"),
            call("L-4711", 30, "promise", promised_amount=1_234.0, promised_on=on(40)),
            call("L-4711", 31, channel="letter", connected=None, outcome=None),
        ],
        payments=[payment("L-4711", 35, 1_234.0)],
        arrangements=[plan("L-4711", 20)],
        complaints=[{"account_id": "L-4711", "at": on(25), "upheld": True, "kind": "agent 7 was rude"}],
        legal_cases=[{"account_id": "L-4711", "filed_on": on(50), "stage": "court of Xi'an", "decided_on": on(60)}],
        reasons=[{"account_id": "L-4711", "noted_on": on(5), "reason": "mother ill"}],
    )  # fmt: skip
    return book, pick(book, "success")


def test_timeline_tells_everything_in_days_since_day_0(told):
    book, found = told
    table = timeline(book, found.cases[0]).table
    acts = table[table["event"] != "snapshot"][["day", "event", "detail", "result", "money"]]
    assert acts.fillna({"money": -1.0}).to_numpy().tolist() == [
        [12, "action", "call (third party)", "contact", -1.0],
        [20, "plan", "payment_plan", "agreed", -1.0],
        [25, "complaint", "", "upheld", -1.0],
        [30, "action", "call", "promise", 1200.0],
        [31, "action", "letter", "", -1.0],
        [35, "payment", "", "", 1200.0],
        [40, "plan", "payment_plan", "kept", -1.0],
        [50, "legal", "", "case filed", -1.0],
        [60, "legal", "", "case decided", -1.0],
        [71, "end", "cured", "", -1.0],
    ]
    seen = table[table["event"] == "snapshot"]
    assert seen[["day", "days_past_due"]].to_numpy().tolist()[:3] == [[35, 35], [70, 70], [71, 0]]
    assert set(seen["money"]) == {12_000.0}


def test_short_table_says_what_was_done_by_thirty_days(told):
    book, found = told
    shown = timeline(book, found.cases[0]).display_table()
    assert shown.iloc[0].to_dict() == {
        "Days": "0–29",
        "Days past due": "",
        "Balance": "",
        "Actions": "call (third party)",
        "Paid": "",
        "What came of it": "payment plan agreed; complaint upheld",
    }
    assert shown.loc[1, "Actions"] == "call, letter"
    assert shown.loc[1, "Paid"] == "1,200"
    assert shown.loc[1, "What came of it"] == "promise; payment plan kept; case filed"
    assert shown.loc[2, "What came of it"] == "case decided; cured"


def test_nothing_shown_or_written_tells_who_it_is(told):
    book, found = told
    one = timeline(book, found.cases[0])
    both = files(book, found)
    axes = both.plot()
    drawn = [
        text.get_text()
        for panel in axes.figure.axes
        for text in panel.findobj(lambda a: hasattr(a, "get_text"))
    ]
    written = "\n".join(
        [
            *(r._repr_html_() + r._repr_markdown_() + repr(r) + r.table.to_csv() for r in (one, both, found)),
            repr(found.cases),
            str(found.cases[0]),
            *drawn,
        ]
    )
    for secret in (
        "L-4711",
        "LI WEI",
        "AGENT",
        "Team X",
        "shouted",
        "mother",
        "rude",
        "Xi'an",
        "2026",
        "1234",
        "1,234",
        "N-L",
    ):
        assert secret not in written, secret
    assert found.cases[0].who() == {"account_id": "L-4711", "episode": 1}


def test_the_picture_has_two_panels_a_case_and_every_mark(told):
    book, found = told
    axes = files(book, found).plot()
    above, below = axes.figure.axes
    assert [t.get_text() for t in below.get_yticklabels()] == ["call", "letter"]
    legend = {t.get_text() for t in axes.figure.legends[0].get_texts()}
    assert {"promise", "contact", "payment", "plan", "complaint", "end"} <= legend
    assert "payment plan, kept" in {t.get_text() for t in above.texts}
    assert axes._repr_png_()[:4] == b"\x89PNG"


def test_two_figures():
    amounts = pd.Series([0.0, 4.44, 47.11, 1_250.0, 987_654.0, -1_234.0, np.nan])
    assert two_figures(amounts).fillna(-1).tolist() == [0.0, 4.4, 47.0, 1_200.0, 990_000.0, -1_200.0, -1.0]


@pytest.mark.parametrize(
    ("call_it", "says"),
    [
        (lambda b: pick(b, "sucess"), "Allowed: success, problem"),
        (lambda b: pick(b, "success", number=0), "number ≥ 1"),
        (lambda b: pick(b, "success", sustained=-1), "sustained ≥ 0"),
        (lambda b: pick(b, "success", period=(on(9), on(0))), "ends"),
        (lambda b: timeline(b, "Case 1"), r"one of pick\(…\)\.cases"),
    ],
)
def test_bad_input(told, call_it, says):
    with pytest.raises(FrameError, match=says):
        call_it(told[0])


def test_a_case_of_another_book_is_refused(told):
    with pytest.raises(FrameError, match="picked from another book"):
        timeline(book_of(cured("z", 40)), told[1].cases[0])


def test_problem_scores_equal_a_plain_loop():
    bank = simulate(accounts=300, months=15, truth_accounts=0, seed=5)
    book = open_book(bank.book_tables)
    found = pick(book, "problem", number=10_000)
    tables = {n: book.table(n).collect("pandas").to_native() for n in ("actions", "payments", "complaints")}
    spells = book.episodes().collect("pandas").to_native()
    as_of = pd.Timestamp(book.as_of)
    expected = []
    for e in spells.itertuples():
        start = pd.Timestamp(e.started_on)
        end = start + pd.Timedelta(days=int(e.exit_day))
        still = e.outcome == "censored" and e.exit_day >= 90 and (as_of - end).days < 31
        if e.outcome != "charged_off" and not still:
            continue

        def during(name, on, account=e.account_id, start=start, end=end):
            rows = tables[name][tables[name]["account_id"] == account]
            day = pd.to_datetime(rows[on]).dt.normalize()
            return rows.assign(day=day)[(day >= start) & (day <= end)]

        paid = during("payments", "paid_on")["day"].max()
        acts = during("actions", "at")
        unpaid = int((acts["day"] > paid).sum()) if pd.notna(paid) else len(acts)
        upheld = int(during("complaints", "at")["upheld"].fillna(False).astype(bool).sum())
        score = unpaid + 20 * upheld
        if score > 0:
            expected.append((e.customer_id, score, int(e.entry_day)))
    assert len(expected) > 5
    # number is more than there are customers, so no row is left out for being seen late; one per customer.
    best = pd.DataFrame(expected, columns=["customer", "score", "entry"]).groupby("customer")["score"].max()
    assert sorted(found.table["score"], reverse=True) == sorted(best, reverse=True)
