"""Debtors' reactions: small books in, the answer out; and formulas against plain computation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures import actions
from collectlab.measures.debtors import (
    cure_by_reason,
    kept_by_agent,
    promise_funnel,
    promises_kept,
    reaction_change,
    remedy_match,
    right_remedies,
    satisfaction_bounds,
)
from collectlab.measures.debtors.agents import beta_binomial

MONTHS = ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31", "2026-06-30"]
LATE = [0, 20, 50, 80, 110, 140]


def book_of(dpd: dict[str, list[int]], **tables):
    snapshots = pd.DataFrame(
        [(a, m, d) for a in dpd for m, d in zip(MONTHS, dpd[a])],
        columns=["account_id", "as_of", "days_past_due"],
    )
    snapshots["amount_past_due"] = np.where(snapshots["days_past_due"] > 0, 1000.0, 0.0)
    frames = {k: pd.DataFrame(v) for k, v in tables.items()}
    return open_book({"accounts": pd.DataFrame({"account_id": list(dpd)}), "snapshots": snapshots, **frames})


@pytest.fixture(scope="module")
def bank():
    return open_book(simulate(accounts=1500, months=12, truth_accounts=0).book_tables)


def promise(account: str, at: str, amount: float, on: str, agent: str = "A") -> dict:
    return {
        "account_id": account, "at": f"{at} 10:00", "channel": "call", "outcome": "promise", "agent": agent,
        "promised_amount": amount, "promised_on": on,
    }  # fmt: skip


class TestPromises:
    def test_the_funnel_counts_as_the_promises_do(self, bank):
        plain = actions.promises(bank).wide().iloc[0]
        steps = promise_funnel(bank).wide().set_index("step")
        assert steps["n"].tolist()[:3] == plain[["attempts", "contacts", "promises"]].tolist()
        assert steps.loc["promise kept", "of_before"] == pytest.approx(plain["kept"], abs=1e-12)
        assert steps.loc["money paid of it", "of_before"] == pytest.approx(plain["kept_amount"], abs=1e-12)
        per_attempt = plain["promises"] / plain["attempts"] * plain["kept"]
        assert steps.loc["promise kept", "of_first"] == pytest.approx(per_attempt, abs=1e-12)

    @pytest.mark.parametrize("by", ["size", "wait", "month"])
    def test_each_split_adds_up_to_all_due_promises(self, bank, by):
        due = actions.promises(bank).wide()["due"].item()
        split = promises_kept(bank, by=by).wide()
        assert split["due"].sum() == due and len(split) > 1

    def test_bands_at_their_edges(self):
        days = ["2026-03-13", "2026-03-14", "2026-03-24", "2026-03-25"]  # 3, 4, 14, 15 days
        rows = [promise("a", "2026-03-10", 100.0 + i, day) for i, day in enumerate(days)]
        book = book_of(
            {"a": LATE},
            actions=rows,
            payments=[{"account_id": "a", "paid_on": "2026-03-12", "amount": 100.0}],
        )
        waits = promises_kept(book, by="wait").wide()
        assert waits["wait"].tolist() == ["0–3 days", "4–7 days", "8–14 days", "15 days and more"]
        assert waits["due"].tolist() == [1, 1, 1, 1]
        sizes = promises_kept(book, by="size", sizes=[101, 103]).wide()
        assert sizes["due"].tolist() == [1, 2, 1]

    def test_the_part_of_what_was_past_due(self):
        """1,000 was past due at the end of February; the June promise of b had no snapshot of an overdue amount."""
        amounts = [499.0, 500.0, 900.0, 1100.0]
        rows = [promise("a", "2026-03-10", x, "2026-03-12") for x in amounts]
        rows.append(promise("b", "2026-03-10", 10.0, "2026-03-12"))
        paid = [{"account_id": "a", "paid_on": "2026-03-12", "amount": 500.0}]
        result = promises_kept(book_of({"a": LATE, "b": [0] * 6}, actions=rows, payments=paid), by="part")
        wide = result.wide()
        assert wide["part"].tolist() == ["under half", "half to 90 %", "about all of it", "more than it"]
        assert wide["kept"].tolist() == [1, 1, 0, 0]
        assert "1 promises without an overdue snapshot" in " ".join(result.notes)

    def test_bad_sizes_and_missing_promises(self, bank):
        for sizes in ([], [5, 5], [-1]):
            with pytest.raises(FrameError, match="sizes is"):
                promises_kept(bank, sizes=sizes)
        calls = [{"account_id": "a", "at": "2026-03-10 10:00", "channel": "call", "outcome": "contact",
                  "promised_amount": None, "promised_on": None}]  # fmt: skip
        book = book_of(
            {"a": LATE}, actions=calls, payments=[{"account_id": "a", "paid_on": "2026-03-12", "amount": 1.0}]
        )
        with pytest.raises(NotAvailable, match="no promises"):
            promises_kept(book)
        with pytest.raises(NotAvailable, match="no promises"):
            promise_funnel(book)
        with pytest.raises(NotAvailable, match="payments"):
            promise_funnel(book_of({"a": LATE}, actions=calls))


class TestAgents:
    def test_nobody_is_named_on_a_few_promises(self, bank):
        result = kept_by_agent(bank, least=10)
        named = result.table[result.table["named"]]
        assert (named["due"] >= 10).all()
        assert result.table["due"].sum() <= actions.promises(bank).wide()["due"].item()
        assert "others with fewer than 10" in result.table["agent"].iloc[-1]
        with pytest.raises(FrameError, match="least is 1"):
            kept_by_agent(bank, least=1)
        with pytest.raises(NotAvailable, match="none is named"):
            kept_by_agent(bank, least=100_000)

    def test_alike_agents_are_pulled_together_and_unlike_ones_are_not(self):
        rng = np.random.default_rng(5)
        n = np.full(12, 60)
        alike, unlike = rng.binomial(n, 0.4), rng.binomial(n, np.repeat([0.2, 0.7], 6))
        for k, low, high in ((alike, 0.0, 0.08), (unlike, 0.15, 0.4)):
            mean, strengths, weights, _ = beta_binomial(n, k)
            spread = float(weights @ np.sqrt(mean * (1 - mean) / (strengths + 1)))
            assert low <= spread <= high
        assert beta_binomial(n, alike)[3] > 0.01 > 1e-6 > beta_binomial(n, unlike)[3]

    def test_intervals_hold_the_true_rates_and_the_test_its_size(self):
        """120 sets of 15 agents: coverage near 95 % over agents drawn alike or not; 5 % called different where alike."""
        from collectlab.measures.debtors.agents import _posterior

        rng, held, called = np.random.default_rng(11), {0.0: [], 0.08: []}, []
        for _ in range(120):
            for spread in held:
                n = rng.integers(15, 90, 15).astype(float)
                rate = np.clip(rng.normal(0.42, spread, 15), 0.02, 0.98)
                k = rng.binomial(n.astype(int), rate).astype(float)
                mean, strengths, weights, p = beta_binomial(n, k)
                _, _, low, high = _posterior(n, k, mean, strengths, weights, 0.95)
                held[spread] += list((low <= rate) & (rate <= high))
                called += [p < 0.05] if spread == 0 else []
        assert np.mean(held[0.0]) > 0.93
        assert 0.91 < np.mean(held[0.08]) < 0.98
        assert np.mean(called) < 0.12


class TestChange:
    def test_rates_ratio_and_trend_by_hand(self):
        """10 contacts a month of 10 accounts; refusals 1, 2, 3, 4: 150 and 350 per 1,000, 100 more each month."""
        rows = [
            {
                "account_id": f"{a}",
                "at": f"2026-0{m}-10 10:00",
                "channel": "call",
                "outcome": "refusal" if a < m else "contact",
            }
            for m in (1, 2, 3, 4)
            for a in range(10)
        ]
        rows.append({"account_id": "0", "at": "2026-01-11 10:00", "channel": "call", "outcome": "no_answer"})
        row = reaction_change(book_of({str(a): LATE for a in range(10)}, actions=rows)).table.iloc[0]
        assert (row["outcome"], row["contacts"], row["n"]) == ("refusal", 40, 10)
        assert (row["first_half"], row["second_half"]) == pytest.approx((150, 350))
        assert row["estimate"] == pytest.approx(350 / 150) and row["trend"] == pytest.approx(100)

    def test_a_doubling_is_clear_and_no_change_is_not(self):
        rng = np.random.default_rng(3)
        rows = [
            {"account_id": f"{a}", "at": f"2026-0{m}-{10 + j} 10:00", "channel": "call",
             "outcome": rng.choice(["refusal", "dispute", "contact"], p=[r := 0.1 + 0.15 * (m > 3), 0.1, 0.9 - r])}
            for m in range(1, 7)
            for a in range(120)
            for j in range(2)
        ]  # fmt: skip
        table = reaction_change(book_of({str(a): LATE for a in range(120)}, actions=rows)).table.set_index(
            "outcome"
        )
        assert table["clear"].to_dict() == {"refusal": True, "dispute": False}

    def test_too_few_months_and_unknown_outcomes(self, bank):
        row = {"account_id": "a", "at": "2026-03-10 10:00", "channel": "call", "outcome": "refusal"}
        with pytest.raises(NotAvailable, match="in 1 months"):
            reaction_change(book_of({"a": LATE}, actions=[row]))
        with pytest.raises(FrameError, match="'shouting'"):
            reaction_change(bank, outcomes=["shouting"])


def survey_book(scores: dict[str, float | None], contacted: str, said: dict[str, str] | None = None):
    calls = [
        {
            "account_id": a,
            "at": "2026-03-10 10:00",
            "channel": "call",
            "outcome": (said or {}).get(a, "contact"),
        }
        for a in contacted
    ]
    surveys = [{"account_id": a, "at": "2026-03-15", "score": s} for a, s in scores.items()]
    return book_of({a: LATE for a in contacted}, actions=calls, surveys=surveys)


class TestNonresponse:
    def test_bounds_by_hand(self):
        """Two of four answered, 60 and 80: 35 if the others gave 0, 85 if 100; ± 5 if they differ by 10."""
        row = satisfaction_bounds(survey_book({"a": 60.0, "b": 80.0}, "abcd")).wide().iloc[0]
        assert (row["asked"], row["answered"], row["response"]) == (4, 2, 0.5)
        assert row[["mean_of_answers", "worst_case", "best_case"]].tolist() == [70, 35, 85]
        assert row[["plausible_low", "plausible_high"]].tolist() == [65, 75]

    def test_an_invitation_without_an_answer_tells_who_was_asked(self):
        result = satisfaction_bounds(survey_book({"a": 60.0, "b": None}, "abcd"))
        assert result.wide()[["asked", "answered"]].values.tolist() == [[2, 1]]
        assert "accounts asked," in result.estimand

    def test_answers_are_weighted_to_those_contacted(self):
        """Ten of 20 who spoke answered 80, ten of 80 who objected 40: 48 for all, not the plain 60."""
        spoke, objected = [f"s{i}" for i in range(20)], [f"o{i}" for i in range(80)]
        calls = [
            {"account_id": a, "at": "2026-03-10 10:00", "channel": "call", "outcome": o}
            for names, o in ((spoke, "contact"), (objected, "refusal"))
            for a in names
        ]
        scores = [
            {"account_id": a, "at": "2026-03-15", "score": s}
            for names, s in ((spoke, 80.0), (objected, 40.0))
            for a in names[:10]
        ]
        row = (
            satisfaction_bounds(book_of({a: LATE for a in spoke + objected}, actions=calls, surveys=scores))
            .wide()
            .iloc[0]
        )
        assert row["mean_of_answers"] == pytest.approx(60)
        assert row["reweighted"] == pytest.approx(0.2 * 80 + 0.8 * 40)

    def test_bounds_hold_the_truth_whatever_those_silent_think(self):
        rng = np.random.default_rng(2)
        true = np.clip(rng.normal(70, 20, 60), 0, 100).round()
        answered = rng.random(60) < 0.2 + 0.6 * (true > 75)  # the pleased answer more often
        names = [f"n{i}" for i in range(60)]
        calls = [
            {"account_id": a, "at": "2026-03-10 10:00", "channel": "call", "outcome": "contact"}
            for a in names
        ]
        scores = [
            {"account_id": a, "at": "2026-03-15", "score": t} for a, t, y in zip(names, true, answered) if y
        ]
        row = (
            satisfaction_bounds(book_of({a: LATE for a in names}, actions=calls, surveys=scores))
            .wide()
            .iloc[0]
        )
        assert row["mean_of_answers"] > true.mean() + 3
        assert row["worst_case"] <= true.mean() <= row["best_case"]

    def test_what_it_needs(self):
        with pytest.raises(NotAvailable, match="who did not answer is not known"):
            satisfaction_bounds(
                book_of({"a": LATE}, surveys=[{"account_id": "a", "at": "2026-03-15", "score": 50.0}])
            )
        with pytest.raises(FrameError, match="plausible is 101"):
            satisfaction_bounds(survey_book({"a": 60.0}, "ab"), plausible=101)


def reason(account: str, why: str, on: str = "2026-02-10") -> dict:
    return {"account_id": account, "noted_on": on, "reason": why}


class TestReasons:
    def test_cure_that_lasts_is_told_from_cure(self):
        book = book_of(
            {"stays": [0, 20, 0, 0, 0, 0], "again": [0, 20, 0, 0, 20, 50], "never": LATE, "forgot": [0, 20, 0, 0, 0, 0]},
            reasons=[reason("stays", "illness"), reason("again", "income_loss"), reason("never", "unwilling"),
                     reason("forgot", "forgot")],
        )  # fmt: skip
        wide = cure_by_reason(book, horizon=60, stay=60).wide().set_index("group")
        assert wide["episodes"].to_dict() == {"ability": 2, "forgot": 1, "willingness": 1}
        assert wide["cured_within_60_days"].to_dict() == {"ability": 1, "forgot": 1, "willingness": 0}
        assert wide["sustained"].to_dict() == {"ability": 0.5, "forgot": 1, "willingness": 0}

    def test_notes_too_young_are_in_cure_but_not_in_sustained_cure(self):
        book = book_of({"a": LATE}, reasons=[reason("a", "illness", "2026-06-01")])
        row = cure_by_reason(book).wide().iloc[0]
        assert row["followed"] == 0 and np.isnan(row["sustained"])

    def test_a_reason_of_the_banks_own_stands_under_its_name(self):
        book = book_of({"a": LATE}, reasons=[reason("a", "flood")])
        assert cure_by_reason(book).wide()["group"].tolist() == ["flood"]

    def test_cure_agrees_with_the_reasons_measure(self, bank):
        mine = cure_by_reason(bank, by="reason").wide().set_index("reason")
        theirs = actions.reasons(bank).wide().set_index("reason")
        assert mine["cured_within_90_days"].to_dict() == pytest.approx(
            theirs["cured_within_90_days"].to_dict()
        )


class TestRemedies:
    def test_right_wrong_missing_and_not_judged(self):
        names = ["relieved", "visited", "nothing", "cured", "late"]
        book = book_of(
            {**dict.fromkeys(names, LATE), "cured": [0, 20, 0, 0, 0, 0]},
            reasons=[reason(a, "illness", "2026-03-02" if a != "late" else "2026-06-20") for a in names],
            actions=[{"account_id": a, "at": f"{d} 10:00", "channel": "visit"}
                     for a, d in (("visited", "2026-04-01"), ("nothing", "2026-03-02"), ("nothing", "2026-04-02"))],
            arrangements=[{"account_id": "relieved", "kind": "deferral", "started_on": "2026-03-02"}],
        )  # fmt: skip
        row = remedy_match(book).wide().iloc[0]  # visits on the day of the note, and on day 31, do not count
        assert (row["judged"], row["ended_first"]) == (3, 1)
        assert row[["matched", "wrong", "missing"]].tolist() == pytest.approx([1 / 3] * 3)

    def test_where_nothing_has_to_be_done_nothing_wrong_is_a_match(self):
        book = book_of(
            {"a": LATE, "b": LATE},
            reasons=[reason("a", "dispute", "2026-03-02"), reason("b", "dispute", "2026-03-02")],
            actions=[{"account_id": "b", "at": "2026-03-05 10:00", "channel": "legal"}],
        )
        assert remedy_match(book).wide()[["matched", "wrong", "missing"]].values.tolist() == [[0.5, 0.5, 0]]

    def test_the_banks_own_table(self):
        book = book_of(
            {"a": LATE}, reasons=[reason("a", "flood", "2026-03-02")],
            actions=[{"account_id": "a", "at": "2026-03-05 10:00", "channel": "letter"}],
        )  # fmt: skip
        with pytest.raises(NotAvailable, match="could be followed"):
            remedy_match(book)
        own = pd.DataFrame({"reason": ["flood"], "do": ["letter, call"], "do_not": [None]})
        assert remedy_match(book, remedies=own).wide()["matched"].tolist() == [1]

    def test_every_fault_of_the_table_at_once(self, bank):
        own = pd.DataFrame(
            {"reason": ["a", "a", "b"], "do": ["call", "call", None], "do_not": ["call", "visit", None]}
        )
        with pytest.raises(FrameError) as refused:
            remedy_match(bank, remedies=own)
        text = " ".join(refused.value.faults)
        assert (
            "more than one row (a)" in text
            and "asked for and forbidden" in text
            and "neither do nor do_not" in text
        )
        with pytest.raises(FrameError, match="no column do, do_not"):
            remedy_match(bank, remedies=pd.DataFrame({"reason": ["a"]}))

    def test_every_reason_shipped_has_its_reasoning(self):
        table = right_remedies()
        assert table["why"].str.len().min() > 20 and table["reason"].is_unique


def test_a_book_of_accounts_and_snapshots_only_says_so_in_a_line():
    bare = book_of({"a": LATE})
    for measure in (
        promise_funnel,
        promises_kept,
        kept_by_agent,
        reaction_change,
        satisfaction_bounds,
        cure_by_reason,
        remedy_match,
    ):
        with pytest.raises(NotAvailable) as left_out:
            measure(bare)
        assert "\n" not in str(left_out.value)
