"""The plan under other limits, costs and stages: worked out in well under a second, to be moved by sliders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from collectlab.core import plots
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.policy.plan.compare import plan_values, state_parts
from collectlab.policy.plan.limits import Limits, load_limits
from collectlab.policy.plan.model import DecisionModel, decision_model
from collectlab.policy.plan.plan_worth import occupancy, value
from collectlab.policy.plan.rows import EXITS, decision_rows
from collectlab.policy.plan.solve import allocate
from collectlab.policy.plan.states import States

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from collectlab.book.open import Book
    from collectlab.policy.plan.explore_widgets import Explorer

#: Draws behind the intervals: enough for two figures, few enough to redraw at once.
DRAWS = 60
#: The capacities that a slider moves; the others of capacity.yml hold as they are.
MOVED = ("agent_hours", "visits")
#: Days past due on which the second and the late stage may begin; the others are fixed.
SECOND_STAGE = (8, 15, 22)
LATE_STAGE = (75, 90, 120)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where the sliders stand.

    Attributes
    ----------
    agent_hours, visits : float
        What there is a month.
    agent_hour, complaint : float
        What one costs.
    second_stage, late_stage : int
        First day past due of these stages.
    """

    agent_hours: float
    visits: float
    agent_hour: float
    complaint: float
    second_stage: int = 15
    late_stage: int = 90


@dataclass(frozen=True, kw_only=True)
class Look(Result):
    """The best plan for one setting: what to do by days past due, what it is worth, and what limits it.

    Attributes
    ----------
    table : pandas.DataFrame
        days_past_due, accounts (a month), now, plan.
    values : pandas.DataFrame
        plan (as now, best plan, best plan less as now), estimate, std_error, conf_low, conf_high: money a month.
    limits : pandas.DataFrame
        resource, limit, now, plan, one_more (money that one more unit a month would bring).
    setting : Setting
    """

    values: pd.DataFrame
    limits: pd.DataFrame
    setting: Setting
    plottable = True

    def plot(self, ax: Axes | None = None, **options: Any) -> Axes:
        """Net money a month as now and under the best plan, with intervals.

        Parameters
        ----------
        ax : matplotlib Axes, optional

        Returns
        -------
        matplotlib Axes
        """
        rows = self.values.iloc[:2]
        colours = [plots.PALETTE[6], plots.PALETTE[0]]
        return plots.dots(
            [("", rows)],
            list(rows["plan"]),
            unit="money",
            title="Net money a month",
            xlabel="",
            colours=colours,
            ax=ax,
        )

    def capacity(self) -> Result:
        """What there is, what is used, and what one more would bring.

        Returns
        -------
        Result
        """
        return Result(
            table=self.limits,
            estimand="use a month as now and under the best plan, and the net money that one more unit would bring",
            unit="number",
            title="What limits it",
            formats={"limit": "number", "one_more": "money"},
        )


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The rows of a book, counted once, and where the sliders stand at first."""

    rows: pd.DataFrame
    limits: Limits
    start: Setting
    _models: dict[tuple[int, int], DecisionModel] = field(default_factory=dict, repr=False, compare=False)

    def model(self, second_stage: int = 15, late_stage: int = 90) -> DecisionModel:
        """The decision model with these stages; counted once.

        Parameters
        ----------
        second_stage, late_stage : int

        Returns
        -------
        DecisionModel
        """
        key = (int(second_stage), int(late_stage))
        if key not in self._models:
            later = [cut for cut in States().days_past_due if cut > max(key[1], 90)]
            rows = restated(self.rows, tuple(sorted({1, key[0], 30, 60, key[1], *later})))
            self._models[key] = decision_model(
                rows,
                capacity_params=self.limits.minutes,
                prices=self.limits.prices,
                annual_rate=self.limits.annual_rate,
                draws=DRAWS,
            )
        return self._models[key]

    def look(self, **moved: float) -> Look:
        """The best plan with some sliders moved.

        Parameters
        ----------
        **moved : float
            Fields of :class:`Setting`; the others stay where they start.

        Returns
        -------
        Look

        Raises
        ------
        Infeasible
            No plan keeps to the capacity; says which limit.
        """
        setting = replace(self.start, **moved)
        model = self.model(setting.second_stage, setting.late_stage)
        dearer = setting.agent_hour - self.limits.hour_cost
        model = priced(model, {**self.limits.prices, "complaints": setting.complaint}, dearer)
        capacity = {**self.limits.at_least_today(model)[0], **{k: getattr(setting, k) for k in MOVED}}
        forbidden = self.limits.forbidden(model) & ~(model.in_force > 0)
        plan = allocate(model, capacity, forbidden=forbidden, uncertain=False)
        values = plan_values(
            model, {"as now": model.in_force, "best plan": plan.best}, [("best plan", "as now")]
        )
        limits = _limits(model, {k: capacity[k] for k in MOVED}, plan)
        return Look(
            table=_by_stage(model, plan.best),
            estimand="what to do by days past due so that most money comes in net within the limits",
            unit="number",
            title="The best plan",
            notes=(
                headline(values, limits),
                "Found on the same data as it is valued on: its lead over now is flattered. The report's plan keeps only "
                "what is beyond noise.",
            ),
            formats={"accounts": "count"},
            values=values,
            limits=limits,
            setting=setting,
        )

    def controls(self) -> Explorer:
        """The sliders, with the plan below them.

        Returns
        -------
        Explorer
        """
        from collectlab.policy.plan.explore_widgets import Explorer

        for second in SECOND_STAGE:  # so that the first move of a stage is as quick as the others
            self.model(second, self.start.late_stage)
        for late in LATE_STAGE:
            self.model(self.start.second_stage, late)
        return Explorer(self)


def open_desk(book: Book | str | Path, params: str | Path = "params", *, month: str | None = None) -> Desk:
    """Count a book's months once, for the explorer.

    Parameters
    ----------
    book : Book, or what :func:`collectlab.open_book` takes
    params : path
        Folder with capacity.yml and costs.yml.
    month : str, optional
        ``YYYY-MM``: as known at its end; by default all of the book.

    Returns
    -------
    Desk
        ``look(agent_hours=…)`` for one setting, ``controls()`` for sliders.

    Raises
    ------
    NotAvailable
        No assignments, or one month of history.

    Examples
    --------
    >>> from collectlab.book.simulate import simulate
    >>> from collectlab.book.open import open_book
    >>> desk = open_desk(open_book(simulate(accounts=400, months=8, truth_accounts=0).book_tables))
    >>> desk.look().table.columns.tolist()
    ['days_past_due', 'accounts', 'now', 'plan']
    """
    from collectlab.book.open import Book, open_book

    book = book if isinstance(book, Book) else open_book(book)
    if month is not None:
        year, number = (int(part) for part in month.split("-"))
        book = book.until((pd.Timestamp(year, number, 1) + pd.offsets.MonthEnd(0)).date())
    limits = load_limits(params, book.as_of)
    if limits.hour_cost != limits.hour_cost:  # no price of an hour: the slider starts from none
        limits = replace(limits, hour_cost=0.0)
    rows = decision_rows(book, unit_costs=limits.unit_costs)
    start = Setting(
        agent_hours=0, visits=0, agent_hour=limits.hour_cost, complaint=limits.prices["complaints"]
    )
    desk = Desk(rows=rows, limits=limits, start=start)
    there = limits.at_least_today(desk.model())[0]
    today = value(desk.model(), desk.model().in_force).amounts
    start = replace(start, **{k: float(np.ceil(there.get(k, today[k]))) for k in MOVED})
    return replace(desk, start=start, _models=desk._models)


def restated(rows: pd.DataFrame, days_past_due: tuple[int, ...]) -> pd.DataFrame:
    """The same months with the stages cut on other days.

    Parameters
    ----------
    rows : pandas.DataFrame
        As :func:`~collectlab.policy.plan.rows.decision_rows` gives them, none left out in between.
    days_past_due : tuple of int

    Returns
    -------
    pandas.DataFrame

    Examples
    --------
    >>> rows = pd.DataFrame({"account_id": ["a", "a"], "days_past_due": [10, 40], "state": ["", ""],
    ...                      "next_state": ["30–59", "cured"]})
    >>> restated(rows, (1, 8, 30))[["state", "next_state"]].values.tolist()
    [['8–29', '30+'], ['30+', 'cured']]
    """
    grid = replace(rows.attrs.get("states", States(amount=float("inf"))), days_past_due=days_past_due)
    out = rows.copy()
    out["state"] = grid.key(rows)
    stays = rows["next_state"].notna() & ~rows["next_state"].isin(EXITS)
    out["next_state"] = out["state"].shift(-1).where(stays, rows["next_state"])
    out.attrs["states"] = grid
    return out


def priced(model: DecisionModel, prices: Mapping[str, float], agent_hour: float = 0.0) -> DecisionModel:
    """The model at other prices, an agent's hour dearer (or cheaper) by ``agent_hour`` than the book has it.

    Parameters
    ----------
    model : DecisionModel
    prices : mapping
        Use → money for one, on top of the cost.
    agent_hour : float

    Returns
    -------
    DecisionModel

    Examples
    --------
    >>> model = DecisionModel.of(move=[[[0.5]]], leave=[[[0.5]]], reward=[[10.0]], uses={"agent_hours": [[2.0]]},
    ...                          inflow=[1.0])
    >>> priced(model, {}, agent_hour=1.5).reward.tolist()
    [[7.0]]
    """
    model = model.priced({k: v for k, v in prices.items() if k in model.uses})
    if agent_hour == 0 or "agent_hours" not in model.uses:
        return model
    draws = model.draws
    if draws is not None:
        draws = replace(draws, reward=draws.reward - agent_hour * draws.counted["agent_hours"])
    return replace(model, reward=model.reward - agent_hour * model.uses["agent_hours"], draws=draws)


def _by_stage(model: DecisionModel, share: np.ndarray) -> pd.DataFrame:
    months = occupancy(model.move, share, model.inflow, model.discount)
    parts = state_parts(model.states)
    rows = []
    for (_, band), states in parts.groupby(["dpd_from", "band"], sort=True):
        at = states.index.to_numpy()
        weight = months[at] if months[at].sum() > 0 else np.ones(len(at))
        mixes = [_mix(weight @ p[at] / weight.sum(), model.actions) for p in (model.in_force, share)]
        rows.append((band, float(months[at].sum()), *mixes))
    return pd.DataFrame(rows, columns=["days_past_due", "accounts", "now", "plan"])


def _mix(mix: np.ndarray, actions: tuple[str, ...]) -> str:
    order = sorted(range(len(actions)), key=lambda a: (-round(float(mix[a]), 2), actions[a]))
    return ", ".join(f"{actions[a]} {100 * mix[a]:.0f} %" for a in order if mix[a] >= 0.01)


def _limits(model: DecisionModel, capacity: Mapping[str, float], plan: Any) -> pd.DataFrame:
    now, then = value(model, model.in_force).amounts, value(model, plan.best).amounts
    rows = [(k, limit, now[k], then[k], plan.prices.get(k, 0.0)) for k, limit in capacity.items()]
    return pd.DataFrame(rows, columns=["resource", "limit", "now", "plan", "one_more"])


def headline(values: pd.DataFrame, limits: pd.DataFrame) -> str:
    """Value, interval and price of capacity in two sentences.

    Parameters
    ----------
    values, limits : pandas.DataFrame
        As a :class:`Look` has them.

    Returns
    -------
    str

    Examples
    --------
    >>> values = pd.DataFrame({"plan": ["best plan", "best plan less as now"], "estimate": [900.0, 50.0],
    ...                        "conf_low": [800.0, 10.0], "conf_high": [1000.0, 90.0]})
    >>> headline(values, pd.DataFrame({"resource": ["visits"], "one_more": [12.0]}))
    'Best plan: 900 net a month (800 to 1,000), 50 more than now (10 to 90). Worth a month: one more visit 12.'
    """
    rows = values.set_index("plan")

    def money(row: str) -> str:
        low, mid, high = (
            format_value(rows.loc[row, c], "money") for c in ("conf_low", "estimate", "conf_high")
        )
        more = " more than now" if row.endswith("now") else " net a month"
        return f"{mid}{more} ({low} to {high})"

    names = {"agent_hours": "agent-hour", "visits": "visit"}
    worth = [f"one more {names[r.resource]} {format_value(r.one_more, 'money')}" for r in limits.itertuples()]
    said = f"Best plan: {money('best plan')}, {money('best plan less as now')}."
    return f"{said} Worth a month: {', '.join(worth)}."
