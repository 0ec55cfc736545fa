"""Suing against not suing: no immortal time, a known effect found, and what cannot be told."""

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects.legal import against_not_sued, filing_days

ENDS = pd.date_range("2024-12-31", periods=20, freq="ME")


def bank(seed: int, faster: float = 1.0, n: int = 1500):
    """Accounts 100 days past due that each pay 1,000 at some time, on average after 300 days, if they live to.

    Some are sued at random on a random day while they still owe; what is left of their time is divided by ``faster``.
    """
    rng = np.random.default_rng(seed)
    pays, sued = rng.exponential(300, n), rng.exponential(900, n)
    case = sued < pays
    pays = np.where(case, sued + (pays - sued) / faster, pays)
    ids = np.array([f"a{i:04d}" for i in range(n)])
    zero, last = ENDS[0], ENDS[-1]
    days = np.array([(d - zero).days for d in ENDS])
    owes = pays[:, None] > days
    snapshots = pd.DataFrame(
        {
            "account_id": np.repeat(ids, len(ENDS)), "as_of": np.tile(ENDS, n),
            "days_past_due": np.where(owes, 100 + days, 0).ravel(), "amount_past_due": np.where(owes, 1000.0, 0.0).ravel(),
            "status": "open",
        }
    )  # fmt: skip
    paid = zero + pd.to_timedelta(np.ceil(pays), unit="D")
    filed = zero + pd.to_timedelta(np.floor(sued), unit="D")
    payments = pd.DataFrame({"account_id": ids, "paid_on": paid, "amount": 1000.0})[paid <= last]
    cases = pd.DataFrame({"account_id": ids, "filed_on": filed, "cost": 0.0})[case & (filed <= last)]
    accounts = pd.DataFrame({"account_id": ids, "credit_score": rng.integers(500, 700, n)})
    return open_book(
        {"accounts": accounts, "snapshots": snapshots, "payments": payments, "legal_cases": cases}
    )


def estimates(faster: float, seeds) -> np.ndarray:
    found = [against_not_sued(bank(s, faster), horizon=120)[1] for s in seeds]
    return np.array([f.table.loc[f.headline, ["estimate", "std_error"]].to_numpy(float) for f in found])


def test_a_suit_that_does_nothing_shows_no_effect():
    """Whoever was ever sued had to go unpaid till then: by that comparison suing would look harmful."""
    found = estimates(1.0, range(3))
    assert abs(found[:, 0].mean()) < 3 * np.sqrt((found[:, 1] ** 2).mean() / len(found))
    book = bank(0)
    tables = {t: book.table(t).collect("pandas").to_native() for t in ("payments", "legal_cases")}
    early = tables["payments"][
        pd.to_datetime(tables["payments"]["paid_on"]) <= ENDS[0] + pd.Timedelta(days=240)
    ]
    ever = set(tables["legal_cases"]["account_id"])
    share = [
        np.mean([a in set(early["account_id"]) for a in group])
        for group in (ever, {f"a{i:04d}" for i in range(1500)} - ever)
    ]
    assert share[0] < share[1] - 0.15  # what immortal time makes of nothing


def test_a_known_effect_is_found():
    """Times of mean 300 become times of mean 100: of 1,000, 120 days bring 699 instead of 330."""
    found = estimates(3.0, range(2))
    truth = 1000 * (np.exp(-120 / 300) - np.exp(-120 / 100))
    # The not sued may be sued within the horizon, so a little less than the truth.
    assert 0.75 * truth < found[:, 0].mean() < 1.1 * truth
    book = bank(0, 3.0)
    answer, comparison = against_not_sued(book, horizon=120, smallest=10.0)
    assert answer.grade == "suggestive" and answer.direction == "raises"
    assert comparison.check("known_at_start").passed


def test_nobody_who_has_paid_up_or_been_sued_is_eligible():
    book = bank(1)
    rows, notes = filing_days(book, horizon=120)
    assert not rows.duplicated(["account_id", "time_zero", "sued"]).any()
    log = book.table("payments").collect("pandas").to_native().set_index("account_id")["paid_on"]
    paid = pd.to_datetime(rows["account_id"].map(log))
    assert not (paid < rows["time_zero"]).any()
    cases = book.table("legal_cases").collect("pandas").to_native().set_index("account_id")["filed_on"]
    filed = pd.to_datetime(rows["account_id"].map(cases))
    assert (filed[rows["sued"] == 1] == rows.loc[rows["sued"] == 1, "time_zero"]).all()
    assert not (filed[rows["sued"] == 0] <= rows.loc[rows["sued"] == 0, "time_zero"]).any()
    # Who is sued later counts as not sued until then: leaving them out would look into the future.
    assert rows.loc[rows["sued"] == 0, "sued_later"].mean() > 0
    assert any("paid up before their day" in n for n in notes)


def test_the_cost_of_a_case_is_taken_off():
    rows, _ = filing_days(bank(2), horizon=120)
    assert (rows["net_within_120"] == rows["amount_within_120"]).all()
    book = bank(2)
    tables = {
        t: book.table(t).collect("pandas").to_native()
        for t in ("accounts", "snapshots", "payments", "legal_cases")
    }
    tables["legal_cases"]["cost"] = 250.0
    dear, _ = filing_days(open_book(tables), horizon=120)
    sued = dear["sued"] == 1
    assert (dear.loc[sued, "cost_within_120"] == 250).all()
    assert (dear.loc[~sued, "cost_within_120"] == 250 * dear.loc[~sued, "sued_later"]).all()


def test_what_cannot_be_told_is_refused_in_words():
    book = bank(0, n=200)
    tables = {t: book.table(t).collect("pandas").to_native() for t in ("accounts", "snapshots")}
    answer, found = against_not_sued(open_book(tables))
    assert found is None and answer.grade == "not identifiable from this book"
    assert "no legal_cases and no payments" in answer.sentence
    with pytest.raises(FrameError, match="horizon"):
        filing_days(book, horizon=0)
    with pytest.raises(NotAvailable):
        filing_days(book, horizon=2000)
