"""Hardship and arrangements: small books in, the answer out."""

from __future__ import annotations

import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.relief import (
    hardship_pressed,
    overlapping_plans,
    plan_survival,
    redefault_after_relief,
    relief_offered,
)

MONTHS = ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31", "2026-06-30"]


def book_of(dpd: dict[str, list[int]], accounts: dict | None = None, **tables):
    """Accounts by name with their days past due at the ends of January to June 2026."""
    names = list(dpd)
    snapshots = pd.DataFrame(
        [(a, m, d) for a in names for m, d in zip(MONTHS, dpd[a])],
        columns=["account_id", "as_of", "days_past_due"],
    )
    frames = {k: pd.DataFrame(v) for k, v in tables.items()}
    return open_book(
        {
            "accounts": pd.DataFrame({"account_id": names, **(accounts or {})}),
            "snapshots": snapshots,
            **frames,
        }
    )


LATE = [0, 20, 50, 80, 110, 140]


def actions(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["account_id", "at", "channel", "outcome", "team"])


class TestRelief:
    def test_given_late_cured_and_unserved_add_up(self):
        book = book_of(
            {
                "on time": LATE,
                "late": LATE,
                "cures": [0, 20, 0, 0, 0, 0],
                "none": LATE,
                "running": LATE,
                "settles": LATE,
            },
            reasons=[
                {"account_id": a, "noted_on": "2026-03-02", "reason": "illness"}
                for a in ("on time", "late", "cures", "none", "running", "settles")
            ],
            arrangements=[
                {"account_id": "on time", "kind": "deferral", "started_on": "2026-03-07", "ended_on": None},
                {"account_id": "late", "kind": "payment_plan", "started_on": "2026-03-08", "ended_on": None},
                {
                    "account_id": "running",
                    "kind": "rate_cut",
                    "started_on": "2026-02-20",
                    "ended_on": "2026-03-02",
                },
                {"account_id": "settles", "kind": "settlement", "started_on": "2026-03-03", "ended_on": None},
            ],
        )
        row = relief_offered(book).wide().iloc[0]
        assert row["cases"] == 6
        assert row["within_5_days"] == pytest.approx(
            2 / 6
        )  # day 5 counts, day 6 does not; one ran at the note
        assert row["within_30_days"] == pytest.approx(3 / 6)
        assert row["ended_first"] == pytest.approx(1 / 6)
        assert row["unserved"] == pytest.approx(2 / 6)  # a settlement is no relief
        assert row["within_30_days"] + row["ended_first"] + row["unserved"] == pytest.approx(1)

    def test_a_plan_that_ended_before_the_note_is_no_answer_to_it(self):
        book = book_of(
            {"a": LATE},
            reasons=[{"account_id": "a", "noted_on": "2026-03-02", "reason": "illness"}],
            arrangements=[
                {
                    "account_id": "a",
                    "kind": "rate_cut",
                    "started_on": "2026-02-20",
                    "ended_on": "2026-03-01",
                    "status": "broken",
                }
            ],
        )
        assert relief_offered(book).wide()["unserved"].tolist() == [1.0]

    def test_notes_too_young_are_not_counted(self):
        noted = [("a", "2026-03-02"), ("b", "2026-06-20")]
        book = book_of(
            {"a": LATE, "b": LATE},
            reasons=[{"account_id": a, "noted_on": d, "reason": "illness"} for a, d in noted],
            arrangements=[{"account_id": "b", "kind": "deferral", "started_on": "2026-06-21"}],
        )
        result = relief_offered(book)
        assert result.wide()[["cases", "unserved"]].values.tolist() == [[1, 1.0]]
        assert "1 cases were noted less than 30 days" in " ".join(result.notes)

    def test_only_the_first_note_of_an_episode_is_a_case(self):
        rows = [("a", f"2026-0{m}-10 10:00", "call", "hardship", "T") for m in (3, 4)]
        book = book_of(
            {"a": LATE, "b": LATE},
            actions=actions(rows),
            arrangements=[{"account_id": "b", "kind": "deferral", "started_on": "2026-03-05"}],
        )
        assert relief_offered(book, by="team").wide()[["team", "cases"]].values.tolist() == [["T", 1]]

    def test_age_bands_in_order(self):
        ages = {"a": 25, "b": 30, "c": 45, "d": 60}
        book = book_of(
            {a: LATE for a in ages},
            {"age": list(ages.values())},
            reasons=[{"account_id": a, "noted_on": "2026-03-02", "reason": "illness"} for a in ages],
            arrangements=[{"account_id": "a", "kind": "deferral", "started_on": "2026-03-02"}],
        )
        table = relief_offered(book, by="age_band").wide()
        assert table["age_band"].tolist() == ["0–29", "30–44", "45–59", "60 and over"]
        assert table["within_5_days"].tolist() == [1, 0, 0, 0]

    def test_what_a_book_lacks(self):
        bare = book_of({"a": LATE})
        for measure in (relief_offered, hardship_pressed):
            with pytest.raises(NotAvailable, match="notes hardship"):
                measure(bare)
        for measure in (plan_survival, redefault_after_relief, overlapping_plans):
            with pytest.raises(NotAvailable, match="no arrangements"):
                measure(bare)
        noted = [{"account_id": "a", "noted_on": "2026-03-02", "reason": "forgot"}]
        with pytest.raises(NotAvailable, match="no hardship noted"):
            relief_offered(book_of({"a": LATE}, reasons=noted))

    def test_bad_parameters(self):
        noted = [{"account_id": "a", "noted_on": "2026-03-02", "reason": "illness"}]
        plan = [{"account_id": "a", "kind": "deferral", "started_on": "2026-03-05"}]
        book = book_of({"a": LATE}, reasons=noted, arrangements=plan)
        with pytest.raises(FrameError, match="days is"):
            relief_offered(book, days=(-1,))
        with pytest.raises(FrameError, match="no kind of arrangement holiday"):
            relief_offered(book, kinds=["holiday"])
        with pytest.raises(NotAvailable, match="by 'planet'"):
            relief_offered(book, by="planet")
        with pytest.raises(FrameError, match="months is"):
            plan_survival(book, months=[0])


def plans(rows: list[tuple]):
    frame = pd.DataFrame(rows, columns=["account_id", "kind", "started_on", "ended_on", "status"])
    return book_of({a: LATE for a in dict.fromkeys(frame["account_id"])}, arrangements=frame)


class TestPlans:
    def test_broken_and_kept_compete_and_the_states_add_up(self):
        day = "2026-02-01"
        book = plans(
            [
                ("a", "payment_plan", day, "2026-02-21", "broken"),  # day 20
                ("b", "payment_plan", day, "2026-03-13", "kept"),  # day 40
                ("c", "payment_plan", day, "2026-04-12", "broken"),  # day 70
                ("d", "payment_plan", day, None, "active"),
            ]
        )
        table = plan_survival(book, months=[1, 2, 3]).table
        wide = table.pivot_table(index="month", columns="measure", values="estimate")
        assert wide.loc["1"].to_dict() == pytest.approx({"active": 0.75, "broken": 0.25, "kept": 0.0})
        assert wide.loc["2"].to_dict() == pytest.approx({"active": 0.5, "broken": 0.25, "kept": 0.25})
        assert wide.loc["3"].to_dict() == pytest.approx({"active": 0.25, "broken": 0.5, "kept": 0.25})

    def test_plans_that_began_before_the_book_count_from_its_first_day(self):
        """b began 60 days before the first snapshot: it is at risk from its day 60 on, and adds nothing before."""
        book = plans(
            [
                ("a", "deferral", "2026-02-01", "2026-02-21", "broken"),
                ("b", "deferral", "2025-12-02", "2026-05-31", "kept"),
                ("c", "deferral", "2026-02-01", "2026-06-01", "kept"),
            ]
        )
        result = plan_survival(book, months=[1])
        broken = result.table.query("measure == 'broken'")["estimate"].item()
        assert broken == pytest.approx(1 / 2)  # of a and c; with b in the risk set it would be 1/3
        assert "1 plans began before" in " ".join(result.notes)

    def test_a_plan_replaced_by_another_is_censored_on_that_day(self):
        book = plans(
            [
                ("a", "deferral", "2026-02-01", "2026-05-31", "broken"),
                ("a", "restructuring", "2026-02-11", "2026-06-01", "kept"),
                ("b", "deferral", "2026-02-01", "2026-03-01", "broken"),
                ("c", "deferral", "2026-02-01", "2026-06-01", "kept"),
            ]
        )
        found = overlapping_plans(book)
        assert found.table[["account_id", "kind", "next_kind"]].values.tolist() == [
            ["a", "deferral", "restructuring"]
        ]
        result = plan_survival(book, months=[1, 6])
        broken = result.table.query("kind == 'deferral' and measure == 'broken'").set_index("month")[
            "estimate"
        ]
        assert broken["1"] == pytest.approx(0.5)  # a has left the risk set on day 10
        assert "overlap" in " ".join(result.notes)

    def test_a_plan_that_follows_another_on_its_last_day_is_no_overlap(self):
        rows = [
            ("a", "deferral", "2026-02-01", "2026-03-01", "broken"),
            ("a", "rate_cut", "2026-03-01", None, "active"),
        ]
        assert not len(overlapping_plans(plans(rows)).table)

    def test_one_plan_still_running_says_so(self):
        with pytest.raises(NotAvailable, match="no plan of this book or period has ended"):
            plan_survival(plans([("a", "deferral", "2026-02-01", None, "active")]))

    def test_redefault_after_relief_is_told_apart_from_the_others(self):
        cured_then = {
            "again": [0, 20, 0, 0, 20, 50],
            "stays": [0, 20, 0, 0, 0, 0],
            "no plan": [0, 20, 0, 0, 0, 0],
        }
        book = book_of(
            cured_then,
            arrangements=[
                {"account_id": a, "kind": "restructuring", "started_on": "2026-03-05"}
                for a in ("again", "stays")
            ],
        )
        table = redefault_after_relief(book, horizons=[60]).table.set_index("relief")
        assert table.loc["restructuring", ["at_risk", "estimate"]].tolist() == [2, 0.5]
        assert table.loc["no arrangement", "estimate"] == 0


class TestPressed:
    def pressed(self, later: list[tuple], **options):
        rows = [("a", "2026-03-02 10:00", "call", "hardship", "T"), *later]
        return hardship_pressed(
            book_of({"a": LATE, "b": LATE}, actions=actions(rows)), **{"per_week": 1, **options}
        )

    @pytest.mark.parametrize("second, often", [("2026-03-09", 1), ("2026-03-10", 0)])
    def test_two_in_seven_days(self, second, often):
        """The 3rd and the 9th of March lie within 7 days, the 3rd and the 10th do not."""
        later = [("a", f"{day} 10:00", "call", "no_answer", "T") for day in ("2026-03-03", second)]
        assert self.pressed(later).wide()["too_often"].tolist() == [often]

    def test_the_call_on_which_hardship_was_told_does_not_count(self):
        assert self.pressed([("a", "2026-03-02 15:00", "call", "contact", "T")]).wide()[
            "pressed"
        ].tolist() == [0]

    def test_messages_and_letters_are_no_pressure(self):
        later = [
            ("a", f"2026-03-0{d} 10:00", c, None, "Mail") for d, c in ((3, "sms"), (4, "letter"), (5, "sms"))
        ]
        assert self.pressed(later).wide()["pressed"].tolist() == [0]

    def test_a_visit_is_no_channel_for_hardship(self):
        row = self.pressed([("a", "2026-04-20 10:00", "visit", "contact", "Field")]).wide().iloc[0]
        assert (row["pressed"], row["too_often"], row["other_channel"]) == (1, 0, 1)

    def test_after_the_days_it_counts_no_more(self):
        visit = [("a", "2026-05-02 10:00", "visit", "contact", "Field")]  # day 61
        assert self.pressed(visit).wide()["pressed"].tolist() == [0]
        assert self.pressed(visit, days=61).wide()["pressed"].tolist() == [1]

    def test_a_team_answers_for_its_own_actions_only(self):
        visit = [("a", "2026-04-20 10:00", "visit", "contact", "Field")]
        assert self.pressed(visit, by="team").wide()[["team", "pressed"]].values.tolist() == [["T", 0.0]]

    def test_cases_noted_late_in_the_book_are_not_counted(self):
        with pytest.raises(NotAvailable, match="could be followed for 200 days"):
            self.pressed([], days=200)
        with pytest.raises(FrameError, match="days is 0"):
            self.pressed([], days=0)

    def test_the_planted_team_is_found_and_without_it_none_stands_out(self):
        by_team = {}
        for problems in (("pressed_hardship",), ()):
            bank = simulate(accounts=3000, seed=102, problems=problems, truth_accounts=0)
            table = hardship_pressed(open_book(bank.book_tables), by="team").table
            table = table[(table["measure"] == "too_often") & (table["cases"] >= 30)].set_index("team")
            by_team[problems] = table.filter(like="Call", axis=0)
        planted, quiet = by_team[("pressed_hardship",)], by_team[()]
        assert planted["estimate"].idxmax() == "Call team 1"
        others = planted.drop(index="Call team 1")
        assert planted.loc["Call team 1", "conf_low"] > others["estimate"].max()
        assert quiet["conf_low"].max() < quiet["conf_high"].min()  # all intervals overlap


def test_scores_outside_0_to_100_never_reach_a_measure():
    """The book sets such answers aside, with the reason, before anything is counted."""
    surveys = pd.DataFrame(
        {"account_id": ["a", "a"], "at": ["2026-02-02", "2026-03-03"], "score": [101.0, 80.0]}
    )
    book = book_of({"a": LATE}, surveys=surveys)
    line = book.reconciliation.set_index("table").loc["surveys"]
    assert line["accepted"] == 1 and line["quarantined"] == 1
