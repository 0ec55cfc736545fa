"""Every estimator of effects met with hostile input: a plain error, or the right answer, and no warnings."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import CollectlabError, FrameError
from collectlab.effects.compare import compare
from collectlab.effects.compare_times import compare_times
from collectlab.effects.differences import differences
from collectlab.effects.discontinuity import discontinuity
from collectlab.effects.experiment import experiment
from collectlab.effects.experiment_compliers import complier_effect
from collectlab.effects.experiment_times import experiment_curves
from collectlab.effects.experiment_worth import worth
from collectlab.effects.league import league
from collectlab.effects.segments import by_segment
from collectlab.effects.sequential import confidence_sequence
from collectlab.effects.series import interrupted_series
from collectlab.effects.stage_jump import stage_jump
from collectlab.effects.target_trial import target_trial_rows
from collectlab.effects.target_trial_plan import TargetTrial

N = 240


def people() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    z, x = rng.integers(0, 2, N), rng.normal(size=N)
    y = (rng.random(N) < 0.4 + 0.15 * z + 0.05 * x).astype(int)
    day = rng.integers(0, 60, N)
    return pd.DataFrame(
        {
            "account_id": [f"A{i:03d}" for i in range(N)],
            "customer_id": [f"C{i // 2:03d}" for i in range(N)],
            "strategy": np.where(z, "new", "old"),
            "treated": z,
            "reached": z * (rng.random(N) < 0.7),
            "x": x,
            "kind": np.array(["a", "b", "c"])[rng.integers(0, 3, N)],
            "score": np.round(600 + 60 * rng.normal(size=N)),
            "paid": y,
            "amount": np.round(y * rng.exponential(100, N), 2),
            "cost": 1.0 + z,
            "assigned_on": pd.Timestamp("2026-01-01") + pd.to_timedelta(day, "D"),
            "exit_day": rng.integers(1, 100, N),
            "outcome": np.array(["cured", "charged_off", "censored"])[rng.integers(0, 3, N)],
            "team": np.array(list("PQRS"))[rng.integers(0, 4, N)],
        }
    )


def panel() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    since = {"A": 6, "B": 6, "C": 9, "D": 9}
    rows = [
        (b, m, since.get(b), 0.5 + 0.01 * m + 0.02 * i + 0.1 * (m >= since.get(b, 99)), 50.0 + i)
        for i, b in enumerate("ABCDEFGH")
        for m in range(14)
    ]
    frame = pd.DataFrame(rows, columns=["branch", "month", "since", "paid", "accounts"])
    frame["paid"] += 0.01 * rng.normal(size=len(frame))
    return frame


def monthly() -> pd.DataFrame:
    rng, t = np.random.default_rng(5), np.arange(24)
    return pd.DataFrame(
        {
            "month": pd.date_range("2024-01-01", periods=24, freq="MS"),
            "paid": 0.5 + 0.002 * t + 0.1 * (t >= 14) + 0.01 * rng.normal(size=24),
            "accounts": 100.0,
        }
    )


def spells() -> pd.DataFrame:
    day = np.random.default_rng(5).integers(1, 90, 2_000)
    return pd.DataFrame({"exit_day": day, "entry_day": 0, "outcome": np.where(day < 70, "cured", "censored")})


def risk_set() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "account_id": range(N),
            "time_zero": pd.Timestamp("2026-01-31"),
            "days_past_due": 10,
            "end_day": rng.integers(1, 40, N),
            "outcome": "cured",
            "x": rng.normal(size=N),
        }
    )


CALLS = pd.DataFrame(
    {"account_id": range(N), "day": np.random.default_rng(6).integers(1, 60, N), "channel": "call"}
)
TRIAL = TargetTrial(treatment="call", grace=7, follow_up=20, covariates=("x",))


@dataclass(frozen=True)
class Case:
    """An estimator, a frame it can answer on, and which column plays which part."""

    make: Callable[[], pd.DataFrame]
    ask: Callable[[Any], Any]
    outcome: str
    arm: str | None = None
    number: str | None = None
    kind: str | None = None


ARMS = {"arm": "strategy", "control": "old"}
CASES = {
    "experiment": Case(
        people,
        lambda f: experiment(f, **ARMS, outcomes="paid", covariates=["x", "kind"], cluster="customer_id"),
        *("paid", "strategy", "x", "kind"),
    ),
    "experiment in blocks": Case(
        people,
        lambda f: experiment(f, **ARMS, outcomes="paid", block="kind", unit="account_id"),
        *("paid", "strategy", None, "kind"),
    ),
    "curves": Case(
        people, lambda f: experiment_curves(f, **ARMS, horizons=[30, 60]), "outcome", "strategy", None, None
    ),
    "compliers": Case(
        people,
        lambda f: complier_effect(f, **ARMS, received="reached", outcome="paid", covariates="x"),
        *("paid", "strategy", "x", None),
    ),
    "worth": Case(
        people,
        lambda f: worth(f, **ARMS, amount="amount", cost="cost"),
        *("amount", "strategy", None, None),
    ),
    "compare": Case(
        people,
        lambda f: compare(f, treatment="treated", outcome="paid", covariates=["x", "kind"], treated=1),
        *("paid", "treated", "x", "kind"),
    ),
    "compare times": Case(
        people,
        lambda f: compare_times(
            f, treatment="strategy", treated="new", covariates="kind", horizon=60, duration="exit_day"
        ),
        *("outcome", "strategy", None, "kind"),
    ),
    "discontinuity": Case(
        people,
        lambda f: discontinuity(
            f, score="score", cutoff=600, outcome="paid", treated="below", covariates="x"
        ),
        *("paid", None, "x", None),
    ),
    "differences": Case(
        panel,
        lambda f: differences(
            f, unit="branch", time="month", outcome="paid", treated_from="since", weight="accounts"
        ),
        "paid",
    ),
    "series": Case(
        monthly,
        lambda f: interrupted_series(
            f, time="month", outcome="paid", changed_on="2025-03-01", weight="accounts"
        ),
        "paid",
    ),
    "sequence": Case(
        people,
        lambda f: confidence_sequence(f, outcome="paid", control="old", planned_per_arm=100, horizon=30),
        *("paid", "strategy", None, None),
    ),
    "segments": Case(
        people,
        lambda f: by_segment(f, ["kind", "x"], **ARMS, outcomes="paid"),
        *("paid", "strategy", "x", "kind"),
    ),
    "stage": Case(spells, lambda f: stage_jump(f, days=[30], seen=None), "outcome"),
    "league": Case(
        people,
        lambda f: league(f, by="team", outcome="paid", adjust=["x", "kind"]),
        *("paid", "team", "x", "kind"),
    ),
    "trial": Case(risk_set, lambda f: target_trial_rows(f, CALLS, TRIAL), "outcome", None, "x", None),
}
everywhere = pytest.mark.parametrize("name", list(CASES))


def where(fits: Callable[[str], bool]) -> Any:
    """The cases that a test is about."""
    return pytest.mark.parametrize("name", [name for name in CASES if fits(name)])


with_arm = where(lambda name: CASES[name].arm is not None)
with_kind = where(lambda name: CASES[name].kind is not None)
numbers = where(lambda name: CASES[name].outcome != "outcome")


def answer(name: str, frame: Any) -> Any:
    """The result, with every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return CASES[name].ask(frame)


@functools.cache
def plain_figures(name: str) -> np.ndarray:
    return figures(answer(name, CASES[name].make()))


def refused(name: str, frame: Any) -> str:
    with pytest.raises(CollectlabError) as caught:
        answer(name, frame)
    assert str(caught.value).strip()
    return str(caught.value)


def figures(result: Any) -> np.ndarray:
    columns = [c for c in ("estimate", "std_error", "conf_low", "conf_high") if c in result.table]
    return result.table[columns].to_numpy(float)


def with_column(name: str, part: str, change: Callable[[pd.Series], Any]) -> pd.DataFrame:
    column = getattr(CASES[name], part)
    assert column is not None, f"{name} has no {part}"
    frame = CASES[name].make()
    frame[column] = change(frame[column])
    return frame


@everywhere
def test_a_plain_frame_is_answered_without_warnings(name):
    result = answer(name, CASES[name].make())
    assert np.isfinite(figures(result)[0, 0])
    assert "estimate" in result.table and result._repr_html_()
    for check in getattr(result, "checks", ()):
        # ``is False`` is how the verdict asks: a numpy bool would slip through.
        assert check.passed is None or type(check.passed) is bool, check
        assert check.says.strip()


@everywhere
@pytest.mark.parametrize("engine", ["polars", "arrow", "shuffled"])
def test_the_same_rows_give_the_same_answer_wherever_they_lie(name, engine):
    import polars as pl
    import pyarrow as pa

    plain = CASES[name].make()
    frame: Any = {
        "polars": lambda: pl.from_pandas(plain),
        "arrow": lambda: pa.Table.from_pandas(plain, preserve_index=False),
        "shuffled": lambda: plain.sample(frac=1, random_state=1).set_index(np.zeros(len(plain), int)),
    }[engine]()
    np.testing.assert_allclose(figures(answer(name, frame)), plain_figures(name), rtol=1e-6, atol=1e-9)


@everywhere
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_no_rows_or_hardly_any_are_refused(name, rows):
    refused(name, CASES[name].make().iloc[:rows])


@everywhere
@pytest.mark.parametrize("thing", [[1, 2, 3], None, "no such file.parquet"])
def test_what_is_no_frame_is_refused(name, thing):
    refused(name, thing)


@everywhere
def test_a_missing_column_is_named(name):
    column = CASES[name].outcome
    assert column in refused(name, CASES[name].make().drop(columns=column))


@everywhere
def test_an_outcome_that_nobody_has_is_refused(name):
    refused(name, with_column(name, "outcome", lambda s: np.nan))


@everywhere
def test_an_outcome_of_texts_or_dates_is_refused(name):
    if CASES[name].outcome != "outcome":
        refused(name, with_column(name, "outcome", lambda s: s.astype(str)))
    refused(name, with_column(name, "outcome", lambda s: pd.Timestamp("2026-01-01")))


@numbers
def test_a_constant_outcome_is_refused(name):
    said = refused(name, with_column(name, "outcome", lambda s: 1.0))
    assert "nothing to compare" in said


@numbers
def test_missing_outcomes_are_left_out_and_counted(name):
    frame = with_column(name, "outcome", lambda s: s.astype(float).where(np.arange(len(s)) % 9 > 0))
    missing = int(frame[CASES[name].outcome].isna().sum())
    result = answer(name, frame)
    assert any(f"{missing:,}" in note for note in result.notes), result.notes
    alone = answer(name, frame.dropna(subset=[CASES[name].outcome]))
    np.testing.assert_allclose(figures(result), figures(alone), rtol=1e-6, atol=1e-9)


@where(lambda name: CASES[name].outcome == "paid" and CASES[name].arm is not None)
def test_true_and_false_are_numbers(name):
    yes_no = with_column(name, "outcome", lambda s: s == 1)
    np.testing.assert_allclose(figures(answer(name, yes_no)), plain_figures(name), rtol=1e-9)


@with_arm
def test_an_arm_that_everybody_has_is_refused(name):
    refused(name, with_column(name, "arm", lambda s: s.iloc[0]))


@with_arm
def test_an_arm_that_nobody_has_is_refused(name):
    refused(name, with_column(name, "arm", lambda s: None))


@with_arm
def test_an_arm_for_each_account_is_refused(name):
    unlike = range(N) if name == "compare" else [f"u{i}" for i in range(N)]
    refused(name, with_column(name, "arm", lambda s: list(unlike)))


@with_arm
def test_rows_without_an_arm_are_left_out(name):
    frame = with_column(name, "arm", lambda s: s.where(np.arange(len(s)) % 9 > 0))
    alone = frame.dropna(subset=[CASES[name].arm])
    np.testing.assert_allclose(
        figures(answer(name, frame)), figures(answer(name, alone)), rtol=1e-6, atol=1e-9
    )


@where(lambda name: CASES[name].arm is not None and name != "compare")
def test_a_category_that_no_row_has_is_no_arm(name):
    frame = with_column(name, "arm", lambda s: pd.Categorical(s, categories=[*s.unique(), "ghost"]))
    np.testing.assert_allclose(figures(answer(name, frame)), plain_figures(name), rtol=1e-9)


@everywhere
def test_missing_covariates_do_no_harm(name):
    plain = plain_figures(name)
    for part in ("number", "kind"):
        if getattr(CASES[name], part) is None:
            continue
        frame = with_column(name, part, lambda s: s.where(np.arange(len(s)) % 9 > 0))
        result = answer(name, frame)
        assert abs(figures(result)[0, 0] - plain[0, 0]) < plain[0, 1] + 0.05


@with_kind
def test_texts_with_quotes_and_marks_are_only_texts(name):
    said = {"a": "it's", "b": 'say "x"', "c": "x;-- %s {y}"}
    frame = with_column(name, "kind", lambda s: s.map(said))
    np.testing.assert_allclose(figures(answer(name, frame))[0], plain_figures(name)[0], rtol=1e-6)


STRANGE = [
    ["group", "estimate", "count", "day", "n"],
    ["arm", "y", "control_n", "unit", "index"],
    ['my "arm"', "the outcome's", "a b", "x;y", "ünïcode 名"],
    ["y", "arm", "cell", "weight", "cluster"],
    ["const", "Intercept", "x0", "x1", "_w"],
    ["select", "from", "group by", "order", "1"],
]


@pytest.mark.parametrize("names", STRANGE, ids=lambda names: names[0])
@pytest.mark.parametrize(
    "which", ["experiment", "compare", "discontinuity", "sequence", "stage", "differences"]
)
def test_any_column_names_will_do(which, names):
    a, b, c, d, e = names
    frame = {"stage": spells, "differences": panel}.get(which, people)()
    old, ask = {
        "experiment": (
            ["strategy", "paid", "x", "kind", "customer_id"],
            lambda f, a, b, c, d, e: experiment(
                f, arm=a, control="old", outcomes=b, covariates=[c, d], cluster=e
            ),
        ),
        "compare": (
            ["treated", "paid", "x", "kind", "customer_id"],
            lambda f, a, b, c, d, e: compare(f, treatment=a, outcome=b, covariates=[c, d], cluster=e),
        ),
        "discontinuity": (
            ["score", "paid", "x", "customer_id"],
            lambda f, a, b, c, d, e: discontinuity(
                f, score=a, cutoff=600, outcome=b, treated="below", covariates=c, cluster=d
            ),
        ),
        "sequence": (
            ["strategy", "paid", "assigned_on"],
            lambda f, a, b, c, d, e: confidence_sequence(
                f, arm=a, outcome=b, assigned_on=c, control="old", planned_per_arm=100, horizon=30
            ),
        ),
        "stage": (
            ["exit_day", "outcome", "entry_day"],
            lambda f, a, b, c, d, e: stage_jump(f, days=[30], duration=a, outcome=b, entry=c, seen=None),
        ),
        "differences": (
            ["branch", "paid", "month", "since", "accounts"],
            lambda f, a, b, c, d, e: differences(f, unit=a, outcome=b, time=c, treated_from=d, weight=e),
        ),
    }[which]
    frame = frame[old]
    plain = ask(frame, *[*old, *"?????"][:5])
    found = ask(frame.set_axis([a, b, c, d, e][: len(old)], axis=1), a, b, c, d, e)
    np.testing.assert_allclose(figures(found), figures(plain), rtol=1e-9)


# What each design cannot answer ------------------------------------------------------------------------


def test_horizons_beyond_the_follow_up_are_refused_by_arm():
    with pytest.raises(FrameError, match="horizon 1,000 lies beyond the follow-up"):
        experiment_curves(people(), **ARMS, horizons=[30, 1000])
    with pytest.raises(FrameError, match="day 1000: 0 days before and 0 after"):
        stage_jump(spells(), days=1000, seen=None)


def test_a_choice_made_after_the_clock_started_is_refused():
    frame = people()
    frame["zero"] = frame["assigned_on"] - pd.Timedelta(days=3)
    with pytest.raises(FrameError, match="decided on after time zero, 3 days in the median"):
        compare(
            frame,
            treatment="treated",
            outcome="paid",
            covariates="x",
            decided_on="assigned_on",
            time_zero="zero",
        )


def test_perfect_separation_is_named():
    frame = people()
    frame["above"] = frame["x"] + 10 * frame["treated"]
    with pytest.raises(FrameError, match="perfect separation by above"):
        compare(frame, treatment="treated", outcome="paid", covariates=["above", "kind"])
    frame["told"] = np.where(frame["treated"] == 1, "yes", "no")
    with pytest.raises(FrameError, match="perfect separation by told"):
        compare(frame, treatment="treated", outcome="paid", covariates=["x", "told"])
    with pytest.raises(FrameError, match="cannot be told from"):
        experiment(frame, **ARMS, outcomes="paid", covariates="told")


def test_where_there_is_no_overlap_is_said():
    frame = people()
    frame["x"] += 2.0 * frame["treated"]
    check = compare(frame, treatment="treated", outcome="paid", covariates="x").check("overlap")
    assert "No overlap at: x" in check.says and "left out" in check.says


def test_overlapping_assignments_are_left_out_and_counted():
    frame = people()
    again = frame.head(10).assign(strategy=np.where(frame["strategy"].head(10) == "new", "old", "new"))
    result = experiment(pd.concat([frame, again]), **ARMS, outcomes="paid", unit="account_id")
    assert any(note.startswith("10 of account_id are under two arms") for note in result.notes)
    assert result.table["n"][0] + result.table["control_n"][0] == N - 10


def test_infinite_outcomes_are_refused_or_left_out_and_counted():
    frame = people()
    frame["paid"] = frame["paid"].astype(float)
    frame.loc[[3, 5], "paid"] = np.inf
    for ask in (
        lambda: experiment(frame, **ARMS, outcomes="paid"),
        lambda: compare(frame, treatment="treated", outcome="paid", covariates="x"),
        lambda: confidence_sequence(frame, outcome="paid", control="old", planned_per_arm=100, horizon=30),
    ):
        with pytest.raises(FrameError, match="infinite") as caught:
            ask()
        assert "2" in str(caught.value)


@pytest.mark.parametrize("level", [0, 1, 95, -0.5, float("nan"), None])
def test_a_level_that_is_none_is_refused(level):
    for ask in (
        lambda: experiment(people(), **ARMS, outcomes="paid", conf_level=level),
        lambda: compare(people(), treatment="treated", outcome="paid", covariates="x", conf_level=level),
        lambda: discontinuity(people(), score="score", cutoff=600, outcome="paid", conf_level=level),
        lambda: differences(
            panel(), unit="branch", time="month", outcome="paid", treated_from="since", conf_level=level
        ),
        lambda: confidence_sequence(
            people(), outcome="paid", control="old", planned_per_arm=9, conf_level=level
        ),
        lambda: stage_jump(spells(), days=30, seen=None, conf_level=level),
        lambda: league(people(), by="team", outcome="paid", conf_level=level),
    ):
        with pytest.raises(FrameError, match="conf_level"):
            ask()


@pytest.mark.parametrize(
    "treatment, word",
    [
        ("reached 60 days", "staying past due"),
        ("kept a promise", "outcome defines the treatment"),
        ("visited", "immortal time"),
    ],
)
def test_a_treatment_of_the_future_is_refused_with_the_nearest_question(treatment, word):
    with pytest.raises(FrameError) as caught:
        TargetTrial(treatment=treatment, grace=7, follow_up=30)
    assert word in str(caught.value) and "Nearest question: start a" in str(caught.value)


def test_one_cluster_in_an_arm_or_on_a_side_is_refused_everywhere():
    frame = people()
    frame["branch"] = np.where(frame["treated"] == 1, "only", frame["customer_id"])
    chosen = {"treatment": "strategy", "treated": "new", "covariates": "x"}
    for ask in (
        lambda c: experiment(frame, **ARMS, outcomes="paid", cluster=c),
        lambda c: complier_effect(frame, **ARMS, received="reached", outcome="paid", cluster=c),
        lambda c: worth(frame, **ARMS, amount="amount", cost="cost", cluster=c),
        lambda c: experiment_curves(frame, **ARMS, horizons=60, cluster=c),
        lambda c: compare(frame, **chosen, outcome="paid", cluster=c),
        lambda c: compare_times(frame, **chosen, horizon=60, duration="exit_day", cluster=c),
    ):
        with pytest.raises(FrameError, match=r"branch has only one cluster.* (arm new|the treated), so no"):
            ask("branch")
        with pytest.raises(
            FrameError, match=r"one cluster.*(arm new, old|the treated and among the untreated)"
        ):
            ask("strategy")


def test_one_column_in_two_roles_is_refused_everywhere():
    frame = people()
    chosen = {"treatment": "treated", "outcome": "paid", "covariates": "x"}
    hazards = {"treatment": "treated", "treated": 1, "horizon": 60, "duration": "exit_day"}
    drawn = {**ARMS, "outcomes": "paid"}
    for ask, said in (
        (
            lambda: experiment(frame, **drawn, covariates=["x", "paid"]),
            "covariates: paid, which is the arm or",
        ),
        (lambda: experiment(frame, **drawn, baseline="paid"), "baseline: paid"),
        (lambda: experiment(frame, **drawn, block="paid"), "block: paid"),
        (lambda: experiment(frame, arm="treated", outcomes="treated"), "'treated' is the arm and an outcome"),
        (
            lambda: complier_effect(frame, **ARMS, received="reached", outcome="paid", covariates="reached"),
            "covariates: reached",
        ),
        (lambda: worth(frame, **ARMS, amount="amount", cost="cost", covariates="cost"), "covariates: cost"),
        (lambda: compare(frame, **chosen | {"outcome": "treated"}), "the treatment and the outcome"),
        (lambda: compare(frame, **chosen | {"covariates": ["x", "paid"]}), "covariates holds paid"),
        (lambda: compare(frame, **chosen, placebo="paid"), "paid is the treatment or the outcome"),
        (lambda: compare(frame, **chosen, negative_controls="treated"), "treated is the treatment or"),
        (lambda: compare_times(frame, **hazards, covariates="treated"), "covariates holds treated"),
        (
            lambda: compare_times(frame, **hazards | {"treatment": "outcome"}, covariates="x"),
            "how an account",
        ),
    ):
        with pytest.raises(FrameError, match=said):
            ask()


def test_covariates_that_are_known_only_later_are_refused_everywhere():
    frame = people().assign(paid_within_30=people()["x"])
    chosen = {"treatment": "treated", "outcome": "paid"}
    late = ["x", "exit_day", "paid_within_30"]
    for ask in (
        lambda: experiment(frame, **ARMS, outcomes="paid", covariates=late),
        lambda: experiment(frame, **ARMS, outcomes="paid", baseline=late),
        lambda: complier_effect(frame, **ARMS, received="reached", outcome="paid", covariates=late),
        lambda: compare(frame, **chosen, covariates=late),
        lambda: compare(frame, **chosen, covariates="x", placebo=late),
        lambda: compare_times(
            frame.assign(day=frame["exit_day"]),
            **{"treatment": "treated", "treated": 1, "horizon": 60, "duration": "day", "covariates": late},
        ),
    ):
        with pytest.raises(FrameError, match="exit_day, paid_within_30 known only after time zero"):
            ask()


@pytest.mark.parametrize("column", [None, 3, ["strategy"]])
def test_a_column_that_is_no_text_is_refused(column):
    with pytest.raises(FrameError, match="is no column name"):
        experiment(people(), arm=column, outcomes="paid")


def test_a_frame_without_columns_is_refused():
    import polars as pl
    import pyarrow as pa

    for frame in (pd.DataFrame(), pd.DataFrame(index=range(3)), pl.DataFrame(), pa.table({})):
        with pytest.raises(FrameError, match="the frame has no columns"):
            experiment(frame, outcomes="paid")


@pytest.mark.parametrize("treated", ["new", [1]])
def test_a_treated_value_that_is_no_number_is_refused_on_numbers(treated):
    with pytest.raises(FrameError, match="but treated holds numbers: 0, 1"):
        compare(people(), treatment="treated", treated=treated, outcome="paid", covariates="x")


# Against formulas written down a second time -----------------------------------------------------------


def test_experiments_against_statsmodels():
    import statsmodels.formula.api as smf

    f = people()
    f = f.assign(xc=f["x"] - f["x"].mean(), z=f["treated"])
    lin = smf.ols("paid ~ z * xc", f).fit(cov_type="HC3", use_t=True)
    row = experiment(f, **ARMS, outcomes="paid", covariates="x").table.iloc[0]
    np.testing.assert_allclose(
        row[["estimate", "std_error", "p_value"]].astype(float),
        [lin.params["z"], lin.bse["z"], lin.pvalues["z"]],
        rtol=1e-9,
    )
    groups = {"groups": pd.factorize(f["customer_id"])[0]}
    clustered = smf.ols("paid ~ z", f).fit(cov_type="cluster", cov_kwds=groups, use_t=True)
    row = experiment(f, **ARMS, outcomes="paid", cluster="customer_id").table.iloc[0]
    np.testing.assert_allclose(row["std_error"], clustered.bse["z"], rtol=1e-9)


def test_comparisons_within_cells_against_standardisation():
    f = people()
    cell = f.groupby(["kind", "treated"])["paid"].mean().unstack()
    for effect, share in (
        ("all", f["kind"].value_counts(normalize=True)),
        ("treated", f.loc[f["treated"] == 1, "kind"].value_counts(normalize=True)),
    ):
        want = ((cell[1] - cell[0]) * share).sum()
        table = compare(f, treatment="treated", outcome="paid", covariates="kind", effect=effect).table
        got = table.set_index("method").loc[["adjusted", "weighted", "doubly robust"], "estimate"]
        np.testing.assert_allclose(got, [want] * 3, rtol=1e-6)


def test_differences_against_regression_by_hand():
    import statsmodels.formula.api as smf

    f = panel()
    f.loc[f["branch"] == "B", "paid"] += 0.05 * np.maximum(f["month"] - 6, 0)

    def imputed(d: pd.DataFrame) -> float:
        done = d["month"] >= d["since"].fillna(99)
        untreated = smf.ols("paid ~ C(branch) + C(month)", d[~done]).fit()
        return float((d.loc[done, "paid"] - untreated.predict(d[done])).mean())

    table = differences(f, unit="branch", time="month", outcome="paid", treated_from="since").table
    row = table.set_index("method").loc["imputation"]
    without = np.array([imputed(f[f["branch"] != b]) for b in f["branch"].unique()])
    spread = np.sqrt(7 / 8 * ((without - imputed(f)) ** 2).sum())
    np.testing.assert_allclose(row[["estimate", "std_error"]].astype(float), [imputed(f), spread], rtol=1e-5)


def test_the_jump_at_a_threshold_against_weighted_lines():
    import statsmodels.formula.api as smf

    rng = np.random.default_rng(5)
    f = pd.DataFrame({"s": rng.uniform(-1, 1, 2_000)})
    f["y"] = 0.5 * f["s"] + 0.3 * (f["s"] >= 0) + 0.3 * f["s"] ** 2 + rng.normal(0, 0.3, len(f))
    row = discontinuity(f, score="s", cutoff=0, outcome="y").table.set_index("method").loc["conventional"]
    near = f.assign(k=1 - f["s"].abs() / row["bandwidth"], above=(f["s"] >= 0) * 1).query("k > 0")
    lines = smf.wls("y ~ s * above", near, weights=near["k"]).fit()
    assert row["estimate"] == pytest.approx(lines.params["above"], rel=1e-6)


def test_the_jump_of_a_hazard_against_poisson():
    import statsmodels.api as sm
    import statsmodels.formula.api as smf

    f = spells()
    days = pd.DataFrame({"t": np.arange(-14, 14)})
    days["n"] = [(f["exit_day"] >= 30 + t).sum() for t in days["t"]]
    days["d"] = [((f["exit_day"] == 30 + t) & (f["outcome"] == "cured")).sum() for t in days["t"]]
    days["after"] = (days["t"] >= 0) * 1
    fit = smf.glm("d ~ t * after", days, family=sm.families.Poisson(), offset=np.log(days["n"])).fit()
    table = stage_jump(f, days=30, seen=None, window=14).table
    ratio = table.loc[table["unit"] == "ratio", "estimate"].item()
    assert ratio == pytest.approx(np.exp(fit.params["after"]), rel=1e-6)


def test_curves_against_aalen_and_johansen_by_hand():
    f = people()

    def incidence(d: pd.DataFrame) -> float:
        left, reached = 1.0, 0.0
        for day in range(1, 61):
            here = d[d["exit_day"] == day]["outcome"]
            n = (d["exit_day"] >= day).sum()
            reached += left * (here == "cured").sum() / n
            left *= 1 - here.isin(["cured", "charged_off"]).sum() / n
        return reached

    want = incidence(f[f["treated"] == 1]) - incidence(f[f["treated"] == 0])
    assert experiment_curves(f, **ARMS, horizons=60).table["estimate"][0] == pytest.approx(want, rel=1e-9)
