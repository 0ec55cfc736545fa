"""The right remedy for the right reason: what was done after a reason was noted."""

from __future__ import annotations

import re
from typing import Any

import narwhals as nw
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import as_list, day_of, flag, row_count
from collectlab.core.engine import collect, same_engine, scan
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.measures.actions_rows import Period, rows, shown
from collectlab.measures.debtors.reasons import REASON_GROUPS, grouped, noted_episodes
from collectlab.measures.groups import by_keys
from collectlab.measures.ratios import Measures, Ratio, count, measured
from collectlab.measures.relief.cases import RELIEF, plans, with_groups

_HARD = ("visit", "legal", "agency")
_TALK = ("call", "letter", "visit", "legal", "agency")
_DISPUTE = "The debt is in question: it is looked into first, and not taken further meanwhile."
_DEFAULT = (
    ("income_loss", RELIEF, _HARD, "Cannot pay as agreed: terms that can be kept bring more than pressure."),
    ("illness", RELIEF, _HARD, "Cannot pay for now: relief until they can, and no hard measures meanwhile."),
    ("unwilling", _TALK, ("deferral", "rate_cut"), "Could pay: spoken to firmly; easier terms would reward waiting."),
    ("dispute", (), _HARD, _DISPUTE),
    ("bank_error", (), _HARD, "The bank's own fault: it is mended first, and not taken further meanwhile."),
    ("product_terms", (), _HARD, _DISPUTE),
    ("forgot", ("sms", "email", "call", "letter"), _HARD, "A reminder is enough; hard measures cost more than they bring."),
)  # fmt: skip


def right_remedies() -> pd.DataFrame:
    """The right remedy for each reason, as shipped: a proposal to be replaced by the bank's own.

    Returns
    -------
    pandas.DataFrame
        reason; ``do``: any one of these channels or kinds of arrangement is right (empty: nothing has to be done);
        ``do_not``: none of these; ``why``.

    Examples
    --------
    >>> right_remedies().set_index("reason").loc["illness", "do_not"]
    ('visit', 'legal', 'agency')
    """
    return pd.DataFrame(_DEFAULT, columns=["reason", "do", "do_not", "why"])


def remedy_match(
    book: Any,
    *,
    by: str | None = "reason",
    remedies: Any = None,
    days: int = 30,
    period: Period = None,
    definition: str = "current_once",
    conf_level: float = 0.95,
) -> Measures:
    """Whether what was done in the days after a reason was noted fits the reason.

    For each episode with a reason noted, actions after the day of the note and arrangements from that day on count,
    for ``days`` days or until the episode ends.

    * ``wrong`` — something of ``do_not`` was done / cases judged;
    * ``missing`` — nothing of ``do`` was done, nor anything of ``do_not`` / cases judged;
    * ``matched`` — the rest / cases judged.

    Not judged: notes less than ``days`` before the end of the book, reasons that stand nowhere in ``remedies``, and
    episodes that ended before anything was done (they needed no remedy). How well the match works is another
    question: see the effects package.

    Parameters
    ----------
    book : Book
        With reasons and actions; arrangements where they are there.
    by : str, optional
        ``reason``, ``group`` (of reasons: :data:`REASON_GROUPS`), ``team`` (in charge at the note), ``month`` (of the note), ``age_band``, or a column of accounts.
    remedies : frame, optional
        reason, do, do_not: lists, or texts such as ``"call, letter"``. Default :func:`right_remedies`.
    days : int
        Days after the note.
    period : (date, date), optional
        First and last day of day 0 of the episodes; None is the whole book.
    definition : str
        The named definition of cure, for the ends of the episodes.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Measures
        With ``judged`` cases and ``ended_first``.

    Raises
    ------
    NotAvailable
        No reasons or actions, or nothing that can be judged.
    FrameError
        ``remedies`` that lack a column, name a reason twice, or ask for and forbid the same; ``days`` that are none.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a", "b"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a", "b"] * 4, "days_past_due": [0, 0, 20, 20, 50, 50, 80, 80],
    ...                                "as_of": sorted(["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"] * 2)}),
    ...     "reasons": pd.DataFrame({"account_id": ["a", "b"], "noted_on": ["2026-03-02"] * 2, "reason": ["illness"] * 2}),
    ...     "actions": pd.DataFrame({"account_id": ["a"], "at": ["2026-03-10 10:00"], "channel": ["visit"]}),
    ...     "arrangements": pd.DataFrame({"account_id": ["b"], "kind": ["deferral"], "started_on": ["2026-03-05"]})})
    >>> remedy_match(book).wide()[["reason", "judged", "matched", "wrong", "missing"]].values.tolist()
    [['illness', 2, 0.5, 0.5, 0.0]]
    """
    if not isinstance(days, int) or days < 1:
        raise FrameError(f"days is {days!r}. Allowed: whole days ≥ 1.")
    right = _checked(right_remedies() if remedies is None else collect(scan(remedies)))
    if not book.has("actions"):
        raise NotAvailable("this book has no actions: what was done after a reason was noted is not known.")
    noted = noted_episodes(book, definition, period)
    by_list = as_list(by)
    if by_list == ["reason"]:
        cases = noted.with_columns(__by0=nw.col("reason"))
    elif by_list == ["group"]:
        cases = noted.with_columns(__by0=grouped(REASON_GROUPS))
    else:
        cases, by_list = with_groups(book, noted, by_list)
    known = cases.filter(nw.col("reason").is_in(list(right)) & (nw.col("__on") + days <= day_of(book.as_of)))
    cases = engine.computed(known)
    cases, events = same_engine(cases, _events(book))
    done = (
        cases.select("__account", "__on", "__exit", "reason")
        .join(events, on="__account", how="inner")
        .filter(
            (nw.col("__day") >= nw.col("__on") + nw.col("__after"))
            & (nw.col("__day") <= nw.col("__on") + days)
        )
        .filter(nw.col("__day") <= nw.col("__on") + nw.col("__exit"))
    )
    found = done.group_by("__account", "__on").agg(__right=_any(right, 0), __wrong=_any(right, 1))
    cases = cases.join(found, on=["__account", "__on"], how="left")
    free = [reason for reason, (do, _) in right.items() if not do]
    wrong = nw.col("__wrong").fill_null(0) == 1
    helped = (nw.col("__right").fill_null(0) == 1) | nw.col("reason").is_in(free)
    ended = ~wrong & ~helped & (nw.col("outcome") != "censored") & (nw.col("__exit") <= days)
    counts = count(
        cases,
        by_keys(by_list, "__by"),
        {
            "judged": flag(~ended),
            "matched": flag(~wrong & helped),
            "wrong": flag(wrong),
            "missing": flag(~wrong & ~helped & ~ended),
            "ended_first": flag(ended),
        },
    )
    if not len(counts.groups) or not counts["judged"].sum():
        raise NotAvailable(f"no reason noted in this book or period could be followed for {days:,} days.")
    total = int(engine.collect(noted.select(n=row_count()))["n"].iloc[0])
    left = total - int(counts["judged"].sum())
    return measured(
        shown(counts, by_list), by_list,
        {name: Ratio(counts[name], counts["judged"]) for name in ("matched", "wrong", "missing")},
        {"judged": counts.total("judged"), "ended_first": counts.total("ended_first")},
        conf_level,
        estimand=f"Of the episodes with a reason noted: in the {days} days after it something was done that fits the reason "
        "(matched), something that does not (wrong), or nothing that fits (missing)",
        title="The right remedy for the right reason",
        shown=("matched", "wrong", "missing"),
        notes=(
            f"{left:,} of {total:,} episodes with a reason are not judged: noted too late in the book, of a reason "
            "without a remedy, or ended before anything was done.",
            "Which remedy is right is set by the table handed in, not measured.",
        ),
    )  # fmt: skip


def _checked(frame: pd.DataFrame) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """reason → (do, do_not); every fault at once."""
    if missing := [c for c in ("reason", "do", "do_not") if c not in frame.columns]:
        raise FrameError(
            f"remedies: no column {first_few(missing)}. Columns here: {first_few(list(frame.columns), 20)}."
        )
    faults = []
    if twice := sorted(set(frame.loc[frame["reason"].duplicated(), "reason"].astype(str))):
        faults.append(
            f"remedies: {len(twice)} reasons stand in more than one row ({first_few(twice)}). Allowed: one each."
        )
    out = {}
    for row in frame.itertuples():
        do, do_not = _words(row.do), _words(row.do_not)
        if both := sorted(set(do) & set(do_not)):
            faults.append(f"remedies: {row.reason}: {first_few(both)} both asked for and forbidden.")
        if not do and not do_not:
            faults.append(f"remedies: {row.reason}: neither do nor do_not. Needed: at least one of them.")
        out[str(row.reason)] = (do, do_not)
    if not out:
        faults.append("remedies: the frame is empty. Needed: a row per reason.")
    if faults:
        raise FrameError(faults)
    return out


def _words(value: Any) -> tuple[str, ...]:
    if value is None or (isinstance(value, float) and value != value):
        return ()
    if isinstance(value, str):
        return tuple(w for w in re.split(r"[,\s]+", value) if w)
    return tuple(str(w) for w in value)


def _any(right: dict[str, tuple[tuple[str, ...], tuple[str, ...]]], side: int) -> nw.Expr:
    """Whether any event is one that the reason asks for (side 0) or forbids (side 1)."""
    hit = nw.col("__day") < nw.col("__on")  # never: events before the note are gone
    for reason, lists in right.items():
        if lists[side]:
            hit = hit | ((nw.col("reason") == reason) & nw.col("__what").is_in(list(lists[side])))
    return flag(hit).max()


def _events(book: Any) -> nw.LazyFrame:
    """Actions by channel (from the day after the note on) and arrangements by kind (from its day on)."""
    acts, _ = rows(book, "actions", "at", None, None)
    events = acts.select(
        "__account", __day=nw.col("__on"), __what=nw.col("channel").cast(nw.String), __after=nw.lit(1)
    )
    if not book.has("arrangements"):
        return events
    agreed = plans(book, (*RELIEF, "settlement")).select(
        "__account", __day=nw.col("__began"), __what=nw.col("__kind").cast(nw.String), __after=nw.lit(0)
    )
    events, agreed = same_engine(events, agreed)
    return nw.concat([events, agreed])
