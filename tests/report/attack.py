"""An attack on published tables: what can be worked out of counts that were left out, or should have been.

The attacker reads the files of a report, knows which group each row is, and which columns of which tables count
the same people. He looks at what stands there, multiplies shares by their base, takes parts from their whole and what
happened within 30 days from what happened within 60, and subtracts rows from totals: the total of a table (known to
him anyway), every table that shows the same count over fewer dimensions (a window's twelve months, too), and shares of
one group that add up to all of it or to one another. All of that at once is a system of linear equations; a count is
recovered where a linear program shows that it can have one value only.

``truth`` holds the same tables with nothing left out. It tells which equations hold, as an insider might, and
whether a claim is right; the attack reads no value from it that is not published, but the totals.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import linprog

#: Whole numbers that count no people, accounts, cases or contacts.
NO_COUNTS = {"horizon", "day", "month", "rank", "days_past_due_from", "from_day", "df", "months", "batches", "rows",
             "rows_in", "accepted", "set_aside", "depth", "median_days", "units", "p_value", "p_value_holm", "std_error", "conf_low", "conf_high", "hour", "weekday", "days_past_due", "weight", "days", "cost",
             "rank_low", "rank_high", "times_of_the_week", "others", "recovered", "collected", "from_hour", "sd_low", "sd_high",
             "ahead", "forecasts", "held", "capacity", "fixed", "value", "threshold", "share_by_lot", "share_of_states_tried", "more_accounts"}  # fmt: skip

#: Dimensions whose levels do not add up to a whole.
NO_SUMS = {
    "measure",
    "horizon",
    "day",
    "outcome",
    "definition",
    "term",
    "characteristic",
    "as_of",
    "kpi",
    "step",
    "contact",
    "measured",
    "compared",
    "rule",
    "by",
    "key",
    "of",
    "question",
    "method",
    "fact",
    "scheme",
    "slice",
    "attribute",
}

#: Counts of what was done, not of whom: the rest beside a share of them (1 of 53 not recorded) is nobody.
DONE = {"contacts", "attempts", "actions", "calls", "visits", "letters"}

#: The same of measures, whatever their base is called.
OF_DONE = ("recorded",)

#: Columns of which the one counts some of the other.
PARTS = (("events", "at_risk"), ("bad", "loans"), ("overdue_accounts", "accounts"), ("overdue", "accounts"),
         ("complaints", "contacts"), ("violations", "contacts"), ("found", "checked"))  # fmt: skip

#: How the steps of a bridge add up.
SIGNS = {"opening": 1.0, "new": 1.0, "repaid": -1.0, "charged off": -1.0, "sold": -1.0, "no longer seen": -1.0,
         "left the book": -1.0, "closing": -1.0}  # fmt: skip

Claim = tuple[str, int, str, int]


def read(folder: Path) -> dict[str, pd.DataFrame]:
    """Every table of a report."""
    return {path.stem: pd.read_parquet(path) for path in sorted((folder / "tables").glob("*.parquet"))}


def attack(
    published: Mapping[str, pd.DataFrame], truth: Mapping[str, pd.DataFrame], minimum: int = 5
) -> list[Claim]:
    """The counts of 1 to ``minimum`` − 1 that can be told: ``(table, row, column, value)``."""
    claims = [c for name in published for c in _seen(name, published[name], truth[name], minimum)]
    return sorted({*claims, *_subtracted(published, truth, minimum)})


def counts_of(table: pd.DataFrame) -> list[str]:
    """The columns of the true table that count."""
    return [
        c for c in table.columns if pd.api.types.is_numeric_dtype(table[c]) and c not in NO_COUNTS
        and not pd.api.types.is_bool_dtype(table[c]) and _whole(table[c])
    ]  # fmt: skip


def _whole(values: pd.Series) -> bool:
    there = values.dropna()
    return (
        len(there) > 0 and bool((there % 1 == 0).all() and (there >= 0).all()) and values.name != "estimate"
    )


def _small(value: float, minimum: int) -> bool:
    return 0.5 < value < minimum - 0.5


def _seen(name: str, table: pd.DataFrame, truth: pd.DataFrame, minimum: int) -> list[Claim]:
    """What stands there, the numerators of shares, and the rest beside a part."""
    claims = []
    counts = [c for c in counts_of(truth) if c in table.columns]
    for row in range(len(table)):
        for column in counts:
            value = table[column].iloc[row]
            if pd.notna(value) and _small(value, minimum):
                claims.append((name, row, column, round(value)))
    if "day" in table.columns:  # A curve's steps are judged by those at risk.
        return claims
    claims += _rests(name, table, minimum) + _steps(name, table, truth, minimum)
    if "estimate" in table.columns and counts:
        for column in counts:
            share = _is_share_of(truth, column)
            product = (table["estimate"].astype(float) * table[column].astype(float)).to_numpy()
            claims += [
                (name, int(row), f"estimate × {column}", round(product[row]))
                for row in np.flatnonzero(share & np.isfinite(product))
                if _small(product[row], minimum)
            ]
            rest = table[column].astype(float).to_numpy() - product
            if "measure" in table.columns:
                rest = np.where(table["measure"].isin(OF_DONE), np.nan, rest)
            claims += [
                (name, int(row), f"{column} − estimate × {column}", round(rest[row]))
                for row in np.flatnonzero(share & np.isfinite(rest))
                if column not in DONE and _small(rest[row], minimum)
            ]
    return claims


def _rests(name: str, table: pd.DataFrame, minimum: int) -> list[Claim]:
    """What is left of a whole beside its part."""
    claims = []
    for part, whole in PARTS:
        if part in table.columns and whole in table.columns and whole not in DONE:
            rest = (table[whole].astype(float) - table[part].astype(float)).to_numpy()
            claims += [(name, int(r), f"{whole} − {part}", round(rest[r])) for r in range(len(table))
                       if np.isfinite(rest[r]) and _small(rest[r], minimum)]  # fmt: skip
    return claims


def _steps(name: str, table: pd.DataFrame, truth: pd.DataFrame, minimum: int) -> list[Claim]:
    """What happened between two horizons to accounts that both look at."""
    if "horizon" not in table.columns or "estimate" not in table.columns:
        return []
    keys = [k for k in _keys(table) if k != "horizon"]
    claims = []
    for base in [c for c in counts_of(truth) if c in table.columns]:
        count = (table["estimate"].astype(float) * table[base].astype(float)).to_numpy()
        count = np.where(_is_share_of(truth, base), count, np.nan)
        columns = [(f"estimate × {base}", count)]
        columns += [(c, table[c].astype(float).to_numpy()) for c in ("events",) if c in table.columns]
        for column, values in columns:
            groups = table.groupby(keys, sort=False).indices.values() if keys else [np.arange(len(table))]
            for rows in groups:
                there = [r for r in rows if np.isfinite(values[r])]
                there.sort(key=lambda r: table["horizon"].iloc[r])
                for before, after in itertools.pairwise(there):
                    same = table[base].iloc[before] == table[base].iloc[after]
                    if same and _small(values[after] - values[before], minimum):
                        step = round(values[after] - values[before])
                        claims.append((name, int(after), f"estimate, step of {column}", step))
    return claims


def _is_share_of(truth: pd.DataFrame, column: str) -> np.ndarray:
    """Rows of the measures whose estimate is, all through, a whole number of the column's."""
    product = truth["estimate"].astype(float) * truth[column].astype(float)
    exact = (product - product.round()).abs() < 1e-6
    exact &= truth["estimate"].between(0, 1)
    if "unit" in truth.columns:
        exact &= truth["unit"].eq("share")
    exact |= truth["estimate"].isna()
    measure = truth["measure"] if "measure" in truth.columns else pd.Series("", index=truth.index)
    return exact.groupby(measure.to_numpy()).transform("all").to_numpy()


def _keys(table: pd.DataFrame) -> list[str]:
    """The fewest leading text columns (and horizons) that tell the groups apart."""
    text = [c for c in table.columns if table[c].dtype == object or str(table[c].dtype) in ("str", "string")]
    text = [c for c in text if c not in ("unit", "status", "cohort_status", "reference", "statement")]
    text += [c for c in ("horizon", "month") if c in table.columns and c not in text]
    return text


def _subtracted(
    published: Mapping[str, pd.DataFrame], truth: Mapping[str, pd.DataFrame], minimum: int
) -> list[Claim]:
    cells: dict[tuple, float] = {}  # (table, column, key) -> what stands there, NaN for a gap
    real: dict[tuple, float] = {}
    where: dict[tuple, int] = {}
    shapes = {}
    for name, table in truth.items():
        if "day" in table.columns or table.empty:
            continue
        keys = _keys(table)
        if table.duplicated(keys).any():
            continue
        shown = published[name]
        held = {c: (table[c], shown.get(c)) for c in counts_of(table)}
        held |= _numerators(table, shown)
        for column, (true, told) in held.items():
            shapes[name, column] = keys
            for row, key in enumerate(table[keys].astype(str).itertuples(index=False, name=None)):
                cell = (name, column, key)
                real[cell], where[cell] = float(np.nan if pd.isna(true.iloc[row]) else true.iloc[row]), row
                value = told.iloc[row] if told is not None else np.nan
                cells[cell] = np.nan if pd.isna(value) else float(value)
    gaps = {
        cell: i for i, cell in enumerate(c for c in cells if np.isnan(cells[c]) and not np.isnan(real[c]))
    }
    if not gaps:
        return []
    equations = [*_totals(shapes, real), *_shared(shapes, real), *_sums(shapes, real)]
    left, right = [], []
    for terms, constant in equations:
        row, known = np.zeros(len(gaps)), constant
        for cell, sign in terms:
            if cell in gaps:
                row[gaps[cell]] += sign
            else:
                known -= sign * cells[cell]
        if row.any():
            left.append(row)
            right.append(known)
    claims = []
    for cell, (low, high) in _bounds(gaps, np.array(left), np.array(right), real, minimum).items():
        if high - low < 0.5 and _small(low, minimum):
            assert round(low) == round(real[cell]), f"the attack claims {cell} = {low}; it is {real[cell]}"
            claims.append((cell[0], where[cell], cell[1], round(low)))
    return claims


def _numerators(table: pd.DataFrame, shown: pd.DataFrame) -> dict[str, tuple[pd.Series, pd.Series | None]]:
    """Share × base as a count of its own, by base: the true one, and what the published table gives."""
    if "estimate" not in table.columns:
        return {}
    found: dict[str, tuple[pd.Series, pd.Series | None]] = {}
    for base in counts_of(table):
        exact = _is_share_of(table, base)
        if not exact.any():
            continue
        true = (table["estimate"].astype(float) * table[base].astype(float)).where(exact).round()
        told = None
        if base in shown.columns:
            told = (shown["estimate"].astype(float) * shown[base].astype(float)).where(exact).round()
        found[f"estimate × {base}"] = (true, told)
    return found


def _sums(shapes: Mapping, real: Mapping) -> list[tuple[list, float]]:
    """Shares of one group that make up all of it, or another share, in every group of the table."""
    found = []
    held = _of_each(shapes, real)
    for (name, column), cells in held.items():
        keys = shapes[name, column]
        if not column.startswith("estimate × ") or "measure" not in keys:
            continue
        place = keys.index("measure")
        base = column.removeprefix("estimate × ")
        groups: dict[tuple, dict[str, tuple]] = {}
        for cell in cells:
            rest = tuple(k for i, k in enumerate(cell[2]) if i != place)
            groups.setdefault(rest, {})[cell[2][place]] = cell
        if len(groups) < 2:  # in one group alone, sums agree by coincidence that nobody can know of
            continue
        measures = sorted({m for g in groups.values() for m in g if any(real[c] > 0 for c in g.values())})
        for size in range(2, min(len(measures), 8) + 1):
            for chosen in itertools.combinations(measures, size):
                full = [g for g in groups.values() if all(m in g for m in chosen)]
                if not full or any(all(real[g[m]] == 0 for g in full) for m in chosen):
                    continue
                wholes = {None: [(name, base, next(iter(g.values()))[2]) for g in full]}
                wholes |= {
                    m: [g[m] for g in full] for m in measures if m not in chosen and all(m in g for g in full)
                }
                for whole in wholes.values():
                    if all(
                        abs(sum(real[g[m]] for m in chosen) - real.get(w, -1)) < 0.5
                        for g, w in zip(full, whole)
                    ):
                        found += [
                            ([*((g[m], 1.0) for m in chosen), (w, -1.0)], 0.0) for g, w in zip(full, whole)
                        ]
    return found


def _groups(keys: list[str], out: tuple[str, ...], cells: list[tuple]) -> dict[tuple, list[tuple]]:
    """The cells of a table and column by the dimensions left when ``out`` are summed over."""
    stay = [i for i, k in enumerate(keys) if k not in out]
    found: dict[tuple, list[tuple]] = {}
    for cell in cells:
        found.setdefault(tuple(cell[2][i] for i in stay), []).append(cell)
    return found


def _of_each(shapes: Mapping, real: Mapping) -> dict[tuple, list[tuple]]:
    held: dict[tuple, list[tuple]] = {shape: [] for shape in shapes}
    for cell in real:
        if not np.isnan(real[cell]):
            held[cell[0], cell[1]].append(cell)
    return held


def _totals(shapes: Mapping, real: Mapping) -> list[tuple[list, float]]:
    """Each count's total over all that adds up is known, where it is not small itself."""
    found = _flows(shapes, real)
    for shape, cells in _of_each(shapes, real).items():
        out = tuple(k for k in shapes[shape] if k not in NO_SUMS)
        for group in _groups(shapes[shape], out, cells).values():
            total = sum(real[c] for c in group)
            if out and len(group) > 1 and total >= 5:
                found.append(([(c, 1.0) for c in group], total))
    return found


def _flows(shapes: Mapping, real: Mapping) -> list[tuple[list, float]]:
    """A bridge's accounts: those there at first, and those that come, less those that leave, are those there at last."""
    found = []
    for shape, cells in _of_each(shapes, real).items():
        signs = {c: SIGNS[c[2][shapes[shape].index("step")]] for c in cells if "step" in shapes[shape]
                 and c[2][shapes[shape].index("step")] in SIGNS}  # fmt: skip
        if len(signs) > 2 and abs(sum(sign * real[c] for c, sign in signs.items())) < 0.5:
            found.append((list(signs.items()), 0.0))
    return found


def _shared(shapes: Mapping, real: Mapping) -> list[tuple[list, float]]:
    """Two tables of one count: the sums of the finer one are the cells of the coarser."""
    held = _of_each(shapes, real)
    found = []
    for fine, coarse in itertools.permutations(shapes, 2):
        if fine[1] != coarse[1]:
            continue
        own, other = shapes[fine], shapes[coarse]
        out = tuple(k for k in own if k not in other)
        if not set(other) <= set(own) or any(k in NO_SUMS - {"measure"} for k in out):
            continue
        order = [k for k in own if k not in out]
        cells = {tuple(c[2][other.index(k)] for k in order): c for c in held[coarse]}
        groups = _groups(own, out, held[fine])
        both = [k for k in groups if k in cells]
        if both and all(abs(sum(real[c] for c in groups[k]) - real[cells[k]]) < 0.5 for k in both):
            found += [([*((c, 1.0) for c in groups[k]), (cells[k], -1.0)], 0.0) for k in both]
    return found


def _bounds(gaps, left, right, real, minimum) -> dict[tuple, tuple[float, float]]:
    """The range of each small gap, over the equations that have to do with it."""
    found = {}
    for cell, place in gaps.items():
        if not _small(real[cell], minimum):
            continue
        near, columns = _near(left, place)
        if not near.any():
            continue
        aim = np.zeros(len(columns))
        aim[columns.index(place)] = 1.0
        ends = []
        for sign in (1, -1):
            told = linprog(
                sign * aim, A_eq=left[near][:, columns], b_eq=right[near], bounds=(0, None), method="highs"
            )
            ends.append(sign * told.fun if told.status == 0 else -sign * np.inf)
        found[cell] = (ends[0], ends[1])
    return found


def _near(left: np.ndarray, place: int) -> tuple[np.ndarray, list[int]]:
    """The equations and gaps linked with one gap."""
    if not len(left):
        return np.zeros(0, dtype=bool), []
    columns, rows = {place}, np.zeros(len(left), dtype=bool)
    while True:
        touched = (left[:, sorted(columns)] != 0).any(axis=1)
        if (touched == rows).all():
            return rows, sorted(columns)
        rows = touched
        columns |= set(np.flatnonzero((left[rows] != 0).any(axis=0)))
