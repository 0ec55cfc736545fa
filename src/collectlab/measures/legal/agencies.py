"""The yearly evaluation of outside agencies: one sheet each, against the terms of its contract."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import day_number, day_of, flag, whole_money, whole_sum
from collectlab.core.engine import same_engine
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import INTERVAL, check_level, with_replicates
from collectlab.core.tables import format_value
from collectlab.measures import actions
from collectlab.measures.costs_touch import contact_made
from collectlab.measures.legal.sheet import MET, MISSED, NO_TERM, UNTOLD, WORDS, EvaluationSheet
from collectlab.measures.ratios import Measures, Ratio, count
from collectlab.measures.recovery_placements import placements

_FAR = 10_000_000
_COLUMNS = ["agency", "measure", "n", *INTERVAL, "unit", "term", "standing"]


def evaluation_sheet(
    book: Any,
    year: int,
    *,
    terms: Any = None,
    league: Any = None,
    violations: Any = None,
    horizon: int = 90,
    conf_level: float = 0.95,
) -> EvaluationSheet:
    """One sheet per agency for a year, as GB/T 45251 asks of a bank that hands debts to agencies.

    Per agency, with the number ``n`` each figure rests on:

    * ``placements``, ``placed`` — made in the year (:func:`~collectlab.measures.recovery_placements.placements`), and
      the amount past due then;
    * ``recovered``, ``recovery_rate`` — paid from the day of placement to day ``horizon``, or to the day before the
      account's next placement, never more than was placed; of the year's placements followed for ``horizon`` days;
    * ``recovery_rate_same_mix`` — as ``league`` has it: at the same mix of cases, shrunken;
    * ``cost_per_100_recovered`` — 100 × cost of the agency's actions in those windows / recovered, plus the commission
      where ``terms`` has one (``commission``, in money, stands in its own row);
    * ``complaints_per_1000``, ``violations_per_1000`` — per 1,000 contacts;
    * ``recorded``, ``third_party`` — shares of contacts;
    * ``days_to_first_contact`` — median days from placement to the agency's first contact (Kaplan–Meier).

    A term is ``met`` where the whole interval lies on the good side of it, ``missed`` where the whole interval lies
    beyond it, else it ``cannot be told``. The contract speaks of what was recovered, so ``recovery_rate`` as it is
    stands against it; the rate at the same mix shows whether the cases were hard.

    Parameters
    ----------
    book : Book
        With actions (agency) and payments; snapshots with amount_past_due.
    year : int
        Calendar year; of the running year what is known so far.
    terms : frame, optional
        agency, measure (a name above, or ``commission_share``), direction (at_least, at_most or empty), limit;
        such as :meth:`collectlab.policy.agencies.Agencies.terms`.
    league : frame, optional
        agency, n, estimate, std_error, conf_low, conf_high: the rate at the same mix.
    violations : frame, optional
        agency, violations, contacts: of the conduct audit, for the year.
    horizon : int
        Whole days after placement.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    EvaluationSheet

    Raises
    ------
    FrameError
        A year or horizon that is none; a frame without its columns; an agency or term that stands twice.
    NotAvailable
        The book names no agency, or there was no placement in the year.

    References
    ----------
    GB/T 45251-2025: agencies are evaluated every year. The choice of figures is the library's.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=600, months=12, truth_accounts=0).book_tables)
    >>> sheet = evaluation_sheet(book, 2026)
    >>> sheet.of("Agency 1").table["measure"].tolist()[:3]
    ['placements', 'placed', 'recovered']
    """
    check_level(conf_level)
    for name, value in (("year", year), ("horizon", horizon)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise FrameError(f"{name} is {value!r}. Allowed: a whole number ≥ 1.")
    if not book.has("actions") or "agency" not in book.columns("actions"):
        raise NotAvailable("this book's actions name no agency.")
    if not book.has("payments") or "amount_past_due" not in book.columns("snapshots"):
        raise NotAvailable("agencies are judged by what was paid: that needs payments and amount_past_due.")
    year, horizon = int(year), int(horizon)
    period = (date(year, 1, 1), date(year, 12, 31))
    asked = _asked(terms, "terms", ["agency", "measure", "direction", "limit"], ["agency", "measure"])
    mix = _asked(league, "league", ["agency", "n", *INTERVAL], ["agency"])
    broken = _asked(violations, "violations", ["agency", "violations", "contacts"], ["agency"])
    shares = asked[asked["measure"] == "commission_share"].set_index("agency")["limit"]
    rows, notes = _money(book, period, horizon, shares, conf_level)
    agencies = list(dict.fromkeys(rows["agency"]))
    parts = [rows]
    log = (
        (actions.complaints, "per_1000_contacts", "complaints_per_1000", "contacts"),
        (actions.records_kept, "recorded", "recorded", "contacts"),
        (actions.third_party_contacts, "third_party", "third_party", "contacts"),
    )
    for measure, name, own, n in log:
        try:
            parts.append(_of_log(measure, book, period, name, own, n, conf_level))
        except (NotAvailable, FrameError) as error:
            notes.append(f"No {own.replace('_', ' ')}: {' '.join(str(error).split())}")
    if len(mix):
        parts.append(mix.assign(measure="recovery_rate_same_mix", unit="share"))
    if len(broken):
        parts.append(_violations(broken, conf_level))
    table = pd.concat(parts, ignore_index=True)
    table = table[table["agency"].isin(agencies)]
    order = {a: i for i, a in enumerate(agencies)}
    place = {m: i for i, m in enumerate(WORDS)}
    table = table.assign(__a=table["agency"].map(order), __m=table["measure"].map(place))
    table = table.sort_values(["__a", "__m"], kind="stable", ignore_index=True)
    limits = asked[asked["direction"].isin(["at_least", "at_most"])]
    table = table.merge(
        limits[["agency", "measure", "direction", "limit"]], on=["agency", "measure"], how="left"
    )
    table["term"] = [
        "" if pd.isna(v) else f"{'≥' if d == 'at_least' else '≤'} {format_value(float(v), u)}"
        for d, v, u in zip(table["direction"], table["limit"], table["unit"])
    ]
    table["standing"] = [
        _standing(*row)
        for row in table[["direction", "limit", "conf_low", "conf_high"]].itertuples(index=False)
    ]
    if unknown := sorted(set(asked["agency"]) - set(agencies)):
        notes.append(f"In the terms, without a placement in {year}: {first_few(unknown)}.")
    if bare := sorted(set(agencies) - set(asked["agency"])) if len(asked) else []:
        notes.append(f"Without terms in force: {first_few(bare)}.")
    if idle := sorted(set(limits["measure"]) - set(table["measure"])):
        notes.append(f"Terms that nothing here measures: {first_few([WORDS.get(m, m) for m in idle])}.")
    notes.append(
        "Met and missed hold for each figure by itself; of twenty that just meet, one may look missed by chance."
    )
    return EvaluationSheet(
        table=table[_COLUMNS],
        estimand=f"What was placed with each agency in {year}, what came back within {horizon} days, at what cost and how; "
        "each figure with its interval and the number it rests on (n), against the contract's term",
        title=f"Evaluation of the agencies, {year}",
        notes=tuple(notes),
        formats={"n": "count"},
        conf_level=conf_level,
        year=year,
    )  # fmt: skip


def _asked(frame: Any, name: str, columns: list[str], keys: list[str]) -> pd.DataFrame:
    """A small frame with these columns, one row per key; empty where none was handed in."""
    if frame is None:
        return pd.DataFrame({c: pd.Series(dtype=object) for c in columns})
    lazy = engine.scan(frame)
    engine.require(lazy, *columns)
    found = engine.collect(lazy.select(*columns))
    again = found.loc[found.duplicated(keys), keys].astype(str)
    if twice := [" / ".join(row) for row in again.itertuples(index=False)]:
        raise FrameError(f"{name}: {len(twice):,} rows stand twice ({first_few(twice)}). Allowed: one each.")
    return found.assign(agency=found["agency"].astype(str))


def _standing(direction: Any, limit: float, low: float, high: float) -> str:
    if direction not in ("at_least", "at_most"):
        return NO_TERM
    if pd.isna(low) or pd.isna(high):
        return UNTOLD
    good, bad = (low >= limit, high < limit) if direction == "at_least" else (high <= limit, low > limit)
    return MET if good else MISSED if bad else UNTOLD


def _money(
    book: Any, period: tuple[date, date], horizon: int, shares: pd.Series, conf_level: float
) -> tuple[pd.DataFrame, list[str]]:
    """Placements of the year, what they brought and cost, days to the first contact."""
    own = "customer_id" in book.columns("accounts")
    made = placements(
        book.table("actions"), book.table("snapshots"), book.table("accounts") if own else None, by="agency"
    )
    made = with_replicates(made, "customer_id" if own else "account_id", name="__rep")
    following = nw.col("__on").shift(-1).over("account_id", order_by="__on").fill_null(_FAR)
    made = made.with_columns(__on=day_number("placed_on")).with_columns(__next=following)
    first, last = (day_of(d) for d in period)
    made = made.filter((nw.col("__on") >= first) & (nw.col("__on") <= last))
    until = nw.min_horizontal(nw.col("__next") - 1, nw.col("__on") + horizon)
    made = engine.computed(
        made.select(
            "account_id", "__on", "__rep", agency=nw.col("agency").cast(nw.String), __until=until,
            __cap=whole_money("amount").fill_null(0),
        )
    )  # fmt: skip
    key = ["account_id", "__on"]
    left, paid = same_engine(
        made.select(*key, "__until"),
        book.table("payments").select(
            "account_id", __day=day_number("paid_on"), __cents=whole_money("amount")
        ),
    )
    inside = (nw.col("__day") >= nw.col("__on")) & (nw.col("__day") <= nw.col("__until"))
    back = left.join(paid, on="account_id", how="inner").filter(inside)
    back = back.group_by(*key).agg(__back=whole_sum("__cents"))
    names = book.columns("actions")
    log = book.table("actions").filter(~nw.col("agency").is_null())
    cents = whole_money("cost") if "cost" in names else nw.lit(None, nw.Int64)
    log = log.select(
        "account_id", agency=nw.col("agency").cast(nw.String), __day=day_number("at"), __cents=cents,
        __touch=flag(contact_made(names)),
    )  # fmt: skip
    left, log = same_engine(made.select(*key, "agency", "__until"), log)
    done = left.join(log, on=["account_id", "agency"], how="inner").filter(inside)
    done = done.group_by(*key).agg(
        __spent=whole_sum("__cents"),
        __touched=nw.when(nw.col("__touch") == 1).then(nw.col("__day")).min(),
    )
    made, back = same_engine(made, back)
    made = made.join(back, on=key, how="left")
    made, done = same_engine(made, done)
    made = engine.computed(made.join(done, on=key, how="left"))
    now = day_of(book.as_of)
    known = (nw.col("__on") <= now - horizon) & (nw.col("__cap") > 0)
    got = nw.min_horizontal(nw.col("__back").fill_null(0), nw.col("__cap"))
    counts = count(
        made,
        ["agency"],
        {
            "placements": nw.lit(1),
            "placed": nw.col("__cap"),
            "known": flag(known),
            "base": nw.when(known).then(nw.col("__cap")),
            "back": nw.when(known).then(got),
            "spent": nw.when(known).then(nw.col("__spent").fill_null(0)),
        },
    )
    if not counts["placements"].sum():
        raise NotAvailable(f"no account was placed with an agency in {period[0].year}.")
    agencies = counts.groups["agency"].tolist()
    n, whole = counts.total("known"), counts.total("placements")
    rates = np.stack(Ratio(counts["back"], counts["base"], "part").estimate(conf_level), axis=1)
    per = np.stack(Ratio(counts["spent"], counts["back"], "ratio").estimate(conf_level), axis=1)
    placed, back_total = counts["placed"].sum(axis=0) / 100, counts["back"].sum(axis=0) / 100
    days = engine.collect(made.select("agency", "__on", "__until", "__touched"))
    rows = []
    for i, agency in enumerate(agencies):
        share = float(shares.get(agency, np.nan))
        rows += [
            (agency, "placements", whole[i], float(whole[i]), *[np.nan] * 3, "count"),
            (agency, "placed", whole[i], placed[i], *[np.nan] * 3, "money"),
            (agency, "recovered", n[i], back_total[i], *[np.nan] * 3, "money"),
            (agency, "recovery_rate", n[i], *rates[i], "share"),
        ]
        if np.isfinite(share):
            rows.append((agency, "commission", n[i], share * back_total[i], *[np.nan] * 3, "money"))
        if "cost" in names or np.isfinite(share):
            cost = 100 * per[i] if "cost" in names else np.array([0.0, np.nan, np.nan, np.nan])
            fee = 100 * (share if np.isfinite(share) else 0.0)
            rows.append(
                (agency, "cost_per_100_recovered", n[i], *(cost + fee * np.array([1, 0, 1, 1])), "money2")
            )
        mine = days[days["agency"] == agency]
        rows.append(
            (agency, "days_to_first_contact", len(mine), *_first_contact(mine, now, conf_level), "days")
        )
    notes = []
    if young := int(whole.sum() - n.sum()):
        notes.append(
            f"{young:,} of {int(whole.sum()):,} placements are younger than {horizon} days at the end of the book or had "
            "no amount: in the number placed, not in the rates."
        )
    if not len(shares):
        notes.append("No commission is known: the cost is that of the actions in the log.")
    return pd.DataFrame(rows, columns=["agency", "measure", "n", *INTERVAL, "unit"]), notes


def _first_contact(rows: pd.DataFrame, now: int, conf_level: float) -> list[float]:
    """Median days from placement to the first contact; without one, watched to the window's end or the book's."""
    from collectlab.measures.survival import kaplan_meier

    touched = rows["__touched"].notna().to_numpy()
    end = np.where(
        touched, rows["__touched"].to_numpy(float), np.minimum(rows["__until"].to_numpy(float), now)
    )
    if not touched.any():
        return [np.nan] * 4
    told = pd.DataFrame(
        {"days": end - rows["__on"].to_numpy(float), "outcome": np.where(touched, "contact", "censored")}
    )
    told = told[told["days"] >= 0]
    curve = kaplan_meier(told, duration="days", outcome="outcome", event=("contact",), conf_level=conf_level)
    return [float(v) for v in curve.quantiles(0.5).table.iloc[0][list(INTERVAL)]]


def _of_log(
    measure: Callable[..., Measures], book: Any, period: tuple[date, date], name: str, own: str, n: str,
    conf_level: float,
) -> pd.DataFrame:  # fmt: skip
    """One measure of the action log by agency, under the sheet's name."""
    table = measure(book, by="agency", period=period, conf_level=conf_level).table
    table = table[table["measure"] == name].dropna(subset=["agency", "estimate"])
    return table.assign(n=table[n], measure=own, agency=table["agency"].astype(str), unit="number" if "1000" in own else "share")[
        ["agency", "measure", "n", *INTERVAL, "unit"]
    ]  # fmt: skip


def _violations(told: pd.DataFrame, conf_level: float) -> pd.DataFrame:
    """Violations per 1,000 contacts with Poisson's exact interval (Garwood 1936)."""
    from scipy.stats import chi2

    many, base = told["violations"].to_numpy(float), told["contacts"].to_numpy(float)
    bad = ~(np.isfinite(many) & np.isfinite(base) & (many >= 0) & (base >= 0))
    if bad.any():
        names = told.loc[bad, "agency"].tolist()
        raise FrameError(
            f"violations: {int(bad.sum()):,} rows ({first_few(names)}) hold no counts. Allowed: numbers ≥ 0."
        )
    tail = (1 - conf_level) / 2
    scale = 1000 / np.where(base > 0, base, np.nan)
    low = np.where(many > 0, chi2.ppf(tail, 2 * np.maximum(many, 1)) / 2, 0.0)
    high = chi2.ppf(1 - tail, 2 * many + 2) / 2
    return pd.DataFrame(
        {
            "agency": told["agency"], "measure": "violations_per_1000", "n": base, "estimate": many * scale,
            "std_error": np.sqrt(many) * scale, "conf_low": low * scale, "conf_high": high * scale, "unit": "number",
        }
    )  # fmt: skip
