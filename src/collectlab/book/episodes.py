"""Episodes: one row per spell of delinquency, the unit of analysis. Written once, in Narwhals.

A spell is found as an island of snapshots between two *breaks* (a cure, or a terminal status). Two passes
over the accounts that were ever delinquent do it, the second over the delinquent rows alone; a definition
with a probation needs two more. Dates are whole days since 1900 inside, because engines agree on
whole numbers and not on intervals.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw

from collectlab.book.episodes_definitions import (
    DEFINITIONS,
    Definition,
    definition_named,
    load_definitions,
)
from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, ParamsError, first_few

__all__ = [
    "DEFINITIONS",
    "OUTCOMES",
    "Definition",
    "bucket_entries",
    "bucket_labels",
    "day_number",
    "definition_named",
    "episodes",
    "load_definitions",
    "number_to_date",
]

#: How a spell can end.
OUTCOMES = ("cured", "charged_off", "settled", "sold", "censored")

_TERMINAL = ("charged_off", "settled", "sold")
_STATUSES = ("open", "closed", *_TERMINAL)
_EPOCH = dt.datetime(1900, 1, 1)
_CURRENT, _DELINQUENT, _TERMINATED = 0, 1, 2


def day_number(column: str | nw.Expr) -> nw.Expr:
    """A date (or a timestamp) as whole days since 1900-01-01."""
    expr = nw.col(column) if isinstance(column, str) else column
    midnight = expr.cast(nw.Date).cast(nw.Datetime("us"))
    return (midnight - nw.lit(_EPOCH)).dt.total_minutes() // 1440


def number_to_date(days: nw.Expr) -> nw.Expr:
    """The inverse of :func:`day_number`."""
    return (nw.lit(_EPOCH) + nw.lit(dt.timedelta(days=1)) * days).cast(nw.Date)


def bucket_labels(buckets: Sequence[int], zero: str = "current") -> dict[int, str]:
    """Lower bound → label: ``(0, 1, 30)`` gives ``{0: "current", 1: "1–29", 30: "30+"}``.

    Raises
    ------
    ParamsError
        If the bounds are not whole days ≥ 0 in rising order.
    """
    bounds = list(buckets)
    whole = all(isinstance(b, int) and not isinstance(b, bool) and b >= 0 for b in bounds)
    if not bounds or not whole or bounds != sorted(set(bounds)):
        raise ParamsError(
            f"buckets are {tuple(bounds)}. Allowed: rising whole days ≥ 0, such as (1, 30, 60, 90)."
        )
    labels = {}
    for low, following in zip(bounds, [*bounds[1:], None]):
        if low == 0 and following == 1:
            labels[low] = zero
        elif following is None:
            labels[low] = f"{low}+"
        else:
            labels[low] = f"{low}" if following == low + 1 else f"{low}–{following - 1}"
    return labels


def episodes(
    snapshots: Any,
    accounts: Any = None,
    *,
    definition: str | Definition = "current_once",
    as_of: dt.date | str | None = None,
    definitions: Mapping[str, Definition] | None = None,
    observe: str = "every",
) -> nw.LazyFrame:
    r"""One row per spell of delinquency, lazily, in no particular row order.

    Day 0 is the due date that was missed: ``as_of − days_past_due`` of the first snapshot seen
    delinquent, so that a spell's day count *is* its days past due; but never before the previous snapshot,
    if that was seen current (a jump of the counter cannot reach back beyond it). A snapshot is delinquent
    when its status is open (or not given) and ``days_past_due`` is at least the definition's
    ``entry_dpd``; a ``closed`` account counts as current.

    Parameters
    ----------
    snapshots : frame
        ``account_id, as_of, days_past_due`` and, where there, ``balance, amount_past_due, status,
        forborne``; one row per account and date. Rows without days past due while open are not used.
    accounts : frame, optional
        One row per ``account_id``; its columns become covariates, and ``originated_on`` tells the
        accounts that were new from those that were already delinquent when first seen.
    definition : str or Definition
        What "cured" means: a name in ``definitions``.
    as_of : date, optional
        Use only snapshots up to this date.
    definitions : mapping, optional
        Name → :class:`Definition`; default the built-in ones (see :func:`load_definitions`).
    observe : {"every", "month_end"}
        ``month_end`` keeps each account's last snapshot of a calendar month, so that daily and monthly
        snapshots of the same accounts give the same episodes.

    Returns
    -------
    narwhals.LazyFrame
        ``account_id``; ``customer_id`` (the account where the book has none); ``episode`` (1, 2, …);
        ``started_on`` (day 0); then whole days since day 0: ``entry_day`` (0 if the account was under
        observation at day 0: an earlier snapshot, or originated since the book's previous snapshot date;
        otherwise the day it was first seen: left truncation), ``first_seen_day`` (of the first snapshot
        seen delinquent), ``seen_day`` (last snapshot before the end: the outcome came in
        ``(seen_day, exit_day]``; equals ``exit_day`` if censored), ``exit_day``, ``observed_day`` (the
        account's last snapshot: follow-up for money after the exit); ``outcome`` (cured, charged_off,
        settled, sold, censored); ``ended_on`` (date of ``exit_day``; for a censored spell the day it was
        last seen); ``amount_at_entry`` (amount past due when first seen, else balance, else null),
        ``balance_at_entry``, ``max_days_past_due``, ``definition``, ``months_on_book`` (whole months from
        origination to day 0, if known), and the columns of ``accounts`` (suffixed ``_account`` if the
        name is taken).

    Raises
    ------
    FrameError
        A column is missing, is no date or number, a status is unknown, or an account stands twice in
        ``accounts``.
    ParamsError
        Unknown definition or option.

    Notes
    -----
    ``exit_day > entry_day`` but for one case: an account first seen delinquent on its last snapshot is
    kept as censored with ``exit_day == entry_day``. It holds no information on durations; estimators drop
    and count it. A terminal status that follows a current snapshot directly makes no spell: it was never
    seen delinquent. A spell that begins and ends between two snapshots is never seen either; to allow for
    that (length-biased sampling) use ``first_seen_day`` as the entry time instead of ``entry_day``.

    Examples
    --------
    >>> import pandas as pd
    >>> snapshots = pd.DataFrame({
    ...     "account_id": ["a"] * 4,
    ...     "as_of": pd.to_datetime(["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]).date,
    ...     "days_past_due": [0, 10, 41, 0],
    ... })
    >>> spell = episodes(snapshots).collect("pandas").to_native().iloc[0]
    >>> str(spell.started_on)[:10], spell.entry_day, spell.seen_day, spell.exit_day, spell.outcome
    ('2024-02-19', 0, 41, 71, 'cured')
    """
    _, spells, held = _spells(snapshots, accounts, definition, as_of, definitions, observe)
    return spells.select(
        "account_id",
        held.customer.alias("customer_id"),
        "episode",
        number_to_date(nw.col("started_number")).alias("started_on"),
        *(
            (nw.col(number) - nw.col("started_number")).cast(nw.Int64).alias(name)
            for name, number in (
                ("entry_day", "entry_number"),
                ("first_seen_day", "first_number"),
                ("seen_day", "seen_number"),
                ("exit_day", "exit_number"),
                ("observed_day", "last_number"),
            )
        ),
        "outcome",
        number_to_date(nw.col("exit_number")).alias("ended_on"),
        "amount_at_entry",
        "balance_at_entry",
        "max_days_past_due",
        "definition",
        *held.columns(),
    )


def bucket_entries(
    snapshots: Any,
    accounts: Any = None,
    *,
    definition: str | Definition = "current_once",
    buckets: Sequence[int] = (1, 30, 60, 90),
    as_of: dt.date | str | None = None,
    definitions: Mapping[str, Definition] | None = None,
    observe: str = "every",
) -> nw.LazyFrame:
    """One row per spell × bucket of days past due it reached, timed from the day it reached the bucket.

    A spell reaches bucket ``b`` at its first snapshot with ``days_past_due ≥ b``; ``reached_on`` is that
    date less ``days_past_due − b``, but after the previous snapshot, which was not yet there. Skipped
    buckets count as reached. Spells are those of :func:`episodes` with the same arguments.

    Parameters
    ----------
    buckets : sequence of int
        Rising lower bounds in days past due, each ≥ 1.

    Returns
    -------
    narwhals.LazyFrame
        ``account_id, customer_id, episode, bucket`` (such as ``30–59``), ``bucket_from, reached_on``; whole
        days since ``reached_on``: ``entry_day`` (> 0 where the account was first seen deeper: left
        truncation), ``first_seen_day, seen_day, exit_day, observed_day``; ``outcome, ended_on``,
        ``amount_at_entry`` and ``balance_at_entry`` (at the first snapshot in the bucket or beyond),
        ``definition`` and the covariates of :func:`episodes`. A spell may leave a bucket and stay open:
        the exit is the spell's, not the bucket's.

    Examples
    --------
    >>> import pandas as pd
    >>> snapshots = pd.DataFrame({
    ...     "account_id": ["a"] * 4,
    ...     "as_of": pd.to_datetime(["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]).date,
    ...     "days_past_due": [0, 10, 41, 0],
    ... })
    >>> reached = bucket_entries(snapshots).collect("pandas").to_native().sort_values("bucket_from")
    >>> reached[["bucket", "entry_day", "exit_day", "outcome"]].values.tolist()
    [['1–29', 0, 70, 'cured'], ['30–59', 0, 41, 'cured']]
    """
    labels = bucket_labels(buckets)
    if min(labels) < 1:
        raise ParamsError(
            "buckets start at 0. Allowed here: whole days ≥ 1; an account enters a bucket past due."
        )
    rows, spells, held = _spells(snapshots, accounts, definition, as_of, definitions, observe)
    names = {low: f"reached_{low}" for low in labels}
    wide = (
        rows.filter(nw.col("state") == _DELINQUENT)
        .with_columns(
            *(nw.when(nw.col("dpd") >= low).then(nw.col("day")).alias(name) for low, name in names.items())
        )
        .group_by("account_id", "episode")
        .agg(*(nw.col(name).min() for name in names.values()))
    )
    first_days = nw.concat(
        [
            wide.filter(~nw.col(name).is_null()).select(
                "account_id", "episode", nw.col(name).alias("day"), nw.lit(low).cast(nw.Int64).alias("low")
            )
            for low, name in names.items()
        ]
    )
    here = rows.select("account_id", "day", "dpd", "previous_day", "amount", "balance")
    entered = first_days.join(here, on=["account_id", "day"], how="inner").join(
        spells.drop("amount_at_entry", "balance_at_entry"), on=["account_id", "episode"], how="inner"
    )
    low, day = nw.col("low"), nw.col("day")
    # The spell's first snapshot is the one that may lack a predecessor; later ones always have one.
    unseen = (day == nw.col("first_number")) & (nw.col("entry_number") > nw.col("started_number"))
    entered = (
        entered.with_columns(
            nw.max_horizontal(
                day - (nw.col("dpd") - low), nw.col("previous_day") + 1, nw.col("started_number") + 1
            )
            .cast(nw.Int64)
            .alias("reached_number")
        )
        .with_columns(nw.when(unseen).then(day).otherwise(nw.col("reached_number")).alias("entry_number"))
        .with_columns(
            nw.max_horizontal(nw.col("seen_number"), nw.col("reached_number")).alias("seen_number"),
        )
    )
    label = nw.lit(labels[max(labels)])
    for bound, text in labels.items():
        label = nw.when(low == bound).then(nw.lit(text)).otherwise(label)
    return entered.select(
        "account_id",
        held.customer.alias("customer_id"),
        "episode",
        label.alias("bucket"),
        low.alias("bucket_from"),
        number_to_date(nw.col("reached_number")).alias("reached_on"),
        *(
            (nw.col(number) - nw.col("reached_number")).cast(nw.Int64).alias(name)
            for name, number in (
                ("entry_day", "entry_number"),
                ("first_seen_day", "day"),
                ("seen_day", "seen_number"),
                ("exit_day", "exit_number"),
                ("observed_day", "last_number"),
            )
        ),
        "outcome",
        number_to_date(nw.col("exit_number")).alias("ended_on"),
        nw.coalesce("amount", "balance").alias("amount_at_entry"),
        nw.col("balance").alias("balance_at_entry"),
        "definition",
        *held.columns(),
    )


# ---------------------------------------------------------------------------------------------- inside

#: Order within an account. One row a date is the contract; the rest keeps a breach of it reproducible.
_ORDER = ("day", "state", "dpd")
#: Names of the columns returned, which a covariate cannot have.
_TAKEN = (
    *("account_id", "customer_id", "episode"),
    *("started_on", "entry_day", "first_seen_day", "seen_day", "exit_day", "observed_day", "outcome"),
    *("ended_on", "amount_at_entry", "balance_at_entry", "max_days_past_due", "definition"),
    *("bucket", "bucket_from", "reached_on"),
)


class _Accounts:
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
            short = nw.when(began.day() < opened.day()).then(nw.lit(1)).otherwise(nw.lit(0))
            shown.append((months - short).cast(nw.Int64).alias("months_on_book"))
        return shown


def _check_date(kind: Any, what: str) -> None:
    if kind not in (nw.Date, nw.Datetime):
        raise FrameError(
            f"{what} is {kind}, not a date. Allowed: dates or timestamps; convert the column first."
        )


def _history(snapshots: Any, as_of: dt.date | str | None, observe: str, entry_dpd: int) -> nw.LazyFrame:
    """Snapshots under internal names: day, date, dpd, state, status, amount, balance, forborne."""
    frame = scan(snapshots)
    require(frame, "account_id", "as_of", "days_past_due")
    schema = frame.collect_schema()
    _check_date(schema["as_of"], "snapshots.as_of")
    for column in ("days_past_due", "balance", "amount_past_due"):
        if column in schema and not schema[column].is_numeric():
            raise FrameError(f"snapshots.{column} is {schema[column]}. Allowed: numbers.")
    if observe not in ("every", "month_end"):
        raise ParamsError(f"observe is {observe!r}. Allowed: 'every', 'month_end'.")
    if "status" in schema:
        seen = collect(frame.select(nw.col("status").cast(nw.String).alias("status")).unique())["status"]
        unknown = sorted(set(seen.dropna()) - set(_STATUSES))
        if unknown:
            raise FrameError(f"snapshots.status holds {first_few(unknown)}. Allowed: {', '.join(_STATUSES)}.")

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
        last = dt.date.fromisoformat(as_of) if isinstance(as_of, str) else as_of
        rows = rows.filter(nw.col("day") <= (dt.datetime(last.year, last.month, last.day) - _EPOCH).days)
    open_ = nw.col("status") == "open"
    state = (
        nw.when(nw.col("status").is_in(_TERMINAL))
        .then(nw.lit(_TERMINATED))
        .when(open_ & (nw.col("dpd") >= entry_dpd))
        .then(nw.lit(_DELINQUENT))
        .otherwise(nw.lit(_CURRENT))
    )
    rows = rows.filter(~open_ | ~nw.col("dpd").is_null()).with_columns(state=state)
    if observe == "month_end":
        month = nw.col("date").dt.year() * 12 + nw.col("date").dt.month()
        kept = rows.with_columns(month=month).group_by("account_id", "month").agg(nw.col("day").max())
        rows = rows.join(kept.select("account_id", "day"), on=["account_id", "day"], how="semi")
    return rows


def _lag(column: str) -> nw.Expr:
    return nw.col(column).shift(1).over("account_id", order_by=_ORDER)


def _spells(
    snapshots: Any,
    accounts: Any,
    definition: str | Definition,
    as_of: dt.date | str | None,
    definitions: Mapping[str, Definition] | None,
    observe: str,
) -> tuple[nw.LazyFrame, nw.LazyFrame, _Accounts]:
    """(rows of spells with their episode number, one row per spell in day numbers, the accounts)."""
    rule = definition if isinstance(definition, Definition) else definition_named(definition, definitions)
    held = _Accounts(accounts)
    everything = _history(snapshots, as_of, observe, rule.entry_dpd)
    ever = everything.filter(nw.col("state") == _DELINQUENT).select("account_id").unique()
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
    delinquent = nw.col("state") == _DELINQUENT
    in_spell = (nw.col("mark") == _DELINQUENT).fill_null(False)
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
    rows: nw.LazyFrame, everything: nw.LazyFrame, held: _Accounts, rule: Definition
) -> nw.LazyFrame:
    first, ends, delinquent = nw.col("first"), nw.col("ends"), nw.col("state") == _DELINQUENT
    # A counter below entry_dpd at the previous snapshot tells when it started, and so bounds day 0.
    floor = nw.when(nw.col("previous_state") == _CURRENT).then(
        nw.col("previous_day") - nw.max_horizontal(nw.col("previous_dpd").fill_null(0), nw.lit(0))
    )
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
    if held.frame is not None:
        spells = spells.join(held.frame, on="account_id", how="left")
    if held.dated:
        calendar = everything.select("day").unique()
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
