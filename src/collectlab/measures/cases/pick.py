"""Which cases are shown: by a stated rule and a printed score, never by hand."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import narwhals as nw
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import day_number, day_of, flag, row_count, whole_money, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.results import Result
from collectlab.measures.actions_rows import Period, days_of
from collectlab.measures.flows import UNIT

KINDS = ("success", "problem")
#: What a complaint upheld and a violated rule weigh against one action that no payment followed.
UPHELD, VIOLATION = 20, 5
#: A promise counts as kept if this share was paid up to so many days after the promised date.
KEPT_SHARE, GRACE = 0.9, 3
#: An account still open is a problem case from this day past due on.
LATE = 90

_KEYS = ["account", "episode"]


@dataclass(frozen=True)
class Case:
    """One picked episode, under a name that tells nobody who it is.

    Attributes
    ----------
    name : str
        ``Case 1``, ``Case 2``, … in the order of the ranking.
    kind : str
        ``success`` or ``problem``.
    rank, candidates : int
        Its place among all candidates, and how many there were.
    why : str
        The reason it was picked, with the figures of the score.
    """

    name: str
    kind: str
    rank: int
    candidates: int
    why: str
    outcome: str
    _where: tuple[str, int, int, int, int] = field(repr=False)

    def who(self) -> dict[str, Any]:
        """The account and episode behind the name, for those who hold the book; never written anywhere."""
        return {"account_id": self._where[0], "episode": self._where[1]}


@dataclass(frozen=True, kw_only=True)
class Cases(Result):
    """The cases picked, with the rule and the score of each (``table``); no identifier in it."""

    cases: tuple[Case, ...] = ()


def pick(
    book: Any,
    kind: str,
    *,
    number: int = 3,
    definition: str = "current_once",
    period: Period = None,
    sustained: int = 90,
    violations: Any = None,
) -> Cases:
    """The success or problem cases of a book, by rule.

    *Success*: cured, watched for ``sustained`` days since and not in arrears again, and (where the book tells)
    with a plan not broken or a promise kept on the way. Score: the most days past due it came back from.

    Of both kinds those seen from their first day, where there are enough.

    *Problem*: charged off, or still open 90 days past due or later. Score: actions since the last payment, plus 20 for
    each complaint upheld and 5 for each action that broke a contact rule. A book without actions is
    ranked by the most days past due.

    The highest score comes first, ties are ordered by a hash of account and episode, and of one customer only the
    first is taken. ``rank`` is the place among all candidates.

    Parameters
    ----------
    book : Book
        With snapshots; arrangements, actions, payments and complaints sharpen the rule.
    kind : {"success", "problem"}
    number : int
        How many cases; fewer if there are fewer customers among the candidates.
    definition : str
        What "cured" means.
    period : (date, date), optional
        First and last day on which the episode ended (or was last seen); None is the whole book.
    sustained : int
        Days without arrears after the cure.
    violations : frame, optional
        Actions that broke a contact rule, as ``audit(…).evidence()`` gives them: ``account_id, at`` and, where
        there, ``action_id`` (an action that broke two rules counts once).

    Returns
    -------
    Cases
        ``table`` has one row per case: case, rank, candidates, score and its parts, why.

    Raises
    ------
    NotAvailable
        If no episode answers the rule.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=300, months=12, truth_accounts=0).book_tables)
    >>> found = pick(book, "problem", number=2)
    >>> [(case.name, case.rank) for case in found.cases]
    [('Case 1', 1), ('Case 2', 2)]
    >>> "account_id" in found.table
    False
    """
    if kind not in KINDS:
        raise FrameError(f"kind is {kind!r}. Allowed: {', '.join(KINDS)}.")
    if number < 1 or sustained < 0:
        raise FrameError(
            f"number is {number}, sustained {sustained}. Allowed: number ≥ 1, sustained ≥ 0 days."
        )
    found = _success(book, definition, sustained) if kind == "success" else _problem(book, definition)
    if period is not None:
        first, last = days_of(period)
        ended = nw.col("start") + nw.col("exit_day")
        found = found.filter((ended >= first) & (ended <= last))
    found = engine.materialise(found)
    clauses = []
    if kind == "success":
        found, clauses = _helped(book, found)
    else:
        found, clauses = _pressed(book, found, violations)
    rows = _scored(engine.collect(found), kind, clauses)
    if rows.empty:
        what = "was cured for good" if kind == "success" else "is charged off or long overdue"
        more = clauses[0] if kind == "success" and clauses else ""
        more = " with any action since the last payment" if kind == "problem" and clauses else more
        raise NotAvailable(f"no episode of this book or period {what}{more}.")
    # A case seen from its first day tells the whole story; where there are too few, all are taken.
    whole = rows[rows["entry_day"] == 0]
    from_start = whole["customer"].nunique() >= number
    return _picked(whole if from_start else rows, kind, number, clauses, sustained, from_start)


def _spells(book: Any, definition: str) -> nw.LazyFrame:
    return book.episodes(definition=definition).select(
        account=nw.col("account_id").cast(nw.String),
        customer=nw.col("customer_id").cast(nw.String),
        episode=nw.col("episode").cast(nw.Int64),
        start=day_number("started_on"),
        **{c: nw.col(c).cast(nw.Int64) for c in ("entry_day", "exit_day", "observed_day")},
        deepest=nw.col("max_days_past_due").cast(nw.Int64),
        outcome=nw.col("outcome").cast(nw.String),
    )


def _success(book: Any, definition: str, sustained: int) -> nw.LazyFrame:
    spells = engine.materialise(_spells(book, definition))
    following = spells.select("account", episode=nw.col("episode") - 1, again=nw.col("start"))
    spells = spells.filter(
        (nw.col("outcome") == "cured") & (nw.col("observed_day") - nw.col("exit_day") >= sustained)
    ).join(following, on=_KEYS, how="left")
    quiet = nw.col("again").is_null() | (nw.col("again") > nw.col("start") + nw.col("exit_day") + sustained)
    return spells.filter(quiet).drop("again")


def _problem(book: Any, definition: str) -> nw.LazyFrame:
    spells = _spells(book, definition)
    # An account that is no longer seen is not still open: only those seen in the book's last month are.
    seen = nw.col("start") + nw.col("exit_day") > day_of(book.as_of) - 31
    still = (nw.col("outcome") == "censored") & (nw.col("exit_day") >= LATE) & seen
    return spells.filter((nw.col("outcome") == "charged_off") | still)


def _helped(book: Any, found: nw.LazyFrame) -> tuple[nw.LazyFrame, list[str]]:
    """Only those with a plan not broken or a promise kept, where the book has either."""
    helps = []
    if book.has("arrangements"):
        plans = _during(book, "arrangements", "started_on", found)
        names = plans.collect_schema().names()
        if "status" in names:
            plans = plans.filter(~(nw.col("status") == "broken").fill_null(False))
        helps.append(("plan", plans.group_by(*_KEYS).agg(plan=row_count())))
    promised = {"outcome", "promised_amount", "promised_on"}
    if book.has("actions") and book.has("payments") and promised <= set(book.columns("actions")):
        helps.append(("promise", _promises_kept(book, found)))
    if not helps:
        return found, []
    for name, counted in helps:
        found = _with(found, counted, name)
    answered = nw.lit(False)
    for name, _ in helps:
        answered = answered | (nw.col(name) > 0)
    words = {"plan": "a plan not broken", "promise": "a promise kept"}
    return found.filter(answered), [" with " + " or ".join(words[name] for name, _ in helps)]


def _promises_kept(book: Any, found: nw.LazyFrame) -> nw.LazyFrame:
    made = _during(book, "actions", "at", found).filter((nw.col("outcome") == "promise").fill_null(False))
    made = made.select(
        *_KEYS, "day", amount=whole_money("promised_amount", UNIT), until=day_number("promised_on") + GRACE
    )
    made = made.filter((nw.col("amount") > 0).fill_null(False))
    paid = book.table("payments").select(
        account=nw.col("account_id").cast(nw.String),
        on=day_number("paid_on"),
        paid=whole_money("amount", UNIT),
    )
    made, paid = same_engine(made, paid)
    one = [*_KEYS, "day", "amount", "until"]
    kept = made.unique(subset=one, keep="any").join(paid, on="account", how="inner")
    kept = kept.filter((nw.col("on") >= nw.col("day")) & (nw.col("on") <= nw.col("until")))
    kept = kept.group_by(*one).agg(paid=whole_sum("paid"))
    kept = kept.filter(nw.col("paid").cast(nw.Float64) >= KEPT_SHARE * nw.col("amount").cast(nw.Float64))
    return kept.group_by(*_KEYS).agg(promise=row_count())


def _pressed(book: Any, found: nw.LazyFrame, violations: Any) -> tuple[nw.LazyFrame, list[str]]:
    """Actions since the last payment, complaints upheld and violations, where the book has them."""
    if not book.has("actions"):
        return found, []
    found = found.with_columns(paid_on=nw.col("start") - 1)
    if book.has("payments"):
        last = _during(book, "payments", "paid_on", found).group_by(*_KEYS).agg(last=nw.col("day").max())
        found, last = same_engine(found, last)
        found = found.join(last, on=_KEYS, how="left")
        found = engine.materialise(found.with_columns(paid_on=nw.coalesce("last", "paid_on")).drop("last"))
    acts = _during(book, "actions", "at", found)
    acts = acts.group_by(*_KEYS).agg(
        actions=row_count(), unpaid=whole_sum(flag(nw.col("day") > nw.col("paid_on")))
    )
    found = _with(
        _with(found, acts.select(*_KEYS, "unpaid"), "unpaid"), acts.select(*_KEYS, "actions"), "actions"
    )
    clauses = ["actions since the last payment"]
    if book.has("complaints") and "upheld" in book.columns("complaints"):
        upheld = _during(book, "complaints", "at", found).filter(nw.col("upheld").fill_null(False))
        found = _with(found, upheld.group_by(*_KEYS).agg(upheld=row_count()), "upheld")
        clauses.append(f"{UPHELD} for each complaint upheld")
    if violations is not None:
        rows = engine.scan(violations)
        one = "action_id" if "action_id" in rows.collect_schema().names() else "at"
        rows = rows.unique(subset=["account_id", one], keep="any")
        broke = _rows_during(rows, "at", found).group_by(*_KEYS).agg(violations=row_count())
        found = _with(found, broke, "violations")
        clauses.append(f"{VIOLATION} for each action that broke a contact rule")
    return found, clauses


def _during(book: Any, table: str, on: str, found: nw.LazyFrame) -> nw.LazyFrame:
    return _rows_during(book.table(table), on, found)


def _rows_during(rows: nw.LazyFrame, on: str, found: nw.LazyFrame) -> nw.LazyFrame:
    """Rows of a dated table that fall into an episode of ``found``, with its columns and ``day``."""
    rows = rows.with_columns(account=nw.col("account_id").cast(nw.String), day=day_number(on))
    rows, found = same_engine(rows, found)
    kept = [c for c in (*_KEYS, "start", "exit_day", "paid_on") if c in found.collect_schema().names()]
    names = [c for c in rows.collect_schema().names() if c not in {"episode", "start", "exit_day", "paid_on"}]
    joined = rows.select(*names).join(found.select(*kept), on="account", how="inner")
    return joined.filter(
        (nw.col("day") >= nw.col("start")) & (nw.col("day") <= nw.col("start") + nw.col("exit_day"))
    )


def _with(found: nw.LazyFrame, counted: nw.LazyFrame, name: str) -> nw.LazyFrame:
    found, counted = same_engine(found, counted)
    joined = found.join(counted, on=_KEYS, how="left")
    return engine.materialise(joined.with_columns(nw.col(name).fill_null(0).cast(nw.Int64)))


def _scored(rows: pd.DataFrame, kind: str, clauses: Sequence[str]) -> pd.DataFrame:
    if kind == "success" or not clauses:
        return rows.assign(score=rows["deepest"].astype(int))
    score = rows["unpaid"] + UPHELD * rows.get("upheld", 0) + VIOLATION * rows.get("violations", 0)
    return rows.assign(score=score.astype(int))[score > 0]


def _picked(
    rows: pd.DataFrame, kind: str, number: int, clauses: Sequence[str], sustained: int, from_start: bool
) -> Cases:
    order = [
        hashlib.sha256(f"{a}|{e}".encode()).hexdigest() for a, e in zip(rows["account"], rows["episode"])
    ]
    rows = rows.assign(hash=order).sort_values(["score", "hash"], ascending=[False, True], ignore_index=True)
    rows["rank"] = rows.index + 1
    rows["tied"] = rows.groupby("score")["score"].transform("size") - 1
    chosen = rows.drop_duplicates("customer").head(number).reset_index(drop=True)
    cases = tuple(
        Case(
            name=f"Case {i + 1}",
            kind=kind,
            rank=int(row["rank"]),
            candidates=len(rows),
            why=_why(row, kind, sustained, len(rows)),
            outcome=row["outcome"],
            _where=tuple(
                [str(row["account"]), *(int(row[c]) for c in ("episode", "start", "entry_day", "exit_day"))]
            ),  # type: ignore[arg-type]
        )
        for i, row in chosen.iterrows()
    )
    parts = [c for c in ("plan", "promise", "unpaid", "actions", "upheld", "violations") if c in chosen]
    table = chosen[["rank", "score", "outcome", "deepest", "exit_day", *parts]].rename(columns=_SHOWN)
    table.insert(0, "case", [case.name for case in cases])
    table["why"] = [case.why for case in cases]
    return Cases(
        table=table,
        cases=cases,
        estimand=rule_text(kind, clauses, sustained, from_start),
        unit="count",
        title="Success cases" if kind == "success" else "Problem cases",
        notes=(f"Picked by rule from {len(rows):,} candidates; one case per customer, ties by a hash.",),
        formats=dict.fromkeys(["rank", "score", *_SHOWN.values()], "count") | {"case": "text"},
    )


_SHOWN = {
    "deepest": "most_days_past_due",
    "exit_day": "days",
    "plan": "plans",
    "promise": "promises_kept",
    "unpaid": "actions_since_payment",
    "upheld": "complaints_upheld",
}


def rule_text(kind: str, clauses: Sequence[str], sustained: int, from_start: bool) -> str:
    """The rule by which cases of a kind are picked, as a reader is told it."""
    seen = "seen from its first day, " if from_start else ""
    if kind == "success":
        helped = clauses[0] if clauses else ""
        return (
            f"Rule: {seen}cured{helped}, and not in arrears again within {sustained} days; "
            "score: the most days past due it came back from."
        )
    score = ", plus ".join(clauses) if clauses else "the most days past due"
    return f"Rule: {seen}charged off, or still open from {LATE} days past due on; score: {score}."


def _why(row: pd.Series, kind: str, sustained: int, candidates: int) -> str:
    if kind == "success":
        helps = [
            f"{int(row[c])} {word}{'' if row[c] == 1 else 's'}{rest}"
            for c, word, rest in (("plan", "plan", " not broken"), ("promise", "promise", " kept"))
            if row.get(c, 0)
        ]
        told = f"cured from {row['deepest']:,} days past due, {sustained} days without arrears since"
        told += f", with {' and '.join(helps)}" if helps else ""
    else:
        told = "charged off" if row["outcome"] == "charged_off" else f"open at day {row['exit_day']:,}"
        if "unpaid" in row:
            told += f", {row['unpaid']:,} of {row['actions']:,} actions since the last payment"
        else:
            told += f", {row['deepest']:,} days past due at most"
        for name, one, many in (
            ("upheld", "complaint upheld", "complaints upheld"),
            ("violations", "action against a contact rule", "actions against a contact rule"),
        ):
            if row.get(name, 0):
                told += f", {int(row[name]):,} {one if row[name] == 1 else many}"
    tied = f", tied with {row['tied']:,} and drawn by a hash" if row["tied"] else ""
    return (
        f"picked because: {told}; score {row['score']:,}{tied}, "
        f"rank {row['rank']:,} of {candidates:,} candidates"
    )
