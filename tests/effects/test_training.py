"""Who is named on the training list: only where a difference is real, nobody on few cases, and each case once."""

import numpy as np
import pandas as pd
import pytest

from collectlab.book.open import open_book
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects.training import agent_drivers, performance, training_needs
from collectlab.effects.training.drivers import _slope
from collectlab.effects.training.needs import named
from collectlab.effects.training.rows import roster, rule_rows, share_kept, skill_rows, starts
from collectlab.effects.training.units import compared

AGENTS = [f"A{k:02d}" for k in range(10)]


def log(seed: int = 0, worse: float = 0.0, n: int = 1000):
    """Accounts first overdue in February, called on the 20th by an agent drawn by lot; 40 % are current in March.

    Of A00's cases ``worse`` fewer are.
    """
    rng = np.random.default_rng(seed)
    ids = np.array([f"a{i:05d}" for i in range(n)])
    agent = rng.choice(AGENTS, n)
    cured = rng.random(n) < 0.4 - worse * (agent == "A00")
    ends = ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31"]
    late = [
        np.zeros(n),
        np.full(n, 20),
        np.where(cured, 0, 51),
        np.where(cured, 0, 81),
        np.where(cured, 0, 112),
    ]
    snapshots = pd.DataFrame(
        {
            "account_id": np.tile(ids, 5),
            "as_of": np.repeat(ends, n),
            "days_past_due": np.concatenate(late).astype(int),
        }
    ).assign(amount_past_due=lambda t: np.where(t["days_past_due"] > 0, 100.0, 0.0))
    actions = pd.DataFrame(
        {
            "account_id": ids, "at": pd.Timestamp("2026-02-20 10:00"), "channel": "call", "agent": agent,
            "team": np.where(np.isin(agent, AGENTS[:5]), "T1", "T2"), "recorded": rng.random(n) < 0.9,
            "outcome": rng.choice(["contact", "no_answer"], n),
        }
    )  # fmt: skip
    return {"accounts": pd.DataFrame({"account_id": ids}), "snapshots": snapshots, "actions": actions}


@pytest.fixture(scope="module")
def alike():
    return training_needs(open_book(log()), horizon=60)


def test_agents_who_are_alike_are_not_named(alike):
    needs = alike
    assert needs.table.empty
    assert not needs.real["real"].any()
    assert set(needs.real["skill"]) == {"cured", "reached", "recorded"}
    assert "Nobody is named" in needs._repr_html_()
    assert needs.attributed["agent"] == 1.0
    shown = needs.what_is_real().display_table()
    assert shown.columns.tolist() == [
        "Level", "Skill", "Works by", "Units", "Cases", "Average", "Share of the variation that is real (95 % interval)",
        "Typical difference, in points (95 % interval)", "p-value",
    ]  # fmt: skip
    row = needs.real.iloc[0]
    assert shown.iloc[0, 7].startswith(f"{100 * row['sd']:.1f} (") and "+" not in shown.iloc[0, 7]


def test_an_agent_who_cures_half_as_often_is_named_with_what_is_known_of_it():
    needs = training_needs(open_book(log(worse=0.25)), horizon=60)
    row = needs.table[needs.table["level"] == "agent"].iloc[0]
    assert (row["who"], row["team"], row["skill"], row["among"]) == ("A00", "T1", "cured", "call")
    assert len(needs.table[needs.table["level"] == "agent"]) == 1
    assert row["conf_low"] < row["estimate"] < row["conf_high"] < 0
    assert row["probability"] > 0.99
    shown = needs.display_table()
    assert shown.columns[-1] == "Training" and shown["Gap to the average, shrunken"].iloc[0].startswith("−")
    unit = needs.units[(needs.units["who"] == "A00") & (needs.units["skill"] == "cured")].iloc[0]
    assert abs(unit["estimate"]) < abs(unit["unshrunken"])  # shrunken
    assert row["n"] == (log(worse=0.25)["actions"]["agent"] == "A00").sum()


def test_nobody_below_the_minimum_is_named_or_shown():
    tables = log(worse=0.25)
    few = tables["actions"]["agent"].eq("A00")
    tables["actions"] = tables["actions"][~few | (few.cumsum() <= 29)]
    book = open_book(tables)
    needs = training_needs(book, horizon=60)
    assert "A00" not in set(needs.units.loc[needs.units["level"] == "agent", "who"])
    assert any("With fewer than 30, and so not compared: cured: 1 agent" in n for n in needs.notes)
    shown = performance(book, by="agent", horizon=60)
    assert "A00" not in set(shown.table["agent"]) and any("1 agents with fewer" in n for n in shown.notes)


def test_an_agent_in_two_teams_is_noticed_and_never_merged():
    tables = log(worse=0.25)
    mine = tables["actions"].index[tables["actions"]["agent"] == "A00"]
    tables["actions"].loc[mine[:5], "team"] = "T2"
    book = open_book(tables)
    teams, torn, notes = roster(book, ["call"])
    assert torn == ("A00",) and "A00" not in teams and teams["A01"] == "T1"
    assert notes[0].startswith("1 agents stand in two teams: A00 (T1, T2). They and their")
    needs = training_needs(book, horizon=60)
    assert "A00" not in set(needs.units["who"]) and notes[0] in needs.notes
    assert "A00" not in set(performance(book, by="agent", horizon=60).table["agent"])


def test_whose_a_case_is_does_not_depend_on_what_came_of_it():
    tables = log()
    ended = tables | {"snapshots": tables["snapshots"].assign(
        days_past_due=lambda t: np.where(t["as_of"] > "2026-02-28", 0, t["days_past_due"]))}  # fmt: skip
    owners = [starts(open_book(t), "agent", ["call"], "current_once", None) for t in (tables, ended)]
    pd.testing.assert_frame_equal(*(o[["account_id", "among", "unit", "on"]] for o in owners))
    # A later call by somebody else is not the first agent's work, and is counted as such.
    again = tables["actions"].assign(at=pd.Timestamp("2026-02-25 10:00"), agent="A09")
    more = open_book(tables | {"actions": pd.concat([tables["actions"], again])})
    begun = starts(more, "agent", ["call"], "current_once", None)
    pd.testing.assert_frame_equal(begun, owners[0])
    nines = (begun["unit"] == "A09").sum()
    share, per = share_kept(more, begun, "agent", 30)
    assert share == pytest.approx((len(begun) + nines) / (2 * len(begun)))
    assert (per["n"] == 2).all()


def reports(rng: np.random.Generator, truth: np.ndarray, cases: int = 100) -> pd.DataFrame:
    """Who is named where agents of several skills (rows) have these differences in truth."""
    real, units = [], []
    for skill, gaps in enumerate(truth):
        agent = np.repeat(np.arange(len(gaps)), cases)
        rows = pd.DataFrame({"agent": agent.astype(str), "among": "call", "customer": np.arange(len(agent)).astype(str),
                             "y": (rng.random(len(agent)) < 0.4 + gaps[agent]).astype(int)})  # fmt: skip
        one, spread, _ = compared(str(skill), rows, "agent", 30, 0.95)
        units.append(one.assign(level="agent"))
        real.append(spread.assign(level="agent"))
    _, found = named(pd.concat(real, ignore_index=True), pd.concat(units, ignore_index=True), 0.95)
    return found[found["named"]]


def test_false_namings_are_rare_and_large_gaps_are_found():
    rng = np.random.default_rng(20261122)
    alike = np.zeros((2, 10))
    wrong = sum(len(reports(rng, alike)) > 0 for _ in range(20))
    assert wrong <= 4  # more than 4 of 20 at 5 %: 1 run in 390
    one = alike.copy()
    one[0, 0] = -0.25
    found = [reports(rng, one) for _ in range(8)]
    assert sum((f["agent"] == "0").any() for f in found) > 5
    assert sum(((f["agent"] != "0") | (f["skill"] != "0")).any() for f in found) <= 2


def test_reliability_and_the_share_that_is_real():
    rng = np.random.default_rng(1)
    agent = np.repeat(np.arange(12), 400)
    rows = pd.DataFrame({"agent": agent.astype(str), "among": "call", "customer": np.arange(len(agent)).astype(str),
                         "y": (rng.random(len(agent)) < 0.2 + 0.05 * agent).astype(int)})  # fmt: skip
    units, spread, _ = compared("cured", rows, "agent", 30, 0.95)
    tau = spread["sd"].iloc[0]
    np.testing.assert_allclose(units["reliability"], tau**2 / (tau**2 + units["own_error"] ** 2))
    assert spread["estimate"].iloc[0] > 0.95 and spread["p_value"].iloc[0] < 1e-6
    assert spread["sd_low"].iloc[0] < np.std(0.05 * np.arange(12), ddof=1) < spread["sd_high"].iloc[0]
    assert units.set_index("agent")["observed"].equals(
        rows.groupby("agent")["y"].mean().reindex(units["agent"])
    )


def test_the_drivers_slope_is_weighted_least_squares_with_residual_scale():
    import statsmodels.api as sm

    rng = np.random.default_rng(4)
    units = pd.DataFrame(
        {
            "among": ["call"] * 8 + ["visit"] * 6,
            "own_error": rng.uniform(0.02, 0.06, 14),
            "d": rng.normal(size=14),
        }
    )
    units["unshrunken"] = 0.03 * units["d"] + rng.normal(0, 0.04, 14)
    tau2 = max(np.var(units["unshrunken"], ddof=1) - (units["own_error"] ** 2).mean(), 0)
    x = pd.get_dummies(units["among"]).astype(float).assign(d=units["d"])
    known = sm.WLS(units["unshrunken"], x, weights=1 / (tau2 + units["own_error"] ** 2)).fit()
    found = _slope(units, 0.95)
    assert found["estimate"] / found["sd"] == pytest.approx(known.params["d"])
    assert found["std_error"] / found["sd"] == pytest.approx(known.bse["d"])
    assert found["p_value"] == pytest.approx(known.pvalues["d"])
    assert _slope(units.iloc[:7], 0.95) is None


def test_drivers_need_agents_and_say_what_they_rest_on():
    book = open_book(log())
    found = agent_drivers(book, horizon=60)
    assert found.table["driver"].tolist() == [
        "reached",
        "recorded",
    ]  # one attempt each: nothing to tell apart
    assert any("different halves of the customers" in n for n in found.notes)
    with pytest.raises(NotAvailable, match="what goes with what is chance"):
        agent_drivers(book, horizon=60, minimum_cases=1000)


def test_violations_are_counts_that_fit():
    told = pd.DataFrame({"agent": ["A", "B"], "violations": [1, 0], "contacts": [4, 2]})
    rows = rule_rows(told, "agent")
    assert rows.groupby("agent")["y"].agg(["size", "sum"]).values.tolist() == [[4, 3], [2, 2]]
    with pytest.raises(FrameError, match=r"2 rows \(A, B\) hold no counts"):
        rule_rows(told.assign(violations=[5, -1]), "agent")
    with pytest.raises(FrameError, match="contacts"):
        rule_rows(told[["agent", "violations"]], "agent")
    many = pd.DataFrame({"agent": AGENTS, "violations": [60] + [5] * 9, "contacts": [300] * 10})
    needs = training_needs(open_book(log()), horizon=60, violations=many)
    assert needs.table[["who", "skill"]].values.tolist() == [["A00", "within_rules"]]


def test_performance_by_hand_and_in_any_order(alike):
    tables = log()
    found = performance(open_book(tables), by="agent", horizon=60)
    cured = tables["snapshots"].query("as_of == '2026-03-31' and days_past_due == 0")["account_id"]
    known = (
        tables["actions"]
        .assign(cured=tables["actions"]["account_id"].isin(cured))
        .groupby("agent")["cured"]
        .mean()
    )
    wide = found.wide().set_index("agent")
    np.testing.assert_allclose(wide["cured"], known.reindex(wide.index))
    assert wide["team"].tolist() == ["T1"] * 5 + ["T2"] * 5
    assert (wide["attempts_per_case"] == 1).all()
    shuffled = open_book({name: frame.sample(frac=1, random_state=2) for name, frame in tables.items()})
    pd.testing.assert_frame_equal(training_needs(shuffled, horizon=60).units, alike.units)


def test_a_book_that_names_nobody():
    tables = log()
    bare = tables | {"actions": tables["actions"].drop(columns=["agent", "team"])}
    with pytest.raises(NotAvailable, match="name no agent and no team"):
        training_needs(open_book(bare))
    with pytest.raises(NotAvailable, match="name no team"):
        performance(open_book(bare))
    with pytest.raises(NotAvailable, match="name no agent"):
        agent_drivers(open_book({k: v for k, v in tables.items() if k != "actions"}))
    with pytest.raises(FrameError, match="minimum_cases"):
        training_needs(open_book(tables), minimum_cases=1)
    with pytest.raises(FrameError, match="skill is 'charm'"):
        skill_rows(
            open_book(tables),
            "charm",
            "agent",
            channels=["call"],
            horizon=30,
            definition="current_once",
            period=None,
        )
    with pytest.raises(NotAvailable, match="have no promised_amount"):
        skill_rows(
            open_book(tables),
            "promises_kept",
            "agent",
            channels=["call"],
            horizon=30,
            definition="current_once",
            period=None,
        )
