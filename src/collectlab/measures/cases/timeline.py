"""One case as one timeline: days past due, balance, every action and its outcome, payments, plan, complaint."""

from __future__ import annotations

import html
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine, tables
from collectlab.core.columns import day_number
from collectlab.core.errors import FrameError
from collectlab.core.results import Result
from collectlab.measures.cases.pick import Case, Cases

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TYPES = {
    "at": "int64",
    "time": "datetime64[us]",
    "event": "object",
    "detail": "object",
    "result": "object",
    "days_past_due": "Int64",
    "money": "float64",
}
_COLUMNS = ["case", "day", "event", "detail", "result", "days_past_due", "money"]
#: Outcomes worth a word in the short table.
_TOLD = ("promise", "refusal", "dispute", "hardship", "wrong_number")
_WORDS = {"sms": "text message", "email": "e-mail", "legal": "legal step", "hardship": "hardship told"}
_END = {
    "cured": "cured",
    "charged_off": "charged off",
    "settled": "settled",
    "sold": "sold",
    "censored": "still open",
}
_ROUNDED = "Money is rounded to two significant figures; days count from the first day past due."


@dataclass(frozen=True, kw_only=True)
class CaseFile(Result):
    """One case's timeline; see :func:`timeline`.

    ``table`` has one row per event: ``case, day, event, detail, result, days_past_due, money``. Days count from
    day 0 of the episode. ``case`` carries the reason it was picked.
    """

    case: Case
    exit_day: int = 0
    entry_day: int = 0

    plottable = True

    def display_table(self) -> pd.DataFrame:
        """The case in stretches of days: where it stood, what was done, what came of it."""
        return _stretches(self)

    def _repr_html_(self) -> str:
        return "\n".join([_headed(self.case), tables.to_html(self.display_table(), notes=self.notes)])

    def _repr_markdown_(self) -> str:
        shown = tables.to_markdown(self.display_table(), notes=self.notes)
        return f"**{self.case.name}**: {self.case.why}.\n\n{shown}"

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Days past due on top, with payments, plan and complaint; each action below, by channel and outcome."""
        from collectlab.measures.cases.picture import draw

        return draw([self])


@dataclass(frozen=True, kw_only=True)
class CaseFiles(Result):
    """Several case files, shown one after the other; ``files`` holds them."""

    files: tuple[CaseFile, ...] = ()
    rule: str = ""

    plottable = True

    def display_table(self) -> pd.DataFrame:
        """Each case in one line: its score and why it was picked."""
        return pd.DataFrame(
            {"Case": [f.case.name for f in self.files], "Why": [f.case.why for f in self.files]}, dtype=object
        )

    def _repr_html_(self) -> str:
        parts = ['<div class="cl-result">']
        if self.title:
            parts.append(f'<p class="cl-title"><strong>{html.escape(self.title)}</strong></p>')
        parts.append(f'<p class="cl-estimand"><em>{html.escape(self.rule)}</em></p>')
        parts += [_headed(f.case) for f in self.files]
        parts.append('<details class="cl-folded"><summary>The cases as tables</summary>')
        parts += [tables.to_html(f.display_table(), f.title) for f in self.files]
        parts.append("</details>")
        parts += [f'<p class="cl-note">{html.escape(note)}</p>' for note in self.notes]
        return "\n".join([*parts, "</div>"])

    def _repr_markdown_(self) -> str:
        return "\n\n".join([self.rule, *(f._repr_markdown_() for f in self.files), *self.notes])

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """The cases' timelines under one another."""
        from collectlab.measures.cases.picture import draw

        return draw(self.files)


def _headed(case: Case) -> str:
    return f'<p class="cl-case"><strong>{html.escape(case.name)}</strong>: {html.escape(case.why)}.</p>'


def files(book: Any, found: Cases, *, before: int = 0, after: int = 90) -> CaseFiles:
    """The timelines of all cases picked, as one result.

    Parameters
    ----------
    book : Book
        The book the cases were picked from.
    found : Cases
        What :func:`~collectlab.measures.cases.pick.pick` returned.
    before, after : int
        Days shown before day 0 and after the end.

    Returns
    -------
    CaseFiles

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> from collectlab.measures.cases.pick import pick
    >>> book = open_book(simulate(accounts=300, months=12, truth_accounts=0).book_tables)
    >>> len(files(book, pick(book, "problem", number=2)).files)
    2
    """
    made = tuple(timeline(book, case, before=before, after=after) for case in found.cases)
    table = pd.concat([f.table for f in made], ignore_index=True)
    return CaseFiles(
        table=table,
        files=made,
        rule=found.estimand,
        estimand=found.estimand,
        title=found.title,
        notes=(*found.notes, _ROUNDED),
        formats=made[0].formats,
    )


def timeline(book: Any, case: Case, *, before: int = 0, after: int = 90) -> CaseFile:
    """One case as one timeline, without account, customer, agent, dates or free text.

    Parameters
    ----------
    book : Book
        The book the case was picked from.
    case : Case
        One of ``pick(…).cases``.
    before, after : int
        Days shown before day 0 and after the end of the episode.

    Returns
    -------
    CaseFile
        ``table``: ``day`` (from day 0), ``event`` (snapshot, action, payment, plan, complaint, legal, reason,
        end), ``detail`` (channel, kind of plan, …), ``result`` (outcome, upheld, …), ``days_past_due``, ``money``
        (balance, payment or promise, two significant figures).

    Raises
    ------
    FrameError
        If the book does not hold the case.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> from collectlab.measures.cases.pick import pick
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"] * 3, "as_of": ["2026-01-31", "2026-02-28", "2026-06-30"],
    ...                                "days_past_due": [0, 10, 0], "balance": [1234.0, 1234.0, 1187.0]}),
    ...     "payments": pd.DataFrame({"account_id": ["a"], "paid_on": ["2026-03-02"], "amount": [47.11]})})
    >>> case = pick(book, "success", sustained=0).cases[0]
    >>> timeline(book, case).table[["day", "event", "days_past_due", "money"]].values.tolist()
    [[10, 'snapshot', 10, 1200.0], [12, 'payment', <NA>, 47.0], [132, 'snapshot', 0, 1200.0], [132, 'end', <NA>, nan]]
    """
    if not isinstance(case, Case):
        raise FrameError(f"case is {type(case).__name__}. Allowed: one of pick(…).cases.")
    _, _, start, entry_day, exit_day = case._where
    first, last = start - before, start + exit_day + after
    told = [
        part
        for name, on, read in _READERS
        if book.has(name) and not (part := read(_rows(book, name, on, case, first, last))).empty
    ]
    if not told:
        raise FrameError(f"the book has no rows of {case.name}. It was picked from another book.")
    ended = pd.DataFrame({"at": [start + exit_day], "time": [pd.NaT]})
    end = _event(ended, "end", detail=_END[case.outcome])
    table = pd.concat([*told, end], ignore_index=True)
    table["day"] = (table["at"] - start).astype(int)
    table["order"] = table["event"].map(_ORDER)
    table = table.sort_values(["day", "order", "time", "detail", "result", "money"], kind="stable")
    table = table.assign(
        case=case.name,
        days_past_due=table["days_past_due"].astype("Int64"),
        money=two_figures(table["money"].astype(float)),
    )
    return CaseFile(
        table=table[_COLUMNS],
        case=case,
        entry_day=entry_day,
        exit_day=exit_day,
        estimand=f"{case.name}: what was done and what happened, by day since the first day past due",
        title=case.name,
        unit="count",
        formats={"case": "text", "day": "count", "days_past_due": "count", "money": "money"},
    )


def two_figures(amounts: pd.Series) -> pd.Series:
    """Amounts to two significant figures, so that no sum tells who it is.

    >>> two_figures(pd.Series([1234.5, 0.0, 47.11, 98_765.0])).tolist()
    [1200.0, 0.0, 47.0, 99000.0]
    """
    size = np.floor(np.log10(amounts.abs().where(amounts != 0, 1.0)))
    unit = 10.0 ** (size - 1)
    return (amounts / unit).round() * unit


def _rows(book: Any, table: str, on: str, case: Case, first: int, last: int) -> pd.DataFrame:
    """The case's rows of one table, as :data:`_EVENT` columns may be made of them; no free text is read."""
    frame = book.table(table)
    names = frame.collect_schema().names()
    wanted = {c: nw.col(c) if c in names else nw.lit(None) for c in _WANTED[table]}
    dates = {c: day_number(c) if c in names else nw.lit(None, nw.Int64) for c in _DATES.get(table, ())}
    clock = {"clock": nw.col(on)} if table == "actions" else {}
    frame = frame.filter(nw.col("account_id").cast(nw.String) == case._where[0])
    frame = frame.select(**wanted, **dates, **clock, at=day_number(on))
    rows = engine.collect(frame.filter((nw.col("at") >= first) & (nw.col("at") <= last)))
    order = pd.to_datetime(rows.pop("clock")) if clock else pd.Series(pd.NaT, index=rows.index)
    return rows.assign(time=order, upto=last)


def _event(rows: pd.DataFrame, event: str, **columns: Any) -> pd.DataFrame:
    blank = {"detail": "", "result": "", "days_past_due": pd.NA, "money": np.nan}
    made = pd.DataFrame({"at": rows["at"], "time": rows["time"], "event": event} | blank | columns)
    return made.astype(_TYPES)


def _snapshots(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows[rows["days_past_due"].notna() & rows["status"].fillna("open").isin(["open", "closed"])]
    return _event(
        rows, "snapshot", days_past_due=rows["days_past_due"].astype("Int64"), money=rows["balance"]
    )


def _payments(rows: pd.DataFrame) -> pd.DataFrame:
    return _event(rows, "payment", money=rows["amount"])


def _actions(rows: pd.DataFrame) -> pd.DataFrame:
    answered = rows["connected"].map({True: "contact", False: "no_answer"})
    result = rows["outcome"].where(rows["outcome"].notna(), answered)
    third = rows["party"].eq("third_party")
    channel = rows["channel"].astype(str).where(~third, rows["channel"].astype(str) + " (third party)")
    return _event(rows, "action", detail=channel, result=result.fillna(""), money=rows["promised_amount"])


def _plans(rows: pd.DataFrame) -> pd.DataFrame:
    agreed = _event(rows, "plan", detail=rows["kind"].astype(str), result="agreed")
    over = rows[(rows["ended_on"] <= rows["upto"]).fillna(False).astype(bool)]
    over = over.assign(at=over["ended_on"].astype("Int64"))
    ended = _event(over, "plan", detail=over["kind"].astype(str), result=over["status"].fillna("ended"))
    return pd.concat([agreed, ended[ended["result"] != "active"]]) if len(ended) else agreed


def _complaints(rows: pd.DataFrame) -> pd.DataFrame:
    told = rows["upheld"].map({True: "upheld", False: "not upheld"}).fillna("")
    return _event(rows, "complaint", result=told)


def _legal(rows: pd.DataFrame) -> pd.DataFrame:
    filed = _event(rows, "legal", result="case filed")
    over = rows[(rows["decided_on"] <= rows["upto"]).fillna(False).astype(bool)]
    over = over.assign(at=over["decided_on"].astype("Int64"))
    return pd.concat([filed, _event(over, "legal", result="case decided")]) if len(over) else filed


_READERS = (
    ("snapshots", "as_of", _snapshots),
    ("payments", "paid_on", _payments),
    ("actions", "at", _actions),
    ("arrangements", "started_on", _plans),
    ("complaints", "at", _complaints),
    ("legal_cases", "filed_on", _legal),
)
#: Columns read: those whose words are fixed by the contract, and numbers. Kinds of complaints, reasons, stages and
#: results of legal cases are a bank's own words and stay in the book.
_WANTED: dict[str, tuple[str, ...]] = {
    "snapshots": ("days_past_due", "balance", "status"),
    "payments": ("amount",),
    "actions": ("channel", "party", "connected", "outcome", "promised_amount"),
    "arrangements": ("kind", "status"),
    "complaints": ("upheld",),
    "legal_cases": (),
}
_DATES = {"arrangements": ("ended_on",), "legal_cases": ("decided_on",)}
_ORDER = {
    name: i for i, name in enumerate(("action", "complaint", "plan", "legal", "payment", "snapshot", "end"))
}


def _stretches(one: CaseFile) -> pd.DataFrame:
    """The case by 30 days (90 where it is long)."""
    table = one.table
    first, last = min(0, int(table["day"].min())), int(max(table["day"].max(), one.exit_day))
    step = 30 if last - first <= 360 else 90
    begins = range(first // step * step, last + 1, step)
    has = {event: (table["event"] == event).any() for event in ("action", "payment")}
    has["balance"] = table.loc[table["event"] == "snapshot", "money"].notna().any()
    shown: list[dict[str, str]] = []
    for begin in begins:
        part = table[(table["day"] >= begin) & (table["day"] < begin + step)]
        seen = part[part["event"] == "snapshot"]
        acts, paid = part[part["event"] == "action"], part.loc[part["event"] == "payment", "money"]
        row = {
            "Days": f"{begin}–{begin + step - 1}".replace("-", "−"),
            "Days past due": f"{seen['days_past_due'].iloc[-1]:,}" if len(seen) else "",
        }
        if has["balance"]:
            row["Balance"] = tables.format_value(seen["money"].iloc[-1], "money") if len(seen) else ""
        if has["action"]:
            row["Actions"] = _counted(acts["detail"])
        if has["payment"]:
            row["Paid"] = (
                tables.format_value(two_figures(pd.Series([paid.sum()]))[0], "money") if len(paid) else ""
            )
        shown.append(row | {"What came of it": _happened(part, acts)})
    return pd.DataFrame(shown, dtype=object)


def _counted(words: pd.Series) -> str:
    """``call ×3, letter``, most frequent first; begins with a letter, so that tables set it as text."""
    told = []
    for word, n in sorted(Counter(words).items(), key=lambda x: (-x[1], x[0])):
        name, _, third = str(word).partition(" (")
        name = _WORDS.get(name, name.replace("_", " "))
        told.append(name + (f" ({third}" if third else "") + (f" ×{n}" if n > 1 else ""))
    return ", ".join(told)


def _happened(part: pd.DataFrame, acts: pd.DataFrame) -> str:
    told = [_counted(acts.loc[acts["result"].isin(list(_TOLD)), "result"])]
    for row in part[~part["event"].isin(["snapshot", "action", "payment"])].itertuples():
        words = (row.event if row.event not in ("end", "plan", "legal") else "", row.detail, row.result)
        told.append(" ".join(w.replace("_", " ") for w in words if w))
    return "; ".join(w for w in told if w)
