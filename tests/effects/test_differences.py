"""Staggered difference-in-differences: by hand, against pyfixest, and its level on simulated branches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.effects._differences_fit import error_of, frame_of, prepared, refits, two_way
from collectlab.effects.differences import differences

NAMES = {"unit": "branch", "time": "month", "outcome": "cured", "treated_from": "since"}


def panel(seed: int = 0, effect: float = 0.0, never: int = 4, months: int = 20) -> pd.DataFrame:
    """Twelve branches; eight change in four waves (``never`` 4), with shocks that last and binomial noise."""
    rng = np.random.default_rng(seed)
    since = rng.permutation([8, 8, 10, 10, 12, 12, 14, 14, 16, 16, 18, 18])
    since = np.where(np.argsort(np.argsort(since, kind="stable")) >= 12 - never, 99, since)
    month = np.arange(months)
    shock = np.empty((12, months))
    shock[:, 0] = rng.normal(0, 0.02, 12)
    for t in range(1, months):
        shock[:, t] = 0.5 * shock[:, t - 1] + rng.normal(0, 0.017, 12)
    accounts = rng.integers(100, 401, (12, months))
    share = 0.5 + rng.normal(0, 0.05, 12)[:, None] + 0.04 * np.sin(month / 2) + shock
    share = share + effect * (month >= since[:, None])
    branch, place = np.indices(shock.shape)
    frame = pd.DataFrame({"branch": [f"B{b:02d}" for b in branch.ravel()], "month": place.ravel()})
    frame["cured"] = (rng.binomial(accounts, share) / accounts).ravel()
    frame["since"] = np.where(since < 99, since.astype(float), np.nan)[branch.ravel()]
    frame["accounts"] = accounts.ravel().astype(float)
    return frame


def ask(frame: pd.DataFrame, **options):
    return differences(frame, **NAMES, **options)


def test_two_by_two_by_hand():
    """Two treated, two not, two periods: the effect is the difference of two differences."""
    frame = pd.DataFrame(
        [(b, t, y) for b, ys in zip("ABCD", [(1, 6), (2, 5), (3, 4), (5, 8)]) for t, y in enumerate(ys)],
        columns=["branch", "month", "cured"],
    )
    frame["since"] = frame["branch"].map({"A": 1, "B": 1})
    row = ask(frame).table.iloc[0]
    assert row["estimate"] == pytest.approx((5 + 3) / 2 - (1 + 3) / 2)
    # Leaving out A, B, C, D: 3 − 2, 5 − 2, 4 − 3, 4 − 1; Σ(θ₍g₎ − 2)² = 4, times 3/4.
    assert row["std_error"] == pytest.approx(np.sqrt(3))
    assert (row["n_treated"], row["n_untreated"], row["unit"]) == (2, 2, "number")


def test_imputation_agrees_with_pyfixest():
    import pyfixest

    _, used, _ = prepared(panel(3, 0.05), "branch", "month", "cured", "since", "accounts")
    fitted = pyfixest.did2s(
        frame_of(used), yname="y", first_stage="~ 0 | unit + period", second_stage="~ treated",
        treatment="treated", cluster="unit", weights="weight",
    )  # fmt: skip
    assert refits(used).average == pytest.approx(fitted.coef()["treated"], abs=1e-7)


def test_one_cohort_and_equal_weights_agree_with_two_way_fixed_effects():
    frame = panel(5, 0.05)
    frame["since"] = frame["since"].where(frame["since"].isna(), 10.0)
    _, used, _ = prepared(frame, "branch", "month", "cured", "since", None)
    assert refits(used).average == pytest.approx(two_way(used)[0], abs=1e-7)


def test_effects_that_grow_are_recovered_where_two_way_fixed_effects_are_not():
    month = np.arange(20)
    since = {"A": 4, "B": 4, "C": 8, "D": 8, "E": 12, "F": 12, "G": 99, "H": 99}
    rows = [
        (b, t, 3.0 * i + t + max(0, t - s + 1), s) for i, (b, s) in enumerate(since.items()) for t in month
    ]
    frame = pd.DataFrame(rows, columns=["branch", "month", "cured", "since"])
    truth = np.mean([t - s + 1 for s in since.values() for t in month if t >= s])
    frame["since"] = frame["since"].where(frame["since"] < 99)
    result = ask(frame)
    assert result.table["estimate"].iloc[0] == pytest.approx(truth)
    assert result.table["estimate"].iloc[1] < truth - 1
    after = result.event_study.set_index("relative_period")["estimate"]
    assert (
        after[0] == pytest.approx(1)
        and after[5] == pytest.approx(6)
        and after[-1] == pytest.approx(0, abs=1e-9)
    )


def test_everybody_changes_in_the_end():
    frame = panel(4, 0.05, never=0)
    result = ask(frame)
    assert result.table["n_untreated"].iloc[0] == 2, "those that change last are compared with until then"
    assert any("left out" in n for n in result.notes)
    share = result.check("never_or_later")
    assert share.passed and share.value < 1


def test_dates_any_order_and_any_engine_give_the_same():
    import polars as pl

    frame = panel(1, 0.05)
    dated = frame.assign(
        month=pd.Timestamp("2024-01-01") + frame["month"].map(lambda m: pd.DateOffset(months=m)),
        since=[
            None if np.isnan(s) else f"{2024 + int(s) // 12}-{int(s) % 12 + 1:02d}-01" for s in frame["since"]
        ],
    )
    first = ask(frame, weight="accounts")
    for other in (dated.sample(frac=1, random_state=1), pl.from_pandas(dated)):
        pd.testing.assert_frame_equal(ask(other, weight="accounts").table, first.table, rtol=1e-9)


def test_checks_see_a_drift_before_the_change_and_a_changed_composition():
    frame = panel(2)
    since = frame["since"].fillna(99)
    assert ask(frame, weight="accounts").check("pre_trend").passed
    drifting = frame.assign(cured=frame["cured"] + 0.06 * np.clip(frame["month"] - since + 4, 0, 4))
    assert not ask(drifting).check("pre_trend").passed
    moved = frame.assign(accounts=frame["accounts"] * np.where(frame["month"] >= since, 3.0, 1.0))
    assert ask(frame, weight="accounts").check("composition").passed
    assert not ask(moved, weight="accounts").check("composition").passed


def test_few_branches_are_said():
    small = panel(2)
    small = small[small["branch"].isin(sorted(small["branch"].unique())[:6])]
    assert not ask(small).check("clusters").passed
    assert ask(panel(2)).check("clusters").passed


def test_one_treated_branch_has_no_interval():
    frame = panel(2)
    first = frame["branch"] == frame.dropna()["branch"].min()
    row = ask(frame.assign(since=frame["since"].where(first))).table.iloc[0]
    assert np.isfinite(row["estimate"]) and np.isnan(row["std_error"]) and np.isnan(row["conf_low"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.assign(since=10.0), "interrupted_series"),
        (lambda f: f.assign(since=np.nan), "no branch is treated"),
        (lambda f: f.assign(since=99.0), "no branch is treated"),
        (lambda f: f.assign(since=f["since"].where(f["branch"] != "B03", 0.0)), "B03.*first period"),
        (lambda f: f.assign(since=f["since"].where(f.index != 5, 7.0)), "B00.*more than one since"),
        (lambda f: pd.concat([f, f.tail(1)]), "B11.*several rows"),
        (lambda f: f.assign(cured=0.5), "constant"),
        (lambda f: f.assign(cured="a"), "Allowed: numbers"),
        (lambda f: f.head(0), "no rows"),
        (lambda f: f.drop(columns="since"), "no column 'since'"),
        (lambda f: f.assign(since=pd.Timestamp("2024-01-01")), "differ in kind"),
        (lambda f: f.assign(since=pd.NaT), "no branch is treated"),
        (lambda f: f.assign(since=None), "no branch is treated"),
        (lambda f: f.assign(cured=np.nan), "cured is missing in all 240 rows"),
    ],
)
def test_bad_input_is_refused(change, said):
    with pytest.raises(FrameError, match=said):
        ask(change(panel()))


def test_a_column_plays_one_part():
    with pytest.raises(FrameError, match="'cured' is both outcome and weight"):
        ask(panel(), weight="cured")


@pytest.mark.parametrize("named", ["first day", "last day", "week", "number"])
def test_a_period_with_the_change_inside_it_is_neither_with_nor_without(named):
    """The effect is 0.1, and 0.06 in the period in the middle of which a branch changed."""
    since, step = {"A": 6, "B": 8, "C": 8, "D": 10}, np.arange(14)
    label, inside = {
        "first day": (pd.date_range("2025-01-01", periods=14, freq="MS"), pd.Timedelta(days=11)),
        "last day": (pd.date_range("2025-01-31", periods=14, freq="ME"), pd.Timedelta(days=-19)),
        "week": (pd.date_range("2025-01-06", periods=14, freq="7D"), pd.Timedelta(days=3)),
        "number": (pd.Index(step), 0.4),
    }[named]
    rows = [
        (b, label[t], label[since[b]] + inside if b in since else None,
         0.01 * i + 0.001 * t + 0.1 * (t > since.get(b, 99)) + 0.06 * (t == since.get(b, 99)))
        for i, b in enumerate("ABCDEFGH") for t in step
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["branch", "month", "since", "cured"])
    result = ask(frame)
    assert result.table["estimate"].iloc[0] == pytest.approx(0.1)
    assert result.table["rows"].iloc[0] == len(frame) - 4
    assert "4 rows are left out: the change came in the middle of their month." in result.notes
    first = result.event_study.set_index("relative_period")
    assert first.loc[0, "units"] == 4 and first.loc[0, "estimate"] == pytest.approx(0.1)


def test_a_start_that_names_a_period_leaves_nothing_out():
    frame = panel(2, 0.05)
    day = pd.date_range("2025-01-31", periods=20, freq="ME")
    frame["since"] = [day[int(s)] if s == s else pd.NaT for s in frame["since"]]
    dated = ask(frame.assign(month=day[frame["month"]]))
    numbered = ask(panel(2, 0.05))
    pd.testing.assert_frame_equal(dated.table, numbered.table)
    assert dated.notes == numbered.notes


def test_names_are_written_in_words():
    frame = panel(1).rename(columns={"cured": "cured_within_60", "accounts": "n_of_accounts"})
    names = NAMES | {"outcome": "cured_within_60"}
    result = differences(frame, **names, weight="n_of_accounts")
    assert result.title == "Cured within 60 days by time since the change"
    assert result.check("composition").says.startswith("With the change n of accounts moved")
    assert result.display_table()["Outcome"].iloc[0] == "Cured within 60 days"


def test_missing_outcomes_are_left_out_and_counted():
    frame = panel(1)
    frame.loc[[3, 50], "cured"] = np.nan
    assert "2 of 240 rows have no cured" in ask(frame).notes[0]


def test_the_interval_keeps_its_level():
    """Small version of benchmarks/policy_changes.py: bias, and how often 95 % intervals hold the truth."""
    gaps, held = [], []
    for seed in range(60):
        _, used, _ = prepared(panel(seed, 0.04), "branch", "month", "cured", "since", "accounts")
        fitted = refits(used)
        gaps.append(fitted.average - 0.04)
        held.append(abs(gaps[-1]) < 2.201 * error_of(fitted.average, fitted.left_average))
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / np.sqrt(60)
    assert np.mean(held) >= 0.86
    failed = [not ask(panel(seed)).check("pre_trend").passed for seed in range(12)]
    assert np.mean(failed) <= 0.34


def test_the_chart_shows_before_and_after():
    result = ask(panel(1, 0.05))
    ax = result.plot()
    assert ax.get_title(loc="left") == result.title
    assert len(ax.containers) == 2
