"""Each rule counted over the log, part by part, and the actions kept that break it."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from collectlab.core.engine import connection, scan
from collectlab.core.jackknife import GROUPS
from collectlab.measures.conduct.judge import DAY, EPOCH, Judged, Rows, judge
from collectlab.measures.conduct.lay import CHANNELS, Laid, part
from collectlab.measures.conduct.rules import ContactRules, Rule

#: Violations kept as evidence for one rule; all are counted.
EVIDENCE = 10_000
#: Cells of all groupings at once, at most.
BOARD = 2_000_000
#: Sorts of rule, each with the kinds it takes in: for who breaks any of them.
SORTS = {"hours": ("hours",), "frequency": ("count", "after"), "third_party": ("party",), "hold": ("hold",)}
#: An action that breaks any rule, whatever its sort.
SORTS["any"] = tuple(kind for kinds in SORTS.values() for kind in kinds)


@dataclass
class Plan:
    """What is counted: the log, the groups side by side in one row of cells, and the days judged."""

    log: Laid
    by: list[str]
    first: int | None
    last: int | None
    holds: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    labels: list[tuple[str, str, object]] = field(init=False)
    offsets: dict[str, int] = field(init=False)
    months: int = field(init=False)

    def __post_init__(self) -> None:
        self.months = _month(np.array([self.log.first_day]))[0]
        until = _month(np.array([self.log.last_day]))[0]
        self.labels, self.offsets = [], {}
        for name in self.by:
            self.offsets[name] = len(self.labels)
            self.labels += [(name, "group", g) for g in self._groups(name, until)]
        self.labels.append(("all", "all", "all"))

    def _groups(self, name: str, until: int) -> list[object]:
        if name in self.log.groups:
            return [*self.log.groups[name], None]
        if name == "channel":
            return list(CHANNELS)
        return [f"{m // 12}-{m % 12 + 1:02d}" for m in range(self.months, until + 1)]

    @property
    def all(self) -> int:
        """The cell of all rows together."""
        return len(self.labels) - 1

    @property
    def span(self) -> tuple[dt.date, dt.date]:
        """First and last day judged."""
        days = (
            self.log.first_day if self.first is None else self.first,
            self.log.last_day if self.last is None else self.last,
        )
        return dt.date.fromordinal(days[0] + EPOCH), dt.date.fromordinal(days[1] + EPOCH)

    def cells(self, rows: Rows, codes: Mapping[str, np.ndarray]) -> list[Cells]:
        """The cell of each row: of all groupings at once where there are few enough, else of each."""
        groups, sizes = [], []
        for i, name in enumerate(self.by):
            if f"by{i}" in codes:
                group = codes[f"by{i}"].astype(np.int64)
            elif name == "channel":
                group = rows.channel.astype(np.int64)
            else:
                group = np.clip(_month(rows.day) - self.months, 0, None)
            groups.append(group)
            ends = [*self.offsets.values(), self.all]
            sizes.append(ends[i + 1] - ends[i])
        places = list(range(len(self.by)))
        boards = [places] if np.prod(sizes, dtype=float) * GROUPS <= BOARD else [[place] for place in places]
        out = []
        for board in boards:
            cell = np.zeros(len(rows.at), dtype=np.int64)
            for place in board:
                cell = cell * sizes[place] + groups[place]
            shape = (*(sizes[place] for place in board), GROUPS)
            out.append(Cells(cell * GROUPS + self.log.replicate[rows.account], shape, board))
        return out

    def spread(self, target: np.ndarray, boards: Sequence[Cells], index: np.ndarray) -> None:
        """Add rows to a table of replicate group × label."""
        first = list(self.offsets.values())
        for n, (cell, shape, board) in enumerate(boards):
            counted = np.bincount(cell[index], minlength=math.prod(shape)).reshape(shape)
            for axis, place in enumerate(board):
                others = tuple(a for a in range(len(board)) if a != axis)
                target[:, first[place] : first[place] + shape[axis]] += counted.sum(axis=others).T
            if n == 0:
                target[:, self.all] += counted.sum(axis=tuple(range(len(board))))


class Cells(NamedTuple):
    """A cell for each row, the shape of the cells, and the groupings along its axes, replicate group last."""

    cell: np.ndarray
    shape: tuple[int, ...]
    board: list[int]


def _month(day: np.ndarray) -> np.ndarray:
    return day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) + 1970 * 12


Asked = list[tuple[ContactRules, Rule]]


@dataclass
class Counts:
    """By rule × replicate group × cell; the violations kept; the rows behind."""

    applies: np.ndarray
    broken: np.ndarray
    customers: np.ndarray
    unknown: np.ndarray
    exempt: np.ndarray
    judged: int = 0
    copies: int = 0
    alike: int = 0
    copied: set[int] = field(default_factory=set)
    resembling: set[int] = field(default_factory=set)
    kept: list[pd.DataFrame] = field(default_factory=list)

    @classmethod
    def none(cls, rules: int, cells: int) -> Counts:
        """Nothing counted yet, of so many rules and, behind them, the sorts of rule."""
        shape = (rules + len(SORTS), GROUPS, cells)
        sides = np.zeros((3, rules + len(SORTS)), np.int64)
        return cls(np.zeros(shape, np.int64), np.zeros(shape, np.int64), *sides)


def count(plan: Plan, asked: Asked) -> Counts:
    con = connection()  # of this thread: another would have an engine of its own

    def one(span: tuple[int, int]) -> Counts:
        door = con.cursor()
        try:
            return _count_part(plan, asked, *part(plan.log, *span, door))
        finally:
            door.close()

    total = Counts.none(len(asked), len(plan.labels))
    kept = np.zeros(len(asked), dtype=np.int64)
    with ThreadPoolExecutor(max_workers=2) as pool:
        for found in pool.map(one, plan.log.parts):
            for name in ("applies", "broken", "customers", "unknown", "exempt", "judged", "copies", "alike"):
                setattr(total, name, getattr(total, name) + getattr(found, name))
            total.copied |= found.copied
            total.resembling |= found.resembling
            for table in found.kept:
                rule = int(table["rule"].iloc[0])
                room = EVIDENCE - kept[rule]
                if room > 0:
                    total.kept.append(table.head(room))
                    kept[rule] += min(room, len(table))
    return total


def _count_part(
    plan: Plan,
    asked: Asked,
    rows: Rows,
    codes: Mapping[str, np.ndarray],
    copies: np.ndarray,
    alike: np.ndarray,
) -> Counts:
    found = Counts.none(len(asked), len(plan.labels))
    found.copies, found.alike = len(copies), len(alike)
    found.copied, found.resembling = (set(np.unique(a)[:4].tolist()) for a in (copies, alike))
    inside = np.ones(len(rows.at), dtype=bool)
    if plan.first is not None:
        inside &= rows.local >= plan.first * DAY
    if plan.last is not None:
        inside &= rows.local < (plan.last + 1) * DAY
    found.judged = int(inside.sum())
    cells = plan.cells(rows, codes)
    whole = bool(inside.all())

    def add(i: int, applies: np.ndarray, broken: np.ndarray) -> None:
        plan.spread(found.applies[i], cells, applies)
        plan.spread(found.broken[i], cells, broken)

    sorts = {name: np.zeros((2, len(rows.at)), dtype=bool) for name in SORTS}
    for i, (book, rule) in enumerate(asked):
        judged = judge(rule, rows, holidays=book.holidays, holds=plan.holds)
        applies = judged.applies if whole else judged.applies[inside[judged.applies]]
        here = slice(None) if whole else inside[judged.broken]
        broken = judged.broken[here]
        add(i, applies, broken)
        for name in (name for name, kinds in SORTS.items() if rule.kind in kinds):
            sorts[name][0][applies] = True
            sorts[name][1][broken] = True
        found.unknown[i] = int((judged.unknown & inside).sum())
        found.exempt[i] = int((judged.exempt & inside).sum())
        customer = rows.customer[applies]
        found.customers[i] = len(applies) and 1 + int((customer[1:] != customer[:-1]).sum())
        if len(broken):
            found.kept.append(_evidence(i, rule, rows, judged, here, codes))
    for i, (applied, broke) in enumerate(sorts.values(), start=len(asked)):
        add(i, np.flatnonzero(applied), np.flatnonzero(broke))
        customer = rows.customer[applied]
        found.customers[i] = len(customer) and 1 + int((customer[1:] != customer[:-1]).sum())
    return found


def _evidence(
    i: int, rule: Rule, rows: Rows, judged: Judged, here: Any, codes: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    broken = judged.broken[here]
    order = np.argsort(broken, kind="stable")[:EVIDENCE]
    index = broken[order]
    mark = codes["mark"][index] if "mark" in codes else np.zeros(len(index), np.int64)
    return pd.DataFrame(
        {
            "rule": i,
            "account": rows.account[index],
            "elapsed": rows.at[index],
            "local": rows.local[index],
            "channel": rows.channel[index],
            "mark": mark,
            "counted": judged.counted[here][order],
            "since": judged.since[here][order],
        }
    )


def evidence(plan: Plan, asked: Asked, counts: Counts) -> pd.DataFrame:
    """The violations kept, under the names of the log."""
    log = plan.log
    columns = ["action_id", "account_id", "at", "channel", "rule", "counted", "limit", "since"]
    if not counts.kept:
        return pd.DataFrame(columns=columns)
    found = pd.concat(counts.kept, ignore_index=True)
    con = connection()
    owners = con.execute(
        f"SELECT __account AS account, account_id FROM {log.owners} WHERE __account IN "
        "(SELECT unnest(?))", [sorted(set(map(int, found["account"])))]
    ).df()  # fmt: skip
    found = found.merge(owners, on="account", how="left")
    found["action_id"] = None
    if "action_id" in log.columns:
        found["action_id"] = _action_ids(log, found)
    found["at"] = pd.to_datetime(found["local"], unit="us")
    none = found["since"] == np.iinfo(np.int64).min
    found["since"] = pd.to_datetime(found["since"].where(~none, 0), unit="us").mask(none)
    found["channel"] = [CHANNELS[c] for c in found["channel"]]
    limits = [r.limit for _, r in asked]
    after = [r.allowed_after.unanswered if r.allowed_after else None for _, r in asked]
    found["limit"] = pd.array(
        [limits[i] if limits[i] is not None else after[i] for i in found["rule"]], dtype="Int64"
    )
    found = found.sort_values(["rule", "account", "elapsed", "mark"], kind="stable")
    found["rule"] = [asked[i][1].key for i in found["rule"]]
    return found[columns].reset_index(drop=True)


def _action_ids(log: Laid, found: pd.DataFrame) -> list[object]:
    """The log's own names of the violations: one more look at it, for these accounts only."""
    con = connection()
    wanted = scan(found[["account_id", "mark"]].drop_duplicates()).to_native()
    wanted.create_view("_conduct_wanted", replace=True)
    hashed = "CAST(hash(CAST(action_id AS VARCHAR)) & 4294967295 AS BIGINT)"
    ids = con.execute(
        f"SELECT DISTINCT CAST(w.account_id AS VARCHAR) AS account, w.mark AS mark, s.action_id AS action_id "
        f"FROM {log.source} s JOIN _conduct_wanted w ON CAST(s.account_id AS VARCHAR) = CAST(w.account_id AS VARCHAR) "
        f"AND {hashed} = w.mark"
    ).df()
    con.execute("DROP VIEW _conduct_wanted")
    known = dict(zip(zip(ids["account"], ids["mark"]), ids["action_id"]))
    return [known.get((str(a), m)) for a, m in zip(found["account_id"], found["mark"])]
