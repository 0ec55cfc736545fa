"""How soon an episode meets its first action and its first contact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures._counting import as_list
from collectlab.measures._snapshots import groups_of
from collectlab.measures.actions_rows import Period, rows, within
from collectlab.measures.costs_touch import contact_made
from collectlab.measures.flows import day_number, same_engine
from collectlab.measures.ratios import INTERVAL, Measures
from collectlab.measures.survival import cumulative_incidence, kaplan_meier

_KINDS = {"first action": "__any", "first debtor contact": "__debtor"}


def first_contacts(
    book: Any,
    definition: str,
    by: str | Sequence[str] | None,
    horizons: Sequence[int],
    period: Period,
    conf_level: float,
) -> Measures:
    """See :func:`collectlab.measures.actions.time_to_first_contact`."""
    by = as_list(by)
    days = sorted({int(h) for h in horizons})
    if not days or days[0] < 0:
        raise FrameError(f"horizons are {list(horizons)}. Allowed: at least one whole day ≥ 0.")
    acts, _ = rows(book, "actions", "at", None, None)
    names = acts.collect_schema().names()
    acts = acts.select("__account", "__on", __debtor=_debtor(names))
    episodes = book.episodes(definition=definition)
    engine.require(episodes, *by)
    episodes = within(episodes.with_columns(__start=day_number("started_on")), "__start", period)
    late = nw.col("entry_day") > 0
    left_out = engine.collect(episodes.select(n=nw.when(late).then(nw.lit(1)).otherwise(nw.lit(0)).sum()))[
        "n"
    ].iloc[0]
    episodes = episodes.filter(~late & (nw.col("exit_day") > 0)).select(
        *(nw.col(b).alias(f"by{i}") for i, b in enumerate(by)),
        __account=nw.col("account_id"),
        __start=nw.col("__start"),
        __exit=nw.col("exit_day").cast(nw.Int64),
        __censored=nw.col("outcome") == "censored",
    )
    episodes, acts = same_engine(episodes, acts)
    keys = ["__account", "__start"]
    first = (
        episodes.select(*keys, "__exit")
        .join(acts, on="__account", how="inner")
        .with_columns(__day=nw.col("__on") - nw.col("__start"))
        .filter((nw.col("__day") >= 0) & (nw.col("__day") <= nw.col("__exit")))
        .group_by(*keys)
        .agg(
            __any=nw.col("__day").min(), __debtor=nw.when(nw.col("__debtor") == 1).then(nw.col("__day")).min()
        )
    )
    found = episodes.join(first, on=keys, how="left")
    groups = [f"by{i}" for i in range(len(by))]
    parts = []
    for contact, column in _KINDS.items():
        timed = found.select(
            *groups,
            days=nw.coalesce(nw.col(column), nw.col("__exit")).cast(nw.Int64),
            end=nw.when(~nw.col(column).is_null()).then(nw.lit("reached"))
            .when(nw.col("__censored")).then(nw.lit("censored")).otherwise(nw.lit("ended")),
        )  # fmt: skip
        cells = engine.collect(timed.group_by(*groups, "days", "end").agg(n=nw.len().cast(nw.Int64)))
        if cells.empty:
            raise NotAvailable("no episode of this book or period is watched from its first day.")
        keys_shown, place = groups_of(cells, by, ("contact", "measure", "episodes", "unit", *INTERVAL))
        for g in range(len(keys_shown)):
            part = cells[place == g]
            for row in _of_group(part, days, conf_level):
                parts.append(
                    {
                        **(keys_shown.iloc[g].to_dict() if by else {}),
                        "contact": contact,
                        "measure": row.pop("measure"),
                        "episodes": int(part["n"].sum()),
                        **row,
                    }
                )
    table = pd.DataFrame(parts)
    names = [c for c in table.columns if c not in ("measure", "episodes", "unit", *INTERVAL)]
    notes = ["An episode that ended before anything was done is not reached."]
    if left_out:
        notes.append(f"{int(left_out):,} episodes first seen after day 0 are left out.")
    return Measures(
        table=table,
        estimand="Share of episodes acted on (contacted) within days of day 0, end of the episode competing; median days if none ended",
        title="Time to first contact",
        shown=tuple(f"within {d} days" for d in days),
        notes=tuple(notes),
        formats={"episodes": "count"},
        conf_level=conf_level,
        by=tuple(names),
    )


def _debtor(names: list[str]) -> nw.Expr:
    """1 for a contact with the debtor in person: connected or an outcome told, and no third party."""
    in_person = nw.lit(False)
    if "connected" in names:
        in_person = in_person | nw.col("connected").fill_null(False)
    if "outcome" in names:
        in_person = in_person | ~nw.col("outcome").is_null()
    in_person = in_person & contact_made(names)
    if "party" in names:
        in_person = in_person & ~(nw.col("party") == "third_party").fill_null(False)
    return nw.when(in_person).then(nw.lit(1)).otherwise(nw.lit(0))


def _of_group(part: pd.DataFrame, days: list[int], conf_level: float) -> list[dict[str, Any]]:
    reached = (part["end"] == "reached").any()
    missing = dict.fromkeys(INTERVAL, np.nan)
    frame = part[["days", "end", "n"]]
    options = {"duration": "days", "outcome": "end", "weight": "n", "conf_level": conf_level}
    out = []
    if reached:
        curve = cumulative_incidence(frame, **options).at(days, beyond="nan")
        shares = curve[curve["outcome"] == "reached"][list(INTERVAL)].to_dict("records")
        median = kaplan_meier(frame, event=("reached",), **options).quantiles(0.5).table.iloc[0]
        median = {k: float(median[k]) for k in INTERVAL}
    else:
        last = part["days"].max()
        shares = [{**missing, "estimate": 0.0 if d <= last else np.nan} for d in days]
        median = missing
    for day, share in zip(days, shares):
        out.append({"measure": f"within {day} days", **share, "unit": "share"})
    return [*out, {"measure": "median days", **median, "unit": "days"}]
