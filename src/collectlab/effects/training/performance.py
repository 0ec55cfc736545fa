"""What each team and agent did: cases, cure, money, days, promises, records, satisfaction. As it is, not adjusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import whole_money
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import GROUPS, INTERVAL, check_level, replicate_of, sums_at
from collectlab.effects.league_cases import league_cases
from collectlab.effects.league_says import plural
from collectlab.effects.training.rows import (
    CHANNELS,
    HORIZON,
    need_agents,
    roster,
    share_kept,
    skill_rows,
    starts,
)
from collectlab.measures.actions_rows import Period, rows, within
from collectlab.measures.costs_touch import contact_made, last_touch
from collectlab.measures.groups import natural
from collectlab.measures.ratios import Given, Measures, Ratio, given, measured

if TYPE_CHECKING:
    from collectlab.book.open import Book

#: Days within which a survey's answer speaks of the last contact before it.
WINDOW = 30
#: Days within which the days past due are averaged: within a month, monthly snapshots show hardly an end.
PERIOD = 90
_NONE = dict.fromkeys(INTERVAL, np.nan)


def performance(
    book: Book,
    *,
    by: str = "team",
    minimum_cases: int = 30,
    horizon: int = HORIZON,
    channels: Sequence[str] = CHANNELS,
    definition: str = "current_once",
    period: Period = None,
    conf_level: float = 0.95,
) -> Measures:
    """Performance by team or agent, as it is: no allowance for the cases, nor for chance.

    Cases are attributed as in :func:`~collectlab.effects.training.needs.training_needs`: an episode, once for each
    channel, to whoever made its first action through it. Per unit, with ``cases``:

    * ``cured`` — share cured within ``horizon`` days of that action; ``recovered`` — share of what was owed then that was paid within
      them (with payments);
    * ``days_past_due`` — mean days still past due within 90 days of that action (``horizon``, if longer), however it ends;
      where snapshots are monthly, up to the snapshot that shows the end;
    * ``attempts_per_case`` — the unit's own actions on its cases within the horizon;
    * ``promises_kept``, ``recorded`` — of the promises it took, the contacts it made;
    * ``satisfaction`` — mean score of the answers within 30 days after its contact (with surveys; of those who answered).

    Parameters
    ----------
    book : Book
        With actions that name teams or agents.
    by : {"team", "agent"}
        Or another column of the actions.
    minimum_cases : int
        Units with fewer cases are counted in the notes and not named.
    horizon : int
        Whole days.
    channels : sequence of str
    definition : str
        What cured means.
    period : (date, date), optional
        Of the first action, promise or contact.
    conf_level : float

    Returns
    -------
    Measures

    Raises
    ------
    NotAvailable
        The book names nobody, or nobody has enough cases.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=800, months=12, truth_accounts=0).book_tables)
    >>> performance(book).table["team"].unique().tolist()[:2]
    ['Call team 1', 'Call team 2']
    """
    check_level(conf_level)
    need_agents(book, by)
    if (
        isinstance(minimum_cases, bool)
        or not isinstance(minimum_cases, (int, np.integer))
        or minimum_cases < 1
    ):
        raise FrameError(f"minimum_cases is {minimum_cases!r}. Allowed: whole numbers ≥ 1.")
    teams, torn, notes = roster(book, channels, period) if by == "agent" else ({}, (), ())
    how: dict[str, Any] = {
        "horizon": horizon,
        "channels": channels,
        "definition": definition,
        "period": period,
    }
    cases, told = league_cases(book, by=by, outcome="cured", **how)
    cases = cases[~cases[by].isin(torn)]
    size = cases.groupby(by).size()
    names = sorted(size.index[size >= minimum_cases], key=natural)
    if not names:
        raise NotAvailable(f"no {by} has {minimum_cases} cases followed for {horizon} days.")
    place = {u: i for i, u in enumerate(names)}

    def sums(frame: pd.DataFrame, values: Any) -> np.ndarray:
        known = frame[by].astype(str).isin(names).to_numpy()
        rep = _replicates(frame["customer"])
        where = rep[known], frame.loc[known, by].astype(str).map(place).to_numpy(int)
        return sums_at(
            where, np.broadcast_to(np.asarray(values, float), len(frame))[known], (GROUPS, len(names))
        )

    found: dict[str, Ratio | Given] = {"cured": Ratio(sums(cases, cases["cured"]), sums(cases, 1.0))}
    if book.has("payments"):
        money, _ = league_cases(book, by=by, outcome="recovered", **how)
        back = (money["recovered"] * money["owed"] * 100).round() / 100
        found["recovered"] = Ratio(sums(money, back), sums(money, money["owed"]), "part")
    begun = starts(book, by, channels, definition, period)
    begun = begun[begun["unit"].isin(names)].reset_index(drop=True)
    found["days_past_due"] = given(_days(begun, names, max(horizon, PERIOD), conf_level), "days")
    _, per = share_kept(book, begun, by, horizon)
    where = begun["rep"].to_numpy(int), begun["unit"].map(place).to_numpy(int)
    shape = (GROUPS, len(names))
    own = sums_at(where, per["own"].to_numpy(float), shape)
    found["attempts_per_case"] = Ratio(own, sums_at(where, np.ones(len(begun)), shape), "mean", "number")
    for skill in ("promises_kept", "recorded"):
        try:
            part, _ = skill_rows(book, skill, by, **how)
        except NotAvailable:
            continue
        part = part[part[by].astype(str).isin(names)]
        found[skill] = Ratio(sums(part, part["y"]), sums(part, 1.0))
    answers = _satisfaction(book, by, channels, period)
    if answers is not None and answers[by].isin(names).any():
        found["satisfaction"] = Ratio(sums(answers, answers["score"]), sums(answers, 1.0), "mean", "number")
    small = int((size < minimum_cases).sum())
    if small:
        told = (*told, f"{small} {plural(by)} with fewer than {minimum_cases} cases are not shown.")
    groups = pd.DataFrame({by: names})
    if teams:
        groups["team"] = [teams.get(u, "") for u in names]
    return measured(
        groups, list(groups), found, {"cases": size.reindex(names).to_numpy()}, conf_level,
        estimand=f"Cases by their first action through {' or '.join(channels)}, followed for {horizon} days; as they are",
        title=f"Performance by {by}",
        shown=("cured",),
        notes=("As it is: neither the mix of cases nor chance is allowed for here.", *notes, *told),
    )  # fmt: skip


def _replicates(customers: pd.Series) -> np.ndarray:
    codes, names = pd.factorize(customers.astype(str))
    return np.array([replicate_of(c) for c in names], dtype=int)[codes]


def _days(begun: pd.DataFrame, names: list[str], horizon: int, conf_level: float) -> list[dict[str, float]]:
    """Mean days still past due within the horizon; missing where nobody was followed so far."""
    from collectlab.measures.survival import restricted_mean

    found = []
    for name in names:
        part = begun[(begun["unit"] == name) & (begun["left"] > 0)]
        try:
            table = restricted_mean(
                part, horizon=horizon, duration="left", outcome="ended",
                event=tuple(sorted(set(part["ended"]) - {"censored"})), conf_level=conf_level,
            ).table  # fmt: skip
            found.append(table.iloc[0][list(INTERVAL)].to_dict())
        except FrameError:  # too short a follow-up, or nothing ended
            found.append(_NONE)
    return found


def _satisfaction(book: Book, by: str, channels: Sequence[str], period: Period) -> pd.DataFrame | None:
    """Answers with the unit of the last contact before them: by, customer, score."""
    if not book.has("surveys") or "score" not in book.columns("surveys"):
        return None
    said, _ = rows(book, "surveys", "at", None, period)
    said = said.select("__account", "__on", __score=whole_money("score")).filter(~nw.col("__score").is_null())
    touches, _ = rows(book, "actions", "at", by, None)
    touches = touches.filter(nw.col("channel").is_in(list(channels)) & ~nw.col("__by0").is_null())
    touches = touches.filter(contact_made(touches.collect_schema().names()))
    touches = touches.select("__account", "__on", "__by0", __at=nw.col("at"))
    touches, said = same_engine(touches, said)
    last = last_touch(touches, said, ["__by0"], WINDOW).filter(nw.col("__credited") == 1)
    found = engine.collect(
        within(last, "__on", period).select(customer="__account", score="__score", unit="__by0")
    )
    return found.assign(score=found["score"] / 100, **{by: found["unit"].astype(str)}).drop(columns="unit")
