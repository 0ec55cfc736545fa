"""From a book's logs to risk sets: who is eligible, what was started when, how each episode ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.columns import day_number, row_count
from collectlab.core.engine import collect, connection, require, same_engine, scan
from collectlab.core.errors import FrameError, NotAvailable, first_few, nearest
from collectlab.core.jackknife import replicate_of
from collectlab.effects.cohort import cohort
from collectlab.effects.target_trial_later import LATER_COLUMNS, later_columns
from collectlab.effects.target_trial_plan import TargetTrial
from collectlab.effects.target_trial_weights import RiskSets

if TYPE_CHECKING:
    from collectlab.book.open import Book

#: Days past due at which the stage changes: 1–30, 31–60, …
STAGES = (30, 60, 90, 180)
STAGE_WORDS = ("up to 30", "31–60", "61–90", "91–180", "over 180")
MAX_LEVELS = 50


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Risk sets, what the models see of each account at time zero, and what has to be said.

    ``levels``: name of a level (``strategy = champion``) → which accounts are in it; numbers by thirds.
    ``columns``: name of each column of ``sets.x``. ``at_zero``: those and the stage at time zero. ``followed``: share
    of accounts seen to the end of the follow-up. ``gap``: usual days between two looks at an account (NaN: not told).
    ``dated``: share of the outcomes dated to the day otherwise.
    """

    sets: RiskSets
    at_zero: np.ndarray
    columns: tuple[str, ...]
    levels: dict[str, np.ndarray]
    accounts: int
    followed: float
    gap: float
    dated: float
    missing: int
    notes: tuple[str, ...]


def book_rows(
    book: Book, trial: TargetTrial, definition: str
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Rows, actions and days past due as ``target_trial_rows`` takes them; cures dated by payments where they can be."""
    if not book.has("actions"):
        raise NotAvailable("this book has no actions: nothing in it shows when a treatment was started.")
    channels = list(
        collect(book.table("actions").group_by("channel").agg(n=row_count()))["channel"]
        .dropna()
        .astype(str)
        .sort_values()
    )
    if trial.treatment not in channels:
        near = nearest(trial.treatment, channels)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise FrameError(
            f"no action of channel {trial.treatment!r} is in the log.{hint} Channels there: {first_few(channels, 20)}."
        )
    lazy = cohort(book, time_zero=trial.time_zero, horizons=(trial.follow_up,), definition=definition)
    names = lazy.collect_schema().names()
    late = {c for c in later_columns(names) if c not in ("end_day", "outcome")}
    lazy = lazy.select([c for c in names if c not in late])
    rows = collect(lazy).sort_values("account_id", ignore_index=True)
    spine = lazy.select("account_id", __zero=day_number("time_zero"), __dpd=nw.col("days_past_due"))
    actions = _since(book, spine, "actions", "at", ["channel"], trial.follow_up, reach_back=True)
    have = book.columns("snapshots")
    wanted = ["days_past_due", *(c for c in ("amount_past_due",) if c in have)]
    # Beyond the follow-up as well: the snapshot that shows the cure may lie there.
    seen = _since(book, spine, "snapshots", "as_of", wanted, trial.follow_up + 62)
    notes: tuple[str, ...] = ("Ends are dated midway between the snapshots before and after them.",)
    if book.has("payments"):
        paid = _since(book, spine, "payments", "paid_on", ["amount"], trial.follow_up + 62)
        first_paid = paid[paid["day"] > 0].groupby("account_id")["day"].min()
        rows["first_paid_day"] = rows["account_id"].map(first_paid)
        rows, dated = _date_cures(rows, seen, paid)
        if dated:
            notes = (
                f"{dated:,} cures are dated by the payment that made up what was past due at the snapshot before; "
                "other ends midway between two snapshots.",
            )
    return rows, actions, seen, notes


def _since(
    book: Book,
    spine: nw.LazyFrame,
    table: str,
    date: str,
    columns: list[str],
    until: int,
    reach_back: bool = False,
) -> pd.DataFrame:
    """Rows of a table with ``day`` since the account's time zero; with ``reach_back`` from its day 0 on."""
    left, events = same_engine(spine, book.table(table).select("account_id", *columns, __on=day_number(date)))
    both = events.join(left, on="account_id", how="inner").with_columns(day=nw.col("__on") - nw.col("__zero"))
    first = -nw.col("__dpd") if reach_back else nw.lit(0, nw.Int64)
    both = both.filter((nw.col("day") >= first) & (nw.col("day") <= until))
    frame = collect(both.select("account_id", "day", *columns))
    return frame.sort_values(["account_id", "day", *columns], ignore_index=True)


def _date_cures(rows: pd.DataFrame, seen: pd.DataFrame, paid: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Cures on the day on which what was past due at the last look had been paid, if that lies before the next."""
    if "amount_past_due" not in seen.columns:
        return rows, 0
    cured = rows.loc[rows["outcome"] == "cured", ["account_id", "end_day"]]
    looks = cured.merge(seen, on="account_id")
    before = looks[(looks["day"] < looks["end_day"]) & (looks["days_past_due"] > 0)]
    before = before.groupby("account_id").tail(1).set_index("account_id")
    after = looks[looks["day"] >= looks["end_day"]].groupby("account_id")["day"].first()
    flows = paid.merge(
        before[["day", "amount_past_due"]].rename(columns={"day": "since"}),
        left_on="account_id",
        right_index=True,
    )
    flows = flows[flows["day"] > flows["since"]].copy()
    flows["made_up"] = (flows["amount"] * 100).round().groupby(flows["account_id"]).cumsum()
    enough = (
        flows[flows["made_up"] >= (flows["amount_past_due"] * 100).round()]
        .groupby("account_id")["day"]
        .first()
    )
    enough = enough[enough <= after.reindex(enough.index).fillna(np.inf)]
    day = rows["account_id"].map(enough).where(rows["outcome"] == "cured")
    return rows.assign(end_day=day.fillna(rows["end_day"]), dated=day.notna()), int(day.notna().sum())


def prepare(
    rows: Any,
    actions: Any,
    trial: TargetTrial,
    *,
    seen: Any = None,
    groups: int = 50,
    known_until: Any = None,
) -> Prepared:
    """Risk sets of the eligible accounts; every fault of the frames at once."""
    frame = scan(rows)
    needed = ["account_id", "time_zero", "days_past_due", "end_day", "outcome", *trial.covariates]
    needed += ["strategy"] if trial.strategies else []
    needed += ["first_paid_day"] if trial.outcome == "paid" else []
    require(frame, *dict.fromkeys(needed))
    log = scan(actions)
    require(log, "account_id", "day", "channel")
    data = _eligible(collect(frame).sort_values("account_id", ignore_index=True), trial)
    if twice := data.loc[data["account_id"].duplicated(), "account_id"].tolist():
        raise FrameError(
            f"{len(twice):,} accounts stand in more than one row ({first_few(twice)}). Allowed: one each."
        )
    notes: list[str] = []
    log_rows = collect(log.select("account_id", "day", "channel"))
    log_rows["channel"] = log_rows["channel"].astype(str)
    mine = log_rows["channel"] == trial.treatment
    before = set(log_rows.loc[mine & (log_rows["day"] <= 0), "account_id"])
    data, left = _without(data, data["account_id"].isin(before))
    if left:
        notes.append(f"{left:,} accounts had {trial.thing} in the episode before time zero: not eligible.")
    data, left = _without(data, data["end_day"].isna() | (data["end_day"] < 1))
    if left:
        notes.append(f"{left:,} accounts were not seen after time zero: not counted.")
    if not len(data):
        raise FrameError(["no eligible accounts.", *notes, "Allowed: a wider eligibility."])
    zero = pd.to_datetime(data["time_zero"])
    _refuse_short(zero, data, trial, known_until)

    follow, n = trial.follow_up, len(data)
    end = data["end_day"].to_numpy(float)
    kind = np.select([data["outcome"] == "censored", data["outcome"] == trial.outcome], [0, 1], 2)
    if trial.outcome == "paid":
        paid = data["first_paid_day"].to_numpy(float)
        kind = np.where(paid <= end, 1, kind)
        end = np.fmin(paid, end)
    seen_through = (end >= follow) | (kind > 0)
    event = np.where(end <= follow, kind, 0)
    exit_day = np.minimum(end, follow).astype(int)
    where = pd.Series(np.arange(n), index=data["account_id"])
    at = where.reindex(log_rows["account_id"]).to_numpy()
    inside = np.isfinite(at) & (log_rows["day"].to_numpy() >= 1)
    at, day, treat = (
        at[inside].astype(int),
        log_rows["day"].to_numpy()[inside].astype(int),
        mine.to_numpy()[inside],
    )
    kept = day <= exit_day[at]
    at, day, treat = at[kept], day[kept], treat[kept]
    start = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(start, at[treat], day[treat])
    start[start == np.iinfo(np.int64).max] = 0
    other = np.zeros((n, follow), bool)
    other[at[~treat], day[~treat] - 1] = True
    dpd, gap = _days_past_due(data, seen, where, follow)
    stage = np.searchsorted(STAGES, dpd, side="left").astype(np.int8)
    columns, levels, missing, said = _covariates(data, trial.covariates)
    x = np.stack(list(columns.values()), axis=1) if columns else np.empty((n, 0))
    first = stage[:, 0]
    levels |= {f"{STAGE_WORDS[s]} days past due": first == s for s in np.unique(first)}
    customer = data["customer_id"] if "customer_id" in data else data["account_id"]
    sets = RiskSets(
        exit=exit_day,
        event=event.astype(np.int8),
        start=start,
        x=x,
        stage=stage,
        other=other,
        weekday=zero.dt.weekday.to_numpy(),
        group=np.array([replicate_of(c, groups) for c in customer]),
        grace=int(trial.grace or 0),
        follow_up=follow,
    )
    zero_stage = (first[:, None] == np.unique(first)[1:]).astype(float)
    return Prepared(
        sets=sets,
        at_zero=np.hstack([x, zero_stage]),
        columns=tuple(columns),
        levels=levels,
        accounts=n,
        followed=float(seen_through.mean()),
        gap=gap,
        dated=float(data["dated"].to_numpy(float)[event == 1].mean())
        if "dated" in data and (event == 1).any()
        else 0.0,
        missing=missing,
        notes=(*notes, *said),
    )


def _without(data: pd.DataFrame, out: pd.Series) -> tuple[pd.DataFrame, int]:
    return data[~out].reset_index(drop=True), int(out.sum())


def _eligible(data: pd.DataFrame, trial: TargetTrial) -> pd.DataFrame:
    if not len(data):
        raise FrameError("no rows: an empty frame has no eligible accounts.")
    if trial.eligible is not None:
        known = data.drop(columns=[c for c in data.columns if c.lower() in LATER_COLUMNS])
        asked = f"SELECT account_id FROM _known WHERE ({trial.eligible}\n)"
        con = connection()
        con.register("_known", known)
        try:
            if len(con.extract_statements(asked)) != 1:
                raise duckdb.ParserException("more than one statement; allowed: one condition")
            ids = con.execute(asked).df()["account_id"]
        except duckdb.Error as error:
            raise FrameError(
                f"eligible ({trial.eligible!r}): {str(error).splitlines()[0].rstrip('.!')}. "
                f"Columns: {first_few(list(known.columns), 30)}."
            ) from error
        finally:
            con.unregister("_known")
        data = data[data["account_id"].isin(ids)]
    if trial.strategies:
        there = sorted(data["strategy"].dropna().astype(str).unique())
        if odd := [s for s in trial.strategies if s not in there]:
            raise FrameError(
                f"no eligible account is under strategy {first_few(odd)}. There: {first_few(there, 20)}."
            )
        data = data[data["strategy"].isin(trial.strategies)]
    if trial.days_past_due is not None:
        data = data[data["days_past_due"].between(*trial.days_past_due)]
    return data.reset_index(drop=True)


def _refuse_short(zero: pd.Series, data: pd.DataFrame, trial: TargetTrial, known_until: Any) -> None:
    """No account could be followed to the horizon."""
    if known_until is not None:
        longest = int((pd.Timestamp(known_until) - zero.min()).days)
    else:
        longest = int(data["end_day"].max())
    if longest < trial.follow_up:
        raise FrameError(
            f"follow_up is {trial.follow_up} days, but no account is known for longer than {longest:,} days after time "
            f"zero. Allowed: up to {longest:,}."
        )


def _days_past_due(data: pd.DataFrame, seen: Any, where: pd.Series, follow: int) -> tuple[np.ndarray, float]:
    """Days past due on each day by the last look before it, and the usual days between looks (NaN: none)."""
    n = len(data)
    base = np.full((n, follow), np.nan)
    base[:, 0] = data["days_past_due"].to_numpy(float)
    gap = float("nan")
    if seen is not None:
        looks = scan(seen)
        require(looks, "account_id", "day", "days_past_due")
        frame = collect(looks.select("account_id", "day", "days_past_due")).dropna()
        at = where.reindex(frame["account_id"]).to_numpy()
        day, value = frame["day"].to_numpy(int), frame["days_past_due"].to_numpy(float)
        mine = np.isfinite(at)
        order = pd.DataFrame({"at": at[mine], "day": day[mine]}).sort_values(["at", "day"])
        steps = order.groupby("at")["day"].diff().dropna()
        gap = float(steps.median()) if len(steps) else gap
        mine &= (day >= 0) & (day < follow)
        base[at[mine].astype(int), day[mine]] = value[mine] - day[mine]
    last = np.maximum.accumulate(np.where(np.isnan(base), 0, np.arange(follow)), axis=1)
    return np.take_along_axis(base, last, axis=1) + np.arange(1, follow + 1), gap


def _covariates(
    data: pd.DataFrame, names: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], int, list[str]]:
    """Columns of the models (numbers standardised), the levels they fall into, gaps, and what was done with them."""
    columns: dict[str, np.ndarray] = {}
    levels: dict[str, np.ndarray] = {}
    notes, missing = [], 0
    for name in names:
        values = data[name]
        gap = values.isna().to_numpy()
        if gap.all():
            raise FrameError(f"covariate {name!r} is missing for all {len(data):,} eligible accounts.")
        if gap.any():
            missing += int(gap.sum())
        if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            number = pd.to_numeric(values, errors="coerce").to_numpy(float)
            gap = ~np.isfinite(number)
            mean, spread = number[~gap].mean(), number[~gap].std()
            if spread > 0:
                columns[name] = np.where(gap, 0.0, (number - mean) / spread)
                cuts = np.unique(np.quantile(number[~gap], [1 / 3, 2 / 3]))
                third = np.searchsorted(cuts, number, side="right")
                for code in np.unique(third[~gap]):
                    span = number[(third == code) & ~gap]
                    levels[f"{name} from {span.min():g} to {span.max():g}"] = (third == code) & ~gap
            done = "taken as the mean, with a flag"
        else:
            text = values.astype("string").fillna("(missing)").astype(str)
            sizes = text.value_counts().sort_index()
            if len(sizes) > MAX_LEVELS:
                raise FrameError(
                    f"covariate {name!r} has {len(sizes):,} different texts ({first_few(list(sizes.index))}). "
                    f"Allowed: up to {MAX_LEVELS} categories."
                )
            for level in sizes.index:
                inside = (text == level).to_numpy()
                levels[f"{name} = {level}"] = inside
                if level not in (sizes.idxmax(), "(missing)"):
                    columns[f"{name} = {level}"] = inside.astype(float)
            done = "taken as a category of their own"
        if gap.any():
            columns[f"{name} missing"] = gap.astype(float)
            notes.append(f"{name} is missing for {int(gap.sum()):,} of {len(data):,} accounts: {done}.")
    return columns, levels, missing, notes
