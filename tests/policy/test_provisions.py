"""Provisioning classes, the bridge that adds up to the cent, and what a strategy does to provisions."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.book.open import open_book
from collectlab.core.errors import NotAvailable, ParamsError
from collectlab.policy.provisions import STEPS, classified, load_schemes, provision_bridge
from collectlab.policy.provisions_effect import migration_avoided, provision_effect
from collectlab.report.chapters import provisions as chapter
from collectlab.report.month import open_month

ROOT = Path(__file__).parents[2]
SCHEMES = load_schemes(ROOT / "params/provisions.yml")
IFRS9, FIVE = SCHEMES["ifrs9"], SCHEMES["five_class"]


def months(n: int, start: str = "2025-01-31") -> pd.DatetimeIndex:
    return pd.date_range(start, periods=n, freq="ME")


def account(dpd: list, name: str = "a", **more) -> pd.DataFrame:
    return pd.DataFrame({"account_id": name, "as_of": months(len(dpd)), "days_past_due": dpd, **more})


def classes(frame: pd.DataFrame, scheme=IFRS9) -> list[int]:
    return classified(frame, scheme)["class"].tolist()


# Classes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "dpd", "expected"),
    [
        (IFRS9, [0, 1, 30, 31, 89, 90, 400], [0, 0, 0, 1, 1, 2, 2]),
        (FIVE, [0, 1, 90, 91, 270, 271, 360, 361], [0, 1, 1, 2, 2, 3, 3, 4]),
    ],
)
def test_the_backstops_are_where_the_rules_put_them(scheme, dpd, expected):
    frame = pd.concat([account([d], f"a{d:03d}") for d in dpd])
    assert classes(frame, scheme) == expected


def test_an_impaired_account_stays_so_until_three_months_without_a_relapse():
    assert classes(account([95, 0, 0, 0, 0, 0])) == [2, 2, 2, 2, 0, 0]
    # A payment late by ten days begins the probation anew; it does not impair an account by itself.
    assert classes(account([95, 0, 0, 10, 0, 0, 0, 0])) == [2, 2, 2, 2, 2, 2, 2, 0]
    assert classes(account([0, 10, 0, 10])) == [0, 0, 0, 0]
    assert classes(account([95, 60, 20, 0, 0, 0, 0])) == [2, 2, 2, 2, 2, 2, 0]


def test_a_forborne_account_serves_a_year():
    impaired = account([95] + [0] * 14, forborne=[False] + [True] * 14)
    assert classes(impaired) == [2] * 13 + [0, 0]
    performing = account([0] * 15, forborne=[False] + [True] * 14)
    assert classes(performing) == [0] + [1] * 12 + [0, 0]
    assert classes(performing, FIVE) == [0] + [1] * 12 + [0, 0]


def test_six_months_of_regular_payment_among_the_five_classes():
    assert classes(account([300, 0, 0, 0, 0, 0, 0, 0, 0]), FIVE) == [3, 2, 2, 2, 2, 2, 2, 0, 0]


def test_accounts_do_not_hand_on_their_past():
    both = pd.concat([account([95, 95, 95], "a"), account([0, 0, 0], "b", forborne=True)])
    assert classes(both) == [2, 2, 2, 1, 1, 1]


def test_accounts_no_longer_open_have_no_class():
    frame = account([95, 120, 150], status=["open", "charged_off", "charged_off"], balance=10.0)
    assert classes(frame) == [2, -1, -1]


# The bridge -------------------------------------------------------------------------------------------


def test_each_step_on_a_hand_worked_month():
    frame = pd.concat(
        [
            account([0, 45], "worse", balance=[1000.0, 1000.0], status="open"),
            account([45, 0], "better", balance=[500.0, 400.0], status="open"),
            account([0, 0], "steady", balance=[200.0, 100.0], status="open"),
            account([0, 0], "repaid", balance=[300.0, 0.0], status=["open", "closed"]),
            account([100, 130], "lost", balance=[100.0, 100.0], status=["open", "charged_off"]),
            account([100, 0], "sold", balance=[40.0, 0.0], status=["open", "sold"]),
            account([100], "gone", balance=[20.0], status="open"),
            account([0, 0], "new", balance=[0.0, 800.0], status="open").iloc[1:],
        ]
    )
    found = provision_bridge(frame, IFRS9)
    steps = found.table.set_index("step")["estimate"]
    assert steps["opening"] == pytest.approx(10 + 60 + 2 + 3 + 55 + 22 + 11)
    assert steps["new"] == pytest.approx(8)
    assert steps["migrated worse"] == pytest.approx(1000 * 0.11)
    assert steps["migrated better"] == pytest.approx(-500 * 0.11)
    assert steps["balance changed"] == pytest.approx(-100 * 0.01 - 100 * 0.01)
    assert steps[["repaid", "charged off", "sold", "no longer seen"]].tolist() == pytest.approx(
        [-3, -55, -22, -11]
    )
    assert steps["closing"] == pytest.approx(120 + 4 + 1 + 8)
    accounts = found.table.set_index("step")["accounts"]
    assert accounts.dropna().astype(int).to_dict() == {
        "opening": 7, "new": 1, "migrated worse": 1, "migrated better": 1, "repaid": 1, "charged off": 1, "sold": 1,
        "no longer seen": 1, "closing": 4,
    }  # fmt: skip
    assert list(steps.index) == list(STEPS)


def test_a_new_ratio_is_a_step_of_its_own():
    frame = pd.DataFrame(
        {
            "account_id": "a", "as_of": pd.to_datetime(["2025-12-31", "2026-01-31"]), "days_past_due": 0,
            "balance": 1000.0,
        }
    )  # fmt: skip
    found = provision_bridge(frame, IFRS9)
    assert (found.step("2026-01", "opening"), found.step("2026-01", "coverage changed")) == (10.0, 1.0)
    assert found.step("2026-01", "closing") == 11.0


STATUSES = ("open", "open", "open", "closed", "charged_off", "sold", "settled")


@st.composite
def panels(draw) -> pd.DataFrame:
    rows = []
    for name in range(draw(st.integers(1, 8))):
        dead = False
        for on in months(4):
            if dead or draw(st.integers(0, 5)) == 0:
                continue
            dpd = draw(st.sampled_from([0, 0, 5, 31, 89, 90, 91, 271, 400]))
            status = draw(st.sampled_from(STATUSES))
            dead = status != "open"
            cents = draw(st.integers(-500, 10_000_000))
            rows.append((f"a{name}", on, dpd, status, cents / 100, draw(st.booleans())))
    rows.append(("z", months(4)[0], 0, "open", 1.0, False))
    rows.append(("z", months(4)[3], 0, "open", 1.0, False))
    columns = ["account_id", "as_of", "days_past_due", "status", "balance", "forborne"]
    return pd.DataFrame(rows, columns=columns)


@settings(max_examples=8, deadline=None)
@given(panels())
def test_the_steps_add_up_and_one_month_closes_where_the_next_opens(frame):
    for scheme in (IFRS9, FIVE):
        found = provision_bridge(frame, scheme)
        for column, opening in (("estimate", "opening"), ("balance", "opening")):
            wide = found.table.pivot(index="month", columns="step", values=column).astype(float)
            added = wide[[s for s in STEPS if s != "closing"]].sum(axis=1)
            assert np.allclose(added, wide["closing"], atol=1e-6)
            for (_, now), (_, later) in pairwise(wide.iterrows()):
                assert now["closing"] == later[opening]
        # Each month's closing is the classes' sum, and that is the snapshots' own.
        standing = found.by_class.groupby("month")["balance"].sum()
        opened = frame[frame["status"] == "open"]
        own = opened.groupby(opened["as_of"].dt.strftime("%Y-%m"))["balance"].apply(
            lambda b: b.clip(lower=0).sum()
        )
        assert np.allclose(standing, own.reindex(standing.index).fillna(0))


def test_without_a_balance_the_accounts_are_counted():
    found = provision_bridge(account([0, 45]), IFRS9)
    steps = found.table.set_index("step")
    assert (steps.loc["migrated worse", "accounts"], steps["estimate"].isna().all()) == (1, True)
    assert found.by_class["accounts"].sum() == 2 and found.by_class["provision"].isna().all()


def test_the_example_book_reconciles_to_its_snapshots():
    book = open_book(ROOT / "data/example")
    found = provision_bridge(book, IFRS9, months=3, by="product")
    raw = book.table("snapshots").collect("pandas").to_native()
    now = raw[(pd.to_datetime(raw["as_of"]) == "2026-10-31") & (raw["status"] == "open")]
    last = found.by_class[found.by_class["month"] == "2026-10"]
    assert (int(last["accounts"].sum()), round(last["balance"].sum(), 2)) == (
        len(now),
        round(now["balance"].sum(), 2),
    )
    late = now[now["days_past_due"] >= 90]
    impaired = last[last["class"] == IFRS9.labels[2]]
    assert impaired["accounts"].sum() >= len(late)
    assert found.step("2026-10", "closing") == pytest.approx(last["provision"].sum())
    one = provision_bridge(book, IFRS9, months=3)
    assert one.step("2026-10", "migrated worse") == pytest.approx(found.step("2026-10", "migrated worse"))
    # All that is needed are accounts and snapshots.
    bare = open_book({"accounts": book.table("accounts").collect("pandas").to_native()[["account_id"]],
                      "snapshots": raw})  # fmt: skip
    assert provision_bridge(bare, IFRS9, months=3).table.equals(one.table)


# Effects ----------------------------------------------------------------------------------------------


def lived(arm: str, roll: float, n: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accounts that are 45 days past due and each month roll to 100 or stay; a roll ends in a charge-off."""
    luck, rows = np.random.default_rng(seed), []
    for i in range(n):
        dpd = 45
        for on in months(5):
            rows.append((f"{arm}{i:04d}", on, dpd, "charged_off" if dpd == 200 else "open", 100.0))
            if dpd == 200:
                break
            if dpd == 100:
                dpd = 200
            elif luck.random() < roll:
                dpd = 100
    frame = pd.DataFrame(rows, columns=["account_id", "as_of", "days_past_due", "status", "balance"])
    drawn = pd.DataFrame({"account_id": frame["account_id"].unique(), "strategy": arm})
    return frame, drawn.assign(assigned_on=pd.Timestamp("2025-01-01"), randomised=True)


def test_moves_carried_forward_come_to_the_exact_sum():
    parts = [lived("control", 0.30, 1500, 1), lived("new", 0.15, 1500, 2)]
    snapshots, assignments = (pd.concat(p, ignore_index=True) for p in zip(*parts))
    book = open_book({"accounts": snapshots[["account_id"]].drop_duplicates(), "snapshots": snapshots,
                      "assignments": assignments})  # fmt: skip
    found = provision_effect(book, IFRS9, horizon=2).table.set_index("measure")
    end = snapshots[(snapshots["as_of"] == months(5)[-1]) & (snapshots["status"] == "open")]
    early, late = ((end["days_past_due"] == d).sum() for d in (45, 100))
    row = found.loc["provision and write-offs in 2 months"]
    # After two months: still 45 with (1−p)², at 100 with (1−p)p, written off with p; those at 100 are written off.
    for p, level in ((0.30, row["control_level"]), (0.15, row["level"])):
        exact = 100 * (early * ((1 - p) ** 2 * 0.12 + (1 - p) * p * 0.55 + p) + late)
        assert level == pytest.approx(exact, rel=0.06)
    assert row["conf_high"] < 0
    so_far = found.loc["provision and write-offs so far, per account"]
    assert so_far["grade"] == "causal" and so_far["conf_high"] < 0
    lost = (snapshots["status"] == "charged_off") & snapshots["account_id"].str.startswith("new")
    own = end[end["account_id"].str.startswith("new")]["days_past_due"].map({45: 12.0, 100: 55.0})
    assert so_far["level"] == pytest.approx((100.0 * lost.sum() + own.sum()) / 1500)


def test_arms_that_are_alike_do_not_differ():
    wrong = 0
    for seed in range(5):
        parts = [lived("control", 0.25, 120, 100 + seed), lived("new", 0.25, 120, 200 + seed)]
        snapshots, assignments = (pd.concat(p, ignore_index=True) for p in zip(*parts))
        book = open_book({"accounts": snapshots[["account_id"]].drop_duplicates(), "snapshots": snapshots,
                          "assignments": assignments})  # fmt: skip
        row = provision_effect(book, IFRS9, horizon=3).table.set_index("measure")
        held = row.loc["provision and write-offs in 3 months"]
        wrong += not held["conf_low"] <= 0 <= held["conf_high"]
    assert wrong <= 2


def test_a_given_effect_is_worth_the_mean_step_of_those_that_moved():
    frame = pd.concat([account([20, 50], f"w{i}", balance=200.0) for i in range(4)])
    frame = pd.concat([frame, *[account([20, 0], f"s{i}", balance=200.0) for i in range(6)]])
    found = migration_avoided(frame, IFRS9, {"roll": (-0.1, 0.05)}).table
    assert found["estimate"].tolist() == pytest.approx([1.0, -10 * 0.1 * 200 * 0.11])
    assert found["std_error"].tolist() == pytest.approx([0.5, 11.0])


# Bad input --------------------------------------------------------------------------------------------


def written(tmp_path: Path, change) -> Path:
    text = (ROOT / "params/provisions.yml").read_text(encoding="utf-8")
    path = tmp_path / "provisions.yml"
    path.write_text(change(text), encoding="utf-8")
    (tmp_path / "definitions.yml").write_text((ROOT / "params/definitions.yml").read_text(encoding="utf-8"),
                                              encoding="utf-8")  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("{value: 0.55,", "{value: 1.55,", "1.55 is out of range. Allowed: 0 to 1"),
        ("{value: 0.55,", "{value: -0.1,", "-0.1 is out of range"),
        ("{value: 0.55,", "{value: 0.05,", "coverage of stage_3 (0.05) is below that of stage_2 (0.12)"),
        ("from_dpd: 271", "from_dpd: 80", "rising whole days"),
        ("impaired_from: stage_3", "impaired_from: stage_4", "no such key 'stage_4'"),
        ("like: restructured_one_year", "like: restructured", "no such key 'restructured'"),
        ("{months: 6, months_forborne: 12}", "{months: 6, like: current_once}", "one of the two"),
        ("from_dpd: 31\n", "from_dpd: 31\n      weight: 3\n", "no such key 'weight'"),
    ],
)
def test_faults_of_the_file_are_told(tmp_path, old, new, told):
    with pytest.raises(ParamsError, match=None) as error:
        load_schemes(written(tmp_path, lambda t: t.replace(old, new, 1)))
    assert told in str(error.value)


def test_all_faults_are_told_at_once(tmp_path):
    def change(text: str) -> str:
        return text.replace("{value: 0.55,", "{value: 1.55,").replace("from_dpd: 271", "from_dpd: 80")

    with pytest.raises(ParamsError) as error:
        load_schemes(written(tmp_path, change))
    assert len(error.value.faults) == 2


def test_what_cannot_be_bridged_says_so():
    with pytest.raises(NotAvailable, match="two months"):
        provision_bridge(account([0], balance=1.0), IFRS9)
    with pytest.raises(NotAvailable, match="need a balance"):
        migration_avoided(account([20, 50]), IFRS9, {"roll": (0.1, 0.1)})
    with pytest.raises(NotAvailable, match="no snapshots"):
        provision_bridge(account([0, 0], balance=1.0).iloc[:0], IFRS9)
    with pytest.raises(ParamsError, match="no coverage ratio in force on 2015"):
        old = account([0, 0], balance=1.0).assign(as_of=pd.to_datetime(["2015-01-31", "2015-02-28"]))
        provision_bridge(old, IFRS9)
    with pytest.raises(NotAvailable, match="by chance"):
        provision_effect(open_book({"accounts": pd.DataFrame({"account_id": ["a"]}),
                                    "snapshots": account([0, 0], balance=1.0)}), IFRS9)  # fmt: skip
    with pytest.raises(ParamsError) as error:
        migration_avoided(account([20, 50], balance=1.0), IFRS9, {"rol": (0.1, 0.1), "cure": (2.0, -1.0)})
    assert len(error.value.faults) == 3


def test_the_parts_of_the_chapter():
    month = open_month(ROOT / "data/example", "2026-10", contact_rules="cn", params=ROOT / "params")
    shown = chapter.bridge(month, "five_class")
    steps = shown.table.set_index("step")["estimate"]
    assert steps.drop("closing").sum() == pytest.approx(steps["closing"])
    assert shown.picture
    assert chapter.classes(month).table["accounts"].sum() > 0
    assert set(chapter.strategy(month, "ifrs9").table["grade"]) == {"causal", "model"}
    first = open_month(month.book, "2024-11", params=ROOT / "params")
    assert "two months" in chapter.bridge(first, "ifrs9").left_out
    bare = {"accounts": pd.DataFrame({"account_id": ["a"]}), "snapshots": account([0, 45])}
    counted = chapter.bridge(open_month(bare, "2025-02", params=ROOT / "params"), "ifrs9")
    assert not counted.left_out and counted.picture is None
    early = account([0, 45], balance=1.0).assign(as_of=pd.to_datetime(["2015-01-31", "2015-02-28"]))
    old = open_month({**bare, "snapshots": early}, "2015-02", params=ROOT / "params")
    assert "no coverage ratio in force" in chapter.bridge(old, "ifrs9").left_out
    assert "no coverage ratio in force" in chapter.classes(old).left_out
