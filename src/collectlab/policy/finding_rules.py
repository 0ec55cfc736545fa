"""The rules that look for problems. Each takes one evidence table and yields the comparisons it made.

An evidence table is a plain tidy frame. Which rule reads it follows from its name:

========================================= ==================================================================
name                                      columns wanted (others are ignored)
========================================= ==================================================================
``scorecard``                             as :class:`~collectlab.policy.scorecard.Scorecard`'s table
``<measure>_by_<group>``                  ``<group>`` (else the first column), ``n``, ``estimate`` and
                                          ``std_error`` or ``conf_low, conf_high``; optional ``weight`` (what
                                          the others are averaged by; default n) and
                                          ``among`` (compare only within, such as the channel a team works by).
                                          One row per group.
``<measure>``                             the same without a group: one row, compared with the limit
``concentration_by_<group>``              ``<group>``, ``n``, ``share_of_overdue``, ``share_of_base``; optional
                                          the interval of ``estimate``, their ratio
``roll_rates`` and ``roll_rates_before``  ``from_bucket, to_bucket, n, estimate`` and an interval each
``experiment``                            ``outcome, arm, n, control_n, control_mean, unit, estimate, std_error,
                                          conf_low, conf_high``; the first outcome decides
``reconciliation``                        ``table, rows_in, accepted, quarantined``
``missing_tables``                        ``table``; optional ``switches_off``
========================================= ==================================================================

``n`` may be called at_risk, overdue_accounts, contacts, actions, episodes, account_months, loans or accounts. The measures are listed in :data:`~collectlab.policy.finding_measures.MEASURES`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.policy.candidates import (
    Candidate,
    Context,
    Finding,
    counts,
    error_towards,
    label_of,
    need,
    numbers,
    size_of,
    with_interval,
)
from collectlab.policy.finding_measures import AREA_OF_GROUP, CASE_MIX, MEASURES, MIXED, Measure
from collectlab.policy.targets import say


def group_of(name: str, table: pd.DataFrame) -> str:
    """The grouping column of ``<measure>_by_<group>``."""
    wanted = name.partition("_by_")[2]
    return wanted if wanted in table.columns else str(table.columns[0])


def outlying_group(name: str, table: pd.DataFrame, context: Context) -> Iterator[Candidate]:
    """A group clearly worse than the rest: one against the others, for each group large enough."""
    measure = MEASURES[name.partition("_by_")[0]]
    for label, row in _rows(name, table, context):
        rest = row["others"]
        if row["n"] < row["smallest"] or math.isnan(row["estimate"]):
            continue
        if math.isnan(rest) or math.isnan(row["std_error"]):
            context.unjudged.extend([f"{name}: {label}"] if len(table) > 1 else [])
            continue
        yield from _compared(name, label, row, rest, row["others_error"], "the others", measure, context)


def beyond_limit(name: str, table: pd.DataFrame, context: Context) -> Iterator[Candidate]:
    """A value beyond its limit in targets.yml, or beyond the column ``limit`` of the table."""
    measure = MEASURES[name.partition("_by_")[0]]
    own = numbers(table, "limit")
    for i, (label, row) in enumerate(_rows(name, table, context)):
        limit = own[i] if math.isfinite(own[i]) else context.limit(measure.limit)
        if math.isnan(limit) or row["n"] < row["smallest"]:
            continue
        yield from _compared(name, label, row, limit, 0.0, "the limit", measure, context)


def _rows(name: str, table: pd.DataFrame, context: Context) -> list[tuple[str, dict[str, Any]]]:
    """Each row's label, own numbers and the value of all the others together."""
    need(name, table, "estimate")
    grouped = "_by_" in name
    n = counts(name, table)
    labels = table[group_of(name, table)].map(label_of).tolist() if grouped else [""] * len(table)
    twice = sorted({x for x in labels if labels.count(x) > 1})
    if twice:
        wanted = "one row per group" if grouped else "one row"
        raise FrameError(
            f"evidence {name!r}: several rows for {first_few(twice) or 'all'}. Allowed: {wanted}."
        )
    value, low, high = (numbers(table, c) for c in ("estimate", "conf_low", "conf_high"))
    error = numbers(table, "std_error")
    error = np.where(np.isfinite(error), error, (high - low) / (2 * context.z))
    default = context.units.get(name) or MEASURES[name.partition("_by_")[0]].unit
    units = [u if isinstance(u, str) and u else default for u in table.get("unit", [default] * len(table))]
    # A bare share is taken for a binomial one.
    bare = np.isnan(error) & (np.array(units) == "share") & (value >= 0) & (value <= 1) & (n > 0)
    error[bare] = np.sqrt(value[bare] * (1 - value[bare]) / n[bare])
    weight = numbers(table, "weight") if "weight" in table.columns else n
    smallest = context.limit("minimum_group")
    among = table["among"].map(label_of).to_numpy() if "among" in table.columns else np.full(len(table), "")
    out = []
    for i, label in enumerate(labels):
        rest = np.isfinite(value) & np.isfinite(error) & (weight > 0) & (among == among[i])
        rest[i] = False
        total = weight[rest].sum()
        others = float((weight * value)[rest].sum() / total) if total > 0 else math.nan
        spread = float(np.sqrt(((weight * error)[rest] ** 2).sum()) / total) if total > 0 else math.nan
        row = {"estimate": value[i], "std_error": error[i], "conf_low": low[i], "conf_high": high[i]}
        row |= {"n": n[i], "n_all": n.sum(), "others": others, "others_error": spread}
        row["smallest"] = 0.0 if math.isnan(smallest) else smallest
        out.append((label, {k: float(v) for k, v in row.items()} | {"unit": units[i], "among": among[i]}))
    return out


def _compared(
    name: str,
    label: str,
    row: dict[str, Any],
    comparison: float,
    comparison_error: float,
    comparison_of: str,
    measure: Measure,
    context: Context,
) -> Iterator[Candidate]:
    estimate, low, high, n = (row[k] for k in ("estimate", "conf_low", "conf_high", "n"))
    unit, among = row["unit"], row["among"]
    if math.isnan(estimate):
        return
    gap = estimate - comparison
    # Where nothing is allowed, one is too many: a count, not an inference.
    counted = comparison_of == "the limit" and comparison == 0 and measure.breach
    error = None
    if not counted:
        error = error_towards(estimate, row["std_error"], low, high, comparison, n, unit, context.z)
        if math.isnan(error):
            context.unjudged.append(f"{name}: {label}" if label else name)
            return
        error = math.hypot(error, comparison_error)
    bad = gap > 0 if measure.worse == "higher" else gap < 0
    small = context.limit("material_gap")
    material = comparison_of == "the limit" or not abs(gap) < abs(comparison) * small
    group = group_of(name, context.evidence[name]) if "_by_" in name else ""
    about = subject_of(group, label) if label else "all accounts concerned"
    subject = f"{about[:1].upper()}{about[1:]}: the {measure.noun}" if label else f"The {measure.noun}"
    against = (
        f"that of the others{f' ({among})' if among else ''} is {say(comparison, unit)}"
        if comparison_of == "the others"
        else f"the limit is {say(comparison, unit)}"
    )
    number = with_interval(estimate, low, high, unit)
    yield Candidate(
        Finding(
            key=f"{name}: {label}" if label else name,
            rule="outlying_group" if comparison_of == "the others" else "beyond_limit",
            measure=name.partition("_by_")[0],
            area=measure.area or AREA_OF_GROUP.get(group, "strategy"),
            statement=f"{subject} is {number}; {against}.",
            table=name,
            row=label or "all",
            kind="breach" if measure.breach else "observed",
            group=group,
            subject=about,
            estimate=estimate,
            conf_low=low,
            conf_high=high,
            unit=unit,
            comparison=comparison,
            comparison_of=comparison_of,
            gap=gap,
            n=n,
            n_all=row["n_all"],
            size=size_of(gap, comparison),
            scope=n / row["n_all"] if row["n_all"] else 1.0,
            caution=CASE_MIX
            if group in MIXED and comparison_of == "the others" and not measure.breach
            else "",
        ),
        error=error,
        noteworthy=bad and material,
    )


def kpi_missed(name: str, table: pd.DataFrame, context: Context) -> Iterator[Candidate]:
    """Each KPI judged; those missed are shown, and marked not certain where the correction is not passed."""
    need(
        name,
        table,
        "kpi",
        "estimate",
        "conf_low",
        "conf_high",
        "target",
        "poor",
        "direction",
        "status",
        "weight",
    )
    weight = float(table["weight"].sum())
    for row in table.itertuples():
        if math.isnan(row.estimate) or math.isnan(row.conf_low) or math.isnan(row.conf_high):
            continue
        error = error_towards(
            row.estimate, math.nan, row.conf_low, row.conf_high, row.target, 0, row.unit, context.z
        )
        sign, noun = ("≥", "at least") if row.direction == "at_least" else ("≤", "at most")
        text = with_interval(row.estimate, row.conf_low, row.conf_high, row.unit)
        beyond = ", and even the poor limit is passed" if row.beyond_poor else ""
        yield Candidate(
            Finding(
                key=f"{name}: {row.kpi}",
                rule="kpi_missed",
                measure=row.kpi,
                area="strategy" if row.kpi != "new_loan_bad_rate" else "credit_approval",
                statement=f"{row.name} is {text}; the target is {noun} {say(row.target, row.unit)}{beyond}.",
                table=name,
                row=row.kpi,
                subject=row.name,
                estimate=row.estimate,
                conf_low=row.conf_low,
                conf_high=row.conf_high,
                unit=row.unit,
                comparison=row.target,
                comparison_of=f"the target ({sign})",
                gap=row.estimate - row.target,
                n=row.n,
                n_all=row.n,
                size=size_of(row.estimate - row.target, row.target, abs(row.target - row.poor)),
                scope=row.weight / weight,
            ),
            error=error,
            noteworthy=row.status == "missed",
            keep=True,
        )


def concentrated(name: str, table: pd.DataFrame, context: Context) -> Iterator[Candidate]:
    """A group whose share of the overdue amount is far above its share of the balance."""
    group = group_of(name, table)
    need(name, table, group, "share_of_overdue", "share_of_base")
    n = counts(name, table)
    limit = context.limit("concentration_ratio")
    overdue, balance = numbers(table, "share_of_overdue"), numbers(table, "share_of_base")
    low, high, error = (numbers(table, c) for c in ("conf_low", "conf_high", "std_error"))
    for i, label in enumerate(table[group].map(label_of)):
        if (
            not balance[i] > 0
            or math.isnan(overdue[i])
            or n[i] < context.limit("minimum_group")
            or math.isnan(limit)
        ):
            continue
        ratio = overdue[i] / balance[i]
        about = subject_of(group, label)
        about = about[:1].upper() + about[1:]
        seen = error_towards(ratio, error[i], low[i], high[i], limit, 0, "ratio", context.z)
        yield Candidate(
            Finding(
                key=f"{name}: {label}",
                rule="concentrated",
                measure="concentration",
                area=AREA_OF_GROUP.get(group, "strategy") if group == "product" else "strategy",
                statement=(
                    f"{about} holds {say(overdue[i], 'share')} of the overdue amount and "
                    f"{say(balance[i], 'share')} of the book, {with_interval(ratio, low[i], high[i], 'ratio')} "
                    f"times its share; the limit is {say(limit, 'ratio')}."
                ),
                table=name,
                row=label,
                kind="fact" if math.isnan(seen) else "observed",
                group=group,
                subject=subject_of(group, label),
                estimate=ratio,
                conf_low=low[i],
                conf_high=high[i],
                unit="ratio",
                comparison=limit,
                comparison_of="the limit",
                gap=ratio - limit,
                n=n[i],
                n_all=float(n.sum()),
                size=size_of(ratio - limit, limit),
                scope=float(overdue[i]),
            ),
            error=None if math.isnan(seen) else seen,
            noteworthy=ratio > limit,
        )


def roll_worse(name: str, table: pd.DataFrame, context: Context) -> Iterator[Candidate]:
    """A roll into a deeper bucket that has become more frequent than in ``roll_rates_before``."""
    before = context.evidence.get("roll_rates_before")
    if before is None or before.empty:
        return
    keys = ["from_bucket", "to_bucket"]
    for which, frame in ((name, table), ("roll_rates_before", before)):
        need(which, frame, *keys, "n", "estimate")
        if frame.duplicated(keys).any():
            raise FrameError(
                f"evidence {which!r}: several rows for one step. Allowed: one row per from_bucket × to_bucket."
            )
    both = table.merge(before, on=keys, suffixes=("", "_before"), how="inner")
    started = table.groupby("from_bucket", observed=True)["n"].sum()
    started_before = before.groupby("from_bucket", observed=True)["n"].sum()
    value, was = numbers(both, "estimate"), numbers(both, "estimate_before")
    for i, (source, target) in enumerate(zip(both["from_bucket"], both["to_bucket"])):
        n, n_before = float(started[source]), float(started_before[source])
        small = min(n, n_before) < context.limit("minimum_group")
        if _depth(target) <= _depth(source) or small or math.isnan(value[i]) or math.isnan(was[i]):
            continue
        errors = [
            error_towards(  # type: ignore[call-arg]
                v,
                *(numbers(both, c + end)[i] for c in ("std_error", "conf_low", "conf_high")),
                other,
                m,
                "share",
                context.z,
            )
            for v, other, m, end in ((value[i], was[i], n, ""), (was[i], value[i], n_before, "_before"))
        ]
        gap = value[i] - was[i]
        low, high = numbers(both, "conf_low")[i], numbers(both, "conf_high")[i]
        yield Candidate(
            Finding(
                key=f"{name}: {source} → {target}",
                rule="roll_worse",
                measure="roll_rates",
                area="strategy",
                statement=(
                    f"From {_words(source)} to {_words(target)} within a month rolled "
                    f"{with_interval(value[i], low, high, 'share')}; in the period before it was "
                    f"{say(was[i], 'share')}."
                ),
                table=name,
                row=f"{source} → {target}",
                group="step",
                subject=f"from {_words(source)} to {_words(target)}",
                estimate=value[i],
                conf_low=low,
                conf_high=high,
                unit="share",
                comparison=was[i],
                comparison_of="the period before",
                gap=gap,
                n=n,
                n_all=float(started.sum()),
                size=size_of(gap, was[i]),
                scope=n / float(started.sum()),
            ),
            error=math.hypot(*errors),
            noteworthy=gap > 0 and gap >= was[i] * context.limit("material_gap"),
        )


def _depth(bucket: object) -> float:
    """Days past due where a bucket begins; terminal states lie beneath all; unknown ones count as no roll."""
    text = str(bucket)
    if text in ("charged_off", "sold"):
        return math.inf
    number = re.match(r"\D{0,3}(\d+)", text)
    return float(number[1]) if number else 0.0 if text.lower() in ("current", "not past due") else -1.0


def subject_of(group: str, label: str) -> str:
    """``product card``; a label that says what it is, such as ``Call team 3``, stands alone."""
    says = any(word in label.lower() for word in (group.lower(), *AREA_OF_GROUP))
    return label if says else f"{group.replace('_', ' ')} {label}"


def _words(bucket: object) -> str:
    text = str(bucket).replace("_", " ")
    return f"{text} days" if text[:1].isdigit() and "day" not in text else text
