"""Escalations against the strategy: channels used before their stage, and stages that are entered late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import as_list, flag
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import check_level
from collectlab.measures.actions_rows import Period
from collectlab.measures.groups import by_keys, named
from collectlab.measures.intensity_days import (
    met,
    overdue_spans,
    owned,
    plain_actions,
    stage_frame,
    weekly_pieces,
)
from collectlab.measures.ratios import Measures, Ratio, count, measured


def escalations(
    book: Any,
    stages: pd.DataFrame,
    *,
    by: str | Sequence[str] | None = None,
    period: Period = None,
    grace: int = 7,
    conf_level: float = 0.95,
) -> Measures:
    """Escalations that came too early and too late against the strategy's stages.

    A stage's *own* channels are those it allows and the stage before it did not (all of its channels where there
    are none such). Per group and stage:

    * ``too_early`` — share of the actions in the stage whose channel opens only with a later stage, such as a
      letter before action at 20 days past due. A channel that no stage names does not count;
    * ``too_late`` — of the accounts seen from their first day in the stage that were still in it ``grace`` days
      after the due day, the share with no action through one of the stage's own channels by then;
    * ``earlier_only`` — of the same accounts, the share worked on in the stage by then, but only through channels of
      earlier stages: the account has come to a new stage, and the work has not;
    * ``own_per_week`` — actions through the stage's own channels per account-week overdue in the stage, up to the day
      judged: the same by its pace, of every account for as long as it was there (not by team).

    Parameters
    ----------
    book : Book
        With actions.
    stages : DataFrame
        ``stage, dpd_from, dpd_to, channels`` (a tuple of channels a row), and the day past due by which the stage's own
        channels are due: ``escalate_by``, else ``first_due_day``. Stages without a due day have no ``too_late``.
    by : str or list of str, optional
        Columns of ``accounts``; or ``team``: for ``too_early`` who acted, for the others who acted last on the account
        in the stage (accounts that nobody acted on are left out).
    period : (date, date), optional
        First and last day; None is the whole book.
    grace : int
        Days after the due day that are still in time.
    conf_level : float

    Returns
    -------
    Measures
        [by…], stage, measure, actions (in the stage), entered (accounts that came to the day judged), estimate and
        interval.

    Raises
    ------
    NotAvailable
        No actions, or none of the stages was reached.
    FrameError
        Stages that overlap or lack a column; a grace that is no whole number of days.

    Examples
    --------
    Day 30 falls on 11 March; the letter was due by day 40, and by day 47 (28 March) there was none, only a call.

    >>> import pandas as pd
    >>> from collectlab.book.open import open_book
    >>> book = open_book({
    ...     "accounts": pd.DataFrame({"account_id": ["a"]}),
    ...     "snapshots": pd.DataFrame({"account_id": ["a"] * 3, "days_past_due": [0, 19, 50],
    ...                                "as_of": ["2026-01-31", "2026-02-28", "2026-03-31"]}),
    ...     "actions": pd.DataFrame({"account_id": ["a"] * 2, "channel": ["letter", "call"],
    ...                              "at": ["2026-03-30", "2026-03-20"]})})
    >>> plan = pd.DataFrame({"stage": ["early", "middle"], "dpd_from": [1, 30], "dpd_to": [29, 59],
    ...                      "escalate_by": [7, 40], "channels": [("sms", "call"), ("call", "letter")]})
    >>> told = escalations(book, plan).wide()[["stage", "too_early", "too_late", "earlier_only"]]
    >>> told.values.tolist()
    [['early', nan, 1.0, 0.0], ['middle', 0.0, 1.0, 1.0]]
    """
    check_level(conf_level)
    plan = _plan(stages, grace)
    wanted, done = as_list(by), plain_actions(book)
    teams = "team" in wanted and "team" not in book.columns("accounts")
    if teams and not {"team", "agency"} & set(book.columns("actions")):
        raise NotAvailable("this book's actions name no team.")
    owners = [b for b in wanted if not (teams and b == "team")]
    pieces, _ = owned(weekly_pieces(overdue_spans(book, period), plan), book, owners)
    pieces = engine.computed(pieces)
    keys = ["__team" if teams and b == "team" else f"__by{owners.index(b)}" for b in wanted]
    kinds = _kinds(plan)
    acts, kinds_ = same_engine(met(pieces, done), engine.scan(kinds))
    # a channel that no stage names stands in neither list
    acts = acts.join(
        kinds_.select("__stage", "__channel", "__early"), on=["__stage", "__channel"], how="left"
    )
    acts = engine.computed(acts.with_columns(__early=nw.col("__early").fill_null(0)))
    cells = [*keys, "__stage"]
    early = count(acts, cells, {"actions": nw.lit(1), "early": nw.col("__early")})
    entered = engine.computed(_entered(pieces, acts, kinds_, plan, owners, teams))
    late = count(
        entered, cells, {"entered": nw.lit(1), "late": nw.col("__late"), "earlier": nw.col("__earlier")}
    )
    groups = pd.concat([early.groups, late.groups]).drop_duplicates()
    if groups.empty:
        raise NotAvailable("no account reached one of the strategy's stages on a day of this period.")
    groups = groups.sort_values(cells, kind="stable", na_position="last").reset_index(drop=True)
    early = count(acts, cells, {"actions": nw.lit(1), "early": nw.col("__early")}, groups)
    late = count(
        entered,
        cells,
        {"entered": nw.lit(1), "late": nw.col("__late"), "earlier": nw.col("__earlier")},
        groups,
    )
    words = groups.assign(__stage=groups["__stage"].map(dict(enumerate(plan["stage"].astype(str)))))
    names = [*wanted, "stage"]
    pace = {} if teams else {"own_per_week": _pace(pieces, acts, kinds_, _judged(plan), cells, groups)}
    return measured(
        named(words, names),
        names,
        {
            "too_early": Ratio(early["early"], early["actions"]),
            "too_late": Ratio(late["late"], late["entered"]),
            "earlier_only": Ratio(late["earlier"], late["entered"]),
            **pace,
        },
        {"actions": early.total("actions"), "entered": late.total("entered")},
        conf_level,
        estimand=(
            "Too early: the stage's actions through a channel that opens only later. Too late: accounts without any "
            f"action through the stage's own channels {grace} days after the first is due, and those of them that "
            "are worked on as in earlier stages only (shares of all that entered the stage and were watched)"
        ),
        title="Escalations too early and too late",
        notes=tuple(_told(plan, grace)),
        formats={"actions": "count", "entered": "count"},
    )


def _plan(stages: Any, grace: Any) -> pd.DataFrame:
    """The stages past due with their own channels and the day by which these must have been used."""
    faults = []
    if not isinstance(stages, pd.DataFrame):
        raise FrameError(
            "stages: Allowed: a frame stage, dpd_from, dpd_to, channels, as stage_table() gives it."
        )
    if isinstance(grace, bool) or not isinstance(grace, int) or grace < 0:
        faults.append(f"grace is {grace!r}. Allowed: whole days ≥ 0.")
    due = next((c for c in ("escalate_by", "first_due_day") if c in stages.columns), None)
    if due is None:
        faults.append("stages: no column escalate_by or first_due_day. Allowed: one of them.")
    if "channels" not in stages.columns:
        faults.append("stages: no column channels. Allowed: a tuple of channels a row.")
    elif odd := [c for c in stages["channels"] if isinstance(c, str) or not hasattr(c, "__iter__")]:
        faults.append(f"stages: channels hold {first_few(odd)}. Allowed: a tuple of channels a row.")
    if faults:
        raise FrameError(faults)
    table = stages.sort_values("dpd_from", kind="stable", na_position="first")
    before = [(), *table["channels"].iloc[:-1]]
    own = [
        tuple(c for c in now if c not in earlier) or tuple(now)
        for now, earlier in zip(table["channels"], before)
    ]
    judged = pd.to_numeric(table[due]).astype("Float64") + grace
    return stage_frame(table.assign(own=own, judged_on=judged))


def _kinds(plan: pd.DataFrame) -> pd.DataFrame:
    """For each stage and channel: whether it opens only later, is the stage's own, or that of an earlier stage."""
    known = sorted({c for channels in plan["channels"] for c in channels})
    opens = {c: min(i for i, channels in enumerate(plan["channels"]) if c in channels) for c in known}
    rows = [
        (i, c, int(opens[c] > i), int(c in plan["own"][i]), int(opens[c] <= i and c not in plan["own"][i]))
        for i in range(len(plan))
        for c in known
    ]
    whole = ("__early", "__own", "__old")
    table = pd.DataFrame(rows, columns=["__stage", "__channel", *whole])
    return table.astype(dict.fromkeys(("__stage", *whole), "int64"))


def _entered(
    pieces: nw.LazyFrame,
    acts: nw.LazyFrame,
    kinds: nw.LazyFrame,
    plan: pd.DataFrame,
    owners: Sequence[str],
    teams: bool,
) -> nw.LazyFrame:
    """One row per account × spell × stage entered in sight and still there on the day judged."""
    judged = _judged(plan)
    spell = ["__account", "__spell", "__stage"]
    stays = pieces.with_columns(__end=nw.col("__dpd") + nw.col("__last") - nw.col("__first"))
    stays = stays.group_by(*spell, *by_keys(owners, "__by"), "__rep").agg(
        __low=nw.col("__dpd").min(), __high=nw.col("__end").max()
    )
    stays, limits = same_engine(stays, engine.scan(judged))
    stays = stays.join(limits, on="__stage", how="inner").filter(
        (nw.col("__low") == nw.col("__from")) & (nw.col("__high") >= nw.col("__judged"))
    )
    stays = engine.computed(stays)
    judged_acts = acts.select("__account", "__spell", "__dpd", "__on", "__channel", "__team")
    both = stays.select(*spell, "__from", "__judged").join(
        judged_acts, on=["__account", "__spell"], how="inner"
    )
    both = both.filter(nw.col("__dpd") <= nw.col("__judged"))
    both = both.join(kinds, on=["__stage", "__channel"], how="left").with_columns(
        __here=flag(nw.col("__dpd") >= nw.col("__from"))
    )
    # what was done before the stage is not asked for again in it
    done = both.group_by(*spell).agg(
        __own=nw.col("__own").max(), __old=(nw.col("__old") * nw.col("__here")).max()
    )
    stays, done = same_engine(stays, done)
    stays = stays.join(done, on=spell, how="left").with_columns(
        __late=flag(nw.col("__own").fill_null(0) == 0),
        __earlier=flag((nw.col("__own").fill_null(0) == 0) & (nw.col("__old").fill_null(0) == 1)),
    )
    if teams:
        final = both.filter((nw.col("__here") == 1) & ~nw.col("__team").is_null())
        final = final.filter(nw.col("__on") == nw.col("__on").max().over(*spell))
        final = final.group_by(*spell).agg(__team=nw.col("__team").min())
        stays, final = same_engine(stays, final)
        stays = stays.join(final, on=spell, how="inner")
    return stays


def _judged(plan: pd.DataFrame) -> pd.DataFrame:
    """Stages that name a day by which they must have begun: their first day past due, and the day judged."""
    columns = {"__stage": range(len(plan)), "__from": plan["dpd_from"], "__judged": plan["judged_on"]}
    judged = pd.DataFrame(columns).dropna()
    return judged[judged["__judged"] <= plan.loc[judged.index, "dpd_to"]].astype("int64")


def _pace(
    pieces: nw.LazyFrame,
    acts: nw.LazyFrame,
    kinds: nw.LazyFrame,
    judged: pd.DataFrame,
    cells: list[str],
    groups: pd.DataFrame,
) -> Ratio:
    """Actions through the stage's own channels per account-week in it, up to the day judged."""
    pieces, limits = same_engine(pieces, engine.scan(judged))
    length = nw.min_horizontal("__last", nw.col("__first") + nw.col("__judged") - nw.col("__dpd"))
    stay = pieces.join(limits, on="__stage", how="inner").filter(nw.col("__dpd") <= nw.col("__judged"))
    time = count(stay, cells, {"days": length - nw.col("__first") + 1}, groups)
    acts, limits = same_engine(acts.drop("__early"), limits)
    done = acts.join(limits, on="__stage", how="inner").filter(nw.col("__dpd") <= nw.col("__judged"))
    done = done.join(kinds, on=["__stage", "__channel"], how="inner")
    made = count(done, cells, {"own": nw.col("__own")}, groups)
    return Ratio(made["own"], time["days"], "rate", "ratio", 7.0)


def _told(plan: pd.DataFrame, grace: int) -> list[str]:
    notes = []
    for row in plan.itertuples():
        if pd.isna(row.judged_on) or row.judged_on > row.dpd_to:
            notes.append(f"{row.stage}: the strategy names no day by which it must have begun.")
        else:
            notes.append(
                f"{row.stage}: own channels {', '.join(row.own)}, due by day {int(row.judged_on) - grace}, "
                f"judged on day {int(row.judged_on)}."
            )
    return notes
