"""What filing a case brought, net of cost, against comparable accounts not sued on that day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import day_number, day_of, whole_money, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import replicate_of
from collectlab.effects.compare import Comparison, compare
from collectlab.effects.settle import settling
from collectlab.effects.verdict import Verdict, verdict

if TYPE_CHECKING:
    from collectlab.book.open import Book

#: What those who sue go by, where the book has it.
COVARIATES = ("days_past_due", "amount", "credit_score", "product", "paid_before_90", "actions_before_90")
COVARIATES += ("with_agency", "forborne")
_PARTS = 1 << 20


def filing_days(
    book: Book, *, horizon: int = 180, covariates: Sequence[str] = COVARIATES
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Account-months in which a case could have been filed, each with its day, what was known, and what was paid after.

    A sequence of trials, one a month, from one snapshot to the next. Eligible: past due and open at the snapshot, no
    case before, and within the range of days past due, amount and product in which cases were filed at all. The day of
    an account sued in that month is the day of filing. An account gets a day drawn (from its id, so always the same)
    from the days of the month on which cases are filed, and counts as not sued if it had not been by then, whatever
    came later. Either must still owe on its day: not have paid, since the snapshot, what was past due. So nobody is
    credited with the time before a filing, and nobody is put among the not sued because of what came after.

    Parameters
    ----------
    book : Book
        With legal_cases and payments; the actions' costs count where they are there.
    horizon : int
        Whole days after the day.
    covariates : sequence of str
        Of :data:`COVARIATES`, and columns of accounts.

    Returns
    -------
    rows : pandas.DataFrame
        account_id, customer_id, time_zero (date), sued (0/1), decided_on (that day too), the covariates there are,
        ``sued_later`` (within the horizon, of the not sued) and ``amount_within_…``, ``cost_within_…`` (actions, and the
        whole cost of cases filed by then), ``net_within_…``. Only days followed for the whole horizon.
    notes : tuple of str

    Raises
    ------
    FrameError
        A horizon that is none.
    NotAvailable
        The book lacks a table, or has no filing that can be followed so far.

    References
    ----------
    Hernán et al. (2008), Epidemiology 19, 766–779 (sequences of trials). Danaei et al. (2013), Statistical Methods in
    Medical Research 22, 70–96.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> rows, _ = filing_days(open_book("data/example"), horizon=60)
    >>> sorted(set(rows["sued"].tolist()))
    [0, 1]
    """
    if isinstance(horizon, bool) or not isinstance(horizon, (int, np.integer)) or horizon < 1:
        raise FrameError(f"horizon is {horizon!r}. Allowed: whole days ≥ 1.")
    if gone := [t for t in ("legal_cases", "payments") if not book.has(t)]:
        raise NotAvailable(f"what suing brought cannot be told: this book has no {' and no '.join(gone)}.")
    owed = next((c for c in ("balance", "amount_past_due") if c in book.columns("snapshots")), None)
    if owed is None or "amount_past_due" not in book.columns("snapshots"):
        raise NotAvailable("what suing brought needs amount_past_due in the snapshots.")
    cost = "cost" in book.columns("legal_cases")
    cases = engine.collect(
        book.table("legal_cases").select(
            "account_id", filed=day_number("filed_on"),
            cost=whole_money("cost") if cost else nw.lit(0, nw.Int64),
        )
    ).dropna(subset=["account_id", "filed"])  # fmt: skip
    now = day_of(book.as_of)
    cases = cases[cases["filed"] <= now].drop_duplicates().sort_values(["account_id", "filed"])
    if cases.empty:
        raise NotAvailable("there are no legal cases in this book.")
    first = cases.drop_duplicates("account_id").set_index("account_id")["filed"]
    months, lowest = _months(book, owed, first, now - horizon)
    months["filed"] = months["account_id"].map(first)
    months = months[~(months["filed"] <= months["seen"])]
    inside = (months["filed"] > months["seen"]) & (months["filed"] <= months["until"])
    sued = months[inside].assign(sued=1, zero=lambda t: t["filed"])
    if sued.empty:
        raise NotAvailable("no case was filed on an account whose snapshots show it past due before.")
    waits = np.sort((sued["filed"] - sued["seen"]).to_numpy(float))
    luck = [
        replicate_of(f"{a}/{int(s)}", _PARTS) / _PARTS for a, s in zip(months["account_id"], months["seen"])
    ]
    day = months["seen"] + waits[(np.array(luck) * len(waits)).astype(int)]
    free = months.assign(sued=0, zero=day)
    free = free[(free["zero"] <= free["until"]) & ~(free["filed"] <= free["zero"])]
    rows = pd.concat([sued, free], ignore_index=True)
    rows["days_past_due"] += rows["zero"] - rows["seen"]
    rows = rows[rows["zero"] <= now - horizon].astype({"zero": "int64"})
    rows = rows.sort_values(["account_id", "zero", "sued"], ignore_index=True)
    rows = _money(book, rows, cases, horizon)
    before = len(rows)
    rows = rows[~(rows["__since"] >= (rows["past_due"] * 100).round())]
    notes = [
        "The not sued count as such if they had not been sued by their day: some are sued later, which makes the "
        "difference smaller."
    ]
    if paid_up := before - len(rows):
        notes.append(f"{paid_up:,} account-months had paid up before their day: not eligible.")
    rows, more = _with_facts(book, rows, covariates)
    notes += more
    return _comparable(rows, notes, lowest)


def _months(book: Book, owed: str, first: pd.Series, last: int) -> tuple[pd.DataFrame, int]:
    """Account-months from the lowest days past due at which a case was filed; days from one snapshot to the next."""
    have = book.columns("snapshots")
    seen = book.table("snapshots").select(
        "account_id", seen=day_number("as_of"), days_past_due=nw.col("days_past_due").cast(nw.Float64),
        amount=nw.col(owed).cast(nw.Float64), past_due=nw.col("amount_past_due").cast(nw.Float64),
        status=nw.col("status").cast(nw.String) if "status" in have else nw.lit("open"),
        forborne=nw.col("forborne").cast(nw.Int64) if "forborne" in have else nw.lit(None, nw.Int64),
    )  # fmt: skip
    dates = np.sort(engine.collect(seen.select("seen").unique())["seen"].to_numpy(int))
    late = seen.filter((nw.col("days_past_due") > 0) & (nw.col("status").fill_null("open") == "open"))
    known, filed = same_engine(late, engine.scan(first.rename("filed").reset_index()))
    before = known.join(filed, on="account_id", how="inner").filter(nw.col("seen") < nw.col("filed"))
    at = engine.collect(
        before.unique(subset=["account_id"], keep="last", order_by=["seen"]).select("days_past_due")
    )
    if at.empty:
        raise NotAvailable("no case was filed on an account whose snapshots show it past due before.")
    lowest = int(at["days_past_due"].min())
    late = late.filter((nw.col("days_past_due") >= lowest) & (nw.col("seen") <= last))
    months = engine.collect(late.drop("status")).sort_values(["account_id", "seen"], ignore_index=True)
    months = months.drop_duplicates(["account_id", "seen"])
    after = np.searchsorted(dates, months["seen"].to_numpy(int), side="right")
    months["until"] = np.append(dates, day_of(book.as_of))[after]
    return months, lowest


def _sums(
    book: Book, rows: pd.DataFrame, table: str, on: str, value: str | None, windows: dict
) -> pd.DataFrame:
    """Sums (cents, or rows) of a table's events within windows of days (first, last column) of each row."""
    ends = sorted({c for window in windows.values() for c in window})
    keys = rows.reset_index(names="__row")[["__row", "account_id", *ends]]
    cents = nw.lit(1, nw.Int64) if value is None else whole_money(value)
    left, events = same_engine(
        engine.scan(keys), book.table(table).select("account_id", __on=day_number(on), __cents=cents)
    )
    sums = {
        name: whole_sum(
            nw.when((nw.col("__on") >= nw.col(a)) & (nw.col("__on") <= nw.col(b)))
            .then(nw.col("__cents"))
            .otherwise(nw.lit(0, nw.Int64))
        )
        for name, (a, b) in windows.items()
    }
    found = engine.collect(left.join(events, on="account_id", how="inner").group_by("__row").agg(**sums))
    return found.set_index("__row").reindex(rows.index).fillna(0)


def _money(book: Book, rows: pd.DataFrame, cases: pd.DataFrame, horizon: int) -> pd.DataFrame:
    """Paid since the snapshot, in the 90 days before and within the horizon after; what was spent within it."""
    rows = rows.assign(
        __day=rows["zero"], __next=rows["zero"] + 1, __end=rows["zero"] + horizon, __from=rows["zero"] - 90,
        __eve=rows["zero"] - 1, __seen=rows["seen"] + 1,
    )  # fmt: skip
    windows = {
        "__after": ("__next", "__end"),
        "__before": ("__from", "__eve"),
        "__since": ("__seen", "__eve"),
    }
    paid = _sums(book, rows, "payments", "paid_on", "amount", windows)
    amount = paid["__after"] / 100
    spent = np.zeros(len(rows))
    if book.has("actions"):
        if "cost" in book.columns("actions"):
            after = {"spent": ("__next", "__end")}
            spent += _sums(book, rows, "actions", "at", "cost", after)["spent"].to_numpy(float) / 100
        done = _sums(book, rows, "actions", "at", None, {"n": ("__from", "__eve")})
        rows["actions_before_90"] = done["n"].astype(int)
        if "agency" in book.columns("actions"):
            held = _with_agency(book, rows)
            rows["with_agency"] = held
    filings = rows.reset_index(names="__row")[["__row", "account_id", "__day", "__end"]].merge(
        cases, on="account_id"
    )
    filings = filings[(filings["filed"] >= filings["__day"]) & (filings["filed"] <= filings["__end"])]
    court = filings.groupby("__row")["cost"].sum().reindex(rows.index).fillna(0).to_numpy(float) / 100
    later = rows.index.isin(filings["__row"])
    h = f"_within_{horizon}"
    return rows.assign(
        paid_before_90=paid["__before"] / 100, __since=paid["__since"],
        sued_later=(later & (rows["sued"] == 0)).astype(int),
        **{f"amount{h}": amount, f"cost{h}": spent + court, f"net{h}": amount - spent - court},
    )  # fmt: skip


def _with_agency(book: Book, rows: pd.DataFrame) -> np.ndarray:
    """Whether an agency worked the account in the 90 days before."""
    keys = rows.reset_index(names="__row")[["__row", "account_id", "__from", "__eve"]]
    log = book.table("actions").filter(~nw.col("agency").is_null())
    left, log = same_engine(engine.scan(keys), log.select("account_id", __on=day_number("at")))
    both = left.join(log, on="account_id", how="inner")
    both = both.filter((nw.col("__on") >= nw.col("__from")) & (nw.col("__on") <= nw.col("__eve")))
    return rows.index.isin(engine.collect(both.select("__row").unique())["__row"]).astype(int)


def _with_facts(book: Book, rows: pd.DataFrame, covariates: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    have = book.columns("accounts")
    facts = [c for c in covariates if c in have and c not in rows]
    owner = [c for c in ("customer_id",) if c in have]
    known = engine.collect(book.table("accounts").select("account_id", *owner, *facts))
    rows = rows.merge(known, on="account_id", how="left", validate="m:1")
    if not owner:
        rows["customer_id"] = rows["account_id"]
    rows["customer_id"] = rows["customer_id"].fillna(rows["account_id"])
    lost = [c for c in covariates if c not in rows or rows[c].isna().all()]
    return rows.drop(columns=[c for c in lost if c in rows]), (
        [f"Not in the book: {', '.join(c.replace('_', ' ') for c in lost)}."] if lost else []
    )


def _comparable(rows: pd.DataFrame, notes: list[str], lowest: int) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Only where cases are filed at all; dates written out."""
    sued = rows["sued"] == 1
    if not sued.any():
        raise NotAvailable("no filing is followed for the whole horizon.")
    keep = pd.Series(True, index=rows.index)
    for c in ("days_past_due", "amount"):
        keep &= rows[c].between(rows.loc[sued, c].min(), rows.loc[sued, c].max())
    if "product" in rows:
        keep &= rows["product"].isin(rows.loc[sued, "product"])
    notes.append(
        f"{int((~keep).sum()):,} account-months lie outside the days past due, amounts or products in which cases were "
        "filed: nobody to compare them with, and left out."
    )
    rows = rows[keep].reset_index(drop=True)
    base = pd.Timestamp("1900-01-01")
    return (
        rows.assign(
            time_zero=base + pd.to_timedelta(rows["zero"], unit="D"),
            # Suing or not suing is chosen on the day itself, on either side.
            decided_on=base + pd.to_timedelta(rows["zero"], unit="D"),
        ).drop(
            columns=[c for c in rows if c.startswith("__")] + ["seen", "until", "zero", "filed", "past_due"]
        ),
        tuple(notes),
    )


def against_not_sued(
    book: Book,
    *,
    horizon: int = 180,
    covariates: Sequence[str] = COVARIATES,
    smallest: float | None = None,
    conf_level: float = 0.95,
) -> tuple[Verdict, Comparison | None]:
    """Money paid within ``horizon`` days of filing a case, net of cost, against not filing then; graded.

    Estimand: over the cases filed, the mean of what was paid minus what actions and courts cost within ``horizon``
    days of filing, minus the same had they not been filed on that day (and been handled as others are, later suits
    included). Rows are those of :func:`filing_days`; the estimate is doubly robust over the treated
    (:func:`~collectlab.effects.compare.compare`), with errors by customer. Money paid in the 90 days before must show
    no effect (the check ``placebo_date``). What people go by and the book does not hold (that a debtor has assets, say)
    could still explain it: the grade is at best ``suggestive``.

    Parameters
    ----------
    book : Book
        With legal_cases, payments, snapshots with amount_past_due.
    horizon : int
        Whole days after filing.
    covariates : sequence of str
        What the choice was made by; those the book lacks are named.
    smallest : float, optional
        The smallest difference in money that matters; default: the mean cost of a case.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    (Verdict, Comparison or None)
        None where nothing could be compared; the verdict then says why, graded ``not identifiable from this book``.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=300, months=6, truth_accounts=0).book_tables)
    >>> against_not_sued(book)[0].grade
    'not identifiable from this book'
    """
    question = f"Does suing bring in more than it costs within {horizon} days?"
    words = {"treatment": "a suit", "control": "none on that day"}
    outcome, notes, settle = f"net_within_{horizon}", (), ""
    try:
        rows, notes = filing_days(book, horizon=horizon, covariates=covariates)
        mine = rows[rows["sued"] == 1]
        if smallest is None:
            smallest = float(_case_cost(book, mine))
        kept = [c for c in covariates if c in rows and rows[c].nunique() > 1]
        if not kept:
            raise FrameError(f"the book has none of {', '.join(covariates)}, by which people chose.")
        settle = settling(
            words["treatment"], words["control"], smallest=smallest, unit="money2",
            sd=float(rows[outcome].std()), pace=_pace(mine), horizon=horizon,
        ) if smallest > 0 else ""  # fmt: skip
        found: Comparison | None = compare(
            rows, treatment="sued", treated=1, outcome=outcome, covariates=kept, decided_on="decided_on",
            time_zero="time_zero", cluster="customer_id", effect="treated",
            placebo_date="paid_before_90" if "paid_before_90" in kept else None, conf_level=conf_level,
        )  # fmt: skip
        later = float(rows.loc[rows["sued"] == 0, "sued_later"].mean())
        said = (
            f"{100 * later:.1f} % of the account-months not sued were sued within the {horizon} days after."
        )
        found = replace(found, notes=(*notes, said, *found.notes))
    except (FrameError, NotAvailable) as error:
        found, refused = None, " ".join(str(error).split())
        return verdict(question, [], smallest=smallest or 0.0, refused=refused, settle=settle, **words), None
    return verdict(question, [found], smallest=smallest, settle=settle, **words), found


def _case_cost(book: Book, mine: pd.DataFrame) -> float:
    """Mean cost of the cases that are compared; 0 where none is written down."""
    if "cost" not in book.columns("legal_cases"):
        return 0.0
    log = engine.collect(book.table("legal_cases").select("account_id", "cost"))
    known = log[log["account_id"].isin(set(mine["account_id"]))]["cost"].dropna()
    return float(known.mean()) if len(known) else 0.0


def _pace(mine: pd.DataFrame) -> float:
    """Cases filed a month."""
    days = (mine["time_zero"].max() - mine["time_zero"].min()).days + 1
    return len(mine) / max(days / (365.25 / 12), 1.0)
