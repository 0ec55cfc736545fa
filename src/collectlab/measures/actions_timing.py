"""How soon an episode meets its first action and its first contact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import as_list, day_number, flag, row_count, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import INTERVAL
from collectlab.measures.actions_rows import Period, rows, within
from collectlab.measures.costs_touch import contact_made
from collectlab.measures.groups import by_keys, groups_of
from collectlab.measures.ratios import Measures, given, measured
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
    episodes = engine.computed(
        episodes.select(*dict.fromkeys(["account_id", "__start", "entry_day", "exit_day", "outcome", *by]))
    )
    left_out = engine.collect(episodes.select(n=whole_sum(flag(late))))["n"].iloc[0]
    episodes = episodes.filter(~late & (nw.col("exit_day") > 0)).select(
        *(nw.col(b).alias(key) for b, key in zip(by, by_keys(by))),
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
    groups = by_keys(by)
    blocks, sizes, rows_of = [], [], []
    for contact, column in _KINDS.items():
        timed = found.select(
            *groups,
            days=nw.coalesce(nw.col(column), nw.col("__exit")).cast(nw.Int64),
            end=nw.when(~nw.col(column).is_null()).then(nw.lit("reached"))
            .when(nw.col("__censored")).then(nw.lit("censored")).otherwise(nw.lit("ended")),
        )  # fmt: skip
        cells = engine.collect(timed.group_by(*groups, "days", "end").agg(n=row_count()))
        if cells.empty:
            raise NotAvailable("no episode of this book or period is watched from its first day.")
        shown, place = groups_of(cells, by, ("contact",))
        blocks.append(shown.assign(contact=contact))
        for g in range(len(shown)):
            sizes.append(cells.loc[place == g, "n"].sum())
            rows_of.append(_of_group(cells[place == g], days, conf_level))
    shown = pd.concat(blocks, ignore_index=True)
    within_days = [f"within {d} days" for d in days]
    measures = {name: given([row[name] for row in rows_of]) for name in within_days}
    measures["median days"] = given([row["median days"] for row in rows_of], "days")
    notes = ["An episode that ended before anything was done is not reached."]
    if left_out:
        notes.append(f"{int(left_out):,} episodes first seen after day 0 are left out.")
    return measured(
        shown, list(shown.columns), measures, {"episodes": np.array(sizes)}, conf_level,
        estimand="Share of episodes acted on (contacted) within days of day 0, end of the episode competing; median days if none ended",
        title="Time to first contact",
        shown=tuple(within_days),
        notes=tuple(notes),
    )  # fmt: skip


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
    return flag(in_person)


def _of_group(part: pd.DataFrame, days: list[int], conf_level: float) -> dict[str, dict[str, float]]:
    """Measure → estimate and interval."""
    missing = dict.fromkeys(INTERVAL, np.nan)
    options = {"duration": "days", "outcome": "end", "weight": "n", "conf_level": conf_level}
    frame, columns = part[["days", "end", "n"]], list(INTERVAL)
    if (part["end"] == "reached").any():
        curve = cumulative_incidence(frame, **options).at(days, beyond="nan")
        shares = curve[curve["outcome"] == "reached"][columns].to_dict("records")
        median = kaplan_meier(frame, event=("reached",), **options).quantiles(0.5).table.iloc[0][columns]
    else:
        last = part["days"].max()
        shares = [{**missing, "estimate": 0.0 if d <= last else np.nan} for d in days]
        median = missing
    return {f"within {d} days": share for d, share in zip(days, shares)} | {"median days": median}
