"""Inside episodes: snapshots in, rows numbered by spell and one row per spell in day numbers out."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import narwhals as nw

from collectlab.book.episodes_definitions import Definition, definition_named
from collectlab.book.schema import STATUSES
from collectlab.core.columns import day_number, day_of, distinct, flag, month_number, number_to_date
from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, ParamsError, first_few

#: How a spell can end.
OUTCOMES = ("cured", "charged_off", "settled", "sold", "censored")

_TERMINAL = ("charged_off", "settled", "sold")
_CURRENT, DELINQUENT, _TERMINATED = 0, 1, 2


#: Order within an account. One row a date is the contract; the rest keeps a breach of it reproducible.
_ORDER = ("day", "state", "dpd")
#: Names of the columns returned, which a covariate cannot have.
_TAKEN = (
    *("account_id", "customer_id", "episode"),
    *("started_on", "entry_day", "first_seen_day", "seen_day", "exit_day", "observed_day", "outcome"),
    *("ended_on", "amount_at_entry", "balance_at_entry", "max_days_past_due", "definition"),
    *("bucket", "bucket_from", "reached_on"),
)


class Accounts:
    """The accounts table under internal column names, which cannot clash with anybody's.

    ``covariates`` maps each internal name to the name shown.
    """

    def __init__(self, accounts: Any):
        self.frame: nw.LazyFrame | None = None
        self.covariates: dict[str, str] = {}
        self.dated = False
        self.customer = nw.col("account_id")
        if accounts is None:
            return
        frame = scan(accounts)
        require(frame, "account_id")
        schema = frame.collect_schema()
        twice = collect(frame.group_by("account_id").agg(nw.len().alias("n")).filter(nw.col("n") > 1))
        if len(twice):
            ids = sorted(twice["account_id"].astype(str))
            raise FrameError(
                f"accounts: {len(ids):,} accounts stand more than once ({first_few(ids)}). Allowed: one row each."
            )
        columns = []
        taken = {*_TAKEN, *schema.names()}
        for i, column in enumerate(c for c in schema.names() if c not in ("account_id", "customer_id")):
            shown = column
            if column in _TAKEN:
                while shown in taken:
                    shown += "_account"
            self.covariates[f"_covariate_{i}"] = shown
            columns.append(nw.col(column).alias(f"_covariate_{i}"))
        self.dated = "originated_on" in schema
        if self.dated:
            _check_date(schema["originated_on"], "accounts.originated_on")
            columns.append(day_number("originated_on").alias("originated_number"))
        if "customer_id" in schema:
            same = schema["customer_id"] == schema["account_id"]
            both = [nw.col("_customer"), nw.col("account_id")]
            self.customer = nw.coalesce(*(both if same else [c.cast(nw.String) for c in both]))
            columns.append(nw.col("customer_id").alias("_customer"))
        self.frame = frame.select("account_id", *columns)

    def columns(self) -> list[nw.Expr]:
        """The covariates of a spell, under the names shown."""
        shown = [nw.col(inner).alias(name) for inner, name in self.covariates.items()]
        if self.dated and "months_on_book" not in self.covariates.values():
            began, opened = (number_to_date(nw.col(c)).dt for c in ("started_number", "originated_number"))
            months = (began.year() - opened.year()) * 12 + began.month() - opened.month()
            shown.append((months - flag(began.day() < opened.day())).cast(nw.Int64).alias("months_on_book"))
        return shown


def _check_date(kind: Any, what: str) -> None:
    if kind == nw.Unknown:
        raise FrameError(f"{what} holds no values.")
    if kind not in (nw.Date, nw.Datetime):
        raise FrameError(
            f"{what} is {kind}, not a date. Allowed: dates or timestamps; convert the column first."
        )


def _check_ids(snapshots: nw.LazyFrame, held: Accounts) -> None:
    require(snapshots, "account_id")
    if held.frame is None:
        return
    here, there = (f.collect_schema()["account_id"] for f in (snapshots, held.frame))
    if here.is_numeric() != there.is_numeric():
        raise FrameError(
            f"account_id is {here} in snapshots and {there} in accounts. Allowed: the same type in both."
        )


def _history(snapshots: Any, as_of: dt.date | str | None, observe: str, entry_dpd: int) -> nw.LazyFrame:
    """Snapshots under internal names: day, date, dpd, state, status, amount, balance, forborne."""
    frame = scan(snapshots)
    require(frame, "account_id", "as_of", "days_past_due")
    schema = frame.collect_schema()
    _check_date(schema["as_of"], "snapshots.as_of")
    for column in ("days_past_due", "balance", "amount_past_due"):
        if column in schema and not schema[column].is_numeric() and schema[column] != nw.Unknown:
            raise FrameError(f"snapshots.{column} is {schema[column]}. Allowed: numbers.")
    if observe not in ("every", "month_end"):
        raise ParamsError(f"observe is {observe!r}. Allowed: 'every', 'month_end'.")
    if "status" in schema:
        seen = collect(distinct(frame.select(status=nw.col("status").cast(nw.String))))["status"]
        unknown = sorted(set(seen.dropna()) - set(STATUSES))
        if unknown:
            raise FrameError(f"snapshots.status holds {first_few(unknown)}. Allowed: {', '.join(STATUSES)}.")

    def money(column: str) -> nw.Expr:
        return (nw.col(column).cast(nw.Float64) if column in schema else nw.lit(None, nw.Float64)).alias(
            {"amount_past_due": "amount"}.get(column, column)
        )

    dpd = nw.col("days_past_due")
    if schema["days_past_due"].is_float():
        dpd = nw.when(~dpd.is_nan()).then(dpd)
    rows = frame.select(
        "account_id",
        day_number("as_of").cast(nw.Int64).alias("day"),
        nw.col("as_of").cast(nw.Date).alias("date"),
        dpd.cast(nw.Int64).alias("dpd"),
        (nw.col("status").cast(nw.String).fill_null("open") if "status" in schema else nw.lit("open")).alias(
            "status"
        ),
        (
            nw.col("forborne").cast(nw.Boolean).fill_null(False) if "forborne" in schema else nw.lit(False)
        ).alias("forborne"),
        money("amount_past_due"),
        money("balance"),
    ).filter(~nw.col("day").is_null())
    if as_of is not None:
        try:
            last = dt.date.fromisoformat(as_of) if isinstance(as_of, str) else as_of
        except ValueError as error:
            raise ParamsError(f"as_of is {as_of!r}. Allowed: a date, such as 2026-10-31.") from error
        rows = rows.filter(nw.col("day") <= day_of(last))
    open_ = nw.col("status") == "open"
    state = (
        nw.when(nw.col("status").is_in(_TERMINAL))
        .then(nw.lit(_TERMINATED))
        .when(open_ & (nw.col("dpd") >= entry_dpd))
        .then(nw.lit(DELINQUENT))
        .otherwise(nw.lit(_CURRENT))
    )
    rows = rows.filter(~open_ | ~nw.col("dpd").is_null()).with_columns(state=state)
    if observe == "month_end":
        kept = (
            rows.with_columns(month=month_number("date"))
            .group_by("account_id", "month")
            .agg(nw.col("day").max())
        )
        rows = rows.join(kept.select("account_id", "day"), on=["account_id", "day"], how="semi")
    return rows


def _lag(column: str) -> nw.Expr:
    return nw.col(column).shift(1).over("account_id", order_by=_ORDER)


def spells_of(
    snapshots: Any,
    accounts: Any,
    definition: str | Definition,
    as_of: dt.date | str | None,
    definitions: Mapping[str, Definition] | None,
    observe: str,
) -> tuple[nw.LazyFrame, nw.LazyFrame, Accounts]:
    """(rows of spells with their episode number, one row per spell in day numbers, the accounts)."""
    rule = definition if isinstance(definition, Definition) else definition_named(definition, definitions)
    held = Accounts(accounts)
    _check_ids(scan(snapshots), held)
    everything = _history(snapshots, as_of, observe, rule.entry_dpd)
    ever = distinct(everything.filter(nw.col("state") == DELINQUENT).select("account_id"))
    rows = everything.join(ever, on="account_id", how="semi").with_columns(
        previous_day=_lag("day"),
        previous_state=_lag("state"),
        previous_dpd=_lag("dpd"),
        previous_forborne=_lag("forborne"),
    )
    # Breaks are rows that end a spell if one is open: terminal, or current with its probation served.
    if rule.probation_months or rule.probation_months_forborne:
        rows = _only_served(rows, rule)
        rows = rows.with_columns(mark=_lag("state"))
    else:
        rows = rows.with_columns(mark=nw.col("previous_state"))
    delinquent = nw.col("state") == DELINQUENT
    in_spell = (nw.col("mark") == DELINQUENT).fill_null(False)
    rows = rows.with_columns(first=delinquent & ~in_spell, ends=~delinquent & in_spell)
    rows = rows.filter(delinquent | nw.col("ends")).with_columns(
        episode=nw.col("first").cast(nw.Int64).cum_sum().over("account_id", order_by=_ORDER).cast(nw.Int64)
    )
    return rows, _one_a_spell(rows, everything, held, rule), held


def _only_served(rows: nw.LazyFrame, rule: Definition) -> nw.LazyFrame:
    """Drop the current rows whose probation is not served yet; the spell, if one is open, runs on."""
    current = nw.col("state") == _CURRENT
    wait = nw.col("date").dt.offset_by(f"{rule.probation_months}mo")
    if rule.probation_months_forborne is not None:
        longer = nw.col("date").dt.offset_by(f"{rule.probation_months_forborne}mo")
        forborne = nw.col("forborne") | nw.col("previous_forborne").fill_null(False)
        wait = nw.when(forborne).then(longer).otherwise(wait)
    begins = current & ((nw.col("previous_state") != _CURRENT).fill_null(True))
    # Day the run of current rows began and days to wait, in one number that a running maximum carries.
    # Zero, not null, elsewhere: engines differ on a running maximum at a null.
    run = nw.when(begins).then(nw.col("day") * 10_000 + day_number(wait) - nw.col("day")).otherwise(nw.lit(0))
    rows = rows.with_columns(run=run.cast(nw.Int64)).with_columns(
        run=nw.col("run").cum_max().over("account_id", order_by=_ORDER)
    )
    due = nw.col("run") // 10_000 + nw.col("run") % 10_000
    closed = nw.col("status") == "closed"
    return rows.filter(~current | closed | (nw.col("day") >= due))


def _one_a_spell(
    rows: nw.LazyFrame, everything: nw.LazyFrame, held: Accounts, rule: Definition
) -> nw.LazyFrame:
    first, ends, delinquent = nw.col("first"), nw.col("ends"), nw.col("state") == DELINQUENT
    floor = nw.col("previous_day")
    if rule.entry_dpd > 1:  # a counter still below the threshold began before that snapshot
        below = nw.min_horizontal(nw.col("previous_dpd"), nw.lit(rule.entry_dpd - 1))
        below = nw.when(nw.col("previous_state") == _CURRENT).then(nw.max_horizontal(below, nw.lit(0)))
        floor = floor - below.otherwise(nw.lit(0))
    spells = (
        rows.with_columns(
            first_number=nw.when(first).then(nw.col("day")),
            first_dpd=nw.when(first).then(nw.col("dpd")),
            floor=nw.when(first).then(floor),
            before_number=nw.when(first).then(nw.col("previous_day")),
            amount_at_entry=nw.when(first).then(nw.coalesce("amount", "balance")),
            balance_at_entry=nw.when(first).then(nw.col("balance")),
            max_days_past_due=nw.when(delinquent).then(nw.col("dpd")),
            ended_number=nw.when(ends).then(nw.col("day")),
            seen_number=nw.when(ends).then(nw.col("previous_day")),
            outcome=nw.when(ends & (nw.col("state") == _TERMINATED))
            .then(nw.col("status"))
            .when(ends)
            .then(nw.lit("cured")),
        )
        .group_by("account_id", "episode")
        .agg(
            *(
                nw.col(c).max()
                for c in (
                    *("first_number", "first_dpd", "floor", "before_number", "amount_at_entry"),
                    *("balance_at_entry", "max_days_past_due", "ended_number", "seen_number", "outcome"),
                )
            )
        )
        .join(
            everything.group_by("account_id").agg(last_number=nw.col("day").max()),
            on="account_id",
            how="inner",
        )
    )
    seen_before = ~nw.col("before_number").is_null()
    lowest = [nw.col("first_number") - nw.col("first_dpd"), nw.col("floor")]
    if rule.entry_dpd > 1:
        before = nw.col("ended_number").shift(1).over("account_id", order_by="episode")
        spells = spells.with_columns(ended_before=before)
        lowest.append(nw.col("ended_before"))
    if held.frame is not None:
        spells = spells.join(held.frame, on="account_id", how="left")
    if held.dated:
        calendar = distinct(everything.select("day"))
        calendar = calendar.with_columns(book_before=nw.col("day").shift(1).over(order_by="day"))
        spells = spells.join(calendar, left_on="first_number", right_on="day", how="left")
        new = (nw.col("originated_number") > nw.col("book_before")).fill_null(False)
        seen_before = seen_before | new
        lowest.append(nw.col("originated_number"))
    started = nw.min_horizontal(nw.max_horizontal(*lowest), nw.col("first_number") - 1)
    return spells.with_columns(started_number=started).with_columns(
        entry_number=nw.when(seen_before).then(nw.col("started_number")).otherwise(nw.col("first_number")),
        exit_number=nw.coalesce("ended_number", "last_number"),
        seen_number=nw.coalesce("seen_number", "last_number"),
        outcome=nw.col("outcome").fill_null("censored"),
        definition=nw.lit(rule.name),
    )
