"""Steps of several months, flow-through, projections and the first-order check: small tables in, answers out."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.roll_rates import first_order_check, flow_through, project, roll_rates

OFF = (90, "charged_off")
MONTH_ENDS = pd.date_range("2023-01-31", periods=24, freq="ME")


def history(**by_account) -> pd.DataFrame:
    """Month-end snapshots from January 2023: days past due or (days, status); None = not seen."""
    rows = []
    for account, values in by_account.items():
        for date, value in zip(MONTH_ENDS, values):
            if value is not None:
                dpd, status = value if isinstance(value, tuple) else (value, "open")
                rows.append((account, date.date(), dpd, status))
    return pd.DataFrame(rows, columns=["account_id", "as_of", "days_past_due", "status"])


def cells(result) -> dict:
    wide = result.matrix("n")
    return {(a, b): wide.loc[a, b] for a in wide.index for b in wide.columns if wide.loc[a, b]}


def test_a_step_of_three_months_looks_three_months_ahead():
    snapshots = history(a=[0, 10, 41, 70, 0], b=[0, 0, 5, None, 0], c=[40, OFF, None, None, None])
    result = roll_rates(snapshots, buckets=(0, 1, 30), step=3)
    assert cells(result) == {
        ("current", "30+"): 1,  # a, January to April
        ("1–29", "current"): 1,  # a, February to May
        ("current", "current"): 1,  # b, February to May
        ("30+", "charged_off"): 1,  # c, charged off in between and not seen again
    }
    assert any("Gaps: 1 account-month" in note for note in result.notes)  # b, January to April
    assert result.estimand.endswith("3 calendar months later")


def test_the_window_form_steps_alike():
    rng = np.random.default_rng(3)
    books = {
        f"a{i}": [int(v) if v >= 0 else None for v in rng.choice([0, 0, 20, 45, -1], 12)] for i in range(30)
    }
    snapshots = history(**books).sample(frac=1, random_state=1)
    for step in (1, 2, 6):
        one = roll_rates(snapshots, buckets=(0, 1, 30), step=step)
        other = roll_rates(pl.from_pandas(snapshots).lazy(), buckets=(0, 1, 30), step=step)
        pd.testing.assert_frame_equal(one.table, other.table)
        assert one.notes == other.notes


def chain(n: int = 60) -> pd.DataFrame:
    """Of those 1–29: half roll on, half cure; of those 30+: half are charged off, half cure."""
    kinds = ([10, 40, OFF, OFF], [10, 40, 0, 0], [10, 0, 0, 0], [10, 0, 0, 0])
    return history(**{f"a{i}": kinds[i % 4] for i in range(n)})


def test_flow_through_is_the_product_of_the_forward_rolls():
    rolls = roll_rates(chain(), buckets=(0, 1, 30))
    result = flow_through(rolls).table.set_index("from_bucket")
    assert result["estimate"].to_dict() == {"1–29": 0.25, "30+": 0.5}
    assert (result["conf_low"] < result["estimate"]).all() and (
        result["estimate"] < result["conf_high"]
    ).all()
    assert flow_through(rolls, to="30+").table["estimate"].tolist() == [0.5]


def test_flow_through_beside_what_was_observed():
    rolls, two = (roll_rates(chain(), buckets=(0, 1, 30), step=k) for k in (1, 2))
    table = flow_through(rolls, observed=two).table
    observed = table[table["measured"] == "after 2 months"].set_index("from_bucket")
    assert observed["estimate"].to_dict() == {"1–29": 0.25, "30+": 0.5}
    assert observed["n"].to_dict() == {"1–29": 60, "30+": 30}
    with pytest.raises(FrameError, match="other buckets or groups"):
        flow_through(rolls, observed=roll_rates(chain(), buckets=(0, 1, 60), step=2))


def test_projection_by_hand():
    snapshots = chain().query("not (days_past_due == 0 and status == 'open')")
    # Without the cured: 1–29 → 30+ → charged off or stay.
    kinds = ([10, 40, OFF, OFF], [10, 40, 40, OFF])
    snapshots = history(**{f"a{i}": kinds[i % 2] for i in range(60)})
    rolls = roll_rates(snapshots, buckets=(0, 1, 30))
    result = project(rolls, {"1–29": 60}, months=3)
    # 30+: 60 steps from 30+ in March or February: 30 → off, 30 → 30+ (odd), then 30 → off: 60 of 90.
    off = {m: result.at(m).set_index("state")["expected"].get("charged_off") for m in (1, 2, 3)}
    assert off == pytest.approx({1: 0, 2: 60 * 2 / 3, 3: 60 * (2 / 3 + 1 / 3 * 2 / 3)})
    end = result.table[result.table["month"].isna()].set_index("state")
    assert end["estimate"].to_dict() == pytest.approx({"charged_off": 1.0})
    assert "first_order_check" in result.notes[0]
    with pytest.raises(FrameError, match="from 0 to 3"):
        result.at(4)


def test_eventual_shares_agree_with_a_long_projection():
    rolls = roll_rates(chain(), buckets=(0, 1, 30))
    with pytest.raises(FrameError, match="from current no account ends"):
        project(rolls, {"1–29": 1.0}, months=2)
    result = project(rolls, {"1–29": 1.0}, months=60, absorbing=("current",))
    last, end = result.at(60), result.table[result.table["month"].isna()]
    assert end.set_index("state")["estimate"].to_dict() == pytest.approx(
        {"current": 0.75, "charged_off": 0.25}
    )
    far = last.set_index("state")["estimate"]
    assert far["charged_off"] == pytest.approx(0.25) and far["1–29"] == 0
    error = end.set_index("state")["std_error"]
    assert error["charged_off"] == pytest.approx(error["current"]) and error["current"] > 0
    result.plot(state="charged_off")


def test_projection_refuses_what_it_cannot_do():
    rolls = roll_rates(chain(), buckets=(0, 1, 30))
    for start, options, words in (
        ({"31–60": 1}, {}, "no bucket 31–60"),
        ({"1–29": -1}, {}, "numbers below 0"),
        ({}, {}, "or none above"),
        ({"1–29": 1}, {"months": 0}, "months is 0"),
        ({"1–29": 1}, {"absorbing": ("sold",)}, "no bucket sold"),
    ):
        with pytest.raises(FrameError, match=words):
            project(rolls, start, **options)
    with pytest.raises(FrameError, match="no result of roll_rates"):
        project(rolls.table, {"1–29": 1})
    with pytest.raises(FrameError, match="no state 'lost'"):
        flow_through(rolls, to="lost")
    sparse = roll_rates(history(a=[0, 10], b=[0, 0]), buckets=(0, 1, 30))
    with pytest.raises(NotAvailable, match="no steps from 1–29"):
        project(sparse, {"current": 1}, months=2, eventual=False)


def test_first_order_statistic_by_hand():
    # In 1–29 in month 2: of 20 from worse 15 roll on, of 20 from better 5.
    worse = {f"w{i}": [40, 10, 40 if i < 15 else 0] for i in range(20)}
    better = {f"b{i}": [0, 10, 40 if i < 5 else 0] for i in range(20)}
    result = first_order_check(history(**worse, **better), (0, 1, 30))
    row = result.table.set_index("bucket").loc["1–29"]
    g2 = 2 * (2 * 15 * np.log(15 / 10) + 2 * 5 * np.log(5 / 10))
    assert row["statistic"] == pytest.approx(g2) and row["df"] == 1
    assert row["estimate"] == pytest.approx(0.5) and row["compared"] == "worse − better"
    assert 0.1 < row["conf_low"] < 0.5 < row["conf_high"] < 0.9
    assert row["p_value"] == row["p_value_holm"] < 0.05  # one bucket is tested
    assert result.counts["n"].sum() == 40
    result.plot()


def test_a_first_order_chain_passes():
    rng = np.random.default_rng(11)
    p = {0: [0.8, 0.2, 0.0], 1: [0.4, 0.2, 0.4], 2: [0.3, 0.1, 0.6]}
    day = (0, 10, 40)
    books = {}
    for i in range(300):
        state, path = 1, []
        for _ in range(12):
            path.append(day[state])
            state = int(rng.choice(3, p=p[state]))
        books[f"a{i}"] = path
    table = first_order_check(history(**books), (0, 1, 30)).table
    assert (table["p_value_holm"] > 0.05).all()
    assert (table["design_effect"] < 2).all()
    held = table.dropna(subset="estimate")
    assert ((held["conf_low"] < 0.02) & (held["conf_high"] > -0.02)).all()


def test_bad_input_is_named():
    one = history(a=[0], b=[10])
    with pytest.raises(NotAvailable, match="two adjacent months"):
        roll_rates(one)
    with pytest.raises(NotAvailable, match="two months 3 apart"):
        roll_rates(history(a=[0, 10]), step=3)
    with pytest.raises(NotAvailable, match="three adjacent months"):
        first_order_check(history(a=[0, 10]))
    for step in (0, 1.5, True, 61):
        with pytest.raises(FrameError, match="Allowed: whole months"):
            roll_rates(history(a=[0, 10]), step=step)
    many = history(**{f"a{i}": [0, 10] for i in range(1_100)})
    for frame in (many, many.sample(frac=1, random_state=1)):
        with pytest.raises(FrameError, match="Allowed: up to 1,000"):
            roll_rates(frame, by="account_id")
    missing = history(a=[0, 10], b=[0, 10]).assign(days_past_due=[0, None, 0, 10])
    assert cells(roll_rates(missing, buckets=(0, 1))) == {("current", "1+"): 1}
    with pytest.raises(FrameError, match="holds no values"):
        roll_rates(missing.assign(days_past_due=None))
