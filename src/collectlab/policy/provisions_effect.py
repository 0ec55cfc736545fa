"""What a strategy does to provisions: migration avoided, and the provision and write-offs after some months.

Two answers, graded apart: what the arms of a random test show by now (*causal*), and what each arm's monthly moves
between classes come to when they are carried forward from today's book (*model*).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.columns import day_number, day_of
from collectlab.core.engine import collect
from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.core.jackknife import GROUPS, INTERVAL, check_level, jackknife, replicate_of, t_quantile
from collectlab.core.results import Result
from collectlab.effects.assigned import first_assignments
from collectlab.effects.experiment_cells import control_of
from collectlab.measures.snapshots import CENTS, check_days, is_book
from collectlab.policy.provisions import Scheme, classified

__all__ = ["ProvisionEffect", "migration_avoided", "provision_effect"]

#: Cuts of days past due within a class: what a class does next depends on how late it is.
_CUTS = (0, 1, 31, 61, 91, 181, 271)
_LOST = ("charged_off", "sold")


@dataclass(frozen=True, kw_only=True)
class ProvisionEffect(Result):
    """One row per arm × ``measure``: the arm's and the control's level, their difference, its interval, its grade."""

    control: str
    horizon: int


def provision_effect(
    book: Any,
    scheme: Scheme,
    *,
    control: str | None = None,
    horizon: int = 12,
    end: dt.date | str | None = None,
    conf_level: float = 0.95,
) -> ProvisionEffect:
    r"""What each arm of a random assignment does to the provision, against the control arm.

    *Seen so far* (``causal``): over all accounts assigned by chance and open then, the mean of the provision they carry
    at the end plus the balance charged off or sold since, arm against control.

    *Carried forward* (``model``): P_a is the matrix of monthly moves between states (class × days past due) of the
    account-months since assignment in arm a, with repaid and lost as exits. From the balances w of all accounts now
    open,

    .. math:: L_a = w P_a^h (c, 0, 1)^\top

    is the provision (c = coverage ratios) and what has been written off after h months had every account the arm's
    moves, with no new loans and no instalments paid. ``impaired or lost`` counts accounts in the same way: its
    difference is the migration avoided. A state in which an arm has no account-month moves as all arms do.
    The intervals are the delete-a-group jackknife over customers; the stock is taken as given.

    Parameters
    ----------
    book : Book
        With assignments, some of them randomised; snapshots with a balance.
    scheme : Scheme
    control : str, optional
        The arm to compare with; default chosen as in experiments.
    horizon : int
        Months h to carry forward.
    end : date, optional
        Look at snapshots up to that date only.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    ProvisionEffect

    Raises
    ------
    NotAvailable
        Nothing was assigned by chance, no balance, or one month of history.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.policy.provisions import load_schemes
    >>> found = provision_effect(open_book("data/example"), load_schemes("params/provisions.yml")["ifrs9"])
    >>> found.control, found.table["grade"].unique().tolist()
    ('champion', ['causal', 'model'])
    """
    check_level(conf_level)
    check_days(horizon, "horizon", "months")
    if not is_book(book):
        raise FrameError(
            f"provision_effect needs a book, as open_book gives it; found a {type(book).__name__}."
        )
    if not book.has("assignments"):
        raise NotAvailable(
            "what a strategy does to provisions cannot be told: no account was assigned by chance."
        )
    rows = classified(book, scheme, end=end)
    if not rows["cents"].notna().any():
        raise NotAvailable("provisions need a balance in the snapshots.")
    rows["cents"] = rows["cents"].fillna(0)
    arms = collect(
        first_assignments(book.table("assignments")).select(
            "account_id", "strategy", on=day_number("assigned_on")
        )
    )
    if arms.empty:
        raise NotAvailable(
            "what a strategy does to provisions cannot be told: no account was assigned by chance."
        )
    owner = "customer_id" if "customer_id" in book.columns("accounts") else "account_id"
    customers = collect(book.table("accounts").select("account_id", _owner=owner)).set_index("account_id")[
        "_owner"
    ]
    rows["arm"] = rows["id"].map(arms.set_index("account_id")["strategy"])
    rows["since"] = rows["id"].map(arms.set_index("account_id")["on"])
    rows["rep"] = rows["id"].map(customers.map(replicate_of)).fillna(0).astype(int)
    names = sorted(rows["arm"].dropna().unique())
    if len(names) < 2:
        raise NotAvailable(f"only one arm was assigned by chance ({names}): nothing to compare it with.")
    control, _ = control_of(control, rows.drop_duplicates("id")["arm"].value_counts().to_dict(), "strategy")
    names = [control, *(a for a in names if a != control)]
    state, labels = _states(rows, scheme)
    rows["state"] = state
    last = int(rows["month"].max())
    date = pd.Timestamp(rows["date"].max()).date()
    coverage = scheme.ratios(date)
    opened = int(((rows["month"] == last) & (rows["state"] >= 0)).sum())
    tables = [
        _so_far(rows, names, last, coverage, conf_level),
        _forward(rows, names, last, labels, coverage, scheme.impaired, horizon, conf_level),
    ]
    return ProvisionEffect(
        table=pd.concat(tables, ignore_index=True),
        estimand=f"Difference to {control}: provisions ({scheme.name}), write-offs, and accounts impaired or lost",
        unit="money",
        title=f"What the strategy does to provisions: {scheme.name}",
        notes=(
            "Seen so far: accounts drawn by chance, all of them counted in the arm they were assigned to; per account.",
            f"Carried forward: from the {opened:,} accounts "
            f"open on {date}, {horizon} months ahead, at each arm's monthly moves; no new loans, no instalments.",
            "A difference whose interval holds 0 is no reason to change the strategy.",
        ),
        formats={"level": "hidden", "control_level": "hidden", "estimate": "Difference"},
        conf_level=conf_level,
        control=control,
        horizon=horizon,
    )


def _states(rows: pd.DataFrame, scheme: Scheme) -> tuple[np.ndarray, np.ndarray]:
    """State of each row (−1 where not open), and the class of each state."""
    cut = np.searchsorted(_CUTS, rows["dpd"].fillna(0).to_numpy(int), side="right") - 1
    code = np.where(rows["class"] >= 0, rows["class"].to_numpy(int) * len(_CUTS) + cut, -1)
    kept = np.unique(code[code >= 0])
    return np.where(code >= 0, np.searchsorted(kept, code), -1), kept // len(_CUTS)


def _row(
    arm: str, measure: str, grade: str, unit: str, n: int, level: float, base: float, found: Any
) -> dict:
    return {
        "arm": arm, "measure": measure, "grade": grade, "unit": unit, "accounts": n, "level": level,
        "control_level": base, **dict(zip(INTERVAL, map(float, found))),
    }  # fmt: skip


def _so_far(
    rows: pd.DataFrame, names: list[str], last: int, coverage: np.ndarray, conf_level: float
) -> pd.DataFrame:
    """Mean provision and write-offs per account assigned, arm against control."""
    tested = rows[rows["arm"].notna()]
    after = tested[tested["date"].map(lambda d: day_of(pd.Timestamp(d).date())) >= tested["since"]]
    opened = after[after["class"] >= 0].drop_duplicates("id")
    final = tested.drop_duplicates("id", keep="last").set_index("id")
    before = tested[tested["class"] >= 0].drop_duplicates("id", keep="last").set_index("id")
    each = opened[["id", "arm", "rep"]].copy()
    end = final.loc[each["id"]]
    standing = (end["class"] >= 0) & (end["month"] == last)
    provision = coverage[np.maximum(end["class"].to_numpy(int), 0)] * end["cents"].to_numpy(float)
    lost = np.where(end["status"].isin(_LOST), before.loc[each["id"], "cents"].to_numpy(float), 0.0)
    each["value"] = np.where(standing, provision, lost) / CENTS
    sums = np.zeros((GROUPS, len(names), 2))
    arm = each["arm"].map({a: i for i, a in enumerate(names)}).to_numpy(int)
    np.add.at(sums, (each["rep"].to_numpy(int), arm), np.c_[np.ones(len(each)), each["value"]])
    total = sums.sum(axis=0)
    mean = total[:, 1] / total[:, 0]
    found = jackknife(
        total, sums, lambda s: s[1:, 1] / s[1:, 0] - s[0, 1] / s[0, 0], conf_level, present=(sums != 0).any(axis=2)[:, 1:]
    )  # fmt: skip
    return pd.DataFrame(
        [
            _row(a, "provision and write-offs so far, per account", "causal", "money2", int(total[i + 1, 0]), mean[i + 1],
                 mean[0], [part[i] for part in found])
            for i, a in enumerate(names[1:])
        ]
    )  # fmt: skip


def _forward(
    rows: pd.DataFrame,
    names: list[str],
    last: int,
    classes: np.ndarray,
    coverage: np.ndarray,
    impaired: int,
    horizon: int,
    conf_level: float,
) -> pd.DataFrame:
    """Each arm's monthly moves carried forward from the stock of the last month."""
    size = len(classes)
    following = rows.groupby("id")[["month", "state", "status"]].shift(-1)
    target = following["state"].where(following["state"] >= 0)
    target = target.mask(following["status"].isin(("closed", "settled")), size).mask(
        following["status"].isin(_LOST), size + 1
    )
    day = rows["date"].map(lambda d: day_of(pd.Timestamp(d).date()))
    moved = (following["month"] == rows["month"] + 1) & (rows["state"] >= 0) & target.notna()
    moved &= rows["arm"].notna() & (day >= rows["since"])
    if not moved.any():
        raise NotAvailable(
            "no account assigned by chance was followed from one month to the next, so no moves can be counted."
        )
    counts = np.zeros((GROUPS, len(names), size, size + 2))
    arm = rows["arm"].map({a: i for i, a in enumerate(names)})
    where = rows.loc[moved, "rep"], arm[moved], rows.loc[moved, "state"], target[moved]
    np.add.at(counts, tuple(column.to_numpy(int) for column in where), 1)
    now = rows[(rows["month"] == last) & (rows["state"] >= 0)]
    heads = np.bincount(now["state"], minlength=size).astype(float)
    money = np.bincount(now["state"], now["cents"], minlength=size) / CENTS
    weights = np.r_[coverage[classes], 0.0, 1.0]
    bad = np.r_[(classes >= impaired).astype(float), 0.0, 1.0]
    written = np.r_[np.zeros(size + 1), 1.0]

    def levels(c: np.ndarray) -> np.ndarray:
        out = np.zeros((len(names), 4))
        pooled = c.sum(axis=0)
        for a in range(len(names)):
            step = np.eye(size + 2)
            step[:size] = _shares(c[a], pooled)
            ahead = np.linalg.matrix_power(step, horizon)[:size]
            out[a] = (
                money @ ahead @ weights,
                money @ ahead @ (weights - written),
                money @ ahead @ written,
                heads @ ahead @ bad,
            )
        return out

    total = counts.sum(axis=0)
    level = levels(total)
    found = jackknife(total, counts, lambda c: levels(c)[1:] - levels(c)[:1], conf_level)
    n = total.sum(axis=(1, 2)).astype(int)
    measures = (
        (f"provision and write-offs in {horizon} months", "money"),
        (f"of these, provision in {horizon} months", "money"),
        (f"of these, write-offs within {horizon} months", "money"),
        (f"accounts impaired or lost in {horizon} months", "number"),
    )
    table = pd.DataFrame(
        [
            _row(a, m, "model", unit, 0, level[i + 1, k], level[0, k], [part[i, k] for part in found])
            for i, a in enumerate(names[1:])
            for k, (m, unit) in enumerate(measures)
        ]
    )
    of = {
        a: int(rows.loc[moved & (rows["arm"] == a), "id"].nunique())
        for a in names[1:]
        if n[names.index(a)] > 0
    }
    return table.assign(accounts=table["arm"].map(of).fillna(0).astype(int))


def _shares(moves: np.ndarray, pooled: np.ndarray) -> np.ndarray:
    """Rows as shares; a state without moves of its own takes the pooled ones, one without any stays put."""
    counts = np.where(moves.sum(axis=1, keepdims=True) > 0, moves, pooled)
    total = counts.sum(axis=1, keepdims=True)
    stay = np.eye(len(counts), counts.shape[1])
    return np.where(total > 0, counts / np.where(total > 0, total, 1), stay)


def migration_avoided(
    source: Any,
    scheme: Scheme,
    effects: Mapping[str, tuple[float, float]],
    *,
    over: int = 1,
    end: dt.date | str | None = None,
    conf_level: float = 0.95,
) -> Result:
    r"""What a given effect on the monthly chances to roll and to cure would have done to last month's provision.

    Of the n accounts at least ``over`` days past due at the end of last month, n · (−δ_roll) fewer would have moved to
    a worse class and n · δ_cure more to a better one; each is worth the mean change of provision of those that did
    move so. Graded ``model``: those moved by the strategy are taken to be like those that moved.

    Parameters
    ----------
    source : Book or frame of snapshots
    scheme : Scheme
    effects : mapping
        ``roll`` and/or ``cure``: (difference of the monthly chance against now, its standard error); shares.
    over : int
        Days past due from which an account counts.
    end : date, optional
        Look at snapshots up to that date only.
    conf_level : float
        Level of the interval; it holds the error of the effects, taken as independent, and nothing else.

    Returns
    -------
    Result
        Rows ``accounts kept from a worse class``, ``accounts moved to a better class``, ``provision`` (its change).

    Raises
    ------
    ParamsError
        An effect that is none: unknown name, out of −1 to 1, negative error.
    NotAvailable
        One month of history, no balance, or nobody past due.

    Examples
    --------
    >>> from collectlab.policy.provisions import load_schemes
    >>> scheme = load_schemes("params/provisions.yml")["five_class"]
    >>> snapshots = pd.DataFrame({
    ...     "account_id": ["a", "a", "b", "b"], "as_of": pd.to_datetime(["2026-01-31", "2026-02-28"] * 2),
    ...     "days_past_due": [88, 116, 40, 68], "balance": [1000.0] * 4})
    >>> migration_avoided(snapshots, scheme, {"roll": (-0.10, 0.02)}).table[["measure", "estimate"]].values.tolist()
    [['accounts kept from a worse class', 0.2], ['provision', -46.0]]
    """
    check_level(conf_level)
    faults = [
        f"effects: no such move {k!r}. Allowed: roll, cure." for k in effects if k not in ("roll", "cure")
    ]
    for key, (value, error) in effects.items():
        if not -1 <= value <= 1:
            faults.append(f"effects[{key!r}] is {value:g}. Allowed: a difference of chances from −1 to 1.")
        if not error >= 0:
            faults.append(f"effects[{key!r}] has a standard error of {error:g}. Allowed: 0 or more.")
    if not effects:
        faults.append("effects is empty. Allowed: roll, cure.")
    if faults:
        raise ParamsError(faults)
    rows = classified(source, scheme, end=end)
    if not rows["cents"].notna().any():
        raise NotAvailable("provisions need a balance in the snapshots.")
    months = np.sort(rows["month"].unique())
    if len(months) < 2:
        raise NotAvailable("migration needs two months of snapshots.")
    before, now = (rows[rows["month"] == m].set_index("id") for m in months[-2:])
    both = before[(before["class"] >= 0) & (before["dpd"] >= over)].join(now["class"].rename("next"))
    if both.empty:
        raise NotAvailable(f"nobody was {over} or more days past due at the end of last month.")
    ratio = scheme.ratios(pd.Timestamp(before["date"].max()).date())
    next_class = both["next"].fillna(-1).to_numpy(int)
    was = both["class"].to_numpy(int)
    step = (ratio[np.maximum(next_class, 0)] - ratio[was]) * both["cents"].fillna(0).to_numpy(float)
    n, quantile = len(both), float(t_quantile(conf_level, np.array(1e9)))
    out, total, variance = [], 0.0, 0.0
    for key, sign, words in (
        ("roll", -1, "accounts kept from a worse class"),
        ("cure", 1, "accounts moved to a better class"),
    ):
        if key not in effects:
            continue
        value, error = effects[key]
        went = next_class > was if key == "roll" else (next_class >= 0) & (next_class < was)
        if not went.any():
            raise NotAvailable(
                f"nobody past due moved to a {'worse' if key == 'roll' else 'better'} class last month, so a move has no price."
            )
        each = float(step[went].mean()) / CENTS
        out.append((words, "number", n, sign * n * value, n * error))
        total, variance = total + n * value * each, variance + (n * error * each) ** 2
    out.append(("provision", "money", n, total, variance**0.5))
    table = pd.DataFrame(out, columns=["measure", "unit", "accounts", "estimate", "std_error"])
    table["conf_low"] = table["estimate"] - quantile * table["std_error"]
    table["conf_high"] = table["estimate"] + quantile * table["std_error"]
    return Result(
        table=table,
        estimand=f"Change of one month's migration and provision ({scheme.name}) by the effect given",
        title="Migration avoided",
        notes=("Model: those whom the effect moves are taken to be like those that moved.",),
        conf_level=conf_level,
    )
