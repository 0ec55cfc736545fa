"""Dose and response: what one contact more does, by how many there were in the six days before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core import tables
from collectlab.core.errors import FrameError
from collectlab.core.jackknife import check_level
from collectlab.core.plots import dots
from collectlab.core.tables import humanise
from collectlab.effects.effect_result import EffectResult
from collectlab.effects.pressure import fits
from collectlab.effects.pressure.checks import checks
from collectlab.effects.pressure.days import TOP, ContactDays, contact_days
from collectlab.measures.actions_rows import Period
from collectlab.measures.ratios import with_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Contacted account-days that a step must have to be told, and complaints after them.
ENOUGH, ENOUGH_COMPLAINTS = 50, 10
STEPS = ("1st", "2nd", "3rd", "4th", f"{TOP + 1}th and further")
#: Outcome -> its unit, and what its figures are multiplied by.
UNITS = {
    "cured": ("points", 1.0),
    "paid": ("money2", 1.0),
    "cost": ("money2", 1.0),
    "complaint": ("number", 1000.0),
}
SPOKEN = {"cured": "cure", "paid": "payment", "complaints_per_1000": "complaints"}
NAMES = {"complaint": "complaints_per_1000"}


@dataclass(frozen=True, kw_only=True)
class DoseResponse(EffectResult):
    """The effect of one more contact, adjusted and naive.

    ``table``: ``outcome, unit, method`` (adjusted, naive), ``contact`` (which one of the last seven days it is; "any":
    all), ``days, contacted`` (account-days, and those with a contact), estimate, interval, p_value.
    ``covariance`` is that of the adjusted estimates of ``outcomes`` × steps, in the outcomes' own units.
    """

    horizon: int = 30
    channels: tuple[str, ...] = ("call",)
    outcomes: tuple[str, ...] = ()
    adjusted: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)), repr=False, compare=False)
    covariance: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)), repr=False, compare=False)
    unit_cost: float = float("nan")
    plottable = True

    def steps(self, outcome: str, method: str = "adjusted") -> pd.DataFrame:
        """The rows of one outcome and method by step, without "any"."""
        table = self.table
        rows = table[
            (table["outcome"] == outcome) & (table["method"] == method) & (table["contact"] != "any")
        ]
        if rows.empty:
            raise FrameError(f"outcome is {outcome!r}. Allowed: {', '.join(table['outcome'].unique())}.")
        return rows.reset_index(drop=True)

    def display_table(self) -> pd.DataFrame:
        """One row per step; the adjusted effects side by side, and the naive one on cure."""
        shown = pd.DataFrame()
        wanted = [(o, "adjusted") for o in dict.fromkeys(self.table["outcome"]) if o != "cost"]
        for outcome, method in (wanted[0], ("cured", "naive"), *wanted[1:]):
            rows = self.table[(self.table["outcome"] == outcome) & (self.table["method"] == method)]
            rows = rows.reset_index(drop=True)
            if shown.empty:
                shown = rows[["contact", "days", "contacted"]].copy()
            name = outcome if method == "adjusted" else f"{outcome}, as it looks"
            shown[name] = [
                with_interval(*values)
                for values in rows[["estimate", "conf_low", "conf_high", "unit"]].itertuples(index=False)
            ]
        shown = shown[shown["contacted"] >= ENOUGH]  # the notes say which steps are not told
        texts = dict.fromkeys(shown.columns[3:], "text")
        shown = tables.display_table(shown.reset_index(drop=True), formats={**self.formats, **texts})
        heads = {
            "Contact": "Which in 7 days",
            "Complaints per 1000": "Complaints per 1,000",
        }
        return shown.drop(columns="Days").rename(columns=heads)

    def plot(self, outcome: str = "cured", ax: Axes | None = None) -> Axes:
        """Adjusted against naive, by step."""
        told = self.steps(outcome)["estimate"].notna().to_numpy()
        series = [
            ("allowing for who is contacted", self.steps(outcome)[told]),
            ("as it looks", self.steps(outcome, "naive")[told]),
        ]
        rows = series[0][1]
        unit = rows["unit"].iloc[0] if len(rows) else "points"
        points = ", percentage points" if unit == "points" else ""
        return dots(
            series,
            [f"{step} in 7 days" for step in rows["contact"]],
            unit=unit,
            title=f"One more {self.channels[0] if len(self.channels) == 1 else 'contact'}: effect on {SPOKEN.get(outcome, outcome)}",
            xlabel=f"{humanise(outcome)} within {self.horizon} days, with minus without{points}",
            zero=True,
            ax=ax,
        )


def dose_response(
    book: Any,
    *,
    channels: Sequence[str] = ("call",),
    period: Period = None,
    horizon: int = 30,
    conf_level: float = 0.95,
) -> DoseResponse:
    """What one more contact today changes, by how many were made in the six days before.

    Each day on which an account is overdue and on the work list is a small trial: today a contact is made or not,
    and afterwards all goes on as it would. For the k-th contact in seven days (k − 1 in the six days before),

        τ_k = E[Y(contact today) − Y(no contact today) | k − 1 before],

    weighted by how much the day could have gone either way (overlap weights). Y: cured (back to current, by payment or
    relief), CNY paid, CNY spent on actions, complaints, all within ``horizon`` days, today included. Looking at days
    rather than at a week's total keeps out that who cures on Tuesday is not called on Friday.

    Contacts are not drawn by lot: harder cases get more. Compared are days of the same history: days past due,
    amount left, weekday, strategy, contacts, their answers, promises, payments, complaints and relief before that
    morning, and the account's score, income and place. The chance e(x) of a contact is a logistic regression, the
    expected outcome m(x) a linear one, and the effect the regression of Y − m on A − e (Robinson), with errors by
    customer. What the book does not hold could still explain the difference: suggestive at best.

    Parameters
    ----------
    book : Book
        With actions and payments; complaints and assignments where there.
    channels : sequence of str
        What counts as a contact.
    period : (date, date), optional
        First and last day of the contacts; None is the whole book.
    horizon : int
        Days of follow-up, the day of the contact included.
    conf_level : float

    Returns
    -------
    DoseResponse
        Checks: ``known_at_start``, ``overlap``, ``balance``, ``placebo_outcome`` (today's contact does not "cause" a
        payment in the week before), ``complaints`` (enough of them), ``hours`` (never made: payments bear no hour).

    Raises
    ------
    NotAvailable
        No actions or payments, no such channel, or no account-day followed to the end.
    FrameError
        A horizon or channels that are none.

    References
    ----------
    Robinson (1988), Econometrica 56. Chernozhukov et al. (2018), Econometrics Journal 21. Li, Morgan & Zaslavsky
    (2018), JASA 113, on overlap weights. Hernán, Brumback & Robins (2000), Epidemiology 11, on treatments that vary
    over time.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=600, months=8, truth_accounts=0).book_tables)
    >>> response = dose_response(book)
    >>> response.steps("cured")["contact"].tolist()[:2]
    ['1st', '2nd']
    """
    check_level(conf_level)
    days = contact_days(
        book, tuple(channels), period, int(horizon) if isinstance(horizon, np.integer) else horizon
    )
    return response_of(days, tuple(channels), horizon, conf_level)


def response_of(
    days: ContactDays, channels: tuple[str, ...], horizon: int, conf_level: float
) -> DoseResponse:
    """The dose–response of account-days."""
    from scipy.special import ndtri

    y = days.outcomes.to_numpy(float)
    x, names = fits.design(days.covariates)
    e, b = fits.chances(x, days.treated)
    m = fits.expected(x, y)
    group, cluster = days.dose.astype(int), days.cluster
    contacted = np.bincount(group, weights=days.treated, minlength=TOP + 1)
    found = {"adjusted": (e, m), "naive": _naive(days, y)}
    rows, adjusted, covariance = [], np.zeros((0, 0)), np.zeros((0, 0))
    for method, (chance, mean) in found.items():
        by_step = fits.effects(y, mean, days.treated, chance, np.where(group > TOP, TOP, group), cluster)
        whole = fits.effects(y, mean, days.treated, chance, np.zeros(len(group), int), cluster)
        if method == "adjusted":
            adjusted, covariance = by_step.estimate, by_step.covariance
        rows += _rows(method, days, by_step, STEPS[: len(by_step.estimate)], group)
        rows += _rows(method, days, whole, ("any",), np.zeros(len(group), int))
    table = pd.DataFrame(rows)
    quantile = float(ndtri((1 + conf_level) / 2))
    table["conf_low"] = table["estimate"] - quantile * table["std_error"]
    table["conf_high"] = table["estimate"] + quantile * table["std_error"]
    table["p_value"] = _p_values(table)
    order = {name: i for i, name in enumerate(days.outcomes.columns)}
    table = table.sort_values(
        ["outcome", "method"], key=lambda c: c.map(order) if c.name == "outcome" else c, kind="stable"
    )
    table["outcome"] = table["outcome"].replace(NAMES)
    table = table.reset_index(drop=True)
    head = table[
        (table["outcome"] == "cured") & (table["method"] == "adjusted") & (table["contact"] == "any")
    ]
    what = channels[0] if len(channels) == 1 else "contact"
    few = [step for step, n in zip(STEPS, contacted) if n < ENOUGH]
    notes = [
        f"{len(group):,} account-days overdue of {len(np.unique(days.account)):,} accounts, {int(days.treated.sum()):,} "
        f"of them with a {what}; {horizon} days of follow-up.",
        *days.notes,
        *(
            [f"Not told, as there are fewer than {ENOUGH}: the {', '.join(few)} in seven days."]
            if few
            else []
        ),
        "As it looks: days with a contact less days without, as they are.",
        "Standard errors are robust to dependence within customers.",
    ]
    return DoseResponse(
        table=table,
        estimand=(
            f"What one {what} more today changes within {horizon} days, against none today and all else going on as it "
            "would: share cured, money paid, complaints; for the 1st, 2nd, … in seven days"
        ),
        unit="points",
        title=f"What one more {what} does",
        notes=(*notes, "Days that could have gone either way count most."),
        formats={"days": "count", "contacted": "count"},
        conf_level=conf_level,
        design="comparison",
        checks=checks(days, x, names, e, b, ENOUGH, horizon),
        headline=int(head.index[0]) if len(head) else 0,
        horizon=horizon,
        channels=channels,
        outcomes=tuple(days.outcomes.columns),
        adjusted=adjusted,
        covariance=covariance,
        unit_cost=days.unit_cost,
    )


def _naive(days: ContactDays, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The chance and the mean outcome of all days of the same step."""
    dose = days.dose.astype(int)
    n = np.maximum(np.bincount(dose), 1)
    e = (np.bincount(dose, weights=days.treated) / n)[dose]
    m = np.stack([(np.bincount(dose, weights=y[:, k]) / n)[dose] for k in range(y.shape[1])], axis=1)
    return e, m


def _rows(
    method: str, days: ContactDays, found: fits.Effects, steps, group: np.ndarray
) -> list[dict[str, Any]]:
    outcomes = list(days.outcomes.columns)
    n = np.bincount(group, minlength=len(steps))
    contacted = np.bincount(group, weights=days.treated, minlength=len(steps))
    errors = np.sqrt(np.maximum(np.diag(found.covariance), 0)).reshape(found.estimate.shape)
    rows = []
    for k, outcome in enumerate(outcomes):
        unit, scale = UNITS[outcome]
        events = np.bincount(
            group, weights=days.treated * (days.outcomes[outcome].to_numpy() > 0), minlength=len(steps)
        )
        for s, step in enumerate(steps):
            told = contacted[s] >= ENOUGH and (outcome != "complaint" or events[s] >= ENOUGH_COMPLAINTS)
            rows.append(
                {
                    "outcome": outcome,
                    "unit": unit,
                    "method": method,
                    "contact": step,
                    "days": int(n[s]),
                    "contacted": int(contacted[s]),
                    "estimate": scale * found.estimate[s, k] if told else np.nan,
                    "std_error": scale * errors[s, k] if told else np.nan,
                }
            )
    return rows


def _p_values(table: pd.DataFrame) -> np.ndarray:
    from scipy.special import ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        return 2 * ndtr(-np.abs(table["estimate"] / table["std_error"]).to_numpy(float))
