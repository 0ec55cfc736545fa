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

from dataclasses import dataclass

import numpy as np
import pandas as pd

from collectlab.measures.gap import CASES, Cells
from collectlab.policy.diagnosis.design import (
    Crossings,
    Design,
    against,
    basis_of,
    compared,
    drawn,
    n_of,
    poisson,
    rooted,
    solve,
)


@dataclass(frozen=True)
class Shares:
    """Estimates of one KPI with their replicates: everything in KPI units, signed as they move the KPI.

    ``rows`` has one row per number (dimension, group, of, n, and for groups the share of the KPI's weight that the
    group and those it is compared with have); ``estimate`` (K,) and ``left_out`` (R, K) hold
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


def shares_of(cells: Cells, smallest: int, bad: float) -> Shares:
    """Every number of one KPI, by least squares on its cells; ``bad`` is 1 where more is worse, else −1."""
    table = cells.table
    blocks: list[tuple[pd.DataFrame, np.ndarray, np.ndarray]] = []
    observed: dict[str, tuple[float, float]] = {}
    design = Design(cells, [*cells.groups, *cells.mix], smallest)
    top, base = table["top"].to_numpy(float), table["base"].to_numpy(float)
    now, before = design.period, ~design.period
    crossings = Crossings(cells, design, smallest, bad, top, base) if cells.crossed else None
    p = len(design.columns)
    sums_now = design.sums(now, top, base)
    added = np.array([i for i, c in enumerate(design.columns) if " × " in c.dimension], dtype=int)
    pairs = design.contrasts(sums_now.sum(axis=0)[:, :p], set(cells.groups))
    case = np.array([c.dimension in CASES for c in design.columns])
    has_before = bool(table.loc[before, "base"].sum() > 0)
    sums_before = design.sums(before, top, base) if has_before else np.zeros_like(sums_now)
    both = np.stack([sums_now, sums_before], axis=1)
    basis, basis0 = (basis_of(s.sum(axis=0)[:, :p]) for s in (sums_now, sums_before))
    change = cells.kind == "change"
    told_of = [*(i for i, _ in pairs), *added.tolist()]

    def main(sums: np.ndarray) -> np.ndarray:
        current, earlier = sums
        gram, t, b = current[:, :p], current[:, p], current[:, p + 1]
        level = t[0] / b[0]
        effect, size = solve(gram, t - level * b, basis), gram[0]
        groups = np.array([*against(effect, size, pairs), *(size * effect)[added]]) / b[0]
        with_roots = (
            rooted(t[told_of] / b[0], groups, level * b[told_of] / b[0]) if cells.rare else groups * np.nan
        )
        roots = np.array([np.nan, np.nan, *with_roots])
        if not has_before:
            return np.stack([np.array([level, np.nan, *groups]), roots])
        gram0, t0, b0 = earlier[:, :p], earlier[:, p], earlier[:, p + 1]
        drift = (size / size[0] - gram0[0] / gram0[0, 0])[case]
        if not change:
            return np.stack([np.array([level, drift @ effect[case] * size[0] / b[0], *groups]), roots])
        level0 = t0[0] / b0[0]
        effect0 = solve(gram0, t0 - level0 * b0, basis0)
        moved = groups - np.array([*against(effect0, gram0[0], pairs), *(gram0[0] * effect0)[added]]) / b0[0]
        mix = drift @ (effect + effect0)[case] / 2
        return np.stack([np.array([level / level0 - 1, mix / level0, *(moved / level0)]), roots * np.nan])

    def block(statistic, by_group: np.ndarray, rows: list[dict]) -> None:
        blocks.append((pd.DataFrame(rows), *drawn(statistic, by_group, poisson(cells))))

    def row(
        dimension: str, group: str, n: int, of: tuple[str, str] = ("", ""), sizes=(np.nan, np.nan)
    ) -> dict:
        about = {"dimension": dimension, "group": group, "n": n, "of_dimension": of[0], "of_group": of[1]}
        return about | {"weight": sizes[0], "against": sizes[1]}

    columns = design.columns
    told = [row("level", "", columns[0].n), row("mix", "", columns[0].n)]
    sizes = compared(sums_now.sum(axis=0)[0], pairs)
    told += [
        row(columns[i].dimension, columns[i].group, columns[i].n, sizes=s) for (i, _), s in zip(pairs, sizes)
    ]
    told += [row(columns[i].dimension, columns[i].group, columns[i].n) for i in added]
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

        wide = basis_of(stacked.sum(axis=0)[:, : p + 1])

        def stepped(sums: np.ndarray, path=path, used=used, wide=wide) -> np.ndarray:
            gram, t, b, d = sums[:, : p + 1], sums[:, p + 1], sums[:, p + 2], sums[:, p + 3]
            past_base, past_done, whole = sums[0, p + 4], sums[0, p + 5], sums[0, p + 6]
            level = t[0] / b[0]
            gain = solve(gram, t - level * b, wide)[p]
            rate = d[0] / gram[0, 0]
            without, size = gram[:p, :p], gram[0, :p]
            habit = solve(without, d[:p] - rate * without[:, 0], wide[wide < p])
            with np.errstate(invalid="ignore", divide="ignore"):
                aim = 1.0 if path.expected else past_done / past_base
            book = (rate - aim) * gain * size[0] / whole
            found = np.array([rate, aim, gain, book, *(against(habit, size, used) * gain / whole)])
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


def _within(cells: Cells, inner: str, outer: str, between: list[str], smallest: int, block, row) -> None:
    """Parts of a group (agents of a team), each against the other parts of the same group."""
    design = Design(cells, [*cells.groups, *between, inner, *cells.mix], smallest)
    table, p = cells.table, len(design.columns)
    sums = design.sums(design.period, table["top"].to_numpy(float), table["base"].to_numpy(float))
    pairs = design.contrasts(sums.sum(axis=0)[:, :p], {inner})
    if not pairs:
        return
    basis = basis_of(sums.sum(axis=0)[:, :p])

    def statistic(total: np.ndarray) -> np.ndarray:
        gram, t, b = total[:, :p], total[:, p], total[:, p + 1]
        part = against(solve(gram, t - t[0] / b[0] * b, basis), gram[0], pairs) / b[0]
        with np.errstate(invalid="ignore", divide="ignore"):
            own = [i for i, _ in pairs]
            seen, usual = t[own] / b[0], t[0] / b[0] * b[own] / b[0]
            return np.stack([part, rooted(seen, part, usual) if cells.rare else part * np.nan])

    told = []
    for (i, _), size in zip(pairs, compared(sums.sum(axis=0)[0], pairs)):
        column = design.columns[i]
        whole = table.loc[table[inner] == column.group, outer].dropna().mode()
        name = str(whole.iloc[0]) if len(whole) else ""
        told.append(row(column.dimension, column.group, column.n, (outer, name), size))
    block(statistic, sums, told)
