"""The arms of the month's test in money, cost, complaints and cure at once, and how many accounts the choice is about."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core import engine
from collectlab.core.errors import NotAvailable
from collectlab.measures.worth.treated import FEWEST
from collectlab.report.chapters import trials
from collectlab.report.chapters.certainty_channels import prices_in_force
from collectlab.report.month import WINDOW_MONTHS, Month

#: Days by which the arms of a test are compared in money.
DAYS = 90
DRAWS = 4000
#: Days of a month on average.
MONTH = 365.25 / 12
#: How the table and the chart call what differs between the arms.
WORDS = {
    "amount": "money recovered",
    "cost": "cost of actions",
    "complaints": "complaints",
    "price": "price of a complaint",
}


@dataclass(frozen=True)
class Arms:
    """Means per account of what the arms of the test brought and cost, with their covariances; the control first."""

    names: tuple[str, ...]
    outcomes: tuple[str, ...]
    means: np.ndarray
    spread: np.ndarray
    n: np.ndarray
    price: float
    cured: str

    def weights(self) -> np.ndarray:
        """What a unit of each outcome adds to the net value."""
        of = {"amount": 1.0, "cost": -1.0, "complaints": -self.price}
        return np.array([of.get(o, 0.0) for o in self.outcomes])

    def net(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean net value per account of each arm, and one account's variance."""
        w = self.weights()
        return self.means @ w, np.einsum("i,aij,j->a", w, self.spread, w)

    def best(self) -> int:
        """The arm, other than the control, that looks best."""
        return 1 + int(self.net()[0][1:].argmax())

    def difference(self, arm: int, outcome: str) -> tuple[float, float]:
        """Arm less control in an outcome, and its standard error (HC3, as in the test)."""
        j = self.outcomes.index(outcome)
        errors = self.spread[:, j, j] / (self.n - 1)
        return float(self.means[arm, j] - self.means[0, j]), float(math.sqrt(errors[arm] + errors[0]))

    def draws(self) -> np.ndarray:
        """Draws × arms × outcomes of the means, normal with the covariances of their estimates."""
        out = []
        for name, mean, spread, n in zip(self.names, self.means, self.spread, self.n):
            seed = int(hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:8], 16)
            random = np.random.default_rng(seed)
            # by eigenvalues, with the sign of each vector fixed: the same draws wherever they are made
            values, vectors = np.linalg.eigh(spread / (n - 1))
            vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), range(len(values))])
            normal = random.standard_normal((DRAWS, len(mean)))
            out.append(mean + normal * np.sqrt(np.maximum(values, 0)) @ vectors.T)
        return np.stack(out, axis=1)


def arms(month: Month) -> Arms:
    """What the test of this month says of money, cost, complaints and cure at once."""
    return month.shared("arms of the test", lambda: _arms(month))


def _arms(month: Month) -> Arms:
    prices = prices_in_force(month)
    if not month.book.has("assignments"):
        raise NotAvailable("no account was assigned to a strategy by chance.")
    if trials.at_assignment(month):
        raise NotAvailable(
            "the test is of accounts already past due, whose strategy is not the choice at hand."
        )
    control = trials.strategies(month).control
    rows = trials.frame(month)
    have = rows.collect_schema().names()
    columns = {o: f"{o}_within_{DAYS}" for o in ("amount", "cost", "complaints")}
    if lost := [o for o in ("amount", "cost") if columns[o] not in have]:
        raise NotAvailable(
            f"the book does not tell the {' and '.join(WORDS[o] for o in lost)} of an account."
        )
    columns = {o: c for o, c in columns.items() if c in have} | {"cured": f"cured_within_{DAYS}"}
    told = engine.collect(rows.select("account_id", "strategy", *columns.values())).dropna()
    told = told.sort_values("account_id")
    sizes = told.groupby("strategy").size()
    names = [control, *(s for s in sorted(sizes.index) if s != control)]
    names = [s for s in names if sizes.get(s, 0) >= FEWEST]
    if len(names) < 2 or names[0] != control:
        raise NotAvailable(f"fewer than {FEWEST} accounts of an arm have been followed for {DAYS} days.")
    values = [told.loc[told["strategy"] == s, list(columns.values())].to_numpy(float) for s in names]
    return Arms(
        names=tuple(names),
        outcomes=tuple(columns),
        means=np.array([v.mean(axis=0) for v in values]),
        spread=np.array([np.cov(v, rowvar=False) for v in values]),
        n=np.array([len(v) for v in values]),
        price=prices.get("complaint", 0.0) if "complaints" in columns else 0.0,
        cured=columns["cured"],
    )


def inflow(month: Month, found: Arms) -> tuple[float, float]:
    """Accounts of the tested strategies that fall past due a month, and those that enter the test."""
    recent = month.recent
    counted = engine.collect(recent.filter(nw.col("strategy").is_in(list(found.names))).select(n=nw.len()))
    days = engine.collect(trials.frame(month).select(trials.day_one(month)))[trials.day_one(month)]
    days = pd.to_datetime(days)
    span = max(((days.max() - days.min()).days + 1) / MONTH, 1.0)
    coming = float(counted["n"].iloc[0]) / WINDOW_MONTHS
    pace = len(days) / span
    return max(coming, pace), pace
