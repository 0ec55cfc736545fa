r"""What each group, each step not done and the mix contribute to a KPI: weighted least squares on counted cells.

With :math:`R = \sum top / \sum base` the KPI, each unit's distance from it, :math:`top_i - R\,base_i`, is
regressed (weight :math:`q_i`) on indicators of every cause side by side. A group g of the dimension d with the
effect :math:`\alpha_g` then moves the KPI by

.. math:: K_g = \frac{Q_g}{B}\Bigl(\alpha_g - \frac{\sum_{l \ne g} Q_l \alpha_l}{\sum_{l \ne g} Q_l}\Bigr),

the part that would go if g did as the other groups of d do with the same cases. A step m goes with
:math:`\gamma` per unit (same regression, among those still overdue after its day), so that a group which does it
less often owes :math:`Q_g (\delta_g - \bar\delta_{-g})\,\gamma / B` to it, δ being the group's effect on the step
itself (Gelbach 2016, "When Do Covariates Matter?", Journal of Labor Economics 34, 509–543). Groups that go wrong
only together get an indicator of their own: their part is what they owe beyond what each of the groups alone leads
one to expect. All of it is a function of sums over cells, so the delete-a-group jackknife over customers needs no
second pass. Of rare events the error is that of √observed − √expected, nearly the same however many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from collectlab.core.jackknife import GROUPS
from collectlab.measures.gap import CASES, Cells

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


@dataclass(frozen=True)
class Shares:
    """Estimates of one KPI with their replicates: everything in KPI units, signed as they move the KPI.

    ``rows`` has one row per number (dimension, group, of, n); ``estimate`` (K,) and ``left_out`` (R, K) hold
    the numbers and what they are with each replicate group left out. ``root`` (K,) is √observed − √expected of
    rare events and ``root_error`` its error; missing for all other numbers. ``before`` is the KPI of the year before.
    """

    rows: pd.DataFrame
    estimate: np.ndarray
    std_error: np.ndarray
    left_out: np.ndarray
    root: np.ndarray
    root_error: np.ndarray
    before: float
    observed: dict[str, tuple[float, float]]

    def t_values(self) -> np.ndarray:
        """How many standard errors each number lies from 0."""
        with np.errstate(invalid="ignore", divide="ignore"):
            plain, rooted = self.estimate / self.std_error, self.root / self.root_error
        # where nothing was seen and less than nothing expected, the two scales disagree: nothing is known
        rooted = np.where(rooted * plain < 0, 0.0, rooted)
        return np.where(np.isfinite(rooted), rooted, plain)

    def interval(self, i: int, quantile: float) -> tuple[float, float]:
        """``estimate`` ± ``quantile`` standard errors, for rare events on the scale of the root."""
        value, root, error = self.estimate[i], self.root[i], self.root_error[i]
        if not (np.isfinite(root) and error > 0 and root * value > 0):
            return value - quantile * self.std_error[i], value + quantile * self.std_error[i]
        seen = (value + root**2) / (2 * root)  # √observed: its square less (seen − root)² is the value
        ends = [min(root + s * quantile * error, seen) for s in (-1, 1)]
        return 2 * seen * ends[0] - ends[0] ** 2, 2 * seen * ends[1] - ends[1] ** 2

    def error(self, weights: np.ndarray) -> float:
        """Standard error of a weighted sum of the numbers (NaN where one of them is unknown)."""
        used = weights != 0
        drawn = self.left_out[:, used] @ weights[used] - self.estimate[used] @ weights[used]
        n = len(drawn)
        return float(np.sqrt((n - 1) / n * (drawn**2).sum())) if n > 1 else float("nan")


class _Design:
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


def _basis(gram: np.ndarray) -> np.ndarray:
    """The first columns that no others before them make up: indicators of a dimension add up to the constant."""
    kept: list[int] = []
    for j in range(len(gram)):
        left = gram[j, j]
        if kept and left > 0:
            left = left - gram[j, kept] @ np.linalg.solve(gram[np.ix_(kept, kept)], gram[kept, j])
        if left > 1e-9 * gram[j, j]:
            kept.append(j)
    return np.array(kept, dtype=int)


def _solve(gram: np.ndarray, right: np.ndarray, basis: np.ndarray) -> np.ndarray:
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


def _against(effect: np.ndarray, size: np.ndarray, pairs: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """Q_g (α_g − mean of the others), for each pair."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.array([size[i] * (effect[i] - size[r] @ effect[r] / size[r].sum()) for i, r in pairs])


def _rooted(observed: np.ndarray, part: np.ndarray, usual: np.ndarray) -> np.ndarray:
    """√observed − √expected; the expected, which may come out below nothing, is at least half the usual number."""
    with np.errstate(invalid="ignore"):
        return np.sqrt(observed) - np.sqrt(np.maximum(observed - part, 0.5 * usual))


def _drawn(
    statistic: Callable[[np.ndarray], np.ndarray], by_group: np.ndarray, least: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """(4, K) numbers, errors, roots, their errors; and (R, K) the numbers with each replicate group left out.

    ``statistic`` returns (2, K): the numbers, and √observed − √expected where events are rare, whose error is at
    ``least`` that of a Poisson number.
    """
    total = by_group.sum(axis=0)
    held = (by_group != 0).reshape(GROUPS, -1).any(axis=1)
    estimate = statistic(total)
    drawn = np.repeat(estimate[None], GROUPS, axis=0)
    drawn[held] = [statistic(total - part) for part in by_group[held]]
    used = int(held.sum())
    spread = ((drawn - estimate) ** 2).sum(axis=0)
    error = np.sqrt((used - 1) / used * spread) if used > 1 else estimate * np.nan
    return np.stack([estimate[0], error[0], estimate[1], np.maximum(error[1], least)]), drawn[:, 0]


def _poisson(cells: Cells) -> float:
    """The error of the root of a Poisson number is a half; here in the KPI's unit."""
    now = cells.table[cells.table["period"] == "now"]
    events = now.loc[now["top"] > 0, "top"]
    if not cells.rare or events.empty:
        return 0.0
    return float(0.5 * np.sqrt(events.min() / now["base"].sum()))


class _Crossings:
    """Groups that go wrong only together: the one that stands out most joins the design, and the rest are tested anew.

    Without that, what one crossing does would be laid to its groups, and their other crossings look odd in turn.
    """

    def __init__(
        self, cells: Cells, design: _Design, smallest: int, bad: float, top: np.ndarray, base: np.ndarray
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
                plain, rooted = estimate / error, root / root_error
            t = np.nan_to_num(bad * np.where(np.isfinite(rooted), rooted, plain))
            t = np.where(rooted * plain < 0, 0.0, t)
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
        basis = _basis(laid.sum(axis=0)[:p, :p])

        def together(sums: np.ndarray) -> np.ndarray:
            gram, t, b = sums[:p, :p], sums[:p, p], sums[:p, p + 1]
            common, (size, events, of) = sums[:p, p + 2 :], sums[p:, p + 2 :]
            level = t[0] / b[0]
            solved = _solve(gram, np.column_stack([t - level * b, common]), basis)
            rest = events - level * of - common.T @ solved[:, 0]
            alone = size - (common * solved[:, 1:]).sum(axis=0)
            with np.errstate(invalid="ignore", divide="ignore"):
                theta = np.where(alone > 1e-6 * size, rest / alone, np.nan)
            part = size * theta / b[0]
            self.fit = theta**2 * alone
            return np.stack(
                [part, _rooted(events / b[0], part, level * of / b[0]) if rare else part * np.nan]
            )

        found = _drawn(together, laid, _poisson(self.cells))
        together(laid.sum(axis=0))  # the fit is that of everybody
        return found


def shares_of(cells: Cells, smallest: int, bad: float) -> Shares:
    """Every number of one KPI, by least squares on its cells; ``bad`` is 1 where more is worse, else −1."""
    table = cells.table
    blocks: list[tuple[pd.DataFrame, np.ndarray, np.ndarray]] = []
    observed: dict[str, tuple[float, float]] = {}
    design = _Design(cells, [*cells.groups, *cells.mix], smallest)
    top, base = table["top"].to_numpy(float), table["base"].to_numpy(float)
    now, before = design.period, ~design.period
    crossings = _Crossings(cells, design, smallest, bad, top, base) if cells.crossed else None
    p = len(design.columns)
    sums_now = design.sums(now, top, base)
    added = np.array([i for i, c in enumerate(design.columns) if " × " in c.dimension], dtype=int)
    pairs = design.contrasts(sums_now.sum(axis=0)[:, :p], set(cells.groups))
    case = np.array([c.dimension in CASES for c in design.columns])
    has_before = bool(table.loc[before, "base"].sum() > 0)
    sums_before = design.sums(before, top, base) if has_before else np.zeros_like(sums_now)
    both = np.stack([sums_now, sums_before], axis=1)
    basis, basis0 = (_basis(s.sum(axis=0)[:, :p]) for s in (sums_now, sums_before))
    change = cells.kind == "change"
    told_of = [*(i for i, _ in pairs), *added.tolist()]

    def main(sums: np.ndarray) -> np.ndarray:
        current, earlier = sums
        gram, t, b = current[:, :p], current[:, p], current[:, p + 1]
        level = t[0] / b[0]
        effect, size = _solve(gram, t - level * b, basis), gram[0]
        groups = np.array([*_against(effect, size, pairs), *(size * effect)[added]]) / b[0]
        with_roots = (
            _rooted(t[told_of] / b[0], groups, level * b[told_of] / b[0]) if cells.rare else groups * np.nan
        )
        roots = np.array([np.nan, np.nan, *with_roots])
        if not has_before:
            return np.stack([np.array([level, np.nan, *groups]), roots])
        gram0, t0, b0 = earlier[:, :p], earlier[:, p], earlier[:, p + 1]
        drift = (size / size[0] - gram0[0] / gram0[0, 0])[case]
        if not change:
            return np.stack([np.array([level, drift @ effect[case] * size[0] / b[0], *groups]), roots])
        level0 = t0[0] / b0[0]
        effect0 = _solve(gram0, t0 - level0 * b0, basis0)
        moved = groups - np.array([*_against(effect0, gram0[0], pairs), *(gram0[0] * effect0)[added]]) / b0[0]
        mix = drift @ (effect + effect0)[case] / 2
        return np.stack([np.array([level / level0 - 1, mix / level0, *(moved / level0)]), roots * np.nan])

    def block(statistic, by_group: np.ndarray, rows: list[dict]) -> None:
        blocks.append((pd.DataFrame(rows), *_drawn(statistic, by_group, _poisson(cells))))

    def row(dimension: str, group: str, n: int, of: tuple[str, str] = ("", "")) -> dict:
        return {"dimension": dimension, "group": group, "n": n, "of_dimension": of[0], "of_group": of[1]}

    columns = design.columns
    told = [row("level", "", columns[0].n), row("mix", "", columns[0].n)]
    told += [row(columns[i].dimension, columns[i].group, columns[i].n) for i in told_of]
    block(main, both, told)
    if crossings is not None and crossings.left:
        told = [
            row(" × ".join(by), " × ".join(name), n_of(table, now & held))
            for by, name, held in crossings.left
        ]
        blocks.append((pd.DataFrame(told), *crossings.tested()))
    for path in cells.paths:
        mark = table[path.name].to_numpy(float)
        asked = ~np.isnan(mark)
        later = table[f"later_{path.name}"].to_numpy(float)
        done = np.where(asked, np.nan_to_num(mark), 0.0)
        here = asked & now
        if not (base[here].sum() > 0 and 0 < (done * base)[here].sum() < base[here].sum()):
            continue
        full = design.sums(here, later, base, design.weight * done, extra=done)
        past = design.sums(asked & before, base, design.weight * done, extra=done)
        stacked = np.concatenate([full, past[:, :, p + 1 : p + 3]], axis=2)
        everyone = np.repeat(sums_now[:, :1, p + 1], p + 1, axis=1)[:, :, None]
        stacked = np.concatenate([stacked, everyone], axis=2)
        used = [(i, r) for i, r in pairs if stacked[:, i, i].sum() > 0 and stacked[:, r, r].sum() > 0]

        wide = _basis(stacked.sum(axis=0)[:, : p + 1])

        def stepped(sums: np.ndarray, path=path, used=used, wide=wide) -> np.ndarray:
            gram, t, b, d = sums[:, : p + 1], sums[:, p + 1], sums[:, p + 2], sums[:, p + 3]
            past_base, past_done, whole = sums[0, p + 4], sums[0, p + 5], sums[0, p + 6]
            level = t[0] / b[0]
            gain = _solve(gram, t - level * b, wide)[p]
            rate = d[0] / gram[0, 0]
            without, size = gram[:p, :p], gram[0, :p]
            habit = _solve(without, d[:p] - rate * without[:, 0], wide[wide < p])
            with np.errstate(invalid="ignore", divide="ignore"):
                aim = 1.0 if path.expected else past_done / past_base
            book = (rate - aim) * gain * size[0] / whole
            found = np.array([rate, aim, gain, book, *(_against(habit, size, used) * gain / whole)])
            return np.stack([found, found * np.nan])

        n = int(table["n"].to_numpy()[here].sum())
        told = [row(w, path.name, n) for w in ("_rate", "_aim", "_gain", "step")]
        told += [row("step", path.name, n, (columns[i].dimension, columns[i].group)) for i, _ in used]
        block(stepped, stacked, told)
        observed[path.name] = (float(blocks[-1][1][0, 0]), float(blocks[-1][1][0, 1]))
    for k, (inner, outer) in enumerate(cells.nested):
        _within(cells, inner, outer, [name for name, _ in cells.nested[:k]], smallest, block, row)
    rows = pd.concat([b[0] for b in blocks], ignore_index=True)
    return Shares(
        rows=rows,
        estimate=np.concatenate([b[1][0] for b in blocks]),
        std_error=np.concatenate([b[1][1] for b in blocks]),
        left_out=np.concatenate([b[2] for b in blocks], axis=1),
        root=np.concatenate([b[1][2] for b in blocks]),
        root_error=np.concatenate([b[1][3] for b in blocks]),
        before=_level(table, before) if has_before and not change else float("nan"),
        observed=observed,
    )


def _level(table: pd.DataFrame, held: np.ndarray) -> float:
    """The KPI over these cells."""
    return float(table.loc[held, "top"].sum() / table.loc[held, "base"].sum())


def n_of(table: pd.DataFrame, held: np.ndarray) -> int:
    """Units in these cells."""
    return int(table["n"].to_numpy()[held].sum())


def _within(cells: Cells, inner: str, outer: str, between: list[str], smallest: int, block, row) -> None:
    """Parts of a group (agents of a team), each against the other parts of the same group."""
    design = _Design(cells, [*cells.groups, *between, inner, *cells.mix], smallest)
    table, p = cells.table, len(design.columns)
    sums = design.sums(design.period, table["top"].to_numpy(float), table["base"].to_numpy(float))
    pairs = design.contrasts(sums.sum(axis=0)[:, :p], {inner})
    if not pairs:
        return
    basis = _basis(sums.sum(axis=0)[:, :p])

    def statistic(total: np.ndarray) -> np.ndarray:
        gram, t, b = total[:, :p], total[:, p], total[:, p + 1]
        part = _against(_solve(gram, t - t[0] / b[0] * b, basis), gram[0], pairs) / b[0]
        with np.errstate(invalid="ignore", divide="ignore"):
            own = [i for i, _ in pairs]
            seen, usual = t[own] / b[0], t[0] / b[0] * b[own] / b[0]
            return np.stack([part, _rooted(seen, part, usual) if cells.rare else part * np.nan])

    told = []
    for i, _ in pairs:
        column = design.columns[i]
        whole = table.loc[table[inner] == column.group, outer].dropna().mode()
        name = str(whole.iloc[0]) if len(whole) else ""
        told.append(row(column.dimension, column.group, column.n, (outer, name)))
    block(statistic, sums, told)
