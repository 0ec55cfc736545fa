"""Indicators of everything a gap may be laid to, the sums over them, and their least squares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from collectlab.core.jackknife import GROUPS
from collectlab.measures.gap import Cells

NONE, SMALL = "(none)", "(small groups)"

#: A group must have customers in so many of the replicate groups for its error to be known.
MIN_REPLICATES = 20
#: At most so many groups that go wrong only together.
MAX_TOGETHER = 3


@dataclass(frozen=True)
class Column:
    """One indicator of the regression."""

    dimension: str
    group: str
    n: int

    @property
    def named(self) -> bool:
        """Whether it may be named: no rest, and no group too small."""
        return self.group not in (NONE, SMALL)


class Design:
    """Indicators of the cells, and the sums over them by replicate group."""

    def __init__(self, cells: Cells, dimensions: list[str], smallest: int):
        table = cells.table
        self.period = table["period"].to_numpy() == "now"
        self.replicate = table["replicate"].to_numpy(int)
        self.columns: list[Column] = [Column("", "", int(table.loc[self.period, "n"].sum()))]
        laid = [np.ones(len(table))]
        for dimension in dimensions:
            values = table[dimension].astype(object).where(table[dimension].notna(), NONE)
            now = table[self.period].assign(value=values[self.period])
            n = now.groupby("value")["n"].sum()
            spread = now.groupby("value")["replicate"].nunique()
            small = {v for v in n.index if v != NONE and (n[v] < smallest or spread[v] < MIN_REPLICATES)}
            values = values.where(~values.isin(small) & values.isin(n.index), SMALL).where(
                values != NONE, NONE
            )
            for group in sorted(values.unique()):
                held = (values == group).to_numpy()
                self.columns.append(
                    Column(dimension, group, int(table["n"].to_numpy()[held & self.period].sum()))
                )
                laid.append(held.astype(float))
        self.x = np.stack(laid, axis=1)
        self.weight = table[cells.weight].to_numpy(float)

    def add(self, column: Column, held: np.ndarray) -> None:
        """One more indicator."""
        self.columns.append(column)
        self.x = np.column_stack([self.x, held.astype(float)])

    def sums(self, mask: np.ndarray, *values: np.ndarray, extra: np.ndarray | None = None) -> np.ndarray:
        """(R, p, p + len(values)): X'WX and X' of the values, over the cells of ``mask``."""
        x = self.x if extra is None else np.column_stack([self.x, extra])
        out = np.zeros((GROUPS, x.shape[1], x.shape[1] + len(values)))
        for r in range(GROUPS):
            here = mask & (self.replicate == r)
            own = x[here]
            out[r, :, : x.shape[1]] = own.T @ (own * self.weight[here, None])
            for k, value in enumerate(values):
                out[r, :, x.shape[1] + k] = own.T @ value[here]
        return out

    def contrasts(self, gram: np.ndarray, dimensions: set[str]) -> list[tuple[int, np.ndarray]]:
        """(column, the columns it is compared with): those from which the data can tell it apart."""
        inverse = np.linalg.pinv(gram, rcond=1e-9, hermitian=True)
        loose = np.eye(len(gram)) - inverse @ gram
        found = []
        for i, column in enumerate(self.columns):
            if column.dimension not in dimensions or not column.named:
                continue
            rest = [
                j
                for j, other in enumerate(self.columns)
                if j != i
                and other.dimension == column.dimension
                and other.group != NONE
                and other.n > 0
                and np.abs(loose[i] - loose[j]).max() < 1e-6
            ]
            if rest:
                found.append((i, np.array(rest)))
        return found


def basis_of(gram: np.ndarray) -> np.ndarray:
    """The first columns that no others before them make up: indicators of a dimension add up to the constant."""
    kept: list[int] = []
    for j in range(len(gram)):
        left = gram[j, j]
        if kept and left > 0:
            left = left - gram[j, kept] @ np.linalg.solve(gram[np.ix_(kept, kept)], gram[kept, j])
        if left > 1e-9 * gram[j, j]:
            kept.append(j)
    return np.array(kept, dtype=int)


def solve(gram: np.ndarray, right: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Effects, 0 for the columns left out; any other solution has the same contrasts."""
    from scipy.linalg import LinAlgError, cho_solve, cholesky

    own = gram[np.ix_(basis, basis)]
    out = np.zeros_like(right)
    try:
        lower = cholesky(own, lower=True)
        sound = bool((np.diag(lower) ** 2 > 1e-9 * np.diag(own)).all())
    except LinAlgError:
        sound = False
    # a group may be gone with a replicate group left out
    out[basis] = (
        cho_solve((lower, True), right[basis])
        if sound
        else np.linalg.pinv(own, hermitian=True) @ right[basis]
    )
    return out


def against(effect: np.ndarray, size: np.ndarray, pairs: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """Q_g (α_g − mean of the others), for each pair."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.array([size[i] * (effect[i] - size[r] @ effect[r] / size[r].sum()) for i, r in pairs])


def compared(size: np.ndarray, pairs: list[tuple[int, np.ndarray]]) -> list[tuple[float, float]]:
    """Shares of the whole weight: of the group, and of those it is compared with."""
    return [(float(size[i] / size[0]), float(size[r].sum() / size[0])) for i, r in pairs]


def rooted(observed: np.ndarray, part: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """√observed − √expected; the expected, which may come out below nothing, is at least half the usual number."""
    with np.errstate(invalid="ignore"):
        return np.sqrt(observed) - np.sqrt(np.maximum(observed - part, 0.5 * usual))


def drawn(
    statistic: Callable[[np.ndarray], np.ndarray], by_group: np.ndarray, least: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """(4, K) numbers, errors, roots, their errors; and (R, K) the numbers with each replicate group left out.

    ``statistic`` returns (2, K): the numbers, and √observed − √expected where events are rare, whose error is at
    ``least`` that of a Poisson number.
    """
    total = by_group.sum(axis=0)
    held = (by_group != 0).reshape(GROUPS, -1).any(axis=1)
    estimate = statistic(total)
    each = np.repeat(estimate[None], GROUPS, axis=0)
    each[held] = [statistic(total - part) for part in by_group[held]]
    used = int(held.sum())
    spread = ((each - estimate) ** 2).sum(axis=0)
    error = np.sqrt((used - 1) / used * spread) if used > 1 else estimate * np.nan
    return np.stack([estimate[0], error[0], estimate[1], np.maximum(error[1], least)]), each[:, 0]


def poisson(cells: Cells) -> float:
    """The error of the root of a Poisson number is a half; here in the KPI's unit."""
    now = cells.table[cells.table["period"] == "now"]
    events = now.loc[now["top"] > 0, "top"]
    if not cells.rare or events.empty:
        return 0.0
    return float(0.5 * np.sqrt(events.min() / now["base"].sum()))


class Crossings:
    """Groups that go wrong only together: the one that stands out most joins the design, and the rest are tested anew.

    Without that, what one crossing does would be laid to its groups, and their other crossings look odd in turn.
    """

    def __init__(
        self, cells: Cells, design: Design, smallest: int, bad: float, top: np.ndarray, base: np.ndarray
    ):
        from scipy.special import stdtr

        self.cells, self.design, self.top, self.base = cells, design, top, base
        self.left: list[tuple[tuple[str, ...], tuple[str, ...], np.ndarray]] = []
        table = cells.table
        for by in cells.crossed:
            known = table[list(by)].notna().all(axis=1).to_numpy()
            for name, rows in table[known & design.period].groupby(list(by), sort=True):
                if rows["n"].sum() >= smallest and rows["replicate"].nunique() >= MIN_REPLICATES:
                    held = known & np.logical_and.reduce(
                        [(table[c] == v).to_numpy() for c, v in zip(by, name)]
                    )
                    self.left.append((by, tuple(map(str, name)), held))
        tests = len(self.left)
        self.fit = np.zeros(tests)
        for _ in range(MAX_TOGETHER):
            if not self.left:
                return
            estimate, error, root, root_error = self.tested()[0]
            with np.errstate(invalid="ignore", divide="ignore"):
                plain, by_root = estimate / error, root / root_error
            t = np.nan_to_num(bad * np.where(np.isfinite(by_root), by_root, plain))
            t = np.where(by_root * plain < 0, 0.0, t)
            # of two sides of one contrast (partner loans worse, all others better) the bad one is the cause, and
            # of those that stand out the one that says most
            sound = (t > 0) & (2 * stdtr(GROUPS - 1, -np.abs(t)) * tests <= 0.05)
            if not sound.any():
                return
            best = int(np.where(sound, np.nan_to_num(self.fit), -1.0).argmax())
            by, name, held = self.left.pop(best)
            design.add(Column(" × ".join(by), " × ".join(name), n_of(table, held & design.period)), held)

    def tested(self) -> tuple[np.ndarray, np.ndarray]:
        """Each crossing's part beyond what the design leads one to expect, one crossing at a time."""
        design, p, rare = self.design, len(self.design.columns), self.cells.rare
        marks = np.stack([held for _, _, held in self.left], axis=1).astype(float)
        laid = np.zeros((GROUPS, p + 3, p + 2 + marks.shape[1]))
        laid[:, :p, : p + 2] = design.sums(design.period, self.top, self.base)
        for r in range(GROUPS):
            here = design.period & (design.replicate == r)
            weight, own = design.weight[here], marks[here]
            laid[r, :p, p + 2 :] = design.x[here].T @ (own * weight[:, None])
            laid[r, p:, p + 2 :] = np.stack([weight @ own, self.top[here] @ own, self.base[here] @ own])
        basis = basis_of(laid.sum(axis=0)[:p, :p])

        def together(sums: np.ndarray) -> np.ndarray:
            gram, t, b = sums[:p, :p], sums[:p, p], sums[:p, p + 1]
            common, (size, events, of) = sums[:p, p + 2 :], sums[p:, p + 2 :]
            level = t[0] / b[0]
            solved = solve(gram, np.column_stack([t - level * b, common]), basis)
            rest = events - level * of - common.T @ solved[:, 0]
            alone = size - (common * solved[:, 1:]).sum(axis=0)
            with np.errstate(invalid="ignore", divide="ignore"):
                theta = np.where(alone > 1e-6 * size, rest / alone, np.nan)
            part = size * theta / b[0]
            self.fit = theta**2 * alone
            return np.stack([part, rooted(events / b[0], part, level * of / b[0]) if rare else part * np.nan])

        found = drawn(together, laid, poisson(self.cells))
        together(laid.sum(axis=0))  # the fit is that of everybody
        return found


def n_of(table: pd.DataFrame, held: np.ndarray) -> int:
    """Units in these cells."""
    return int(table["n"].to_numpy()[held].sum())
