"""Recovery by source: the sources add up, on every day."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.recovery import recovery_by_source, recovery_curve

DAY0 = pd.Timestamp("2026-01-01")


def episodes(*rows, **extra):
    """account, first day, entry, exit, outcome, owed."""
    names = ["account_id", "started_on", "entry_day", "exit_day", "outcome", "amount_at_entry"]
    frame = pd.DataFrame(rows, columns=names)
    frame["started_on"] = DAY0 + pd.to_timedelta(frame["started_on"], unit="D")
    return frame.assign(**extra)


def payments(*rows):
    """account, day, amount."""
    frame = pd.DataFrame(rows, columns=["account_id", "paid_on", "amount"])
    frame["paid_on"] = DAY0 + pd.to_timedelta(frame["paid_on"].astype(int), unit="D")
    return frame.astype({"account_id": "object", "amount": float})


def from_sources(*rows):
    """account, day, amount, source."""
    return payments(*[r[:3] for r in rows]).assign(source=[r[3] for r in rows])


def test_the_payment_that_reaches_the_amount_owed_counts_up_to_it_first_by_name():
    spells = episodes(("a", 0, 0, 30, "cured", 100), ("b", 0, 0, 30, "censored", 100))
    paid = from_sources(("a", 5, 70, "wage"), ("a", 8, 50, "wage"), ("a", 8, 20, "cash"), ("b", 9, 10, None))
    found = recovery_by_source(spells, paid, source="source", horizon=30)
    last = found.at(30).set_index("source")["estimate"]
    assert last.to_dict() == pytest.approx({"(missing)": 0.05, "cash": 0.10, "wage": 0.40})
    assert found.accounting["payments: above the amount owed"] == 40
    assert found.at(8).set_index("source")["estimate"]["(missing)"] == 0


@settings(max_examples=5, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.integers(0, 60),
            st.sampled_from([1.0, 33.33, 80.0]),
            st.sampled_from("xyz"),
        ),
        min_size=1,
        max_size=12,
    ),
    st.booleans(),
)
def test_sources_add_up_to_the_curve_of_all(rows, capped):
    spells = episodes(
        ("a", 0, 0, 20, "cured", 100), ("a", 30, 0, 40, "censored", 50), ("b", 0, 5, 60, "charged_off", 70),
        ("c", 0, 0, 15, "censored", 33), team=["n", "s", "n", "n"],
    )  # fmt: skip
    paid = from_sources(*rows)
    whole = recovery_curve(spells, paid, by="team", horizon=40, cap=capped)
    try:
        found = recovery_by_source(
            spells, pl.from_pandas(paid).lazy(), source="source", by="team", horizon=40, cap=capped
        )
    except NotAvailable:
        assert not whole.table["estimate"].any()
        return
    summed = found.table.groupby(["team", "day"])["estimate"].sum(min_count=1).reset_index()
    both = summed.merge(whole.table, on=["team", "day"])
    assert np.allclose(both["estimate_x"], both["estimate_y"], equal_nan=True)


def test_sources_are_refused_where_they_are_no_sources():
    spells = episodes(("a", 0, 0, 60, "cured", 100))
    paid = from_sources(*[("a", day, 1, f"ref {day}") for day in range(50)])
    with pytest.raises(FrameError, match=r"payments are of 50 kinds \(ref 0, ref 1.*Allowed: up to 40"):
        recovery_by_source(spells, paid, source="source")
    with pytest.raises(FrameError, match=r"no column 'sorce'. Did you mean source"):
        recovery_by_source(spells, paid, source="sorce")
    with pytest.raises(NotAvailable, match="no payment falls in an episode"):
        recovery_by_source(spells, paid.head(0), source="source")
    early = paid.assign(paid_on=DAY0 - pd.Timedelta(days=3))
    with pytest.raises(NotAvailable, match="no payment falls in an episode"):
        recovery_by_source(spells, early, source="source")


def test_a_source_called_like_a_column_of_the_result_and_the_chart():
    spells = episodes(("a", 0, 0, 60, "cured", 100))
    paid = from_sources(("a", 3, 10, "x"), ("a", 9, 20, "y")).rename(columns={"source": "day"})
    found = recovery_by_source(spells, paid, source="day", horizon=30)
    assert list(found.table.columns[:3]) == ["by_day", "day", "episodes"]
    assert [t.get_text() for t in found.plot().get_legend().get_texts()] == ["y", "x"]
