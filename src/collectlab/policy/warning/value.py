"""What acting on the warning is worth, at each threshold: money saved by what is assumed of acting, less its cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import GROUPS, check_level, jackknife, sums_at
from collectlab.core.plots import PALETTE, legend, new_axes, titled, unit_axis
from collectlab.core.results import Result
from collectlab.measures.worth.checks import is_above, plain_number
from collectlab.policy.warning.assumed import Acting
from collectlab.policy.warning.checks import check_kind, rows_of
from collectlab.policy.warning.figures import replicates
from collectlab.policy.warning.validate import Validation

#: Months in which a loss may follow; shares warned of that are tried; draws of the interval, and their seed.
FOLLOW, SHARES, DRAWS, SEED = 12, (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75), 4000, 20261031
#: The rule that needs no threshold.
SAVING = "expected saving above the cost"
#: Fewest events, and charge-offs after them, from which the loss is taken from the book.
FEWEST = 30


@dataclass(frozen=True, kw_only=True)
class Loss:
    """The share of the balance that one event costs: estimate, standard error, and where it is from."""

    estimate: float
    std_error: float
    source: str


def loss_of_event(scored: pd.DataFrame, *, given_off: float, otherwise: float, months: int = FOLLOW) -> Loss:
    """How much more of the balance is lost in the year after an event than without it, among accounts of like chance.

    Accounts are put into tenths by their chance. In each, with balances B and those charged off within ``months`` C,

        d = Σ C / Σ B (event came) − Σ C / Σ B (event did not come),

    weighted by the balances of those to whom it came, times ``given_off``. It is the loss that goes with the event,
    taken as the loss that preventing it would save.

    Parameters
    ----------
    scored : pandas.DataFrame
        Rows with ``chance, outcome, balance, off_after, seen_after, customer_id``: of the months that were followed long enough.
    given_off : float
        Share of a charged-off balance that is never recovered.
    otherwise : float
        The share to take where the book cannot tell.
    months : int
        Months followed.

    Returns
    -------
    Loss
        ``otherwise`` with no standard error where fewer than 30 events, or than 30 charge-offs after them, were followed.

    Raises
    ------
    FrameError
        Shares outside 0 to 1, months below 1, columns that are not there.

    Examples
    --------
    >>> none = pd.DataFrame(columns=["chance", "outcome", "balance", "off_after", "seen_after", "customer_id"], dtype=float)
    >>> loss_of_event(none, given_off=0.85, otherwise=0.02).estimate
    0.02
    """
    faults = [
        f"{name} is {share!r}. Allowed: a share from 0 to 1."
        for name, share in (("given_off", given_off), ("otherwise", otherwise))
        if not 0 <= plain_number(share) <= 1
    ]
    if not is_above(months) or months != int(months):
        faults.append(f"months is {months!r}. Allowed: whole months ≥ 1.")
    if faults:
        raise FrameError(faults)
    needed = ("chance", "outcome", "balance", "off_after", "seen_after", "customer_id")
    scored = rows_of(scored, *needed)
    rows = scored[(scored["seen_after"] > months) & scored["outcome"].notna() & (scored["balance"] > 0)]
    came = rows["outcome"].to_numpy() == 1
    off = rows["off_after"].between(1, months + 1).to_numpy()
    if min(came.sum(), (~came).sum(), (came & off).sum()) < FEWEST:
        return Loss(
            estimate=otherwise, std_error=0.0, source="an assumption: the book follows too few losses"
        )
    chance, balance = rows["chance"].to_numpy(), rows["balance"].to_numpy()
    tenth = np.searchsorted(np.unique(np.quantile(chance[came], np.arange(1, 10) / 10)), chance)
    size = int(tenth.max()) + 1
    group = replicates(rows["customer_id"])
    where = (group, tenth, came.astype(int))
    sums = np.stack([sums_at(where, w, (GROUPS, size, 2)) for w in (balance, balance * off)], axis=-1)

    def lost(c: np.ndarray) -> float:
        share = c[..., 1] / c[..., 0]
        weight = c[:, 1, 0]
        more = share[:, 1] - share[:, 0]
        there = np.isfinite(more)
        return float((more * weight)[there].sum() / weight[there].sum()) * given_off

    estimate, error, _, _ = jackknife(sums.sum(axis=0), sums, lost)
    source = (
        f"the book: charged off within {months} months, against accounts of like chance without the event"
    )
    return Loss(estimate=max(float(estimate), 0.0), std_error=float(error), source=source)


@dataclass(frozen=True, kw_only=True, repr=False)
class Value(Result):
    """Net value a month by threshold. ``best``: the best threshold at the low, the assumed and the high effect."""

    best: pd.DataFrame
    loss: Loss
    acting: Acting
    plottable = True

    @property
    def saving(self) -> pd.Series:
        """The row of the rule that acts where the expected saving is above the cost."""
        return self.table[self.table["rule"] == SAVING].iloc[0]

    def plot(self, ax: Any = None) -> Any:
        """Net value by share of accounts warned of, at the low, the assumed and the high effect."""
        ax = new_axes(ax)
        rows = self.table[self.table["rule"] != SAVING]
        for i, (column, label) in enumerate(
            (
                ("estimate", f"{self.acting.effect:.0%}".replace("%", " %")),
                ("net_low", f"{self.acting.effect_low:.0%}".replace("%", " %")),
                ("net_high", f"{self.acting.effect_high:.0%}".replace("%", " %")),
            )
        ):
            ax.plot(rows["warned_share"], rows[column], "-:-"[i] if i < 2 else "--", color=PALETTE[i], marker="o", markersize=3, label=label)  # fmt: skip
        ax.axhline(0, color="#444444", linewidth=0.8)
        unit_axis(ax, "share", "x")
        unit_axis(ax, "money", "y")
        ax.set_xlabel("Share of accounts warned of")
        ax.set_ylabel("Net value a month")
        legend(ax, "Assumed to prevent")
        return titled(ax, self.title)


def value_of_acting(
    validation: Validation,
    *,
    acting: Acting,
    loss: Loss | None = None,
    thresholds: Sequence[float] | None = None,
    conf_level: float = 0.95,
) -> Value:
    """The net value a month of acting on the warning, by threshold, on months it had not seen.

    Over the account-months warned of (chance ≥ threshold), with y the outcome and B the balance,

        net = (effect · loss · Σ y B − cost · warned) / months.

    The last row needs no threshold: act where effect · loss · chance · B > cost. It was not chosen by looking at
    the outcomes. Whether acting prevents anything is an assumption, and no score can tell it.

    Parameters
    ----------
    validation : Validation
        Of :func:`~collectlab.policy.warning.validate.rolling`.
    acting : Acting
        Cost and effect.
    loss : Loss, optional
        Share of the balance lost through an event; default: :func:`loss_of_event` on the tested months.
    thresholds : sequence of float, optional
        Chances between 0 and 1; default: those that warn of 1, 2, 5, 10, 20, 30, 50 and 75 % of the accounts.
    conf_level : float

    Returns
    -------
    Value
        Table: rule, threshold, warned_share, accounts (warned of, a month), events (caught, a month), caught (share of all
        events), came_true (share of those warned of), saved, cost, estimate (net), std_error, conf_low, conf_high,
        net_low and net_high (net at the lowest and highest effect). The interval is over the customers, the loss
        and the effect's range (a triangle), drawn with a fixed seed.

    Raises
    ------
    NotAvailable
        The book has no balances.
    FrameError
        A threshold that does not lie between 0 and 1.

    Examples
    --------
    >>> value_of_acting(validation, acting=params.acting("falls", "2026-10-31")).saving["estimate"]  # doctest: +SKIP
    """
    check_kind(validation, Validation, "validation", "a validation, as rolling gives it")
    check_kind(acting, Acting, "acting", "load_warning(warning.yml).acting(target, date), or Acting(…)")
    check_level(conf_level)
    scored = validation.scored
    if "balance" not in scored:
        raise NotAvailable(
            "the book's snapshots have no balance, so what acting would save cannot be told in money."
        )
    chance = scored["chance"].to_numpy()
    if thresholds is None:
        thresholds = sorted({float(f"{np.quantile(chance, 1 - s):.2g}") for s in SHARES}, reverse=True)
        thresholds = [t for t in thresholds if 0 < t < 1]
    elif not isinstance(thresholds, Sequence | np.ndarray):
        raise FrameError(f"thresholds is {thresholds!r}. Allowed: a list of chances between 0 and 1.")
    elif bad := [t for t in thresholds if not (isinstance(t, (int, float)) and 0 < t < 1)]:
        raise FrameError(f"thresholds: {', '.join(map(str, bad[:5]))}. Allowed: chances between 0 and 1.")
    if loss is None:
        loss = loss_of_event(scored, given_off=acting.given_off, otherwise=acting.loss)
    balance = np.nan_to_num(scored["balance"].to_numpy(float))
    y, months = scored["outcome"].to_numpy(float), scored["month"].nunique()
    names = [f"chance of {100 * t:.2g} % or more" for t in thresholds]
    chosen = [chance >= t for t in thresholds] + [
        acting.effect * loss.estimate * chance * balance > acting.cost
    ]
    group = replicates(scored["customer_id"])
    sums = np.stack(
        [
            np.stack(
                [np.bincount(group[c], w[c], GROUPS) for w in (np.ones(len(y)), y, y * balance)], axis=-1
            )
            for c in chosen
        ],
        axis=1,
    )
    warned, events, at_stake = sums.sum(axis=0).T / months

    def net(c: np.ndarray) -> np.ndarray:
        return (acting.effect * loss.estimate * c[:, 2] - acting.cost * c[:, 0]) / months

    estimate, sampling, _, _ = jackknife(sums.sum(axis=0), sums, net)
    rng = np.random.default_rng(SEED)
    degenerate = acting.effect_low == acting.effect_high
    effect = np.full(DRAWS, acting.effect) if degenerate else rng.triangular(acting.effect_low, acting.effect, acting.effect_high, DRAWS)  # fmt: skip
    share = np.maximum(rng.normal(loss.estimate, loss.std_error, DRAWS), 0)
    draws = (
        (effect * share)[:, None] * at_stake - acting.cost * warned + rng.normal(size=(DRAWS, 1)) * sampling
    )
    tail = (1 - conf_level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0)
    table = pd.DataFrame(
        {
            "rule": [*names, SAVING],
            "threshold": [*thresholds, np.nan],
            "warned_share": warned * months / len(y),
            "accounts": np.round(warned).astype(int),
            "events": np.round(events).astype(int),
            "caught": events * months / y.sum(),
            "came_true": np.divide(events, warned, out=np.full(len(warned), np.nan), where=warned > 0),
            "saved": acting.effect * loss.estimate * at_stake,
            "cost": acting.cost * warned,
            "estimate": estimate,
            "std_error": draws.std(axis=0),
            "conf_low": low,
            "conf_high": high,
            "net_low": acting.effect_low * loss.estimate * at_stake - acting.cost * warned,
            "net_high": acting.effect_high * loss.estimate * at_stake - acting.cost * warned,
        }
    )
    return Value(
        table=table,
        estimand="Net value a month of acting on the warning, if acting prevents the assumed share of events",
        unit="money",
        title="What acting on the warning is worth",
        formats={"threshold": "share", "warned_share": "share", "caught": "share", "came_true": "share", "saved": "money",
                 "cost": "money", "net_low": "money", "net_high": "money"},
        notes=(
            f"Assumed: acting prevents {acting.effect:.0%} of the events ({acting.effect_low:.0%} to {acting.effect_high:.0%}; "
            f"{acting.source}) and costs {acting.cost:,.2f} an account. An assumption: a score says who, not what helps.".replace("%", " %"),
            f"An event costs {100 * loss.estimate:.2g} % of the balance (from {loss.source}).",
            "Interval: over customers, the loss, and the effect's range.",
        ),
        conf_level=conf_level,
        best=_best(table, acting),
        loss=loss,
        acting=acting,
    )  # fmt: skip


def _best(table: pd.DataFrame, acting: Acting) -> pd.DataFrame:
    """The threshold with the highest net at each effect; none where nothing is above 0."""
    rows = table[table["rule"] != SAVING]
    out = []
    for said, effect, column in (
        ("lowest", acting.effect_low, "net_low"),
        ("assumed", acting.effect, "estimate"),
        ("highest", acting.effect_high, "net_high"),
    ):
        if rows.empty or not rows[column].max() > 0:
            out.append(
                {
                    "assumption": said,
                    "effect": effect,
                    "rule": "no one",
                    "threshold": np.nan,
                    "accounts": 0,
                    "net": 0.0,
                }
            )
            continue
        top = rows.loc[rows[column].idxmax()]
        out.append({"assumption": said, "effect": effect, "rule": top["rule"], "threshold": top["threshold"], "accounts": int(top["accounts"]), "net": top[column]})  # fmt: skip
    return pd.DataFrame(out)
