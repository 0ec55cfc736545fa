"""Rolling validation, what acting is worth, and the chapter: by hand, and on simulated books."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.policy.warning import Acting, Loss, loss_of_event, rolling, value_of_acting, warning_rows
from collectlab.policy.warning.validate import Validation
from collectlab.report.chapters import warning
from collectlab.report.month import open_month

ACTING = Acting(
    cost=2.0, effect=0.1, effect_low=0.05, effect_high=0.2, loss=0.02, given_off=0.8, warned_share=0.1
)


@pytest.fixture(scope="module")
def tables():
    return simulate(accounts=1000, months=16, problems=(), truth_accounts=0).book_tables


@pytest.fixture(scope="module")
def rows(tables):
    return warning_rows(open_book(tables), columns=["gender"])


@pytest.fixture(scope="module")
def held(rows):
    return rolling(rows, forbidden=["gender"], months=6)


def test_each_month_is_scored_by_what_was_over_by_then(rows):
    seen = []

    def learn(train):
        seen.append((train["month"].min(), train["month"].max(), train["outcome"].isna().sum()))
        return lambda frame: np.full(len(frame), 0.03) + 1e-4 * (frame["past_due_12"].to_numpy() > 0)

    held = rolling(rows, months=6, refit=2, history=5, learn=learn)
    tested = sorted(held.scored["month"].unique())
    known = rows.loc[rows["outcome"].notna(), "month"]
    assert tested == sorted(known.unique())[-6:]
    assert [s[1] for s in seen] == [m - 1 for m in tested[::2]]  # the outcome of m − 1 is known at m
    assert all(last - first < 5 and unknown == 0 for first, last, unknown in seen)


def test_a_small_study_of_a_simulated_bank(held, rows):
    """The benchmark's study in small: it ranks well above the simple rule and is calibrated."""
    table = held.table.set_index(["measure", "model"])
    assert table.loc[("auc", "warning"), "estimate"] > 0.7
    assert table.loc[("auc", "difference"), "conf_low"] > 0
    assert 0.75 < table.loc[("observed_expected", "warning"), "estimate"] < 1.25
    assert 0.7 < table.loc[("slope", "warning"), "estimate"] < 1.3
    assert held.by_month["n"].sum() == len(held.scored) == held.calibration["n"].sum()
    assert held.by_month["psi"].max() < 0.1
    assert set(held.by_segment["segment"]) == {"product"}
    caught = held.capture[held.capture["model"] == "warning"]["caught"].to_numpy()
    assert (np.diff(caught) >= -1e-12).all() and caught[0] == 0 and caught[-1] == pytest.approx(1)
    shuffled = rows.assign(
        outcome=rows.groupby("month")["outcome"].transform(
            lambda y: y.sample(frac=1, random_state=1).to_numpy()
        )
    )
    chance = (
        rolling(shuffled, forbidden=["gender"], months=6)
        .table.set_index(["measure", "model"])
        .loc[("auc", "warning")]
    )
    assert chance["conf_low"] - 0.03 < 0.5 < chance["conf_high"] + 0.03


def test_too_little_to_test(rows):
    with pytest.raises(NotAvailable, match="no warning can be tested"):
        rolling(rows[rows["month"] >= rows["month"].max() - 1])
    for name in ("months", "refit", "history"):
        with pytest.raises(FrameError, match=f"{name} is 0"):
            rolling(rows, **{name: 0})


def made(scored):
    empty = pd.DataFrame()
    return Validation(table=empty, estimand="", target="falls", by_month=empty, by_segment=empty, calibration=empty,
                      capture=empty, scored=scored)  # fmt: skip


def test_net_value_by_hand():
    scored = pd.DataFrame(
        {
            "customer_id": range(4),
            "month": [1, 1, 2, 2],
            "chance": [0.5, 0.2, 0.4, 0.01],
            "outcome": [1.0, 0.0, 0.0, 1.0],
            "balance": [10_000.0, 5_000.0, 100.0, 9_000.0],
        }
    )
    found = value_of_acting(
        made(scored),
        acting=ACTING,
        loss=Loss(estimate=0.05, std_error=0.0, source="the test"),
        thresholds=[0.3, 0.1],
    )
    table = found.table.set_index("threshold")
    # Over two months: 10,000 × 0.05 × 0.1 = 50 saved, 2 accounts at 2 each.
    assert table.loc[0.3, "estimate"] == pytest.approx((50 - 4) / 2)
    assert table.loc[0.1, "estimate"] == pytest.approx((50 - 6) / 2)
    assert table.loc[0.3, ["net_low", "net_high"]].tolist() == pytest.approx([(25 - 4) / 2, (100 - 4) / 2])
    assert table.loc[0.3, "came_true"] == 0.5 and table.loc[0.3, "caught"] == 0.5
    # Expected savings: 25, 5, 0.2 and 0.45 against a cost of 2.
    assert found.saving["estimate"] == pytest.approx((50 - 4) / 2)
    assert found.best["threshold"].tolist() == [0.3, 0.3, 0.3]
    dear = value_of_acting(
        made(scored), acting=dataclasses.replace(ACTING, cost=60.0), loss=found.loss, thresholds=[0.3, 0.1]
    )
    assert dear.best["rule"].tolist() == ["no one"] * 3


def test_the_loss_of_an_event_is_taken_against_accounts_of_like_chance():
    """In each tenth 30 % of the balance is lost after an event and 10 % without: 20 points, times 0.8."""
    n = 4000
    came = np.tile([1.0, 0.0], n // 2)
    off = np.where(came == 1, np.arange(n) // 2 % 10 < 3, np.arange(n) // 2 % 10 < 1)
    scored = pd.DataFrame(
        {
            "chance": np.repeat(np.arange(1, 11) / 20, n // 10),
            "outcome": came,
            "balance": 100.0,
            "off_after": np.where(off, 5.0, np.nan),
            "seen_after": 20.0,
            "customer_id": range(n),
        }
    )
    found = loss_of_event(scored, given_off=0.8, otherwise=0.5)
    assert found.estimate == pytest.approx(0.16)
    assert 0 < found.std_error < 0.05
    late = scored.assign(off_after=scored["off_after"] + 20)
    assert loss_of_event(late, given_off=0.8, otherwise=0.5).estimate == 0.5
    assert loss_of_event(scored.assign(seen_after=12.0), given_off=0.8, otherwise=0.5).source.startswith(
        "an assumption"
    )


def test_bad_thresholds_no_balances_and_bad_assumptions(held):
    for bad in (0, 1, -0.1, 1.5, "0.5"):
        with pytest.raises(FrameError, match="Allowed: chances between 0 and 1"):
            value_of_acting(held, acting=ACTING, thresholds=[0.1, bad])
    with pytest.raises(NotAvailable, match="no balance"):
        value_of_acting(made(held.scored.drop(columns="balance")), acting=ACTING)
    with pytest.raises(FrameError) as error:
        dataclasses.replace(ACTING, effect=0.3, cost=-1, loss=2)
    assert len(error.value.faults) == 3


PARTS = (warning.works, warning.stable, warning.drivers, warning.worth, warning.named, warning.fair)


def test_the_chapter_shows_its_parts_and_every_figure_of_an_option_stands_in_a_table(tables):
    month = open_month(tables, "2026-10", params="params")
    shown = {f.__name__: f(month) for f in PARTS}
    assert not [p.left_out for p in shown.values() if p.left_out]
    assert shown["named"].table["account"].str.startswith("Account ").all()
    assert "gender" in set(shown["fair"].table["attribute"])
    assert not shown["drivers"].table["band"].str.contains("gender|female|age ").any()
    options = warning.options(month)
    assert [o.key for o in options] == ["warning_falls"]
    for option in options:
        assert option.low > 0 and option.grade == "model"
        for figure in option.figures:
            table = warning.worth(month, figure.part.rsplit("_", 1)[1]).table
            row = table[(table[list(figure.where)] == pd.Series(figure.where)).all(axis=1)]
            assert row[figure.column].item() == pytest.approx(figure.value)
        assert "net" in option.words


def test_the_options_stand_and_fall_with_the_assumed_effect(tables, tmp_path):
    text = Path("params/warning.yml").read_text(encoding="utf-8")
    (tmp_path / "warning.yml").write_text(
        text.replace('value: 0.02, source: "Example assumption', 'value: 0.0, source: "Example assumption'),
        encoding="utf-8",
    )
    assert warning.options(open_month(tables, "2026-10", params=tmp_path)) == []


@pytest.mark.parametrize("months", [1, 2, 16])
def test_books_of_accounts_and_snapshots_only_never_break(tables, months):
    snapshots = tables["snapshots"].to_pandas()
    ends = sorted(snapshots["as_of"].unique())[-months:]
    few = {
        "accounts": tables["accounts"].to_pandas()[["account_id", "originated_on"]],
        "snapshots": snapshots.loc[snapshots["as_of"].isin(ends), ["account_id", "as_of", "days_past_due"]],
    }
    month = open_month(few, "2026-10", params="params")
    for f in PARTS:
        for target in ("falls", "rolls"):
            part = f(month, target)
            assert part.left_out or len(part.table)
    assert (months == 16) == (not warning.works(month).left_out)
    assert warning.worth(month).left_out
    assert warning.options(month) == []
