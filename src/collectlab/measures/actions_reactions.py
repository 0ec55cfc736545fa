"""How debtors reacted: promises and whether they were kept, refusals and disputes, complaints, satisfaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import day_number, day_of, distinct, flag, row_count, whole_money, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.tables import format_value
from collectlab.measures.actions_rows import Period, need_column, need_rows, rows, shown, within
from collectlab.measures.costs_touch import contact_made, last_touch
from collectlab.measures.flows import UNIT, as_money
from collectlab.measures.groups import by_keys
from collectlab.measures.ratios import Measures, Ratio, count, measured

#: Outcomes as they are shown, most welcome first.
REACTIONS = ("promise", "contact", "hardship", "dispute", "refusal", "no_answer", "wrong_number")


def promises(
    book: Any,
    *,
    by: str | Sequence[str] | None = None,
    period: Period = None,
    share: float = 0.9,
    grace: int = 3,
    conf_level: float = 0.95,
) -> Measures:
    """From attempt to money: attempts, contacts, promises to pay, promises kept.

    A promise is kept if from the day of the promise to ``grace`` days after the promised date at least
    ``share`` of the promised amount was paid. Promises whose grace has not run out at the end of the book
    are not judged; they are counted in the notes. Attempts are actions with a known outcome.

    Per group: ``attempts, contacts, promises, due, kept`` and

    * ``contacts_per_attempt``, ``promises_per_contact``,
    * ``kept`` — promises kept / promises due,
    * ``kept_amount`` — money paid (no more than promised, promise by promise) / money promised and due.

    Parameters
    ----------
    book : Book
        With actions and payments.
    by : str or list of str, optional
        ``month``, or a column of actions or accounts.
    period : (date, date), optional
        First and last day of the attempts; None is the whole book.
    share, grace
        See above.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Measures

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-02-28"], "days_past_due": [5]}),
    ...     "payments": pd.DataFrame({"account_id": ["a"], "paid_on": ["2026-01-28"], "amount": [95.0]}),
    ...     "actions": pd.DataFrame({
    ...         "account_id": ["a", "a"], "at": ["2026-01-20 10:00", "2026-02-01 10:00"],
    ...         "channel": ["call", "call"], "outcome": ["promise", "promise"],
    ...         "promised_amount": [100.0, 100.0], "promised_on": ["2026-01-25", "2026-02-05"]})})
    >>> promises(book).wide()[["promises", "due", "kept", "kept_amount"]].values.tolist()
    [[2.0, 2.0, 0.5, 0.475]]
    """
    if not 0 < share <= 1 or grace < 0:
        raise FrameError(f"share is {share}, grace {grace}. Allowed: 0 < share ≤ 1 and days of grace ≥ 0.")
    frame, by = rows(book, "actions", "at", by, period)
    need_column(frame, "actions", "outcome", "promised_amount", "promised_on")
    keys = by_keys(by, "__by")
    told = frame.filter(~nw.col("outcome").is_null())
    tried = count(
        told,
        keys,
        {
            "attempts": nw.lit(1),
            "contacts": flag(contact_made(told.collect_schema().names())),
            "promises": flag(nw.col("outcome") == "promise"),
        },
    )
    need_rows(tried, "attempts", "actions with an outcome")
    last = day_of(book.as_of)
    given = told.filter(nw.col("outcome") == "promise").select(
        *keys,
        "__rep",
        "__account",
        "__on",
        __amount=whole_money("promised_amount", UNIT),
        __until=day_number("promised_on") + grace,
    )
    given = given.with_columns(
        __state=nw.when((nw.col("__amount") > 0).fill_null(False) & ~nw.col("__until").is_null())
        .then(flag(nw.col("__until") <= last))
        .otherwise(nw.lit(-1))
    )
    states = engine.collect(given.group_by("__state").agg(n=row_count())).set_index("__state")["n"]
    due = given.filter(nw.col("__state") == 1)
    due, money = same_engine(due, as_money(book.table("payments"), "paid_on", "amount"))
    one = ["__account", "__on", "__until", "__amount"]  # the same promise noted twice is one promise
    due = due.unique(subset=one, keep="any")
    paid = (
        due.select(*one)
        .join(money.rename({"__on": "__day", "__amount": "__paid"}), on="__account", how="inner")
        .filter((nw.col("__day") >= nw.col("__on")) & (nw.col("__day") <= nw.col("__until")))
        .group_by(*one)
        .agg(__paid=whole_sum("__paid"))
    )
    due = due.join(paid, on=one, how="left").with_columns(__paid=nw.col("__paid").fill_null(0))
    judged = count(
        due,
        keys,
        {
            "due": nw.lit(1),
            "kept": flag(nw.col("__paid").cast(nw.Float64) >= share * nw.col("__amount").cast(nw.Float64)),
            "promised": nw.col("__amount"),
            "paid": nw.min_horizontal(nw.col("__paid"), nw.col("__amount")),
        },
        tried.groups,
    )
    notes = [
        f"Kept: at least {share:.0%} of the amount paid by {grace} days after the promised date.".replace(
            "%", " %"
        )
    ]
    if n := states.get(0, 0):
        notes.append(f"{n:,} promises are not yet due and are not judged.")
    if n := states.get(-1, 0):
        notes.append(f"{n:,} promises without amount or date cannot be judged.")
    return measured(
        shown(tried, by),
        by,
        {
            "contacts_per_attempt": Ratio(tried["contacts"], tried["attempts"]),
            "promises_per_contact": Ratio(tried["promises"], tried["contacts"]),
            "kept": Ratio(judged["kept"], judged["due"]),
            "kept_amount": Ratio(judged["paid"] / UNIT, judged["promised"] / UNIT, "part"),
        },
        {
            **{n: tried.total(n) for n in ("attempts", "contacts", "promises")},
            "due": judged.total("due"),
        },
        conf_level,
        estimand="Contacts of attempts, promises of contacts, promises kept of promises due",
        title="Promises to pay",
        shown=("kept",),
        notes=tuple(notes),
    )


def reactions(
    book: Any, *, by: str | Sequence[str] | None = "month", period: Period = None, conf_level: float = 0.95
) -> Measures:
    """What came of the attempts: the share of each outcome among actions whose outcome is known.

    Parameters
    ----------
    book : Book
        With actions.
    by : str or list of str, optional
        ``month``, or a column of actions or accounts.
    period : (date, date), optional
        First and last day of the actions; None is the whole book.
    conf_level : float
        Level of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-02-28"], "days_past_due": [5]}),
    ...     "actions": pd.DataFrame({"account_id": ["a", "a"], "at": ["2026-01-20 10:00", "2026-01-21 10:00"],
    ...                              "channel": ["call", "call"], "outcome": ["refusal", "contact"]})})
    >>> reactions(book).wide()[["month", "attempts", "contact", "refusal"]].values.tolist()
    [['2026-01', 2, 0.5, 0.5]]
    """
    frame, by = rows(book, "actions", "at", by, period)
    need_column(frame, "actions", "outcome")
    told = frame.filter(~nw.col("outcome").is_null())
    sums = {r: flag(nw.col("outcome") == r) for r in REACTIONS}
    counts = count(told, by_keys(by, "__by"), {"attempts": nw.lit(1), **sums})
    need_rows(counts, "attempts", "actions with an outcome")
    present = [r for r in REACTIONS if counts[r].sum()]
    return measured(
        shown(counts, by),
        by,
        {r: Ratio(counts[r], counts["attempts"]) for r in present},
        {"attempts": counts.total("attempts")},
        conf_level,
        estimand="Share of attempts with each outcome, among actions whose outcome is known",
        title="How debtors reacted",
        shown=("promise", "refusal", "hardship", "dispute"),
    )


def complaints(
    book: Any,
    *,
    by: str | Sequence[str] | None = "month",
    period: Period = None,
    window: int = 30,
    conf_level: float = 0.95,
) -> Measures:
    """Complaints per 1,000 contacts, and the share upheld where it is known.

    A contact is an action that is not marked as not connected, no answer or wrong number (messages and
    letters sent count). By month, or by a column of ``accounts`` or ``complaints``' own month, complaints
    and contacts of the same group are set against each other. By ``channel``, ``team`` or another column
    of ``actions`` a complaint goes to the account's last contact, if that was at most ``window`` days before.

    The interval is the jackknife's on the log scale; with no complaint at all, Poisson's exact upper limit.

    Parameters
    ----------
    book : Book
        With complaints and actions.
    by : str or list of str, optional
        See above.
    period : (date, date), optional
        First and last day counted; None is the whole book.
    window : int
        Days after a contact.
    conf_level : float
        Level of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-02-28"], "days_past_due": [5]}),
    ...     "actions": pd.DataFrame({"account_id": ["a", "a"], "at": ["2026-01-20 10:00", "2026-01-21 10:00"],
    ...                              "channel": ["call", "sms"]}),
    ...     "complaints": pd.DataFrame({"account_id": ["a"], "at": ["2026-01-22 10:00"]})})
    >>> complaints(book, by="channel").wide()[["channel", "contacts", "complaints"]].values.tolist()
    [['call', 1, 0], ['sms', 1, 1]]
    """
    told = book.table("complaints")
    frame, by = rows(book, "actions", "at", by, period)
    keys = by_keys(by, "__by")
    contacts = frame.filter(contact_made(frame.collect_schema().names()))
    bases = count(contacts, keys, {"contacts": nw.lit(1)})
    need_rows(bases, "contacts", "contacts")
    own = [b for b in by if b == "month" or b in book.columns("accounts")]
    notes: list[str] = []
    upheld = "upheld" in told.collect_schema().names()
    if own == by:
        lodged, _ = rows(book, "complaints", "at", by, period)
    else:
        lodged, _ = rows(book, "complaints", "at", None, None)
        # several complaints on a day share the contact before them
        touches = rows(book, "actions", "at", by, None)[0].with_columns(__at=nw.col("at"))
        touches = touches.filter(contact_made(touches.collect_schema().names()))
        touches, lodged = same_engine(touches, lodged)
        touches = touches.join(distinct(lodged.select("__account")), on="__account", how="semi")
        lodged = last_touch(touches.select("__account", "__on", "__at", *keys), lodged, keys, window)
        lodged = engine.computed(within(lodged, "__on", period))
        far = engine.collect(lodged.select(n=whole_sum(1 - nw.col("__credited"))))["n"].iloc[0]
        if far:
            notes.append(
                f"{int(far):,} complaints followed no contact within {window} days and are left out."
            )
        lodged = lodged.filter(nw.col("__credited") == 1)
    known = nw.col("upheld") if upheld else nw.lit(None, nw.Boolean)
    sums = {"complaints": nw.lit(1), "known": flag(~known.is_null()), "upheld": flag(known)}
    every = count(lodged, keys, sums)["complaints"].sum()
    counts = count(lodged, keys, sums, bases.groups)
    if lonely := int(every - counts["complaints"].sum()):
        notes.append(f"{lonely:,} complaints fall in groups without any contact and are left out.")
    ratios = {"per_1000_contacts": Ratio(counts["complaints"], bases["contacts"], "rate", "ratio", 1000)}
    if upheld:
        ratios["upheld"] = Ratio(counts["upheld"], counts["known"])
    sizes = {"contacts": bases.total("contacts"), "complaints": counts.total("complaints")}
    return measured(
        shown(bases, by),
        by,
        ratios,
        sizes,
        conf_level,
        estimand="Complaints per 1,000 contacts (messages and letters included)",
        title="Complaints",
        notes=tuple(notes),
    )


def satisfaction(
    book: Any,
    *,
    by: str | Sequence[str] | None = None,
    period: Period = None,
    threshold: float = 60,
    conf_level: float = 0.95,
) -> Measures:
    """Mean survey score (0–100) and the share of answers at or above ``threshold``.

    They speak for those who answered; the notes say how many that is of the accounts that were contacted.

    Parameters
    ----------
    book : Book
        With surveys.
    by : str or list of str, optional
        ``month``, or a column of surveys or accounts.
    period : (date, date), optional
        First and last day of the answers; None is the whole book.
    threshold : float
        Score from which an answer counts as satisfied.
    conf_level : float
        Level of the intervals.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-02-28"], "days_past_due": [5]}),
    ...     "surveys": pd.DataFrame({"account_id": ["a", "b"], "at": ["2026-01-20", "2026-01-21"],
    ...                              "score": [50.0, 80.0]})})
    >>> satisfaction(book).wide().values.tolist()
    [[2.0, 65.0, 0.5]]
    """
    frame, by = rows(book, "surveys", "at", by, period)
    need_column(frame, "surveys", "score")
    frame = frame.with_columns(__score=whole_money("score", UNIT)).filter(~nw.col("__score").is_null())
    counts = count(
        frame,
        by_keys(by, "__by"),
        {
            "answers": nw.lit(1),
            "score": nw.col("__score"),
            "good": flag(nw.col("__score") >= round(threshold * UNIT)),
        },
    )
    need_rows(counts, "answers", "survey answers")
    return measured(
        shown(counts, by),
        by,
        {
            "mean_score": Ratio(counts["score"] / UNIT, counts["answers"], "mean", "days"),
            f"share_{threshold:g}_or_more": Ratio(counts["good"], counts["answers"]),
        },
        {"answers": counts.total("answers")},
        conf_level,
        estimand=f"Mean score (0–100) and share of answers of {threshold:g} or more, of those who answered",
        title="Satisfaction",
        notes=(_response(book, frame, period), "Those who did not answer may be less, or more, content."),
    )


def _response(book: Any, frame: nw.LazyFrame, period: Period) -> str:
    answered = engine.collect(distinct(frame.select("__account")))["__account"]
    text = f"{len(answered):,} accounts answered"
    try:
        acts = rows(book, "actions", "at", None, period)[0]
    except NotAvailable:
        return text + "; how many were asked is not known."
    acted = engine.collect(distinct(acts.select("__account")))["__account"]
    both = pd.Index(answered).isin(acted).sum()
    if not len(acted):
        return text + "; how many were asked is not known."
    return f"{text}: {format_value(both / len(acted), 'share')} of the {len(acted):,} accounts that were acted on."
