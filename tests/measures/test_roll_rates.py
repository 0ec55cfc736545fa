"""Roll rates: small tables in, the answer out."""

from __future__ import annotations

import datetime as dt
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.core.jackknife import wilson
from collectlab.measures.roll_rates import roll_rates

MONTH_ENDS = [d.date() for d in pd.date_range("2023-01-31", periods=24, freq="ME")]


def history(**by_account) -> pd.DataFrame:
    """Month-end snapshots from January 2023: days past due or (days, status); None = not seen."""
    rows = []
    for account, values in by_account.items():
        for date, value in zip(MONTH_ENDS, values):
            if value is not None:
                dpd, status = value if isinstance(value, tuple) else (value, "open")
                rows.append((account, date, dpd, status))
    return pd.DataFrame(rows, columns=["account_id", "as_of", "days_past_due", "status"])


def cells(result, column="n") -> dict:
    wide = result.matrix(column)
    return {(a, b): wide.loc[a, b] for a in wide.index for b in wide.columns if wide.loc[a, b]}


def test_counts_shares_and_order():
    snapshots = history(a=[0, 10, 41, 0], b=[0, 0, 5, 33], c=[10, 0, 0, 0])
    result = roll_rates(snapshots, buckets=(0, 1, 30))
    assert cells(result) == {
        ("current", "current"): 3,
        ("current", "1–29"): 2,
        ("1–29", "30+"): 2,
        ("1–29", "current"): 1,
        ("30+", "current"): 1,
    }
    assert list(result.matrix().columns) == ["current", "1–29", "30+"]
    shares = result.matrix()
    assert shares.loc["current", "1–29"] == 2 / 5 and shares.loc["1–29", "30+"] == pytest.approx(2 / 3)
    assert shares.sum(axis=1).tolist() == pytest.approx([1, 1, 1])
    assert "9 steps" in result.notes[0]


def test_terminal_states_are_entered_and_not_left():
    snapshots = history(a=[0, 10, (41, "charged_off"), (71, "charged_off")], b=[0, 20, (0, "closed"), None])
    result = roll_rates(snapshots, buckets=(0, 1, 30))
    assert cells(result) == {("current", "1–29"): 2, ("1–29", "charged_off"): 1, ("1–29", "closed"): 1}
    assert list(result.matrix().index) == ["current", "1–29"]


def test_missing_months_are_counted_not_dropped_in_silence():
    snapshots = history(gap=[0, None, 10, 41], gone=[0, 0, None, None], stays=[0, 0, 0, 0])
    result = roll_rates(snapshots, buckets=(0, 1, 30))
    assert sum(cells(result).values()) == 1 + 1 + 3
    notes = " ".join(result.notes)
    assert "Gaps: 1 account-month" in notes and "Not seen: 1 account-month" in notes


def test_the_last_snapshot_of_a_month_counts():
    snapshots = history(a=[0, 10])
    early = pd.DataFrame([("a", dt.date(2023, 1, 15), 99, "open")], columns=snapshots.columns)
    assert cells(roll_rates(pd.concat([snapshots, early]), buckets=(0, 1, 30))) == {("current", "1–29"): 1}


def test_weights_are_those_of_the_from_month():
    snapshots = history(a=[0, 10], b=[0, 0], c=[0, 0]).assign(owed=[30.0, 1.0, 10.0, 1.0, float("nan"), 1.0])
    result = roll_rates(snapshots, buckets=(0, 1), weight="owed")
    assert result.matrix().loc["current"].tolist() == [0.25, 0.75]
    assert result.table["amount"].sum() == 40.0
    assert any("1 steps without a positive owed" in note for note in result.notes)


def test_groups_come_first_under_their_own_names_whatever_they_are():
    snapshots = history(a=[0, 10], b=[0, 0]).assign(**{'the "group"': ["S10", "S10", "S2", "S2"], "n": 1})
    result = roll_rates(snapshots, by=['the "group"', "n"])
    assert list(result.table.columns[:3]) == ['the "group"', "by_n", "from_bucket"]
    assert result.table['the "group"'].drop_duplicates().tolist() == ["S2", "S10"]
    assert result.matrix().loc[("S2", 1, "current"), "current"] == 1.0
    assert "S10" in result.plot(group=("S10", 1)).get_title(loc="left")
    with pytest.raises(FrameError, match="no group"):
        result.plot(group="S99")


def test_other_column_names_and_polars_give_the_same():
    snapshots = history(a=[0, 10, 41, 0], b=[0, 0, 5, 33]).assign(money=[5.0, 6, 7, 8, 1, 2, 3, 4])
    one = roll_rates(snapshots, weight="money")
    renamed = snapshots.rename(
        columns={"account_id": "the id", "as_of": "when", "days_past_due": "group", "status": 'st"at'}
    )
    other = roll_rates(
        pl.from_pandas(renamed).lazy(),
        weight="money",
        account="the id",
        date="when",
        dpd="group",
        status='st"at',
    )
    pd.testing.assert_frame_equal(one.table, other.table)


def test_period_keeps_both_ends():
    snapshots = history(a=[0, 10, 41, 0])
    kept = roll_rates(snapshots, period=("2023-02-28", dt.date(2023, 3, 31)))
    assert cells(kept) == {("1–29", "30–59"): 1}


def test_plain_counts_have_wilson_intervals_when_each_account_steps_once():
    result = roll_rates(
        history(**{f"a{i}": [0, 10 if i < 30 else 0] for i in range(100)}), buckets=(0, 1, 30)
    )
    row = result.table.set_index("to_bucket").loc["1–29"]
    # Wilson (1927) for 30 of 100: 0.2189 to 0.3958; never narrower than that.
    assert row.conf_low <= 0.2190 and row.conf_high >= 0.3957
    assert row.conf_high - row.conf_low < 0.25


def test_recurring_accounts_widen_the_interval():
    # 40 accounts: half stay current, half come and go; 23 steps each tell little more than one.
    always = {f"a{i}": ([0, 5] * 12 if i % 2 else [0] * 24) for i in range(40)}
    row = roll_rates(history(**always), buckets=(0, 1, 30)).table.set_index(["from_bucket", "to_bucket"])
    row = row.loc[("current", "1–29")]
    low, high = wilson(row.estimate, row.n / row.estimate, 0.95)
    assert row.conf_high - row.conf_low > 2 * (high - low)


def test_wilson_against_the_textbook():
    low, high = wilson(np.array([0.3, 0.0, 1.0, 0.5]), np.array([100, 10, 10, 0]), 0.95)
    assert low[:3] == pytest.approx([0.21895, 0.0, 0.72247], abs=1e-4)
    assert high[:3] == pytest.approx([0.39582, 0.27753, 1.0], abs=1e-4)
    assert np.isnan(low[3]) and np.isnan(high[3])


def test_bad_input_is_named():
    good = history(a=[0, 10])
    with pytest.raises(NotAvailable, match="two adjacent months"):
        roll_rates(history(a=[0], b=[None, 10]))
    with pytest.raises(FrameError, match="holds no values"):
        roll_rates(good.head(0))
    with pytest.raises(NotAvailable):
        roll_rates(good.assign(status="sold"))
    with pytest.raises(FrameError, match="balanc"):
        roll_rates(good, weight="balance")
    with pytest.raises(FrameError, match="Allowed: numbers"):
        roll_rates(good, weight="status")
    with pytest.raises(FrameError, match="lost"):
        roll_rates(good.assign(status="lost"))
    with pytest.raises(ParamsError, match="rising"):
        roll_rates(good, buckets=(30, 1))
    with pytest.raises(FrameError, match="no date"):
        roll_rates(good, period=("soon", None))
    with pytest.raises(FrameError, match="conf_level"):
        roll_rates(good, conf_level=95)
    with pytest.raises(FrameError, match="estimat"):
        roll_rates(good).matrix("estimat")


def test_a_script_in_an_id_or_a_group_is_escaped():
    snapshots = history(a=[0, 10]).assign(account_id="<script>", product="<b>x</b>")
    html = roll_rates(snapshots, by="product")._repr_html_()
    assert "<b>x</b>" not in html and "&lt;b&gt;x" in html


@pytest.mark.shared
def test_the_card_panel_s_published_transitions(tmp_path):
    packed = Path(__file__).parents[2].parent / "shared" / "data" / "cards" / "credit_record.csv.zip"
    if not packed.exists():
        pytest.skip("the card panel is not beside the checkout (../shared/data/cards)")
    from collectlab.core.engine import connection

    with zipfile.ZipFile(packed) as archive:
        inner = next(n for n in archive.namelist() if n.endswith(".csv") and "MACOSX" not in n)
        archive.extract(inner, tmp_path)
    # Each status code stands for a bucket: C and X current, 0 = 1–29, 1 = 30–59, …, 5 = 150 and more.
    panel = connection().sql(f"""
        SELECT ID AS account_id, last_day(DATE '2020-01-15' + to_months(MONTHS_BALANCE)) AS as_of,
               CASE STATUS WHEN 'C' THEN 0 WHEN 'X' THEN 0 WHEN '0' THEN 1 ELSE STATUS::INT * 30 END
                 AS days_past_due
        FROM read_csv('{tmp_path / inner}', types={{'STATUS': 'VARCHAR'}})""")
    result = roll_rates(panel, buckets=(0, 1, 30, 60, 90, 120, 150))
    n = result.matrix("n")
    assert n.loc["1–29", "30–59"] == 7_057 and n.loc["30–59", "1–29"] == 5_363
    assert n.loc["30–59", "60–89"] == 559 and n.loc["60–89", "90–119"] == 257
    assert n.loc["90–119", "120–149"] == 185 and n.loc["120–149", "150+"] == 145
    assert n.loc["1–29", "150+"] == 44
    assert n.to_numpy().sum() == 1_048_575 - 45_985  # no gaps: every month but an account's last steps on
