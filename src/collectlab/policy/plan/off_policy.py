"""What a plan that nobody has tried would bring, from the log of what was done: off-policy evaluation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.results import Result
from collectlab.policy.plan import off_policy_math as maths
from collectlab.policy.plan.model import DecisionModel, decision_model
from collectlab.policy.plan.off_policy_plan import plan_shares

__all__ = ["OffPolicy", "off_policy"]

#: An action counts as untried where the plan takes it more than so many times as often as the log, or the log never.
MOST_TIMES = 20.0
#: The log cannot support a plan of whose account-months more than this share lies in untried actions,
MOST_UNTRIED = 0.05
#: or for which it is worth fewer customers than this,
LEAST_EFFECTIVE = 50.0
#: or where five customers hold more than this share of the weight.
MOST_HELD = 0.25
#: Below this share of the plan's months, a log's courses do not follow the plan.
LEAST_COURSE = 0.95
FOLDS = 5
HEADLINE = "doubly robust"


@dataclass(frozen=True, kw_only=True, repr=False)
class OffPolicy(Result):
    """The value of a plan per account that falls past due, from a log of other treatment.

    ``table`` has one row a method: ``method, estimate, std_error, conf_low, conf_high, effective`` (what the log is
    worth, in customers). ``direct``: the decision model. ``importance sampling`` and ``doubly robust`` weigh each month
    by the plan's mix of states; ``…, whole course`` by all that was done in the episode so far, which needs no belief
    that the states hold all that matters, and is missing where the log never changes a treatment that the plan
    changes. All are missing where the log cannot support the plan; ``refused`` says why.

    Attributes
    ----------
    estimate, conf_low, conf_high : float
        The doubly robust value with its interval.
    refused : tuple of str
        Why the log cannot support the plan, and what would be needed; empty where it can.
    overlap : pandas.DataFrame
        One row a month of the episode: ``month, account_months, effective`` (Kish), ``largest`` (share of weight
        on the five largest customers), ``plan_months`` (expected account-months per entering account).
    untried : pandas.DataFrame
        ``state, action, rows, share`` of the plan's account-months in actions the log hardly has.
    episodes, customers : int
    """

    overlap: pd.DataFrame = field(default_factory=pd.DataFrame)
    untried: pd.DataFrame = field(default_factory=pd.DataFrame)
    refused: tuple[str, ...] = ()
    episodes: int = 0
    customers: int = 0

    def _headline(self, column: str) -> float:
        return float(self.table.loc[self.table["method"] == HEADLINE, column].iloc[0])

    @property
    def estimate(self) -> float:
        return self._headline("estimate")

    @property
    def conf_low(self) -> float:
        return self._headline("conf_low")

    @property
    def conf_high(self) -> float:
        return self._headline("conf_high")


def off_policy(
    rows: pd.DataFrame,
    plan: Any,
    *,
    model: DecisionModel | None = None,
    months: int = 12,
    prices: Mapping[str, float] | None = None,
    folds: int = FOLDS,
    conf_level: float = 0.95,
    seed: int = 20261031,
) -> OffPolicy:
    r"""Value a plan from logged months, before anyone tries it.

    Estimand: the expected net money (the model's reward: − cost − Σ price × use, plus what is paid unless what stays
    unpaid at the exit has a price; discounted to the episode's first month-end) in the first ``months`` months of an episode, per account that falls past due, were the plan followed
    from its first month-end on. The doubly robust value is the mean over episodes of

    .. math:: V_0(s_0) + \sum_t \gamma^t \frac{w_t(s_t)}{G_t}\frac{\pi(a_t \mid s_t)}{b(a_t \mid s_t, x_t)}
              \,[\, r_t + \gamma V_{t+1}(s_{t+1}) - Q_t(s_t, a_t)\,]

    with V and Q of a decision model fitted on the other folds of customers, b the chance of the action (logged where
    it was drawn by lot in the episode's first month, else a multinomial logit on what the month's beginning
    shows), w the plan's mix of states in month t over the log's, and G the share of episodes whose months up to t
    were seen to their end (the log's end cuts the youngest off, whatever their state). It is right if either
    the model or the chances are, and if the states hold what matters of the past; the whole-course versions (π/b
    multiplied over the episode) do not need the latter. Intervals take customers as clusters.

    Parameters
    ----------
    rows : pandas.DataFrame
        As :func:`~collectlab.policy.plan.rows.decision_rows` gives them.
    plan : mapping, DataFrame, array or Plan
        As in :func:`~collectlab.policy.plan.off_policy_plan.plan_shares`.
    model : DecisionModel, optional
        Whose states, actions, prices and discount hold; by default fitted on ``rows``.
    months : int
        The horizon, 1 to 60.
    prices : mapping, optional
        As in :func:`~collectlab.policy.plan.model.decision_model`, where no model is given.
    folds : int
        Folds of customers, 2 to 20.
    conf_level : float
    seed : int
        Of the folds.

    Returns
    -------
    OffPolicy

    Raises
    ------
    FrameError
        A plan that names unknown states or actions or whose shares do not sum to 1; numbers out of range.
    NotAvailable
        No episode was seen from its first month-end on.

    References
    ----------
    Jiang, Li (2016), Doubly robust off-policy value evaluation for reinforcement learning, ICML.
    Thomas, Brunskill (2016), Data-efficient off-policy policy evaluation for reinforcement learning, ICML.
    Xie, Ma, Wang (2019), Towards optimal off-policy evaluation with marginalized importance sampling, NeurIPS.
    Kallus, Uehara (2020), Double reinforcement learning in Markov decision processes, JMLR 21.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> from collectlab.policy.plan.rows import States, decision_rows
    >>> bank = simulate(accounts=3_000, months=15, problems=(), truth_accounts=0)
    >>> few = States(days_past_due=(1, 30, 90), amount=float("inf"), score=(), reached=False)
    >>> rows = decision_rows(open_book(bank.book_tables), states=few)
    >>> found = off_policy(rows, {state: "champion" for state in sorted(set(rows["state"]))}, months=6)
    >>> found.refused, bool(found.conf_low < found.estimate < found.conf_high)
    ((), True)
    """
    faults = [
        f"{name} = {value!r}. Allowed: whole numbers from {low} to {high}."
        for name, value, low, high in (("months", months, 1, 60), ("folds", folds, 2, 20))
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high
    ]
    if not 0 < conf_level < 1:
        faults.append(f"conf_level = {conf_level}. Allowed: above 0, below 1.")
    if faults:
        raise FrameError(faults)
    model = model or decision_model(rows, prices=prices)
    share = plan_shares(model, plan)
    c = maths.cohort(rows, model, months)
    if not c.known.any():
        raise NotAvailable(
            "no episode is seen from its first month-end to a month later under a known action."
        )
    start = np.bincount(c.state[(c.month == 0) & (c.state >= 0)], minlength=len(model.states)).astype(float)
    start /= start.sum()

    chance = maths.chances(c, len(model.actions))
    bands = pd.factorize(np.array([state.split(" | ")[0] for state in model.states]))[0]
    weights = maths.weigh(c, share, chance, bands, months)
    overlap = _overlap(c, weights, model, share, start, months)
    untried = _untried(model, share, start, months)
    effective, largest = _kish(np.bincount(c.customer, weights.by_state * weights.seen))
    refused = _refusals(untried, effective, largest)

    fold, tables = _cross_fitted(rows, c, model, share, months, folds, seed)
    methods = {
        "importance sampling": (weights.by_state, None),
        HEADLINE: (weights.by_state, tables),
        "importance sampling, whole course": (weights.by_course, None),
        f"{HEADLINE}, whole course": (weights.by_course, tables),
    }
    first = c.month == 0
    customer = np.zeros(c.episodes, int)
    customer[c.episode[first]] = c.customer[first]
    found = [_direct(model, share, start, months)]
    for name, (weight, values) in methods.items():
        score = maths.scores(c, weight, weights.seen, values, fold, model.discount, months)
        estimate, error = float(score.mean()), _clustered(score, customer)
        if name.endswith("whole course") and weights.supported < LEAST_COURSE:
            estimate, error = math.nan, math.nan
        found.append((name, estimate, error, _kish(np.bincount(c.customer, weight * weights.seen))[0]))
    table = _table(found, conf_level, bool(refused))
    return OffPolicy(
        table=table,
        estimand=f"net money per account that falls past due, over {months} months, were the plan followed",
        unit="money",
        title="Value of the plan, from the log",
        notes=(*refused, *_notes(c, weights, len(refused) == 0)),
        formats={"effective": "count"},
        conf_level=conf_level,
        overlap=overlap,
        untried=untried,
        refused=refused,
        episodes=c.episodes,
        customers=len(np.unique(customer)),
    )


def _cross_fitted(rows, c, model, share, months, folds, seed):
    """For each fold of customers, V and Q of a model fitted on the others; and each month's fold."""
    names = np.sort(rows["customer_id"].unique())
    order = np.random.default_rng(seed).permutation(len(names)) % folds
    of = pd.Series(order, index=names)
    tables = []
    for number in range(folds):
        rest = rows[rows["customer_id"].map(of).to_numpy() != number]
        rest.attrs.update(rows.attrs)
        other = decision_model(
            rest, prices=model.prices, annual_rate=model.discount**-12 - 1, draws=0, seed=seed
        )
        move, reward = _aligned(other, model)
        tables.append(maths.horizon_values(move, reward, share, model.discount, months))
    return c.rows["customer_id"].map(of).to_numpy(), tables


def _aligned(other: DecisionModel, model: DecisionModel) -> tuple[np.ndarray, np.ndarray]:
    """The fold's moves and rewards in the whole model's states; where the fold has none, the whole model's own."""
    if other.states == model.states and other.actions == model.actions:
        return other.move, other.reward
    s = pd.Index(other.states).get_indexer(model.states)
    a = pd.Index(other.actions).get_indexer(model.actions)
    has = (s >= 0)[:, None] & (a >= 0)[None, :]
    move, reward = model.move.copy(), model.reward.copy()
    x, y = np.nonzero(has)
    to = np.flatnonzero(s >= 0)
    move[x, y] = 0.0
    move[x[:, None], y[:, None], to[None, :]] = other.move[s[x][:, None], a[y][:, None], s[to][None, :]]
    reward[x, y] = other.reward[s[x], a[y]]
    return move, reward


def _direct(model: DecisionModel, share: np.ndarray, start: np.ndarray, months: int):
    estimate = float(
        maths.horizon_values(model.move, model.reward, share, model.discount, months)[0][-1] @ start
    )
    if model.draws is None:
        return "direct", estimate, math.nan, math.nan
    drawn = []
    for move, reward, inflow in zip(model.draws.move, model.draws.reward, model.draws.inflow):
        value = maths.horizon_values(move, reward, share, model.discount, months)[0][-1]
        drawn.append(value @ inflow / inflow.sum() if inflow.sum() > 0 else math.nan)
    return "direct", estimate, float(np.nanstd(drawn, ddof=1)), math.nan


def _clustered(score: np.ndarray, customer: np.ndarray) -> float:
    """Standard error of the mean, customers as clusters."""
    codes = np.unique(customer, return_inverse=True)[1]
    sums = np.bincount(codes, score - score.mean())
    n = len(sums)
    return float(np.sqrt((sums**2).sum() * n / (n - 1)) / len(score)) if n > 1 else math.nan


def _kish(weight: np.ndarray) -> tuple[float, float]:
    """Effective number of equal weights, and the share of the five largest."""
    total = weight.sum()
    if not total > 0:
        return 0.0, 1.0
    return float(total**2 / (weight**2).sum()), float(np.sort(weight)[-5:].sum() / total)


def _overlap(c, weights, model, share, start, months) -> pd.DataFrame:
    found, here = [], start.astype(float)
    for t in range(months):
        at = c.known & (c.month == t)
        effective, largest = _kish(
            np.bincount(c.customer[at], weights.by_state[at], 1) if at.any() else np.zeros(1)
        )
        found.append((t + 1, int(at.sum()), effective, largest, float(here.sum())))
        here = np.einsum("s,sa,sat->t", here, share, model.move)
    return pd.DataFrame(found, columns=["month", "account_months", "effective", "largest", "plan_months"])


def _untried(model, share, start, months) -> pd.DataFrame:
    """Where the plan treats accounts more than ``MOST_TIMES`` as often as the log ever did."""
    months_in = maths.occupancy(model, share, start, months)
    part = months_in / months_in.sum()
    wanted = share * model.n.sum(axis=1, keepdims=True)
    s, a = np.nonzero((part > 0) & ((model.n == 0) | (model.n * MOST_TIMES < wanted)))
    table = pd.DataFrame(
        {
            "state": np.array(model.states, object)[s],
            "action": np.array(model.actions, object)[a],
            "rows": model.n[s, a],
            "share": part[s, a],
        }
    )
    return table.sort_values(["share", "state", "action"], ascending=[False, True, True]).reset_index(
        drop=True
    )


def _refusals(untried: pd.DataFrame, effective: float, largest: float) -> tuple[str, ...]:
    found = []
    if (total := untried["share"].sum()) > MOST_UNTRIED:
        cells = [
            f"{row.action} in “{row.state}” ({row.rows} rows, {100 * row.share:.1f} % of the plan's months)"
            for row in untried.itertuples()
        ]
        found.append(
            f"The log cannot support the plan: {100 * total:.1f} % of its account-months are in actions hardly ever "
            f"tried there: {first_few(cells, 3)}. Allowed: {100 * MOST_UNTRIED:g} %. Needed: a trial of these actions in "
            "these states, or a plan without them."
        )
    if effective < LEAST_EFFECTIVE:
        found.append(
            f"The log cannot support the plan: after weighting it is worth {effective:.0f} customers. Allowed: "
            f"{LEAST_EFFECTIVE:.0f} or more. Needed: about {LEAST_EFFECTIVE / max(effective, 1):.1f} times the customers "
            "treated as the plan would treat them, or a plan closer to what was done."
        )
    if largest > MOST_HELD:
        found.append(
            f"The log cannot support the plan: five customers hold {100 * largest:.0f} % of the weight. Allowed: "
            f"{100 * MOST_HELD:.0f} %. Needed: more customers treated as the plan would treat them."
        )
    return tuple(found)


def _notes(c: maths.Cohort, weights: maths.Weighted, supported: bool) -> tuple[str, ...]:
    cut = int((~c.known).sum())
    notes = [
        f"{c.episodes:,} episodes seen from their first month-end; {cut:,} are cut off before their end or the horizon "
        "(by the log's end, mostly), and those seen longer stand for them.",
    ]
    if supported and weights.supported < LEAST_COURSE:
        notes.append(
            f"The log hardly ever changes a treatment within an episode, and the plan does: only "
            f"{100 * max(weights.supported, 0):.0f} % of its months have a course that was ever seen. The value rests on "
            "the states holding what matters of the past."
        )
    return tuple(notes)


def _table(found: list[tuple], conf_level: float, refused: bool) -> pd.DataFrame:
    from scipy.stats import norm

    z = float(norm.ppf(0.5 + conf_level / 2))
    table = pd.DataFrame(found, columns=["method", "estimate", "std_error", "effective"])
    if refused:
        table[["estimate", "std_error"]] = math.nan
    table["conf_low"] = table["estimate"] - z * table["std_error"]
    table["conf_high"] = table["estimate"] + z * table["std_error"]
    return table[["method", "estimate", "std_error", "conf_low", "conf_high", "effective"]]
