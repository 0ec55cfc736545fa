"""Legal cases by stage and what they lead to, on books counted by hand."""

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.legal import decisions, stages
from collectlab.measures.survival import cumulative_incidence


def book_of(cases: pd.DataFrame, **tables):
    """A book that ends on 2026-06-30, with one account for each name among the cases."""
    ids = sorted(set(cases["account_id"]))
    snapshots = pd.DataFrame(
        {
            "account_id": ids * 2,
            "as_of": ["2025-12-31"] * len(ids) + ["2026-06-30"] * len(ids),
            "days_past_due": 95,
        }
    ).assign(balance=[1000.0 * (i + 1) for i in range(len(ids))] * 2)
    accounts = pd.DataFrame(
        {"account_id": ids, "product": ["auto" if i % 2 else "card" for i in range(len(ids))]}
    )
    return open_book({"accounts": accounts, "snapshots": snapshots, "legal_cases": cases} | tables)


def cases(*rows) -> pd.DataFrame:
    """account, filed, stage, decided, result, cost, recovered."""
    names = ["account_id", "filed_on", "stage", "decided_on", "result", "cost", "recovered"]
    return pd.DataFrame(rows, columns=names).astype({"cost": float, "recovered": float})


FOUR = cases(
    ("a", "2026-01-01", "decided", "2026-03-02", "judgment", 500, 2000),  # won on day 60
    ("b", "2026-01-01", "decided", "2026-04-01", "withdrawn", 100, 0),  # lost on day 90
    ("c", "2026-01-01", "hearing", None, None, 100, None),  # open for 180 days
    ("d", "2026-06-20", "filed", None, None, 100, None),  # open for 10 days
)


def test_stages_stand_in_the_order_of_a_case_whatever_the_banks_words():
    words = ["auction", "executed by Smith", "律师函", "Lawsuit", "判决"]
    book = book_of(cases(*((f"x{i}", "2026-01-01", w, None, None, 1, None) for i, w in enumerate(words))))
    found = stages(book)
    assert found.wide()["stage"].tolist() == ["律师函", "Lawsuit", "判决", "auction", "executed by Smith"]
    assert found.wide()["step"].tolist() == ["letter", "suit", "judgment", "auction", "other"]
    assert any("executed by Smith" in n for n in found.notes)
    told = stages(book, names={"Executed by Smith": "enforcement"}).wide()
    assert told["step"].tolist() == ["letter", "suit", "judgment", "enforcement", "auction"]
    with pytest.raises(FrameError, match=r"no such step in .*'executing'"):
        stages(book, names={"x": "executing"})


def test_stages_count_what_is_open_and_what_the_decided_cost_for_nothing():
    found = stages(book_of(FOUR)).wide().set_index("stage")
    assert found.loc["decided", ["cases", "open", "cost", "recovered"]].tolist() == [2, 0, 600, 2000]
    assert found.loc["decided", "cost_without_recovery"] == pytest.approx(100 / 600)
    assert found.loc["hearing", "open_days"] == 180
    assert np.isnan(found.loc["hearing", "cost_without_recovery"])  # it may still bring money


def test_open_cases_are_censored_not_dropped():
    wide = decisions(book_of(FOUR), days=(60, 100)).wide().iloc[0]
    # Day 60: 3 of 4 still watched, one is won. Dropping the open ones would say one half.
    assert wide["won_within_60_days"] == pytest.approx(1 / 3)
    assert wide["success"] == pytest.approx(1 / 2)
    assert wide[["cases", "open", "won", "lost"]].tolist() == [4, 2, 1, 1]
    assert wide["cost_per_1_recovered"] == pytest.approx(0.3)
    assert wide["net_per_case"] == pytest.approx((2000 - 600) / 2)
    assert wide["cost_without_recovery"] == pytest.approx(1 / 6)


def test_won_within_is_aalen_johansen_with_its_interval():
    rng = np.random.default_rng(3)
    n = 120
    days, kind = rng.integers(5, 170, n), rng.choice(["judgment", "withdrawn", None], n)
    filed = pd.Timestamp("2026-06-30") - pd.Timedelta(days=180)
    end = [None if k is None else filed + pd.Timedelta(days=int(d)) for d, k in zip(days, kind)]
    frame = pd.DataFrame(
        {
            "account_id": [f"a{i}" for i in range(n)],
            "filed_on": filed,
            "decided_on": pd.to_datetime(end),
            "result": kind,
        }
    )
    plain = pd.DataFrame(
        {
            "days": np.where(pd.isna(kind), 180, days),
            "ended": pd.Series(kind).map({"judgment": "won", "withdrawn": "lost"}).fillna("censored"),
        }
    )
    known = cumulative_incidence(plain, duration="days", outcome="ended").at(90)
    known = known[known["outcome"] == "won"].iloc[0]
    found = decisions(book_of(frame), days=[90]).table.set_index("measure").loc["won_within_90_days"]
    for name in ("estimate", "std_error", "conf_low", "conf_high"):
        assert found[name] == pytest.approx(known[name])
    shuffled = frame.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(decisions(book_of(shuffled)).table, decisions(book_of(frame)).table)


def test_what_is_odd_is_counted_and_named():
    odd = pd.concat(
        [
            FOUR,
            FOUR.iloc[[0]],  # loaded twice
            cases(
                ("e", "2026-03-01", "decided", "2026-02-01", "judgment", 1, 0),  # decided before it was filed
                ("f", "2026-03-01", "decided", None, "judgment", 1, 0),  # a result, no day
                ("g", "2026-03-01", "decided", "2026-04-01", "judgmnt", 1, 0),  # no word we know
            ),
        ]
    )
    book = book_of(odd)
    assert book.reconciliation.set_index("table").loc["legal_cases", "quarantined"] == 2  # a again, and e
    notes = " ".join(decisions(book).notes)
    assert "1 cases have a result and no day of decision" in notes
    assert "judgmnt" in notes and "like judgment" in notes
    wide = decisions(book).wide().iloc[0]
    assert wide["cases"] == 6 and wide["won"] == 1 and wide["lost"] == 1  # g counts as neither
    assert decisions(book, won=["judgmnt"]).wide()["won"].iloc[0] == 2


def test_bands_of_the_amount_owed_at_filing():
    frame = cases(*((f"a{i}", "2026-01-05", "suit", None, None, 1, None) for i in range(9)))
    wide = decisions(book_of(frame), by="amount_band").wide()
    assert wide["amount_band"].tolist() == ["up to 3,700", "3,700 to 6,300", "over 6,300"]
    assert wide["cases"].tolist() == [3, 3, 3]
    assert decisions(book_of(frame), by="product").wide()["cases"].tolist() == [4, 5]


def test_what_cannot_be_counted_says_so():
    bare = FOUR[["account_id", "filed_on"]]
    found = decisions(book_of(bare))
    assert found.table["measure"].tolist() == [
        "median_days", "won_within_90_days", "won_within_180_days", "won_within_365_days",
    ]  # fmt: skip
    assert found.table["estimate"].isna().all()
    assert stages(book_of(bare)).wide()["stage"].tolist() == ["(missing)"]
    none = book_of(FOUR)
    with pytest.raises(NotAvailable, match="no legal cases in this book or period"):
        stages(none, period=("2020-01-01", "2020-12-31"))
    with pytest.raises(FrameError, match="whole days"):
        decisions(none, days=[0])
    with pytest.raises(FrameError, match="in won and in lost"):
        decisions(none, won=["x"], lost=["X"])
    with pytest.raises(NotAvailable):
        decisions(open_book({"accounts": bare[["account_id"]], "snapshots": pd.DataFrame(
            {"account_id": ["a"], "as_of": ["2026-01-31"], "days_past_due": [5]})}))  # fmt: skip
