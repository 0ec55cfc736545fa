"""A plan valued from a log: exact where the answer is plain, near the truth where it is known, refused where it must be."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.book.simulate import simulate
from collectlab.book.simulate_plan import lived, warm_up
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.policy.plan.model import DecisionModel, decision_model
from collectlab.policy.plan.off_policy import HEADLINE, off_policy
from collectlab.policy.plan.off_policy_plan import as_choice, plan_shares
from collectlab.policy.plan.rows import COUNTED, States, decision_rows

ENDS = pd.date_range("2024-01-31", periods=60, freq="ME")
DPD = {"1–29": 10, "30+": 40}


def log_of(episodes: list[dict]) -> pd.DataFrame:
    """Rows as decision_rows gives them, from (state, action, paid) a month, an exit and a first month."""
    rows = []
    for k, one in enumerate(episodes):
        months = one["months"]
        for t, (state, action, paid) in enumerate(months):
            last = t == len(months) - 1
            rows.append(
                {
                    "account_id": f"A{k:05d}",
                    "customer_id": one.get("customer", f"C{k:05d}"),
                    "episode": 1,
                    "on": ENDS[one.get("begin", 0) + t],
                    "days_past_due": DPD[state],
                    "amount_past_due": 100.0,
                    "credit_score": one.get("score", 650),
                    "action": action,
                    "state": state,
                    "next_state": one.get("exit", "cured") if last else months[t + 1][0],
                    "entry": t == 0,
                    "randomised": "propensity" in one,
                    "propensity": one.get("propensity", np.nan),
                    **dict.fromkeys(COUNTED, 0.0),
                    "paid": paid,
                }
            )
    return pd.DataFrame(rows)


def found(result, method=HEADLINE, column="estimate"):
    return float(result.table.set_index("method").loc[method, column])


@pytest.fixture(scope="module")
def arms():
    """Half by lot under each of two treatments, kept for the whole episode."""
    random = np.random.default_rng(2)
    episodes = []
    for k in range(400):
        action = ("mild", "firm")[k % 2]
        length = 1 + random.binomial(2, 0.6 if action == "mild" else 0.3)
        months = [("1–29" if t == 0 else "30+", action, float(random.integers(1, 50))) for t in range(length)]
        episodes.append({"months": months, "propensity": 0.5, "begin": int(random.integers(0, 6))})
    return log_of(episodes)


def test_what_was_done_is_worth_what_it_brought():
    """One treatment: every weight is 1, the values cancel, and the mean of what came in is left."""
    random = np.random.default_rng(1)
    episodes = [
        {"months": [("1–29", "mild", float(random.integers(0, 90)))] * int(random.integers(1, 4))}
        for _ in range(120)
    ]
    rows = log_of(episodes)
    result = off_policy(
        rows, {"1–29": "mild"}, model=decision_model(rows, annual_rate=0.0, draws=0), months=6, folds=3
    )
    each = rows.groupby("account_id")["paid"].sum()
    for method in (HEADLINE, "importance sampling", f"{HEADLINE}, whole course"):
        assert found(result, method) == pytest.approx(each.mean()), method
    error = each.std(ddof=0) / np.sqrt(119)
    assert found(result, HEADLINE, "std_error") == pytest.approx(error)
    assert result.conf_low < result.estimate < result.conf_high and result.episodes == 120
    assert (result.overlap["largest"] <= 1).all() and result.untried.empty


def test_arms_by_lot_are_worth_their_own_mean(arms):
    model = decision_model(arms, annual_rate=0.0, draws=5)
    for action in ("mild", "firm"):
        result = off_policy(arms, {s: action for s in model.states}, model=model, months=6)
        mine = arms[arms["action"] == action].groupby("account_id")["paid"].sum()
        assert not result.refused
        assert found(result, "importance sampling, whole course") == pytest.approx(mine.mean(), rel=0.02)
        assert found(result, HEADLINE) == pytest.approx(mine.mean(), rel=0.05)
        assert found(result, "direct") == pytest.approx(mine.mean(), rel=0.10)
        assert found(result, HEADLINE, "std_error") == pytest.approx(mine.sem(), rel=0.35)


def test_a_plan_that_switches_has_no_course_in_a_log_that_never_does(arms):
    model = decision_model(arms, annual_rate=0.0, draws=0)
    result = off_policy(arms, {"1–29": "mild", "30+": "firm"}, model=model, months=6)
    assert np.isnan(found(result, f"{HEADLINE}, whole course"))
    assert "hardly ever changes a treatment" in " ".join(result.notes)
    assert np.isfinite(result.estimate)
    firm = arms[(arms["state"] == "30+") & (arms["action"] == "firm")]
    assert arms.loc[arms["state"] == "30+", "paid"].mean() != firm["paid"].mean()


def chosen_log(n: int, seed: int) -> pd.DataFrame:
    """Treatment chosen on the score, anew each month; the score moves payment and cure as well."""
    random = np.random.default_rng(seed)
    episodes = []
    for _ in range(n):
        score = float(random.choice([560, 640, 720]))
        months, state = [], "1–29"
        while True:
            firm = random.random() < {560: 0.8, 640: 0.5, 720: 0.2}[score]
            paid = 10 * firm + (score - 640) / 4 + 60 + random.normal(0, 10)
            months.append((state, "firm" if firm else "mild", paid))
            if random.random() < 0.4 + 0.2 * firm or len(months) == 5:
                break
            state = "30+"
        episodes.append({"months": months, "score": score, "begin": int(random.integers(0, 12))})
    return log_of(episodes)


def truth_of_chosen(firm: bool) -> float:
    """60 + 10 · firm a month, while still there."""
    stay = 0.6 - 0.2 * firm
    return (60 + 10 * firm) * sum(stay**t for t in range(5))


def test_choice_on_the_score_is_undone():
    """Firm goes to low scores, who pay less: the plain mean of its months would come out too low."""
    gaps, hits, naive = [], 0, []
    for seed in range(4):
        rows = chosen_log(300, seed)
        model = decision_model(rows, annual_rate=0.0, draws=0)
        result = off_policy(rows, {s: "firm" for s in model.states}, model=model, months=5, folds=2)
        truth = truth_of_chosen(True)
        gaps.append((result.estimate - truth) / found(result, HEADLINE, "std_error"))
        hits += result.conf_low <= truth <= result.conf_high
        naive.append(rows.loc[rows["action"] == "firm", "paid"].mean() - 70)
    assert abs(np.mean(gaps)) < 3 / np.sqrt(4) and hits >= 3
    assert np.mean(naive) < -4


def test_the_logs_end_cuts_off_the_youngest_and_the_older_ones_stand_for_them(arms):
    """The same log cut at a date: months not seen to their end say nothing, and the value stays."""
    model = decision_model(arms, annual_rate=0.0, draws=0)
    plan = {s: "mild" for s in model.states}
    whole = off_policy(arms, plan, model=model, months=6)
    cut = arms.copy()
    late = cut["on"] >= ENDS[5]
    cut.loc[late, ["next_state", *COUNTED]] = np.nan
    cut = cut[cut["on"] <= ENDS[5]].reset_index(drop=True)
    cut["next_state"] = cut["next_state"].astype(object)
    result = off_policy(cut, plan, model=model, months=6)
    assert "cut off before their end" in result.notes[0]
    assert result.estimate == pytest.approx(whole.estimate, abs=2 * found(whole, HEADLINE, "std_error"))
    assert found(result, HEADLINE, "std_error") > 0.9 * found(whole, HEADLINE, "std_error")
    # Left uncorrected, the cut months would be missing from the sum.
    plain = cut.loc[cut["action"] == "mild", "paid"].sum() / (cut.loc[cut["entry"], "action"] == "mild").sum()
    assert plain < found(whole, HEADLINE) - found(whole, HEADLINE, "std_error")


def test_an_untried_action_and_a_thin_log_are_refused(arms):
    gone = arms[~((arms["action"] == "firm") & (arms["state"] == "30+"))].reset_index(drop=True)
    result = off_policy(gone, {"1–29": "firm", "30+": "firm"}, model=decision_model(gone, draws=0), months=6)
    assert "firm in “30+” (0 rows" in result.refused[0] and "Needed" in result.refused[0]
    assert result.table["estimate"].isna().all() and result.notes[0] == result.refused[0]
    assert result.untried.loc[0, "action"] == "firm" and result.untried.loc[0, "share"] > 0.05

    few = arms[arms["account_id"] < "A00060"].reset_index(drop=True)
    thin = off_policy(few, {"1–29": "firm", "30+": "firm"}, model=decision_model(few, draws=0), months=6)
    assert any("is worth" in why and "customers. Allowed: 50 or more" in why for why in thin.refused)


def test_one_customer_with_many_accounts_counts_once(arms):
    model = decision_model(arms, annual_rate=0.0, draws=0)
    plan = {s: "mild" for s in model.states}
    twice = pd.concat([arms, arms.assign(account_id="B" + arms["account_id"])], ignore_index=True)
    one, two = (off_policy(rows, plan, model=model, months=6) for rows in (arms, twice))
    assert found(two, HEADLINE, "std_error") == pytest.approx(found(one, HEADLINE, "std_error"), rel=0.05)
    assert two.customers == one.customers and two.episodes == 2 * one.episodes


def test_plans_in_all_their_forms_and_their_faults(arms):
    model = decision_model(arms, draws=0)
    shares = np.array([[0.0, 1.0], [0.5, 0.5]])
    frame = pd.DataFrame(shares, index=model.states, columns=model.actions)
    named = {model.states[0]: model.actions[1], model.states[1]: {"firm": 0.5, "mild": 0.5}}
    for plan in (shares, frame, named):
        assert np.array_equal(plan_shares(model, plan), shares)
    assert np.array_equal(plan_shares(model, {}), model.in_force)
    with pytest.raises(FrameError, match="unknown states: 90") as told:
        plan_shares(model, {"90+": "firm", "30+": "harsh", "1–29": {"firm": 0.7}})
    assert len(told.value.faults) == 3
    with pytest.raises(FrameError, match="shape"):
        plan_shares(model, np.ones((1, 2)))
    with pytest.raises(FrameError, match=r"months = 0[^|]*folds = 1[^|]*conf_level"):
        off_policy(arms, {}, model=model, months=0, folds=1, conf_level=2)
    with pytest.raises(FrameError, match="how its states were cut"):
        as_choice(replace(model, grid=None), {})
    with pytest.raises(NotAvailable, match="first month-end"):
        off_policy(arms.assign(entry=False), {}, model=model, months=6)


def test_a_plan_is_lived_by_its_shares():
    states = States((1, 30), amount=float("inf"), score=(), reached=False)
    model = DecisionModel.of(
        move=np.zeros((2, 2, 2)),
        leave=np.ones((2, 2, 1)),
        reward=np.zeros((2, 2)),
        inflow=[1.0, 0.0],
        states=["1–29", "30+"],
        actions=["firm", "mild"],
    )
    rule = as_choice(model, {"1–29": {"firm": 0.25, "mild": 0.75}, "30+": "firm"}, states=states)
    frame = pd.DataFrame(
        {"days_past_due": [5, 5, 40, 40], "luck": [0.2, 0.3, 0.1, 0.99], "strategy": "standard"}
    )
    assert list(rule(frame)) == ["firm", "mild", "firm", "firm"]
    other = as_choice(model, {}, states=States((1, 60), amount=float("inf"), score=(), reached=False))
    assert set(other(frame)) == {"standard"}


GRID = States((1, 30, 90), amount=float("inf"), score=(640,), reached=False, secured=False, late=999)


def test_the_simulated_truth_is_where_the_log_says():
    """Small version of benchmarks/off_policy.py: one plan, one book, the truth from 3,000 other accounts."""
    bank = simulate(2_500, months=30, seed=5, end=date(2027, 4, 30), problems=(), truth_accounts=0)
    book = open_book(bank.book_tables).until(date(2026, 10, 31))
    rows = decision_rows(book, since="2025-06-30", states=GRID)
    prices = {"complaints": 320.0, "owed": 0.005}
    model = decision_model(rows, prices=prices, annual_rate=0.0, draws=20)
    warm = warm_up(bank.settings, date(2026, 11, 30), range(2_500, 5_500))
    for action in ("challenger",):
        plan = {s: action for s in model.states}
        result = off_policy(rows, plan, model=model, months=5, folds=2)
        months = lived(warm, as_choice(model, plan), months=5, monthly=True, every=True)
        net = months["paid"] - months["cost"] - 320 * months["complaints"] - 0.005 * months["amount_past_due"]
        truth = net.groupby([months["account_id"], months["episode"]]).sum()
        assert not result.refused
        apart = result.estimate - truth.mean()
        assert abs(apart) < 3.5 * np.hypot(found(result, HEADLINE, "std_error"), truth.sem())
        assert found(result, HEADLINE, "std_error") < 0.4 * truth.mean()


def test_the_months_lived_are_the_rows_that_the_book_gives():
    """The simulator's own count of each month, against decision_rows on the same bank's book."""
    bank = simulate(400, months=9, seed=3, end=date(2026, 10, 31), problems=(), truth_accounts=0)
    rows = decision_rows(open_book(bank.book_tables))
    start = date(2026, 5, 31)
    months = lived(bank.settings, None, start=start, months=4, monthly=True, every=True)
    both = months.merge(rows, on=["account_id", "on"], suffixes=("", "_book"), how="left")
    assert len(both) > 20 and both["episode_book"].notna().all()
    for name in ("days_past_due", "amount_past_due", "balance", "reached", *COUNTED):
        assert np.allclose(both[name].astype(float), both[f"{name}_book"].astype(float)), name
    assert (both["strategy"] == both["action"]).all()
    entries = rows[rows["entry"] & (rows["on"] >= pd.Timestamp(start)) & (rows["on"] <= "2026-06-30")]
    assert len(entries) == (months["month"] == 0).sum()
