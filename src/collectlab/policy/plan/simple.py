"""The best plan that people can run: one action for each stage of days past due, two bands of amounts at most.

The linear programme of :mod:`collectlab.policy.plan.solve` may give every state its own action, and split a state
between two. A team leader needs a sheet. Here each stage (and amount band, if asked) gets one action; the best such
sheet within the same capacity is found as a mixed-integer programme, and what the simplicity costs is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.jackknife import check_level
from collectlab.core.results import Result
from collectlab.policy.plan.compare import plan_values, state_parts
from collectlab.policy.plan.model import DecisionModel
from collectlab.policy.plan.plan_worth import check_capacity, occupancy
from collectlab.policy.plan.simple_search import AS_NOW, best_options, optimism, shaped
from collectlab.policy.plan.states import States

if TYPE_CHECKING:
    from collectlab.policy.plan.solve import Plan

_TOLERANCE = 1e-6
_PICKED = (
    "All within the same capacity. A plan picked as the best looks better than it is; corrected: less what chance adds to "
    "the best sheet. The full plan has more freedom to follow chance, so that simplicity costs this much at most."
)


@dataclass(frozen=True, kw_only=True)
class SimplePlan(Result):
    """The sheet, the plan it means for every state, and what it is worth beside the full plan.

    Attributes
    ----------
    share : numpy.ndarray, (states, actions)
        The plan; each row sums to 1.
    use : dict of str to float
        What it uses of each limited resource a month.
    values : pandas.DataFrame
        plan, estimate, std_error, conf_low, conf_high: money a month of the full plan, the simple one, the strategy
        in force, and the differences.
    residuals : dict of str to float
        Largest violation of the flow, of a capacity and of a share, rechecked apart from the solver.
    """

    share: np.ndarray
    use: Mapping[str, float]
    values: pd.DataFrame
    residuals: Mapping[str, float]

    def sheet(self) -> str:
        """The rules in one line each, to hang up.

        Returns
        -------
        str
        """
        lines = []
        for row in self.table.to_dict("records"):
            where = "" if row["amount"] == "any" else f", {row['amount']}"
            lines.append(f"{row['days_past_due']} days past due{where}: {row['action']}")
        return "\n".join(lines)

    def cost_of_simplicity(self) -> Result:
        """What the plans are worth a month, and the differences between them.

        Returns
        -------
        Result
        """
        return Result(
            table=self.values,
            estimand="expected net money a month under each plan, within the same capacity; net as in the plan's worth",
            unit="money",
            title="What simplicity costs",
            notes=(_PICKED,),
            formats={"estimate": "Net a month"},
            conf_level=self.conf_level,
        )


def simple_plan(
    model: DecisionModel,
    capacity: Mapping[str, float],
    *,
    by_amount: bool = True,
    monotone: bool = False,
    order: Sequence[str] | None = None,
    forbidden: np.ndarray | None = None,
    full: Plan | None = None,
    conf_level: float = 0.95,
) -> SimplePlan:
    r"""The best sheet of rules within the capacity, and what it gives up against the full plan.

    Each stage of days past due (and each amount band) gets one action, or stays as now:

    .. math:: \max_{z \in \{0,1\}} \sum_{s,k} x_{sk} r_{sk} \quad\text{with}\quad
       \sum_k x_{s'k} = b_{s'} + \delta \sum_{s,k} x_{sk} P_k(s' \mid s),\;
       \sum_{s,k} x_{sk} u_{sk} \le c,\; x_{sk} \le M_s z_{g(s)k},\; \sum_k z_{gk} = 1,

    where :math:`M_s` is the most account-months that state *s* can see under any plan, and option *k* is an action
    or "as now". The chosen sheet is then solved again on its own, and its flow and use of capacity rechecked.

    With draws, the simple plan's gain is also told corrected for optimism: the best of many sheets looks better than
    it is, by the mean over draws of (gain in the draw whose best sheet it is − gain in the point estimate).

    Parameters
    ----------
    model : DecisionModel
        Its states must begin with their days past due, such as ``"15–29 | large"`` or ``"180+"``.
    capacity : mapping of str to float
        Units a month of what ``model.uses`` counts.
    by_amount : bool
        Whether large and small amounts may have different actions.
    monotone : bool
        Whether a later stage must be worked at least as hard as an earlier one; "as now" is then no option.
    order : sequence of str, optional
        The actions from light to hard, for ``monotone``; by default in the order of the agent-hours they use (or of
        the first resource of the capacity).
    forbidden : bool (states, actions), optional
        What may not be done at all; there everything stays as now.
    full : Plan, optional
        The full plan of the same capacity, where it is known already; by default it is solved for.
    conf_level : float
        Level of the intervals, taken from the model's draws.

    Returns
    -------
    SimplePlan
        ``table``: days_past_due, amount, action, now, account_months (a month, under the plan).

    Raises
    ------
    FrameError
        States without days past due; a capacity the model does not know or that is negative; no sheet fits the
        capacity (says which limit is too low, and the least that any sheet uses).

    Examples
    --------
    Calling early pays 10 more and takes an hour; late it brings nothing. There are 50 hours.

    >>> import numpy as np
    >>> from collectlab.policy.plan.model import DecisionModel
    >>> stay = np.zeros((2, 2, 2)); stay[0, :, 1] = [0.5, 0.3]
    >>> model = DecisionModel.of(
    ...     states=("1–29", "30+"), actions=("letter", "call"), exits=("cured",), move=stay,
    ...     leave=1 - stay.sum(axis=2, keepdims=True), reward=[[5, 15], [2, 2]],
    ...     uses={"agent_hours": [[0, 1], [0, 1]]}, inflow=[40, 0], in_force=[[1, 0], [1, 0]])
    >>> print(simple_plan(model, {"agent_hours": 50}).sheet())
    1–29 days past due: call
    30+ days past due: as now
    """
    from collectlab.policy.plan.solve import Plan, allocate

    check_level(conf_level)
    capacity = {k: v for k, v in check_capacity(model, capacity).items() if np.isfinite(v)}
    if full is not None and not isinstance(full, Plan):
        raise FrameError(
            f"full is a {type(full).__name__}. Needed: a plan of the same model, as allocate gives."
        )
    full = full or allocate(model, capacity, forbidden=forbidden, uncertain=False)
    if forbidden is not None:
        model = replace(model, tried=model.tried & ~np.asarray(forbidden, dtype=bool))
    rules = _rules(model.states, by_amount)
    ranks = _ranks(model, capacity, order) if monotone else None
    shape = shaped(model, rules["rule"].to_numpy(), _neighbours(rules) if monotone else (), ranks)
    chosen = best_options(model, capacity, shape)
    words = [shape.options[k] for k in chosen]
    share = _share(model, rules, words)
    months = occupancy(model.move, share, model.inflow, model.discount)
    use = {name: float((months[:, None] * share * u).sum()) for name, u in model.uses.items()}
    residuals = _residuals(model, share, months, use, capacity)
    plans = {"full plan": full.best, "simple plan": share, "as now": np.asarray(model.in_force, dtype=float)}
    pairs = [("full plan", "simple plan"), ("simple plan", "as now")]
    values = plan_values(model, plans, pairs, conf_level)
    flattered = optimism(model, shape, chosen, full.prices)
    gain = values[values["plan"] == "simple plan less as now"]
    shift = {c: gain[c] - flattered for c in ("estimate", "conf_low", "conf_high")}
    values = pd.concat(
        [values, gain.assign(plan="simple plan less as now, corrected", **shift)], ignore_index=True
    )
    table, exceptions = _sheet(model, rules, words, months)
    notes = [
        "One action a rule; found among all sheets of this shape, within the same capacity as the full plan.",
    ]
    if exceptions > 0.0005:
        notes.append(
            f"In {100 * exceptions:.1f} % of the account-months the rule's action was never tried enough: "
            "there everything stays as now."
        )
    return SimplePlan(
        table=table,
        estimand="the best one action for each stage and amount within the capacity, by expected net money a month",
        unit="number",
        title="The plan as a sheet",
        notes=tuple(notes),
        formats={"account_months": "count"},
        conf_level=conf_level,
        share=share,
        use=use,
        values=values,
        residuals=residuals,
    )


def _rules(states: Sequence[str], by_amount: bool) -> pd.DataFrame:
    """One row a state: its rule's number, stage and amount band; the rules in order of days past due."""
    parts = state_parts(states)
    parts["amount"] = ["any"] * len(parts)
    if by_amount and any("large" in words for words in parts["words"]):
        parts["amount"] = ["large" if "large" in words else "small" for words in parts["words"]]
    keys = parts[["dpd_from", "band", "amount"]].drop_duplicates().sort_values(["dpd_from", "amount"])
    keys["rule"] = range(len(keys))
    return parts.merge(keys, on=["dpd_from", "band", "amount"], how="left")


def _neighbours(rules: pd.DataFrame) -> tuple[tuple[int, int], ...]:
    """Pairs of rules for the same amounts, a stage and the next."""
    keys = rules.drop_duplicates("rule").sort_values(["amount", "dpd_from"])
    return tuple(p for _, stages in keys.groupby("amount", sort=True) for p in pairwise(stages["rule"]))


def _ranks(model: DecisionModel, capacity: Mapping[str, float], order: Sequence[str] | None) -> np.ndarray:
    """For each option how hard it works an account; "as now" has no rank."""
    if order is not None:
        if sorted(order) != sorted(model.actions):
            raise FrameError(
                f"order: {first_few(list(order))} must name each action once. "
                f"Allowed: {first_few(list(model.actions))}."
            )
        place = {action: i for i, action in enumerate(order)}
        return np.array([place[a] for a in model.actions])
    by = "agent_hours" if "agent_hours" in model.uses else next(iter([*capacity, *model.uses]), None)
    if by is None:
        raise FrameError("order: the model knows no use of anything, so which action is harder must be told.")
    months = occupancy(model.move, np.asarray(model.in_force), model.inflow, model.discount)
    worked = months @ np.asarray(model.uses[by], dtype=float)
    return np.argsort(np.argsort(worked, kind="stable"), kind="stable")


def _share(model: DecisionModel, rules: pd.DataFrame, words: Sequence[str]) -> np.ndarray:
    """The plan the sheet means: its action where that was tried, as now elsewhere."""
    share = np.array(model.in_force, dtype=float)
    for s, g in enumerate(rules["rule"]):
        if words[g] != AS_NOW:
            a = model.actions.index(words[g])
            if model.tried[s, a]:
                share[s] = np.eye(len(model.actions))[a]
    return share


def _residuals(model, share, months, use, capacity) -> dict[str, float]:
    """The chosen plan rechecked apart from the solver: flow, shares, capacity (relative)."""
    moved = np.einsum("sat,sa,s->t", model.move, share, months)
    found = {
        "flow": float(np.abs(months - model.inflow - model.discount * moved).max()),
        "share": float(np.abs(share.sum(axis=1) - 1).max()),
        "sign": float(max(0.0, -months.min())),
        "capacity": max([max(0.0, use[n] - c) / max(1.0, c) for n, c in capacity.items()], default=0.0),
    }
    scale = max(1.0, float(np.max(months)))
    if max(found["flow"] / scale, found["share"], found["sign"] / scale, found["capacity"]) > _TOLERANCE:
        raise ArithmeticError(f"the sheet found does not hold when it is solved again: {found}")
    return found


def _sheet(model, rules, words, months) -> tuple[pd.DataFrame, float]:
    """The rules as rows, neighbours with the same action drawn together; and the share left as now."""
    force = np.asarray(model.in_force, dtype=float)
    rows = []
    for g, states in rules.groupby("rule", sort=True):
        index = states.index.to_numpy()
        weight = months[index] if months[index].sum() > 0 else np.ones(len(index))
        rows.append(
            {
                "low": int(states["dpd_from"].iloc[0]),
                "high": float(states["dpd_to"].iloc[0]),
                "amount": states["amount"].iloc[0],
                "action": words[g],
                "mix": weight @ force[index] / weight.sum(),
                "account_months": float(months[index].sum()),
            }
        )
    rows = _together(rows)
    table = pd.DataFrame(
        {
            "days_past_due": [_days(r["low"], r["high"]) for r in rows],
            "amount": [_amount(r["amount"], getattr(model, "grid", None)) for r in rows],
            "action": [r["action"] for r in rows],
            "now": [_mix(r["mix"], model.actions) for r in rows],
            "account_months": [r["account_months"] for r in rows],
        }
    )
    told = np.array([words[g] for g in rules["rule"]])
    named = np.array([np.nan if w == AS_NOW else model.actions.index(w) for w in told])
    left = np.array([not np.isnan(a) and not model.tried[s, int(a)] for s, a in enumerate(named)])
    return table, float(months[left].sum() / months.sum()) if months.sum() else 0.0


def _together(rows: list[dict]) -> list[dict]:
    """First the two amounts of a stage, then stages that follow one another, where their action is the same."""
    stages: dict[int, list[dict]] = {}
    for row in rows:
        stages.setdefault(row["low"], []).append(row)
    out: list[dict] = []
    for low in sorted(stages):
        alike = stages[low]
        if len(alike) > 1 and len({r["action"] for r in alike}) == 1:
            alike = [_add(alike, alike[0] | {"amount": "any"})]
        last = [r for r in out if r["high"] + 1 == low]
        if [(r["amount"], r["action"]) for r in last] == [(r["amount"], r["action"]) for r in alike]:
            out = [r for r in out if r["high"] + 1 != low]
            out += [_add([a, b], a | {"high": b["high"]}) for a, b in zip(last, alike)]
        else:
            out += alike
    return out


def _add(rows: list[dict], named: dict) -> dict:
    months = sum(r["account_months"] for r in rows)
    weight = [r["account_months"] / months if months else 1 / len(rows) for r in rows]
    return named | {"account_months": months, "mix": sum(w * r["mix"] for w, r in zip(weight, rows))}


def _days(low: int, high: float) -> str:
    return f"{low}+" if np.isinf(high) else f"{low}" if high == low else f"{low}–{high:.0f}"


def _amount(word: str, grid: States | None) -> str:
    """``1,752 or more past due`` where the cut is known."""
    if word == "any":
        return word
    if grid is None or grid.amount is None or not np.isfinite(grid.amount):
        return f"{word} amounts"
    return f"{grid.amount:,.0f} or more" if word == "large" else f"below {grid.amount:,.0f}"


def _mix(mix: np.ndarray, actions: Sequence[str]) -> str:
    """``champion 60 %, standard 40 %``: what is in force now, from the most frequent on."""
    order = sorted(range(len(actions)), key=lambda a: (-round(float(mix[a]), 3), actions[a]))
    shown = [f"{actions[a]} {100 * mix[a]:.0f} %" for a in order if mix[a] >= 0.005]
    return ", ".join(shown)
