"""Promises kept by agent: what of the differences is real, and nobody named on a handful of promises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.columns import row_count, whole_sum
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import check_level
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.measures.actions_rows import Period
from collectlab.measures.debtors.promise_rows import promise_rows
from collectlab.measures.groups import natural

#: Standard deviations of the agents' true rates that are thought possible, as parts of the largest (√(μ (1 − μ))).
_SPREADS = np.linspace(0.004, 0.5, 125)


@dataclass(frozen=True, kw_only=True)
class KeptByAgent(Result):
    """Promises kept by agent, shrunken. ``spread``: standard deviation of the agents' true rates; ``p_value``: of alike."""

    spread: float = float("nan")
    p_value: float = float("nan")
    plottable = True

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Shrunken rate of each named agent, with its interval."""
        from collectlab.core.plots import dots

        rows = self.table[self.table["named"]].reset_index(drop=True)
        return dots(
            [("", rows)],
            [str(a) for a in rows["agent"]],
            unit="share",
            title=self.title,
            xlabel="Kept, shrunken",
            ax=ax,
        )


def kept_by_agent(
    book: Any,
    *,
    by: str = "agent",
    period: Period = None,
    least: int = 30,
    share: float = 0.9,
    grace: int = 3,
    conf_level: float = 0.95,
) -> KeptByAgent:
    r"""Promises kept of those due, by agent, shrunken to the average by as much as the differences are noise.

    With k_j kept of n_j due promises of agent j, and the true rates taken as drawn from a beta distribution,

    .. math:: k_j \sim \mathrm{Bin}(n_j, p_j), \quad p_j \sim \mathrm{Beta}(\mu s, (1-\mu) s),
              \qquad p_j \mid k_j \sim \mathrm{Beta}(\mu s + k_j, (1-\mu) s + n_j - k_j),

    μ the share of all. The spread of the true rates, √(μ (1 − μ) / (s + 1)), is not known either: it is taken as
    evenly distributed from about 0 to half of the largest possible before the data are seen, and the posterior is averaged
    over it (over all agents, also those not named). ``estimate`` is the posterior mean, the interval the posterior's.
    Agents with fewer than ``least`` promises due are not named: they stand together in one row. Debtors differ between
    agents: it is no judgement of anybody, and no effect.

    Parameters
    ----------
    book : Book
        With actions that name an ``agent``, and payments.
    by : str
        Column of actions: ``agent`` or ``team``.
    period : (date, date), optional
        First and last day of the promises; None is the whole book.
    least : int
        Promises due from which an agent is named, at least 5.
    share, grace
        As in :func:`collectlab.measures.actions.promises`.
    conf_level : float
        Level of the intervals.

    Returns
    -------
    KeptByAgent
        agent, named, due, observed, estimate, std_error, conf_low, conf_high.

    Raises
    ------
    NotAvailable
        No agents in the actions, or none with so many promises due.
    FrameError
        ``least`` below 5.

    References
    ----------
    Gelman (2006), Bayesian Analysis 1(3), 515–534, on priors for the spread of groups.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> book = open_book(simulate(accounts=2500, months=12, truth_accounts=0).book_tables)
    >>> table = kept_by_agent(book, least=10).table
    >>> bool((table.loc[table["named"], "due"] >= 10).all())
    True
    """
    check_level(conf_level)
    if not isinstance(least, int) or least < 5:
        raise FrameError(
            f"least is {least!r}. Allowed: whole numbers from 5 on, so that nobody is named on a few cases."
        )
    if by not in book.columns("actions"):
        raise NotAvailable(f"this book's actions name no {by}.")
    _, due, notes = promise_rows(book, (by,), period, share, grace)
    due = due.filter(~nw.col("__by0").is_null())
    cells = engine.collect(due.group_by("__by0").agg(n=row_count(), k=whole_sum("__kept")))
    if not len(cells):
        raise NotAvailable(f"no promise due in this book or period names its {by}.")
    cells["label"] = cells["__by0"].astype(str)
    cells = cells.sort_values("label", key=lambda c: c.map(natural), ignore_index=True)
    n, k = cells["n"].to_numpy(float), cells["k"].to_numpy(float)
    big = n >= least
    if not big.any():
        raise NotAvailable(f"no {by} has {least:,} promises due (most: {int(n.max()):,}), so none is named.")
    mean, strengths, weights, p_value = beta_binomial(n, k)
    n_shown, k_shown = np.append(n[big], n[~big].sum()), np.append(k[big], k[~big].sum())
    names = [*cells.loc[big, "label"], f"{int((~big).sum()):,} others with fewer than {least}"]
    if big.all():
        n_shown, k_shown, names = n_shown[:-1], k_shown[:-1], names[:-1]
    centre, error, low, high = _posterior(n_shown, k_shown, mean, strengths, weights, conf_level)
    table = pd.DataFrame(
        {
            by: names,
            "named": np.arange(len(names)) < big.sum(),
            "due": n_shown.astype("int64"),
            "observed": k_shown / n_shown,
            "estimate": centre,
            "std_error": error,
            "conf_low": low,
            "conf_high": high,
        }
    )
    # The rest together are no agent: their own share, unshrunken.
    if not big.all():
        from collectlab.core.jackknife import wilson

        p = k_shown[-1] / n_shown[-1]
        low, high = wilson(np.array([p]), np.array([n_shown[-1]]), conf_level)
        table.loc[len(table) - 1, ["estimate", "std_error", "conf_low", "conf_high"]] = [
            p, np.sqrt(p * (1 - p) / n_shown[-1]), low[0], high[0]
        ]  # fmt: skip
    spread = float(np.sum(weights * np.sqrt(mean * (1 - mean) / (strengths + 1))))
    alike = p_value > 1 - conf_level
    words = (
        f"The {len(n):,} {by}s cannot be told apart (p = {p_value:.2f}): what they differ by is what chance would bring."
        if alike
        else f"The {by}s differ by more than chance (p = {p_value:.3f}): their true rates spread by about "
        f"{format_value(spread, 'share')} around {format_value(mean, 'share')}."
    )
    return KeptByAgent(
        table=table,
        estimand=f"Promises kept of promises due, by {by}, shrunken (beta-binomial)",
        title=f"Promises kept, by {by}",
        notes=(words, f"Nobody is named below {least:,} promises due. Debtors differ between {by}s.", *notes),
        formats={"due": "count", "observed": "share", "named": "hidden"},
        conf_level=conf_level,
        spread=spread,
        p_value=p_value,
    )


def beta_binomial(n: np.ndarray, k: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, float]:
    """Mean of the agents' rates, strengths s = a + b thought possible with their weights, and p-value of all being alike.

    The p-value is Pearson's: Σ (k_j − n_j p)² / (n_j p (1 − p)) against chi-squared with J − 1 degrees of freedom.
    """
    from scipy import special, stats

    mean = float(np.clip(k.sum() / n.sum(), 1e-6, 1 - 1e-6))
    strengths = 1 / _SPREADS**2 - 1
    a, b = mean * strengths[:, None], (1 - mean) * strengths[:, None]
    likelihood = np.sum(special.betaln(a + k, b + n - k) - special.betaln(a, b), axis=1)
    weights = np.exp(likelihood - likelihood.max())
    squares = float(np.sum((k - n * mean) ** 2 / (n * mean * (1 - mean))))
    p_value = float(stats.chi2.sf(squares, len(n) - 1)) if len(n) > 1 else 1.0
    return mean, strengths, weights / weights.sum(), p_value


def _posterior(
    n: np.ndarray, k: np.ndarray, mean: float, strengths: np.ndarray, weights: np.ndarray, conf_level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean, deviation and central interval of each agent's rate, averaged over the strengths."""
    from scipy import special

    a = mean * strengths[:, None] + k
    b = (1 - mean) * strengths[:, None] + n - k
    each, inner = a / (a + b), a * b / ((a + b) ** 2 * (a + b + 1))
    centre = weights @ each
    variance = weights @ (inner + (each - centre) ** 2)
    # The interval is that of the beta distribution of the same mean and variance: the mixture's own is close to it.
    total = centre * (1 - centre) / variance - 1
    ends = [(1 - conf_level) / 2, (1 + conf_level) / 2]
    low, high = (special.betaincinv(centre * total, (1 - centre) * total, end) for end in ends)
    return centre, np.sqrt(variance), low, high
