"""Satisfaction, with those who did not answer shown: response rate, reweighted mean, and how far it could be off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import distinct, flag, row_count, whole_money, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import GROUPS, jackknife, sums_at
from collectlab.measures.actions_rows import Period, need_column, overdue_months, rows, shown
from collectlab.measures.costs_touch import contact_made
from collectlab.measures.flows import UNIT
from collectlab.measures.groups import by_keys, distinct_groups, group_codes
from collectlab.measures.ratios import Counts, Given, Measures, Ratio, measured

LOWEST, HIGHEST = 0.0, 100.0
#: First day past due of each stage by which the contacted are told apart; below the first: not past due at a month's end.
STAGES = (1, 30, 60)
#: Answers from which a kind of account stands for itself.
LEAST = 10
#: What was said, most telling first.
_SAID = (
    ("objected", ("refusal", "dispute", "hardship")),
    ("promised", ("promise",)),
    ("spoke", ("contact",)),
)


def satisfaction_bounds(
    book: Any,
    *,
    by: str | Sequence[str] | None = None,
    period: Period = None,
    plausible: float = 10.0,
    conf_level: float = 0.95,
) -> Measures:
    """Mean survey score of all who were contacted, as far as the answers tell it.

    The unit is the account: its mean score in the period. Accounts asked are those with a row in ``surveys`` where
    some rows have no score (an invitation that was not answered); where every row has one, nobody knows who was
    asked, and all accounts contacted in the period stand for them.

    * ``response`` — accounts that answered / accounts asked (or contacted);
    * ``mean_of_answers`` — as it stands;
    * ``reweighted`` — the answers weighted to the asked by the worst stage of days past due in the period and by what
      was said (objected, promised, spoke, not spoken to); it mends what these tell, not the rest;
    * ``plausible_low``, ``plausible_high`` — reweighted, if those who did not answer are ``plausible`` points below,
      or above, those alike who did;
    * ``worst_case``, ``best_case`` — if all who did not answer would have given 0, or 100: nothing can lie outside.

    Each has its sampling interval; the distance between the low and the high is not sampling error, and no larger
    sample of answers shrinks it.

    Parameters
    ----------
    book : Book
        With surveys; actions tell whom was contacted.
    by : str or list of str, optional
        A column of accounts.
    period : (date, date), optional
        First and last day of answers and contacts; None is the whole book.
    plausible : float
        Points of the score by which those who did not answer may differ from those who did.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    Measures
        One row per group × measure, with ``asked`` and ``answered`` accounts.

    Raises
    ------
    NotAvailable
        No answers, or nobody contacted.
    FrameError
        ``plausible`` outside 0 to 100.

    References
    ----------
    Manski (1989), Journal of Human Resources 24(3), 343–360, on worst-case bounds.

    Examples
    --------
    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": list("abcd")}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"], "as_of": ["2026-02-28"], "days_past_due": [5]}),
    ...     "actions": pd.DataFrame({"account_id": list("abcd"), "at": ["2026-01-20 10:00"] * 4, "channel": "call"}),
    ...     "surveys": pd.DataFrame({"account_id": ["a", "b"], "at": ["2026-01-25"] * 2, "score": [60.0, 80.0]})})
    >>> satisfaction_bounds(book).wide()[["response", "mean_of_answers", "worst_case", "best_case"]].values.tolist()
    [[0.5, 70.0, 35.0, 85.0]]
    """
    if not (isinstance(plausible, (int, float)) and 0 <= plausible <= HIGHEST):
        raise FrameError(f"plausible is {plausible!r}. Allowed: points of the score, 0 to 100.")
    frame, by = rows(book, "surveys", "at", by, period)
    need_column(frame, "surveys", "score")
    keys = by_keys(by, "__by")
    frame = engine.computed(frame.select("__account", "__rep", *keys, __score=whole_money("score", UNIT)))
    unanswered = engine.collect(frame.select(n=flag(nw.col("__score").is_null()).sum()))["n"].iloc[0]
    answers = frame.group_by("__account", "__rep", *keys).agg(
        __sum=whole_sum("__score"), __n=whole_sum(flag(~nw.col("__score").is_null()))
    )
    asked, known = _asked(book, frame, keys, by, period, bool(unanswered))
    asked, answers = same_engine(asked, answers.select("__account", "__sum", "__n"))
    cells = _cells(book, asked.join(answers, on="__account", how="left"), keys, period)
    if not cells["answered"].sum():
        raise NotAvailable("there are no survey answers in this book or period.")
    groups = distinct_groups(cells, keys)
    code = group_codes(cells, groups, keys)
    kind, lone = _kinds(cells, code)
    shape = (GROUPS, len(groups), int(kind.max()) + 1)
    where = (cells["__rep"].to_numpy(int), code, kind)
    n, m, s = (sums_at(where, cells[c], shape) for c in ("asked", "answered", "score"))
    values = {name: np.full((4, len(groups)), np.nan) for name in _NAMES}
    for g in range(len(groups)):
        by_group = np.stack([n[:, g], m[:, g], s[:, g] / UNIT], axis=1)  # R × 3 × cells
        found = jackknife(
            by_group.sum(axis=0), by_group, lambda sums: _means(sums, plausible), conf_level,
            present=(by_group != 0).any(axis=(1, 2))[:, None],
        )  # fmt: skip
        for i, name in enumerate(_NAMES):
            values[name][:, g] = [v[i] for v in found]
            values[name][2:, g] = np.clip(values[name][2:, g], LOWEST, HIGHEST)
    totals = {"asked": n.sum(axis=(0, 2)), "answered": m.sum(axis=(0, 2))}
    counts = Counts(groups, {})
    who = "asked" if known else "contacted (who was asked is not known)"
    return measured(
        shown(counts, by), by,
        {
            "response": Ratio(m.sum(axis=2), n.sum(axis=2)),
            **{name: Given(list(v), "number") for name, v in values.items()},
        },
        {name: np.rint(total).astype("int64") for name, total in totals.items()},
        conf_level,
        estimand=f"Mean score (0–100) of accounts {who}, and what it could be at most and at least",
        title="Satisfaction, and those who did not answer",
        shown=_NAMES,
        notes=(
            f"Plausible: those who did not answer differ by {plausible:g} points from those alike who did. Worst and "
            "best: all of them 0, or all 100.",
            *(
                (f"{100 * lone:.0f} % of the accounts are of kinds with fewer than {LEAST} answers: they count as the mean.",)
                if lone >= 0.005
                else ()
            ),
        ),
    )  # fmt: skip


def _kinds(cells: pd.DataFrame, code: np.ndarray) -> tuple[np.ndarray, float]:
    """Codes of the kinds: stage × what was said; the stage alone, or one kind for all, where answers are few.

    A kind with a handful of answers would carry the weight of thousands. Also: the share of accounts without a kind.
    """
    stage = cells["stage"].astype(str)
    fine = stage + " " + cells["said"]
    kind = fine
    for coarser in (stage, pd.Series("rest", index=cells.index)):
        answers = cells["answered"].groupby([pd.Series(code, index=cells.index), kind]).transform("sum")
        kind = kind.where(answers >= LEAST, coarser)
    # What is left over takes the mean of all answers of its group: it is no kind of its own.
    rest = kind == "rest"
    return pd.factorize(kind, sort=True)[0], float(cells.loc[rest, "asked"].sum() / cells["asked"].sum())


_NAMES = ("mean_of_answers", "reweighted", "plausible_low", "plausible_high", "worst_case", "best_case")


def _means(sums: np.ndarray, plausible: float) -> np.ndarray:
    """Figures of one group from asked, answered and summed scores by kind of account."""
    asked, answered, score = sums
    whole, some = asked.sum(), answered.sum()
    plain = score.sum() / some if some else np.nan
    mean = np.where(answered > 0, score / np.where(answered > 0, answered, 1), plain)
    silent = asked - answered
    weighted = float((asked * mean).sum() / whole)
    low = float((answered * mean + silent * np.maximum(mean - plausible, LOWEST)).sum() / whole)
    high = float((answered * mean + silent * np.minimum(mean + plausible, HIGHEST)).sum() / whole)
    worst = float((score.sum() + LOWEST * silent.sum()) / whole)
    best = float((score.sum() + HIGHEST * silent.sum()) / whole)
    return np.array([plain, weighted, low, high, worst, best])


def _asked(
    book: Any, surveys: nw.LazyFrame, keys: list[str], by: list[str], period: Period, told: bool
) -> tuple[nw.LazyFrame, bool]:
    """The accounts asked; where nobody knows, those contacted and those who answered all the same."""
    invited = distinct(surveys.select("__account", "__rep", *keys))
    if told:
        return invited, True
    try:
        acts, _ = rows(book, "actions", "at", by, period)
    except NotAvailable as error:
        raise NotAvailable(
            "neither invitations nor contacts are in this book: who did not answer is not known."
        ) from error
    acts = acts.filter(contact_made(acts.collect_schema().names())).select("__account", "__rep", *keys)
    acts, invited = same_engine(acts, invited)
    return distinct(nw.concat([distinct(acts), invited])), False


def _cells(book: Any, accounts: nw.LazyFrame, keys: list[str], period: Period) -> pd.DataFrame:
    """Accounts asked and answered and their scores (mean of each account, in whole hundredths), by kind of account."""
    stage = nw.lit(0)
    for i, first in enumerate(STAGES, start=1):
        stage = nw.when(nw.col("__worst") >= first).then(nw.lit(i)).otherwise(stage)
    worst = overdue_months(book, period).group_by("__account").agg(__worst=nw.col("__dpd").max())
    accounts, worst = same_engine(accounts, worst)
    accounts = accounts.join(worst, on="__account", how="left")
    said: nw.Expr = nw.lit("not spoken to")
    if book.has("actions") and "outcome" in book.columns("actions"):
        acts, _ = rows(book, "actions", "at", None, period)
        flags = {f"__{name}": flag(nw.col("outcome").is_in(list(known))) for name, known in _SAID}
        acts = acts.select("__account", **flags).group_by("__account").agg(*(nw.col(f).max() for f in flags))
        accounts, acts = same_engine(accounts, acts)
        accounts = accounts.join(acts, on="__account", how="left")
        for name, _ in reversed(_SAID):
            said = nw.when(nw.col(f"__{name}") == 1).then(nw.lit(name)).otherwise(said)
    answered = (nw.col("__n") > 0).fill_null(False)
    mean = (nw.col("__sum").cast(nw.Float64) / nw.col("__n").cast(nw.Float64)).round(0).cast(nw.Int64)
    laid = accounts.select(
        *keys,
        "__rep",
        stage=stage,
        said=said,
        __answered=flag(answered),
        __score=nw.when(answered).then(mean),
    )
    cells = laid.group_by(*keys, "__rep", "stage", "said").agg(
        asked=row_count(), answered=whole_sum("__answered"), score=whole_sum("__score")
    )
    return engine.collect(cells).sort_values([*keys, "__rep", "stage", "said"], ignore_index=True)
