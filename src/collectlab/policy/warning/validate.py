"""Rolling-origin validation: learn from months that were over, warn of the next, and see what came."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.columns import month_text
from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.jackknife import GROUPS, check_level, jackknife, shares, sums_at
from collectlab.core.plots import PALETTE, STYLE, legend, new_axes, percent_axis, titled
from collectlab.core.results import Result
from collectlab.policy.warning.checks import names_of, rows_of
from collectlab.policy.warning.features import FEATURES, SIMPLE, TARGETS
from collectlab.policy.warning.figures import (
    FIGURES,
    by_score,
    figures_of,
    replicates,
    stability,
    with_intervals,
)
from collectlab.policy.warning.model import FEWEST_EVENTS, fit_warning, usable

WARNING, RULE = "warning", "simple rule"
#: Months tested, months between two fits, and months learned from, unless told otherwise.
MONTHS, REFIT, HISTORY = 12, 6, 24


@dataclass(frozen=True, kw_only=True, repr=False)
class Validation(Result):
    """How well the warning did out of time.

    ``table``: measure, model (warning, simple rule, difference), estimate, std_error, conf_low, conf_high. Also
    ``by_month`` (month, n, events, share, auc, observed_expected with its interval, psi), ``by_segment``
    (segment, level, the same), ``calibration`` (tenth of chance: expected and observed) and ``capture``
    (share of account-months, share of events, by model); ``scored`` holds the tested rows with their chances.
    """

    target: str
    by_month: pd.DataFrame
    by_segment: pd.DataFrame
    calibration: pd.DataFrame
    capture: pd.DataFrame
    scored: pd.DataFrame
    plottable = True

    def plot(self, ax: Any = None) -> Any:
        """Left: what came of what was expected. Right: the share of events among those with the highest chances."""
        import matplotlib as mpl

        ax = new_axes(ax, figsize=(7.6, 3.5))
        grid = ax.figure.add_gridspec(1, 2)
        ax.set_subplotspec(grid[0, 0])
        with mpl.rc_context(STYLE):
            right = ax.figure.add_subplot(grid[0, 1])
        told = self.calibration
        top = 1.05 * float(np.nanmax([told["conf_high"].max(), told["chance"].max()]))
        ax.plot([0, top], [0, top], color="#888888", linewidth=0.8)
        reach = told[["conf_low", "conf_high"]].to_numpy().T - told["estimate"].to_numpy()
        ax.errorbar(told["chance"], told["estimate"], yerr=np.abs(reach), fmt="o", color=PALETTE[0], markersize=4, capsize=2)  # fmt: skip
        ax.set_xlim(0, top)
        ax.set_ylim(0, top)
        for axis in "xy":
            percent_axis(ax, axis)
            percent_axis(right, axis)
        ax.set_xlabel("Chance as warned")
        ax.set_ylabel("Share that came true")
        titled(ax, "Calibration by tenth of chance")
        for i, (name, part) in enumerate(self.capture.groupby("model", sort=False)):
            right.plot(
                part["warned"], part["caught"], color=PALETTE[i], linestyle=("-", "--")[i], label=str(name)
            )
        right.plot([0, 1], [0, 1], color="#888888", linewidth=0.8)
        right.set_xlim(0, 1)
        right.set_ylim(0, 1)
        right.set_xlabel("Share of accounts warned of")
        right.set_ylabel("Share of events among them")
        titled(right, "Capture")
        legend(right, loc="lower right")
        return ax


def rolling(
    rows: pd.DataFrame,
    *,
    target: str = "falls",
    features: Sequence[str] | None = None,
    forbidden: Collection[str] = (),
    months: int = MONTHS,
    refit: int = REFIT,
    history: int = HISTORY,
    by: Sequence[str] = ("product",),
    learn: Callable[[pd.DataFrame], Callable[[pd.DataFrame], np.ndarray]] | None = None,
    conf_level: float = 0.95,
) -> Validation:
    """Validate the warning as it would have been used: never a random split.

    For each tested month t the model is learned from rows whose outcome was known at t (months t − 1 and before, at
    most ``history`` of them; refitted every ``refit`` months), the rows of t are scored, and the outcome of t + 1
    tells. The bands, too, are cut from the learned months alone.

    Parameters
    ----------
    rows : pandas.DataFrame
        As :func:`~collectlab.policy.warning.rows.warning_rows` gives them.
    target : {"falls", "rolls"}
    features, forbidden
        As :func:`~collectlab.policy.warning.model.fit_warning` takes them.
    months : int
        How many of the last months with a known outcome are tested.
    refit, history : int
        Months between two fits; months learned from.
    by : sequence of str
        Columns whose levels are looked at apart (those that the rows have).
    learn : callable, optional
        A challenger: takes the rows to learn from, returns a function from rows to chances. Default: the logistic.
    conf_level : float

    Returns
    -------
    Validation
        The intervals are a jackknife over customers. What all accounts of a month have in common is not in them:
        look at ``by_month``.

    Raises
    ------
    NotAvailable
        No month can be tested with at least 30 events, and as many others, before it.
    FrameError
        ``months``, ``refit`` or ``history`` below 1; features that are not there.

    Examples
    --------
    >>> from collectlab.book.simulate import simulate
    >>> from collectlab.book.open import open_book
    >>> from collectlab.policy.warning.rows import warning_rows
    >>> book = open_book(simulate(accounts=600, months=12, truth_accounts=0).book_tables)
    >>> found = rolling(warning_rows(book), months=3)
    >>> bool(found.table.set_index(["measure", "model"])["estimate"]["auc", "warning"] > 0.6)
    True
    """
    for name, value in (("months", months), ("refit", refit), ("history", history)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise FrameError(f"{name} is {value!r}. Allowed: whole months ≥ 1.")
    check_level(conf_level)
    rows = rows_of(rows, "outcome", "month", "customer_id")
    by = names_of(by, "by")
    if learn is not None and not callable(learn):
        raise FrameError(f"learn is {learn!r}. Allowed: a function of the rows to learn from.")
    usable(rows, target, features, forbidden)
    known = rows[rows["outcome"].notna()]
    scored = _score(known, target, features, forbidden, months, refit, history, learn)
    group = replicates(scored["customer_id"])
    y = scored["outcome"].to_numpy(float)
    table = _compared(scored, y, group, conf_level)
    by = [c for c in by if c in scored and scored[c].nunique() > 1]
    return Validation(
        table=table,
        estimand=f"Out of time: {TARGETS[target]}",
        unit="number",
        title="How well the warning does on months it had not seen",
        notes=(
            f"{len(scored):,} account-months of {scored['month'].nunique()} months, {int(y.sum()):,} events. Each month was "
            f"scored by a model learned from what was known by then (refitted every {refit} months).",
            f"The simple rule knows {' and '.join(SIMPLE[target]).replace('_', ' ')} alone. Intervals: jackknife over customers.",
        ),
        formats={"estimate": "number"},
        conf_level=conf_level,
        target=target,
        by_month=_apart(scored, y, group, "month", conf_level),
        by_segment=pd.concat(
            [
                _apart(scored, y, group, c, conf_level).rename(columns={c: "level"}).assign(segment=c)
                for c in by
            ]
            or [pd.DataFrame()],
            ignore_index=True,
        ),
        calibration=_deciles(scored["chance"].to_numpy(), y, group, conf_level),
        capture=_curves(scored, y),
        scored=scored.drop(columns=[c for c in scored if c in FEATURES and c not in (*by, "balance")]),
    )


def _score(
    known: pd.DataFrame,
    target: str,
    features: Sequence[str] | None,
    forbidden: Collection[str],
    months: int,
    refit: int,
    history: int,
    learn: Callable | None,
) -> pd.DataFrame:
    """The tested months' rows with the chance by the warning and by the simple rule."""
    all_months = np.unique(known["month"])
    # The first month that can be tested has enough before it.
    events = known.groupby("month")["outcome"].agg(["sum", "size"]).reindex(all_months).cumsum().shift()
    ready = events[(events["sum"] >= FEWEST_EVENTS) & (events["size"] - events["sum"] >= FEWEST_EVENTS)]
    tested = [m for m in all_months if m in ready.index][-months:]
    if not tested:
        raise NotAvailable(
            f"{int(known['outcome'].sum()):,} events in {len(all_months)} months with a known outcome: no month has "
            f"{FEWEST_EVENTS} events, and as many account-months without, before it, so no warning can be tested."
        )
    simple = [c for c in SIMPLE[target] if c in known]
    parts = []
    for start in range(0, len(tested), refit):
        block = tested[start : start + refit]
        seen = known[(known["month"] < block[0]) & (known["month"] >= block[0] - history)]
        try:
            rule = fit_warning(seen, target=target, features=simple).score
        except NotAvailable:  # One band only: everybody alike.
            share = float(seen["outcome"].mean())
            rule = lambda rows, share=share: np.full(len(rows), share)  # noqa: E731
        score = (
            fit_warning(seen, target=target, features=features, forbidden=forbidden).score
            if learn is None
            else learn(seen)
        )
        then = _chances(score(seen), len(seen))
        for m in block:
            part = known[known["month"] == m]
            chance = np.clip(_chances(score(part), len(part)), 1e-6, 1 - 1e-6)
            part = part.assign(
                chance=chance, rule=np.clip(rule(part), 1e-6, 1 - 1e-6), psi=stability(then, chance)
            )
            parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _chances(given: Any, rows: int) -> np.ndarray:
    """A challenger's chances: one number from 0 to 1 for each row."""
    chances = np.asarray(given, dtype=float)
    if chances.shape != (rows,) or not ((chances >= 0) & (chances <= 1)).all():
        raise FrameError(
            f"learn: of {rows:,} rows it gives chances of shape {chances.shape}, or some outside 0 to 1 or missing. "
            "Allowed: one chance from 0 to 1 for each row."
        )
    return chances


def _compared(scored: pd.DataFrame, y: np.ndarray, group: np.ndarray, conf_level: float) -> pd.DataFrame:
    """The figures of the warning and of the simple rule, and how much more the warning ranks right."""
    tables = []
    counts, means = [], []
    for name, column in ((WARNING, "chance"), (RULE, "rule")):
        chance = scored[column].to_numpy()
        found = with_intervals(chance, y, group, conf_level)
        tables.append(pd.DataFrame(dict(zip(_INTERVAL, found))).assign(model=name, measure=list(FIGURES)))
        binned, mean = by_score(chance, y, group)
        counts.append(binned)
        means.append(mean)
    size = counts[0].shape[1]
    both = np.concatenate(counts, axis=1)

    def gain(c: np.ndarray) -> np.ndarray:
        first, second = c[:size], c[size:]
        return figures_of(first[:, 0], first[:, 1], means[0]) - figures_of(
            second[:, 0], second[:, 1], means[1]
        )

    _, error, low, high = jackknife(both.sum(axis=0), both, gain, conf_level)
    more = tables[0]["estimate"] - tables[1]["estimate"]
    reach = (high - low) / 2
    difference = pd.DataFrame(
        {"estimate": more, "std_error": error, "conf_low": more - reach, "conf_high": more + reach}
    )
    tables.append(difference.assign(model="difference", measure=list(FIGURES)))
    table = pd.concat(tables, ignore_index=True)
    return table[["measure", "model", *_INTERVAL]]


_INTERVAL = ("estimate", "std_error", "conf_low", "conf_high")


def _apart(
    scored: pd.DataFrame, y: np.ndarray, group: np.ndarray, column: str, conf_level: float
) -> pd.DataFrame:
    """The figures level by level of a column."""
    out = []
    for level, place in sorted(
        scored.groupby(column, observed=True).indices.items(), key=lambda kv: str(kv[0])
    ):
        chance, came = scored["chance"].to_numpy()[place], y[place]
        found = with_intervals(chance, came, group[place], conf_level, fine=100)
        at = list(FIGURES).index
        out.append(
            {
                column: month_text(level) if column == "month" else level,
                "n": len(place),
                "events": int(came.sum()),
                "share": came.mean(),
                "expected": chance.mean(),
                "auc": found[0][at("auc")],
                "auc_low": found[2][at("auc")],
                "auc_high": found[3][at("auc")],
                "observed_expected": found[0][at("observed_expected")],
                "oe_low": found[2][at("observed_expected")],
                "oe_high": found[3][at("observed_expected")],
                "psi": scored["psi"].to_numpy()[place].mean(),
            }
        )
    return pd.DataFrame(out)


def _deciles(chance: np.ndarray, y: np.ndarray, group: np.ndarray, conf_level: float) -> pd.DataFrame:
    """Expected and observed by tenth of the chance."""
    edges = np.unique(np.quantile(chance, np.arange(1, 10) / 10))
    # Where many share a chance, there are fewer bands than ten.
    tenth = np.unique(np.searchsorted(edges, chance, side="left"), return_inverse=True)[1]
    size = int(tenth.max()) + 1
    n, events = np.bincount(tenth, minlength=size), np.bincount(tenth, y, size)
    whole = sums_at((group, tenth), np.ones(len(y)), (GROUPS, size))
    part = sums_at((group, tenth), y, (GROUPS, size))
    estimate, error, low, high = shares(part, whole, n, conf_level)
    table = pd.DataFrame(
        {"tenth": np.arange(1, size + 1), "n": n, "events": events.astype(int), "chance": np.bincount(tenth, chance, size) / n,
         "estimate": estimate, "std_error": error, "conf_low": low, "conf_high": high}
    )  # fmt: skip
    return table


def _curves(scored: pd.DataFrame, y: np.ndarray, points: int = 101) -> pd.DataFrame:
    parts = []
    for name, column in ((WARNING, "chance"), (RULE, "rule")):
        counts, _ = by_score(scored[column].to_numpy(), y)
        n, events = counts[0].T
        warned = np.linspace(0, 1, points)
        seen, caught = (np.concatenate([[0.0], np.cumsum(v)]) / v.sum() for v in (n, events))
        parts.append(
            pd.DataFrame({"model": name, "warned": warned, "caught": np.interp(warned, seen, caught)})
        )
    return pd.concat(parts, ignore_index=True)
