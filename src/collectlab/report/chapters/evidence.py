"""The evidence that findings are looked for in: the month's measures, under the names the rules know."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import narwhals as nw
import pandas as pd

from collectlab.book.schema import TABLES
from collectlab.core import engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.results import Result
from collectlab.measures import actions, cure, portfolio, roll_rates
from collectlab.policy.evidence import evidence as evidence_of
from collectlab.policy.findings import Findings, find
from collectlab.report.chapters import conduct, kpis, leagues, pressure, process, relief, trials
from collectlab.report.month import WINDOW_MONTHS, Month, months_before


def findings(month: Month) -> Findings:
    """Every finding that stands on the month's evidence; counted once for all chapters."""
    return month.shared(
        "findings", lambda: find(evidence(month), targets=month.params / "targets.yml", on=month.end)
    )


def evidence(month: Month) -> dict[str, pd.DataFrame]:
    """What could be counted from this book; what could not is left out."""
    return month.shared("evidence", lambda: _collect(month))


def _collect(month: Month) -> dict[str, pd.DataFrame]:
    found = {}
    for name, make in _SOURCES.items():
        try:
            table = make(month)
        except (NotAvailable, FrameError):
            continue
        if len(table):
            found[name] = table
    if "hours_breaches_by_team" in found:  # the audit knows the rules in force, and counts the same contacts
        found.pop("night_contacts_by_team", None)
    return found


def _cure_by(by: str) -> Callable[[Month], pd.DataFrame]:
    def make(month: Month) -> pd.DataFrame:
        if by not in month.from_start.collect_schema().names():
            raise NotAvailable(f"no {by}")
        table = cure.cure_rate(
            month.recent.filter(~nw.col(by).is_null()),
            horizons=(month.horizon,),
            by=by,
            cluster="customer_id",
        ).table
        return table.dropna(subset=["estimate"])

    return make


def _concentration_by(by: str) -> Callable[[Month], pd.DataFrame]:
    def make(month: Month) -> pd.DataFrame:
        if by not in month.book.columns("accounts"):
            raise NotAvailable(f"no {by}")
        return month.counted(portfolio.concentration, by).table

    return make


def _rolls(month: Month, months_back: int) -> pd.DataFrame:
    last = months_before(month.end, months_back)
    first = months_before(month.end, months_back + WINDOW_MONTHS) + dt.timedelta(days=1)
    snapshots = month.book.table("snapshots")
    earliest = pd.Timestamp(engine.collect(snapshots.select(first=nw.col("as_of").min()))["first"][0]).date()
    if months_back and earliest > months_before(month.end, months_back + WINDOW_MONTHS - 1):
        raise NotAvailable("no whole earlier year to compare with.")
    return roll_rates.roll_rates(snapshots, period=(first, last)).table


def _missing_tables(month: Month) -> pd.DataFrame:
    off = {
        "payments": "recovery and its cost",
        "actions": "contact, channels and conduct",
        "assignments": "the comparison of strategies",
        "complaints": "complaints",
        "surveys": "satisfaction",
        "arrangements": "plans and deferrals",
        "legal_cases": "legal work",
        "reasons": "why accounts fell behind",
    }
    rows = [{"table": t, "switches_off": off[t]} for t in TABLES if t in off and not month.book.has(t)]
    return pd.DataFrame(rows, columns=["table", "switches_off"])


def _pick(make: Callable[[Month], Result], **how: object) -> Callable[[Month], pd.DataFrame]:
    return lambda month: evidence_of(make(month), **how).dropna(subset=["estimate"])


def _one(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    for column, value in wanted.items():
        if column in table.columns:
            table = table[table[column] == value]
    return table.dropna(subset=["estimate"]).reset_index(drop=True)


def _redefault(month: Month) -> pd.DataFrame:
    return _one(cure.redefault(month.episodes, horizons=(180,)).table)


def _bad_rate(month: Month) -> pd.DataFrame:
    return _one(month.counted(portfolio.new_loan_bad_rate).table, cohort_status="mature")


def _bad_rate_by(by: str) -> Callable[[Month], pd.DataFrame]:
    def make(month: Month) -> pd.DataFrame:
        if by not in month.book.columns("accounts"):
            raise NotAvailable(f"no {by}")
        table = _one(month.counted(portfolio.new_loan_bad_rate, by=by).table, cohort_status="mature")
        sums = table.groupby(by, as_index=False)[["loans", "bad"]].sum()
        return _shares(sums, "bad", "loans")

    return make


def _among_channel(make: Callable[[Month], pd.DataFrame]) -> Callable[[Month], pd.DataFrame]:
    """With the channel that each team mostly works by: call teams are not compared with mass mailings."""

    def with_channel(month: Month) -> pd.DataFrame:
        if "team" not in month.book.columns("actions"):
            raise NotAvailable("the actions name no team.")
        table = make(month)
        done = month.book.table("actions").filter(~nw.col("team").is_null())
        counts = engine.collect(done.group_by("team", "channel").agg(n=nw.len()))
        main = counts.sort_values(["n", "channel"]).groupby("team")["channel"].last()
        return table.assign(among=table["team"].map(main))

    return with_channel


def _wrong_numbers(month: Month) -> pd.DataFrame:
    """Accounts called whose number was wrong, by branch: attempts at one account repeat one another.

    Over two years, as few accounts of one branch are called a month.
    """
    if "branch" not in month.book.columns("accounts") or "outcome" not in month.book.columns("actions"):
        raise NotAvailable("no branch, or no outcome of the calls.")
    first = months_before(month.end, 2 * WINDOW_MONTHS) + dt.timedelta(days=1)
    calls = month.book.table("actions").filter(
        (nw.col("channel") == "call") & (nw.col("at").cast(nw.Date) >= first)
    )
    wrong = (nw.col("outcome") == "wrong_number").fill_null(False).cast(nw.Int64)
    called = calls.group_by("account_id").agg(wrong=wrong.max())
    called = called.join(
        month.book.table("accounts").select("account_id", "branch"), on="account_id", how="inner"
    )
    counts = engine.collect(called.group_by("branch").agg(n=nw.len(), hits=nw.col("wrong").sum()))
    return _shares(counts.sort_values("branch"), "hits", "n")


def _shares(counts: pd.DataFrame, hits: str, n: str) -> pd.DataFrame:
    """Shares with Wilson's interval."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(counts[hits], counts[n], method="wilson")
    share = counts[hits].astype(float) / counts[n].astype(float)
    error = (share * (1 - share) / counts[n].astype(float)) ** 0.5
    return counts.assign(n=counts[n], estimate=share, std_error=error, conf_low=low, conf_high=high)


def _stage_gaps(month: Month) -> pd.DataFrame:
    result = month.counted(actions.coverage_by_stage, period=month.window)
    return evidence_of(result, n="account_months", complement=True, measure="covered", channel="any")


def _teams(month: Month) -> pd.DataFrame:
    """Teams' rates at the same mix of cases, as the league shrinks them: what is noise is no finding."""
    table = leagues.teams(month).table
    average = table.groupby("among").apply(
        lambda t: (t["n"] * t["observed"]).sum() / t["n"].sum(), include_groups=False
    )
    level = table["among"].map(average)
    return table[["among", "team", "n"]].assign(
        **{c: level + table[c] for c in ("estimate", "conf_low", "conf_high")}
    )


#: An agency stands among the teams where an action names no team of the bank.
_AUDITED = (
    "hours_breaches_by_team",
    "frequency_breaches_by_team",
    "third_party_breaches_by_team",
    "hold_breaches_by_team",
)

_SOURCES: dict[str, Callable[[Month], pd.DataFrame]] = {
    "scorecard": lambda m: kpis.scorecard(m).table,
    "cure_by_branch": _cure_by("branch"),
    "cure_by_product": _cure_by("product"),
    "cure_by_team": lambda m: _teams(m),
    "concentration_by_product": _concentration_by("product"),
    "concentration_by_region": _concentration_by("region"),
    "concentration_by_branch": _concentration_by("branch"),
    "roll_rates": lambda m: _rolls(m, 0),
    "roll_rates_before": lambda m: _rolls(m, WINDOW_MONTHS),
    "redefault": _redefault,
    "bad_rate_by_cohort": _bad_rate,
    "bad_rate_by_origination_channel": _bad_rate_by("origination_channel"),
    "bad_rate_by_product": _bad_rate_by("product"),
    "night_contacts_by_team": _pick(
        lambda m: m.counted(actions.contact_hours, by="team", period=m.window),
        n="actions",
        measure="at_night",
    ),
    "unrecorded_by_team": _pick(
        lambda m: actions.records_kept(m.book, by="team", period=m.window),
        n="contacts",
        measure="recorded",
        complement=True,
    ),
    "wrong_numbers_by_branch": _wrong_numbers,
    "contactability_by_team": _among_channel(
        _pick(
            lambda m: m.counted(actions.promises, by="team", period=m.window),
            n="attempts",
            measure="contacts_per_attempt",
        )
    ),
    "promises_kept_by_team": _among_channel(
        _pick(lambda m: m.counted(actions.promises, by="team", period=m.window), n="due", measure="kept")
    ),
    "complaints_by_team": _among_channel(
        _pick(
            lambda m: actions.complaints(m.book, by="team", period=m.window),
            n="contacts",
            measure="per_1000_contacts",
        )
    ),
    "uncovered_by_stage": _stage_gaps,
    "late_first_contact": _pick(
        lambda m: m.counted(actions.time_to_first_contact, definition=m.definition, period=m.window),
        n="episodes",
        complement=True,
        contact="first action",
        measure="within 7 days",
    ),
    **{name: conduct.SOURCES[name] for name in _AUDITED},
    "late_step_by_branch": process.SOURCES["late_step_by_branch"],
    "early_escalation_by_branch": pressure.SOURCES["early_escalation_by_branch"],
    "unfollowed_promises": process.SOURCES["unfollowed_promises"],
    "incomplete_records": process.SOURCES["incomplete_records"],
    "hardship_pressure_by_team": pressure.SOURCES["hardship_pressure_by_team"],
    "hardship_unserved": relief.SOURCES["hardship_unserved"],
    "experiment": lambda m: trials.strategies(m).table,
    "reconciliation": lambda m: m.book.reconciliation,
    "missing_tables": _missing_tables,
}
