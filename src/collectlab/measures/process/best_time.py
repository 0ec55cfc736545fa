"""When calls reach the debtor: hour × weekday, as it is and within the same accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import flag, row_count, whole_sum
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import GROUPS, jackknife, sums_at
from collectlab.core.plots import new_axes, titled
from collectlab.core.tables import format_value, humanise
from collectlab.measures.actions_rows import Period, rows
from collectlab.measures.process._rows import spoken, whole
from collectlab.measures.process.contactability import _listed
from collectlab.measures.ratios import Given, Measures, Ratio, measured

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
#: Attempts at an account are told apart up to this one; all later ones are alike.
_NUMBERED = 5


@dataclass(frozen=True, kw_only=True)
class BestTime(Measures):
    """Contact rate by weekday and hour.

    Attributes
    ----------
    p_value : float
        That all times do equally well within accounts (χ² of the within-account effects, by the
        jackknife's errors); missing with fewer than two times.
    spread : float
        Standard deviation of the true differences between times (0: chance explains them all).
    spread_high : float
        Upper bound of ``spread`` (Q profile: Viechtbauer 2007, Statistics in Medicine 26, 37–52).
    """

    p_value: float = float("nan")
    spread: float = float("nan")
    spread_high: float = float("nan")

    @property
    def differs(self) -> bool:
        """Whether some time does better than another beyond chance."""
        return self.spread > 0 and self.p_value < 1 - self.conf_level

    def plot(self, measure: str = "shrunken", ax: Axes | None = None) -> Axes:  # type: ignore[override]
        """Weekdays down, hours across, the rate written in each cell."""
        found = self.table[self.table["measure"] == measure]
        if found.empty:
            raise FrameError(f"measure is {measure!r}. Allowed: {', '.join(self.table['measure'].unique())}.")
        wide = found.pivot(index="weekday", columns="from_hour", values="estimate")
        wide = wide.reindex([d for d in WEEKDAYS if d in wide.index])
        values = wide.to_numpy(float)
        ax = new_axes(ax, figsize=(7.2, 1.2 + 0.36 * len(wide)))
        middle = float(np.nanmean(values))
        # the scale is fixed around the mean, so that differences of a point do not look like day and night
        reach = max(0.10, float(np.nanmax(np.abs(values - middle))))
        ax.imshow(values, cmap="Blues", vmin=middle - 1.3 * reach, vmax=middle + 1.3 * reach, aspect="auto")
        for i, j in np.ndindex(values.shape):
            if np.isfinite(values[i, j]):
                text = format_value(round(values[i, j], 2), "share").replace(".0 %", "")
                dark = values[i, j] > middle + 0.5 * reach
                ax.text(
                    j, i, text, ha="center", va="center", fontsize=8.5, color="white" if dark else "black"
                )
        ax.set_xticks(range(values.shape[1]), [f"{h}:00" for h in wide.columns])
        ax.set_yticks(range(len(wide)), list(wide.index))
        ax.set_xlabel("From hour (local time)")
        ax.grid(visible=False)
        return titled(ax, f"{self.title}, {humanise(measure).lower()} (%)")


def best_time(
    book: Any,
    *,
    channels: Sequence[str] = ("call",),
    hours: int = 2,
    minimum: int = 30,
    period: Period = None,
    conf_level: float = 0.95,
) -> BestTime:
    r"""Share of calls that reach the debtor, by weekday and hour of the day (local time).

    Who is called when is not random: those at work may be called in the evening, and hard cases more
    often. So three figures stand side by side.

    * ``raw`` — calls at that time that reached the debtor / calls with a known result;
    * ``within_accounts`` — the same at equal accounts: with :math:`y_{ai}` whether call i to account a
      reached the debtor, least squares of :math:`y_{ai} = \alpha_a + \tau_{s(ai)} + \gamma_{k(ai)} + e_{ai}`
      (s the time, k the call's number within the account, 1 to 5 and later), shown as the overall rate plus
      :math:`\tau_s` less its mean over calls. An account called at one time only says nothing here;
    * ``shrunken`` — that, drawn towards the overall rate as far as chance explains the differences: weight
      :math:`\sigma^2 / (\sigma^2 + se_s^2)`, σ² the variance between times by DerSimonian & Laird (1986),
      Controlled Clinical Trials 7, 177–188. Its interval takes σ² as known, and is missing where σ² is 0.

    Parameters
    ----------
    book : Book
        With actions (connected or outcome).
    channels : sequence of str
        What counts as a call.
    hours : int
        Width of a time slot in hours: a divisor of 24.
    minimum : int
        Slots with fewer calls are left out (and counted in the notes).
    period : (date, date), optional
        First and last day of the calls; None is the whole book.
    conf_level : float
        Level of the intervals, which respect the customers.

    Returns
    -------
    BestTime

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=600, months=6, truth_accounts=0).book_tables)
    >>> found = best_time(book, hours=6)
    >>> sorted(found.table["measure"].unique())
    ['raw', 'shrunken', 'within_accounts']
    """
    if whole("hours", hours, 1) > 24 or 24 % hours:
        raise FrameError(f"hours is {hours}. Allowed: a divisor of 24, such as 1, 2, 3 or 4.")
    whole("minimum", minimum, 1)
    frame, _ = rows(book, "actions", "at", None, period)
    names = frame.collect_schema().names()
    if not {"connected", "outcome"} & set(names):
        raise NotAvailable("this book's actions have neither connected nor outcome.")
    known = nw.lit(False)
    for column in ("connected", "outcome"):
        known = known | ~nw.col(column).is_null() if column in names else known
    frame = frame.filter(nw.col("channel").is_in(_listed(channels)) & known).select(
        "__account", "__rep", __at=nw.col("at"),
        __slot=(nw.col("at").dt.weekday() - 1).cast(nw.Int64) * 24 + nw.col("at").dt.hour().cast(nw.Int64) // hours * hours,
        __reached=flag(spoken(names)),
    ).with_columns(__nth=nw.col("__at").rank("ordinal").over("__account").cast(nw.Int64))  # fmt: skip
    nth = nw.when(nw.col("__nth") > _NUMBERED).then(nw.lit(_NUMBERED + 1)).otherwise(nw.col("__nth"))
    cells = engine.collect(
        frame.with_columns(__nth=nth.cast(nw.Int64))
        .group_by("__account", "__rep", "__slot", "__nth")
        .agg(n=row_count(), y=whole_sum("__reached"))
    )
    if cells.empty:
        raise NotAvailable(f"there are no {', '.join(channels)} with a known result in this book or period.")
    by_slot = cells.groupby("__slot")["n"].sum()
    slots = by_slot.index[by_slot >= minimum].to_numpy()
    thin = int(by_slot[by_slot < minimum].sum())
    if len(slots) < 2:
        raise NotAvailable(f"fewer than two times of the week have {minimum} calls with a known result.")
    cells = cells[cells["__slot"].isin(slots)].sort_values(["__account", "__slot", "__nth"], kind="stable")
    raw, effects = _effects(cells, slots)
    within = jackknife(
        effects.sum(axis=0), effects, lambda sums: _adjusted(sums, len(slots)), conf_level, present=None
    )
    shrunken, spread, spread_high, p_value = _shrunken(within, raw, conf_level)
    groups = pd.DataFrame(
        {"weekday": [WEEKDAYS[s // 24] for s in slots], "from_hour": [int(s % 24) for s in slots]}
    )
    notes = [
        "Who is called when is not random: the raw rates also tell who is called then.",
        "Within accounts no time does better than another beyond chance."
        if spread == 0 or p_value >= 1 - conf_level
        else "Within accounts the times differ by more than chance; that still is no experiment.",
    ]
    if thin:
        notes.append(f"{thin:,} calls at times with fewer than {minimum} are left out.")
    return measured(
        groups, ["weekday", "from_hour"],
        {
            "raw": Ratio(raw["reached"], raw["calls"]),
            "within_accounts": Given(within),
            "shrunken": Given(shrunken),
        },
        {"calls": raw["calls"].sum(axis=0)},
        conf_level,
        kind=BestTime,
        estimand="Share of calls that reach the debtor, by the time they are made; within accounts: at equal accounts and call numbers",
        title="When calls reach the debtor",
        shown=("raw", "within_accounts"),
        notes=tuple(notes),
        formats={"from_hour": "count", "calls": "count"},
        p_value=p_value,
        spread=spread,
        spread_high=spread_high,
    )  # fmt: skip


def _effects(cells: pd.DataFrame, slots: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Counts (R, S), and by replicate group the normal equations [X'MX | X'My | calls, reached per column].

    X are dummies of the slots and of the call's number; M takes the account's mean out.
    """
    s = np.searchsorted(slots, cells["__slot"].to_numpy())
    k = len(slots) + cells["__nth"].to_numpy(int) - 1
    columns = len(slots) + _NUMBERED + 1
    rep = cells["__rep"].to_numpy(int)
    n, y = cells["n"].to_numpy(float), cells["y"].to_numpy(float)
    account = np.cumsum(np.r_[0, cells["__account"].to_numpy()[1:] != cells["__account"].to_numpy()[:-1]])
    size, reached = np.bincount(account, n), np.bincount(account, y)
    gram = np.zeros((GROUPS, columns, columns + 3))
    for a, b in ((s, s), (k, k), (s, k), (k, s)):
        np.add.at(gram, (rep, a, b), n)
    for a in (s, k):
        np.add.at(gram, (rep, a, columns), y - n * (reached / size)[account])
        np.add.at(gram, (rep, a, columns + 1), n)
        np.add.at(gram, (rep, a, columns + 2), y)
    # less Σ over accounts of (column sums) (column sums)' / calls: pairs of cells of one account
    one = pd.DataFrame(
        {"a": np.r_[account, account], "c": np.r_[s, k], "r": np.r_[rep, rep], "n": np.r_[n, n]}
    )
    one = one.groupby(["a", "c", "r"], sort=True, as_index=False)["n"].sum()
    two = one.merge(one[["a", "c", "n"]], on="a", suffixes=("", "2"))
    shared = two["n"] * two["n2"] / size[two["a"]]
    np.add.at(gram, (two["r"].to_numpy(), two["c"].to_numpy(), two["c2"].to_numpy()), -shared.to_numpy())
    shape = (GROUPS, len(slots))
    return {"calls": sums_at((rep, s), n, shape), "reached": sums_at((rep, s), y, shape)}, gram


def _adjusted(sums: np.ndarray, slots: int) -> np.ndarray:
    """(S,) overall rate plus each slot's effect less the mean effect over calls."""
    columns = sums.shape[0]
    calls, reached = sums[:slots, columns + 1], sums[:slots, columns + 2]
    # The slots' dummies sum to one, as the call numbers' do, so the effects are found up to a constant each:
    # the least-norm solution, centred, is any of them centred.
    effect = np.linalg.lstsq(sums[:, :columns], sums[:, columns], rcond=1e-9)[0][:slots]
    return reached.sum() / calls.sum() + effect - (effect * calls).sum() / calls.sum()


def _shrunken(
    within: Sequence[np.ndarray], raw: dict[str, np.ndarray], conf_level: float
) -> tuple[list[np.ndarray], float, float, float]:
    """Empirical Bayes towards the overall rate; the spread between times and its upper bound; p that there is none."""
    from scipy.stats import chi2, norm

    estimate, error = within[0], within[1]
    overall = float(raw["reached"].sum() / raw["calls"].sum())
    good = np.isfinite(error) & (error > 0)
    weight = np.where(good, 1 / np.where(good, error, 1.0) ** 2, 0.0)
    middle = (weight * np.where(good, estimate, 0)).sum() / weight.sum()
    q, degrees = float((weight * (np.where(good, estimate, middle) - middle) ** 2).sum()), good.sum() - 1
    scale = weight.sum() - (weight**2).sum() / weight.sum()
    variance = max(0.0, (q - degrees) / scale) if degrees > 0 else 0.0
    share = np.where(good, variance / (variance + np.where(good, error, 1.0) ** 2), 0.0)
    value = overall + share * (np.where(good, estimate, overall) - overall)
    spread = np.sqrt(share) * np.where(good, error, 0.0)
    # with no variance to be seen, "all alike" is a finding of this estimate, not a certainty: no interval
    spread = np.where(spread > 0, spread, np.nan)
    reach = float(norm.ppf((1 + conf_level) / 2)) * spread
    p_value = float(chi2.sf(q, degrees)) if degrees > 0 else float("nan")
    high = _spread_high(estimate[good], error[good], conf_level) if degrees > 0 else float("nan")
    return [value, spread, value - reach, value + reach], float(np.sqrt(variance)), high, p_value


def _spread_high(estimate: np.ndarray, error: np.ndarray, conf_level: float) -> float:
    """The spread at which so small a Q as was seen comes up in (1 − conf_level) / 2 of the books."""
    from scipy.optimize import brentq
    from scipy.stats import chi2

    least = chi2.ppf((1 - conf_level) / 2, len(estimate) - 1)

    def excess(spread: float) -> float:
        weight = 1 / (error**2 + spread**2)
        middle = (weight * estimate).sum() / weight.sum()
        return float((weight * (estimate - middle) ** 2).sum() - least)

    # a share differs from another by no more than 1, so their spread is no more than one half
    if excess(0.0) <= 0:
        return 0.0
    return float(brentq(excess, 0.0, 0.5)) if excess(0.5) < 0 else 0.5
