"""Leagues of teams: by hand, against statsmodels, against known true effects, and what they refuse."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

import collectlab as cl
from collectlab.book.simulate import simulate
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects import _league_math as numbers
from collectlab.effects._bands import cut
from collectlab.effects.league import league, league_cases
from collectlab.effects.league_plot import ABOVE, ALIKE, BELOW
from collectlab.measures.actions import team_comparison


def two_teams() -> pd.DataFrame:
    """A and B cure alike 80 % of easy and 30 % of hard cases; A has twice as many easy ones."""
    parts = []
    for team, easy, hard in (("A", 60, 30), ("B", 30, 60)):
        cured = (
            [1] * (easy * 8 // 10) + [0] * (easy * 2 // 10) + [1] * (hard * 3 // 10) + [0] * (hard * 7 // 10)
        )
        parts.append(pd.DataFrame({"team": team, "kind": ["easy"] * easy + ["hard"] * hard, "cured": cured}))
    return pd.concat(parts, ignore_index=True)


def cases(
    rng: np.random.Generator, effect: np.ndarray, size: int = 150, repeats: bool = False
) -> pd.DataFrame:
    """Teams with these effects on top of 50 %; each with a lean of its own to late cases, which cure less."""
    n = size * len(effect)
    team = np.repeat(np.arange(len(effect)), size)
    late = rng.random(n) < rng.uniform(0.2, 0.8, len(effect))[team]
    customer = rng.integers(0, n // 3, n) if repeats else np.arange(n)
    trait = rng.choice([-0.15, 0.15], n)[customer] if repeats else 0.0
    chance = 0.55 - 0.2 * late + effect[team] + trait
    return pd.DataFrame(
        {
            "team": [f"T{t:02d}" for t in team],
            "late": late,
            "cured": rng.random(n) < chance,
            "customer": customer,
        }
    )


def test_the_same_mix_by_hand():
    table = league(two_teams(), adjust=["kind"]).table.set_index("team")
    # 57 of 90 against 42 of 90; but of the same kind they cure the same, so all of it was expected.
    assert table.loc["A", "observed"] == pytest.approx(57 / 90)
    assert table.loc["A", "expected"] == pytest.approx(57 / 90)
    assert table["unshrunken"].tolist() == pytest.approx([0, 0], abs=1e-12)
    assert table["standing"].tolist() == [ALIKE, ALIKE]
    crude = league(two_teams()).table.set_index("team")
    assert crude.loc["A", "unshrunken"] == pytest.approx(57 / 90 - 0.55)
    assert "Not standardised" in " ".join(league(two_teams()).notes)


def test_effects_are_those_of_a_regression_with_teams():
    import statsmodels.api as sm

    frame = cases(np.random.default_rng(3), np.array([0.1, 0.0, -0.05, 0.02]))
    found = league(frame, adjust=["late"]).table.sort_values("team")
    teams = pd.get_dummies(frame["team"], dtype=float)
    fitted = sm.OLS(
        frame["cured"].astype(float), pd.concat([teams, frame["late"].astype(float)], axis=1)
    ).fit()
    alpha = fitted.params[teams.columns].to_numpy()
    assert found["unshrunken"].to_numpy() == pytest.approx(alpha - alpha.mean())
    # Where variances are pooled over everybody, the covariance is that of the regression.
    units = numbers.same_mix(
        frame["cured"].to_numpy(float), np.ones(len(frame)), pd.factorize(frame["team"], sort=True)[0],
        np.zeros((len(frame), 0)), np.arange(len(frame)),
    )  # fmt: skip
    plain = sm.OLS(frame["cured"].astype(float), teams).fit()
    centre = np.eye(4) - 0.25
    assert units.covariance == pytest.approx(centre @ plain.cov_params().to_numpy() @ centre.T)


def test_cases_of_one_customer_count_for_less():
    # Every case stands there three times: the error is that of a third of the cases.
    one = two_teams().assign(customer=range(180))
    thrice = pd.concat([one] * 3, ignore_index=True)

    def variance(frame: pd.DataFrame) -> float:
        team, kind, customer = (pd.factorize(frame[c])[0] for c in ("team", "kind", "customer"))
        y = frame["cured"].to_numpy(float)
        found = numbers.same_mix(y, np.ones(len(y)), team, kind[:, None].astype(float), customer)
        return float(found.covariance[0, 0])

    assert variance(thrice) == pytest.approx(variance(one), rel=0.03)
    apart = variance(thrice.assign(customer=range(540)))
    assert apart == pytest.approx(variance(one) / 3, rel=0.03)


def test_the_error_agrees_with_the_jackknife_over_customers():
    from collectlab.core.jackknife import jackknife, replicate_of

    frame = cases(np.random.default_rng(5), np.zeros(3), size=800, repeats=True)
    rows = frame.assign(
        rep=[replicate_of(c) for c in frame["customer"]], one=1, cured=frame["cured"].astype(int)
    )
    sums = rows.groupby(["rep", "team"])[["cured", "one"]].sum().unstack(fill_value=0)
    by_group = sums.to_numpy(float).reshape(len(sums), 2, 3)

    def from_average(counts: np.ndarray) -> np.ndarray:
        return counts[0] / counts[1] - counts[0].sum() / counts[1].sum()

    _, error, _, _ = jackknife(by_group.sum(axis=0), by_group, from_average)
    units = numbers.same_mix(
        rows["cured"].to_numpy(float), np.ones(len(rows)), pd.factorize(rows["team"], sort=True)[0],
        np.zeros((len(rows), 0)), frame["customer"].to_numpy(),
    )  # fmt: skip
    assert units.alike > 0.03
    assert np.sqrt(np.diag(units.covariance)) == pytest.approx(error, rel=0.25)


def test_shrinking_by_hand():
    """Equal errors: REML has a closed form, and the pull is τ² / (τ² + s²) at the least."""
    effect = np.array([-0.09, -0.03, 0.02, 0.1])
    error, size = 0.03, np.full(4, 0.25)
    found = numbers.shrink(effect, error**2 * np.eye(4), size, 0.95)
    spread = np.sum((effect - effect.mean()) ** 2) / 3
    assert found.sd == pytest.approx(math.sqrt(spread - error**2), rel=1e-4)
    # Q-profile: Σ (θ − mean)² / (s² + τ²) stands at the quantiles of χ²(3): 9.3484 and 0.2158.
    assert found.sd_low == pytest.approx(math.sqrt(max(3 * spread / 9.3484 - error**2, 0)), rel=1e-3)
    assert found.sd_high == pytest.approx(math.sqrt(3 * spread / 0.215795 - error**2), rel=1e-3)
    pull = found.estimate / (effect - effect.mean())
    assert np.all((pull > 0.6) & (pull < 1)) and np.ptp(pull) < 1e-9
    assert np.all(found.std_error < error * 1.1)


def test_no_spread_is_said_to_be_none():
    found = numbers.shrink(np.array([0.01, 0.0, -0.01]), 0.03**2 * np.eye(3), np.full(3, 1 / 3), 0.95)
    assert found.sd == 0 and found.sd_low == 0 and found.p_value > 0.5
    # Q = 2/9 is less than its mean of 2 and counts as that: 2 s² / (s² + τ²) = χ²(2) at 2.5 %, 0.0506.
    assert found.sd_high == pytest.approx(0.03 * math.sqrt(2 / 0.0506356 - 1), rel=1e-3)
    says = league(cases(np.random.default_rng(1), np.zeros(12))).says[0]
    assert "Of 12 teams none can be told from the average" in says


def test_rank_intervals_by_hand():
    # Three far apart, the last two tied.
    first, last = numbers.rank_intervals(np.array([0.3, 0.0, -0.3, -0.31]), 0.01**2 * np.eye(4), 0.95)
    assert list(zip(first, last)) == [(1, 1), (2, 2), (3, 4), (3, 4)]
    first, last = numbers.rank_intervals(np.zeros(3), 0.01**2 * np.eye(3), 0.95)
    assert first.tolist() == [1, 1, 1] and last.tolist() == [3, 3, 3]


def test_real_differences_are_found_and_named():
    effect = np.array([0.25, 0.0, 0.0, 0.0, -0.25])
    found = league(cases(np.random.default_rng(1), effect, size=400), adjust=["late"])
    standing = found.table.set_index("team")["standing"]
    assert (
        standing["T00"] == ABOVE
        and standing["T04"] == BELOW
        and (standing[["T01", "T02", "T03"]] == ALIKE).all()
    )
    assert "T00 is above and T04 is below the average; 3 cannot be told from it" in found.says[0]
    first = found.table.iloc[0]
    assert (first["team"], first["rank_low"], first["rank_high"]) == ("T00", 1, 1)


def test_small_study_of_known_effects():
    """A small version of benchmarks/league.py: 8 teams; all equal, and with an sd of 4 points."""
    rng = np.random.default_rng(20261031)
    called, covered, ranks, raw, pulled = [], [], [], [], []
    for r in range(80):
        equal = r % 2 == 0
        effect = np.zeros(8) if equal else 0.04 * rng.normal(size=8)
        table = league(cases(rng, effect, repeats=True), adjust=["late"]).table.sort_values("team")
        truth = effect - effect.mean()
        if equal:
            called.append((table["standing"] != ALIKE).any())
            continue
        covered.append(np.mean((table["conf_low"] <= truth) & (truth <= table["conf_high"])))
        place = 1 + (truth[:, None] < truth[None, :]).sum(axis=1)
        ranks.append(((table["rank_low"] <= place) & (place <= table["rank_high"])).all())
        raw.append(np.mean((table["unshrunken"] - truth) ** 2))
        pulled.append(np.mean((table["estimate"] - truth) ** 2))
    assert np.mean(called) <= 0.16  # 5 % and three of its errors
    assert 0.90 <= np.mean(covered) <= 0.995
    assert np.mean(ranks) >= 0.9
    assert np.mean(pulled) < 0.85 * np.mean(raw)


def test_only_like_is_compared_with_like():
    frame = pd.concat([two_teams().assign(among="call"), two_teams().assign(team="Field", among="visit")])
    found = league(frame, adjust=["kind"])
    assert found.table["among"].unique().tolist() == ["call"]
    assert any("Nobody to compare with: Field" in n for n in found.notes)


def test_units_with_few_or_foreign_cases_are_left_out_and_named():
    frame = pd.concat(
        [
            cases(np.random.default_rng(0), np.zeros(2)).assign(stage="early"),
            cases(np.random.default_rng(1), np.zeros(1)).assign(stage="court", team="Legal"),
            cases(np.random.default_rng(2), np.zeros(1), size=6).assign(stage="early", team="New"),
        ]
    )
    found = league(frame, adjust=["stage"])
    assert sorted(found.table["team"]) == ["T00", "T01"]
    overlap, enough = found.check("overlap"), found.check("enough")
    assert (
        not overlap.passed and "Legal: 100 % of its cases" in overlap.says and "stage court" in overlap.says
    )
    assert not enough.passed and "New (6)" in enough.says
    assert found.check("assigned").passed is None
    assert league(cases(np.random.default_rng(0), np.zeros(2)).assign(lot=True)).check("assigned").passed


def test_money_weighs_by_what_was_owed():
    frame = pd.DataFrame(
        {
            "team": ["A"] * 40 + ["B"] * 40,
            "recovered": [1.0, 0.0] * 40,
            "owed": [300.0, 100.0] * 20 + [100.0] * 40,
        }
    )
    table = league(frame, outcome="recovered", weight="owed").table.set_index("team")
    assert table["observed"].to_dict() == pytest.approx({"A": 0.75, "B": 0.5})


def test_the_order_and_kind_of_frame_do_not_matter():
    import polars as pl

    frame = cases(np.random.default_rng(4), np.zeros(3), repeats=True)
    once = league(frame, adjust=["late"]).table
    other = frame.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(once, league(other, adjust=["late"]).table, check_exact=True)
    lazy = pl.from_pandas(frame).lazy()
    pd.testing.assert_frame_equal(once, league(lazy, adjust=["late"]).table, check_exact=True)


@pytest.mark.parametrize(
    ("frame", "options", "error", "words"),
    [
        (two_teams().drop(columns="team"), {}, FrameError, "no column 'team'"),
        (two_teams().assign(cured=1), {}, FrameError, "1 for all cases"),
        (two_teams().assign(cured="yes"), {}, FrameError, "Allowed: numbers"),
        (two_teams().iloc[:0], {}, FrameError, "empty"),
        (two_teams().iloc[:1], {}, NotAvailable, "15 cases"),
        (two_teams().query("team == 'A'"), {}, NotAvailable, "no two teams"),
        (two_teams().assign(w=-1.0), {"weight": "w"}, FrameError, "180 weights below 0"),
        (two_teams(), {"adjust": ["score"]}, FrameError, "no column 'score'"),
        (two_teams(), {"conf_level": 2}, FrameError, "conf_level"),
        (two_teams(), {"adjust": ["cured"]}, FrameError, "'cured' is both outcome and adjust"),
        (two_teams(), {"outcome": "team"}, FrameError, "'team' is both by and outcome"),
        (two_teams(), {"weight": "cured"}, FrameError, "'cured' is both outcome and weight"),
        (two_teams(), {"weight": "kind"}, FrameError, "kind holds String. Allowed: numbers"),
    ],
)
def test_bad_input_is_refused_by_name(frame, options, error, words):
    with pytest.raises(error, match=words):
        league(frame, **options)


@pytest.mark.parametrize("kind", ["boolean", "object", "decimal"])
def test_true_and_false_with_gaps_and_decimals_are_numbers(kind):
    frame = two_teams()
    frame["cured"] = frame["cured"].astype(float).where(frame.index % 7 > 0)
    known = frame["cured"].notna()
    other = {
        "boolean": (frame["cured"] == 1).astype("boolean").where(known),
        "object": (frame["cured"] == 1).astype(object).where(known, None),
        "decimal": frame["cured"].map(lambda v: Decimal(int(v)) if v == v else None),
    }[kind]
    pd.testing.assert_frame_equal(
        league(frame.assign(cured=other), adjust=["kind"]).table, league(frame, adjust=["kind"]).table
    )


def test_several_groups_are_told_in_one_column():
    many = pd.concat([two_teams()] * 5)
    found = league(pd.concat([many.assign(among=a) for a in ("call", "visit")]))
    shown = found.display_table()
    assert "Among" not in shown and sorted(shown["Team"]) == [
        "A (call)",
        "A (visit)",
        "B (call)",
        "B (visit)",
    ]
    assert found.says[0] == "Of 2 call teams, A is above and B is below the average."


def test_gaps_are_counted():
    frame = two_teams()
    frame.loc[:4, "cured"] = np.nan
    frame.loc[10:19, "kind"] = None
    notes = " ".join(league(frame, adjust=["kind"]).notes)
    assert "5 of 180 cases have no team, cured or weight" in notes and "10 cases have no kind" in notes


@pytest.fixture(scope="module")
def book():
    return cl.open_book(simulate(accounts=1500, months=18, truth_accounts=0).book_tables)


def test_cases_are_counted_as_the_comparison_of_teams_counts_them(book):
    cases, _ = league_cases(book, channels=["call"])
    found = cases.groupby("team")["cured"].agg(["size", "mean"])
    told = team_comparison(book, channels=["call"]).table.query("measure == 'cured'").set_index("team")
    assert found["size"].to_dict() == told["episodes"].to_dict()
    assert found["mean"].to_dict() == pytest.approx(told["estimate"].to_dict())
    money, _ = league_cases(book, channels=["call"], outcome="recovered")
    shares = (money["recovered"] * money["owed"]).groupby(money["team"]).sum() / money.groupby("team")[
        "owed"
    ].sum()
    told = team_comparison(book, channels=["call"]).table.query("measure == 'recovered'").set_index("team")
    assert shares.to_dict() == pytest.approx(told["estimate"].to_dict())


def test_a_book_by_team_branch_and_agency(book):
    by_team = league(book)
    assert set(by_team.table["among"]) <= {"call", "visit"}
    assert "credit score" in " ".join(by_team.notes)
    assert league(book, by="branch", least=10).table["among"].unique().tolist() == ["all"]
    with pytest.raises(NotAvailable, match="neither the actions nor the accounts"):
        league(book, by="squad")


def test_placements_by_hand():
    """Placed on the day of the agency's first action; each followed 30 days; the next agency ends the first's."""
    days = pd.to_datetime
    book = cl.open_book(
        {
            "accounts": pd.DataFrame({"account_id": ["a", "b", "c"], "customer_id": ["x", "x", "y"]}),
            "snapshots": pd.DataFrame(
                {"account_id": list("abc") * 2, "as_of": days(["2026-01-31"] * 3 + ["2026-06-30"] * 3),
                 "days_past_due": [100, 40, 100, 250, 0, 250], "amount_past_due": [100.0, 200.0, 50.0, 100.0, 0.0, 50.0]}
            ),
            "actions": pd.DataFrame(
                {"account_id": ["a", "a", "b", "c"], "channel": "agency", "agency": ["X", "Y", "X", "Y"],
                 "at": days(["2026-02-01", "2026-02-11", "2026-02-01", "2026-06-15"])}
            ),
            "payments": pd.DataFrame(
                {"account_id": ["a", "a", "b", "b"], "amount": [30.0, 20.0, 500.0, 10.0],
                 "paid_on": days(["2026-02-05", "2026-02-20", "2026-03-03", "2026-03-04"])}
            ),
        }
    )  # fmt: skip
    cases, notes = league_cases(book, by="agency", outcome="recovered", horizon=30)
    rows = cases.sort_values(["account_id", "agency"])
    assert rows[["account_id", "agency", "days_past_due", "amount"]].values.tolist() == [
        ["a", "X", "90–179", 100.0], ["a", "Y", "90–179", 100.0], ["b", "X", "30–59", 200.0],
    ]  # fmt: skip
    # a: 30 for X before Y had it, 20 for Y; b: 500 on day 30 count as the 200 placed, day 31 no more.
    assert rows["recovered"].tolist() == pytest.approx([0.3, 0.2, 1.0])
    assert rows["customer"].tolist() == ["x", "x", "x"]
    assert any("1 cases left out: they began less than 30 days" in n for n in notes)


def test_it_is_shown(book):
    found = league(book)
    assert "Rank" in found.display_table() and "Against the average" in found.display_table()
    assert found._repr_html_() == league(book)._repr_html_()
    ax = found.plot(among="call")
    assert len(ax.get_yticks()) == (found.table["among"] == "call").sum()
    with pytest.raises(FrameError, match="among is 'fax'"):
        found.plot(among="fax")


def test_bands_are_cut_by_the_column_alone():
    assert cut(pd.Series([1, 1, 1, 1, 5, 6, 7, 9]), 2).tolist() == ["up to 1"] * 4 + ["over 1"] * 4
    assert list(cut(pd.Series(["S10", "S2", None]), 3).categories) == ["S2", "S10", "(missing)"]
    assert cut(pd.Series([1.0, 5.0, 20.0]), 3, [2, 10]).tolist() == ["up to 2", "2 to 10", "over 10"]
    assert cut(pd.Series([1.0, 2.0, 3.0, 4.0] + [5.0] * 9), 3).value_counts().to_dict() == {
        "up to 4": 4,
        "over 4": 9,
    }
    for edges in ([5, 2], []):
        with pytest.raises(FrameError, match="rising"):
            cut(pd.Series([1.0, 2.0, 3.0]), 3, edges)
    for bands in (0, 1, 2.5, True):
        with pytest.raises(FrameError, match="whole numbers ≥ 2"):
            cut(pd.Series([1.0, 2.0, 3.0]), bands)
    with pytest.raises(FrameError, match="no number"):
        cut(pd.Series(["a"]), 3, [5])
