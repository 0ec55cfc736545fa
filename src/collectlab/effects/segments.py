"""For whom an effect is larger or smaller: first whether it differs at all, then where, then only where data suffice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import CollectlabError, FrameError, first_few
from collectlab.core.jackknife import check_level
from collectlab.core.tables import format_value
from collectlab.effects._bands import cut
from collectlab.effects._league_math import shrink
from collectlab.effects._panel_inputs import one_part_each, title_of, words_of
from collectlab.effects.effect_result import Check, EffectResult
from collectlab.effects.experiment import experiment
from collectlab.effects.experiment_result import label_of
from collectlab.effects.segments_result import ALIKE, LARGER, SMALLER, Segments
from collectlab.effects.target_trial_later import later_faults

__all__ = ["Segments", "by_segment"]

MAX_SEGMENTS = 30
#: Chance of so uneven a spread of arms over segments below which the segments are not taken as known beforehand.
UNEVEN = 0.001


def by_segment(
    frame: Any,
    segments: str | Sequence[str] | Mapping[str, Sequence[float] | None],
    *,
    effect: Callable[[pd.DataFrame], EffectResult] | None = None,
    arm: str = "strategy",
    control: str | None = None,
    outcomes: str | Sequence[str] = (),
    covariates: str | Sequence[str] = (),
    block: str | None = None,
    cluster: str | None = None,
    bands: int = 3,
    least: int = 50,
    events: int = 10,
    half_width: float | None = None,
    conf_level: float = 0.95,
) -> Segments:
    r"""Whether an effect differs between segments, and in which.

    Estimand: the effect within each segment, and its difference from the effect in the other segments of the same
    column. With the effects τ_k of the segments of one column, their variances s_k² and τ̄ their mean weighted by 1/s_k²,

    .. math:: Q = \sum_k (\tau_k - \bar\tau)^2 / s_k^2 \sim \chi^2_{K-1} \text{ if the effect is the same in all.}

    Nothing else is looked at before that test. With m questions (columns × outcomes × arms), each is asked at the level
    α / m. Only where the answer is yes are segments named: segment k is held against all others of its column, at
    α / m divided by K − 2 (if any two effects differ, at most K − 2 segments can equal the rest: Shaffer 1986). So the
    chance of naming any segment wrongly, over everything asked, is at most α = 1 − ``conf_level``.
    Intervals are simultaneous over all segments reported (Šidák).

    Parameters
    ----------
    frame : frame
        One row per unit, as the estimator takes it.
    segments : str, list of str, or mapping
        Columns known before the treatment. Numbers are cut into ``bands`` of equal numbers of rows, whatever their
        outcomes; a mapping gives the bounds instead, fixed beforehand: ``{"tenure": [2, 10]}``, None for the usual.
    effect : callable, optional
        Takes the rows of a segment (pandas), returns an :class:`EffectResult`, whose ``headline`` row counts. Default:
        :func:`~collectlab.effects.experiment.experiment` with the arguments that follow.
    arm, control, outcomes, covariates, block, cluster
        Of the experiment. With ``effect`` only ``arm`` is looked at, if the frame has it, for the rule on its size.
    bands : int
        Number of bands for numbers.
    least, events : int
        A segment is reported where each of the two arms has at least ``least`` rows, and, together, at least
        ``events`` rows with the outcome and as many without it (of an amount: apart from its commonest value).
    half_width : float, optional
        Nor is a segment reported whose own interval reaches further than this on either side.
    conf_level : float
        Level of the intervals and of all tests together.

    Returns
    -------
    Segments
        Checks: ``before_assignment`` (arms are spread alike over the segments, as they must be if these were known
        beforehand) and ``enough`` (each column has two segments that can be reported), after those of the effect in
        everybody.

    Raises
    ------
    FrameError
        A column is missing, or known only after the treatment; no outcome; more than 30 segments; an effect that
        cannot be had even in everybody.

    Notes
    -----
    Estimates of the segments are taken as independent, which they are where each unit (or cluster) lies in one
    segment. Where customers have accounts in several, the test errs to the side of "no sign".

    References
    ----------
    Cochran (1954), Biometrics 10, 101–129. Shaffer (1986), JASA 81, 826–831. Šidák (1967), JASA 62, 626–633.

    Examples
    --------
    >>> people = pd.DataFrame({"letter": ["none", "firm"] * 400, "owner": (["old"] * 2 + ["new"] * 2) * 200})
    >>> people["paid"] = [int(i % 5 == 0 or (i % 4 == 3 and i % 3 > 0)) for i in range(800)]
    >>> result = by_segment(people, "owner", arm="letter", control="none", outcomes="paid")
    >>> result.table[["segment", "n", "estimate", "reading"]].round(2)
      segment    n  estimate                   reading
    0     all  400      0.27              in everybody
    1     new  200      0.53   larger than in the rest
    2     old  200      0.00  smaller than in the rest
    >>> print(result.says[0])
    By owner the effect on paid differs (p < 0.001): larger in new (+53.5 pp), smaller in old (0.0 pp).
    """
    check_level(conf_level)
    bounds = dict(segments) if isinstance(segments, Mapping) else dict.fromkeys(_names(segments))
    asked = _names(outcomes)
    if not bounds:
        raise FrameError("no column to make segments by. Allowed: one or more, known before the treatment.")
    if faults := later_faults("segments", bounds):
        raise FrameError(faults)
    if effect is None and not asked:
        raise FrameError("no outcome. Allowed: one or more columns, such as outcomes='cured_within_90'.")
    if effect is None:
        one_part_each(**{"a segment": list(bounds), "an outcome": asked, "the arm": arm})
    lazy = scan(frame)
    have = lazy.collect_schema().names()
    own = [] if effect else [arm, *asked, *_names(covariates), *(c for c in (block, cluster) if c)]
    require(lazy, *bounds, *own)
    rows = collect(lazy if effect else lazy.select(*dict.fromkeys([*own, *bounds])))
    cuts = {c: cut(rows[c], bands, edges) for c, edges in bounds.items()}
    if many := [c for c, values in cuts.items() if len(values.categories) > MAX_SEGMENTS]:
        raise FrameError(
            f"{first_few(many)}: more than {MAX_SEGMENTS} segments. Allowed: fewer, such as bands."
        )

    def estimated(part: pd.DataFrame, asked: Sequence[str] = asked) -> EffectResult:
        if effect is not None:
            return effect(part)
        return experiment(
            part, arm=arm, control=control, outcomes=asked, covariates=covariates, block=block, cluster=cluster,
            conf_level=conf_level,
        )  # fmt: skip

    whole = estimated(rows)
    table = _effects(whole, effect is not None, len(rows)).assign(segment_by="all", segment="all")
    control = getattr(whole, "control", control) or control
    limits = (least, events, np.inf if half_width is None else half_width)
    found, left_out = [table], []
    for column, values in cuts.items():
        for level in values.categories:
            part = rows[values == level]
            kept, lost = _segment(part, table, estimated, effect is not None, arm, control, limits)
            found.append(kept.assign(segment_by=column, segment=level))
            left_out += [(column, level, name) for name in lost]
    table = pd.concat(found, ignore_index=True)
    table, tests = _told_apart(table, list(bounds), conf_level)
    says = tuple(_sentence(test, table, conf_level) for test in tests.to_dict("records"))
    parts = int((table["segment_by"] != "all").sum())
    rule = f"A segment is reported with at least {least} in each arm, {events} with and {events} without the outcome"
    rule += f", and an interval within ± {half_width:g}." if half_width is not None else "."
    if left_out:
        names = [
            f"{words_of(c)} {level}" + (f" ({a})" if a else "") for c, level, a in dict.fromkeys(left_out)
        ]
        rule += f" Left out by this rule: {first_few(names, 8)}."
    gone = {o: int(rows[o].isna().sum()) for o in dict.fromkeys(table["outcome"]) if o in rows}
    lost = [
        f"{n:,} of {len(rows):,} rows have no {words_of(o)} and are left out." for o, n in gone.items() if n
    ]
    checks = [*whole.checks]
    if arm in have:
        checks.append(_before(rows, cuts, arm, cluster))
    checks.append(_enough(tests, list(bounds)))
    return Segments(
        table=table,
        estimand=f"{whole.estimand}, by segment",
        unit=whole.unit,
        title=_title(whole, table, effect is not None, control),
        notes=(
            *_in_short(tests, says, conf_level),
            rule,
            *lost,
            f"Intervals of segments hold for all {parts} at once; of everybody, alone. {len(tests)} "
            f"{'question is asked' if len(tests) == 1 else 'questions are asked, together'} at {1 - conf_level:.0%}.".replace(
                "%", " %"
            ),
        ),
        formats={"n": "count", "control_n": "count"},
        conf_level=conf_level,
        design=whole.design,
        checks=tuple(checks),
        tests=tests,
        says=says,
    )


def _title(whole: EffectResult, table: pd.DataFrame, one: bool, control: str | None) -> str:
    """Names the outcome and the arm where there is one of them: the table as shown leaves their columns out."""
    outcomes, arms = (list(dict.fromkeys(table[c])) for c in ("outcome", "arm"))
    outcome, name = (v[0] if len(v) == 1 else "" for v in (outcomes, arms))
    if one:
        said = [v for v in (name, title_of(outcome)) if v and v not in whole.title]
        return f"{whole.title or 'Effect'}, by segment" + (f": {', '.join(said)}" if said else "")
    on = f", on {words_of(outcome)}" if outcome else ""
    return f"Effect of {name or 'assignment'}, against {control}{on}, by segment"


def _names(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(dict.fromkeys(given))


def _effects(result: EffectResult, one: bool, n: int) -> pd.DataFrame:
    """The rows of a result that count, with the columns that every estimator's have here."""
    rows = result.table.iloc[[result.headline]] if one else result.table
    missing = {"outcome": "", "arm": "", "n": n, "control_n": np.nan, "unit": result.unit}
    known = {c: rows[c].to_numpy() if c in rows else [v] * len(rows) for c, v in missing.items()}
    numbers = ("estimate", "std_error", "conf_low", "conf_high", "p_value")
    return pd.DataFrame(known | {c: rows[c].to_numpy(float) for c in numbers})


def _segment(
    part: pd.DataFrame,
    whole: pd.DataFrame,
    estimated: Callable[..., EffectResult],
    one: bool,
    arm: str,
    control: str | None,
    rule: tuple[int, int, float],
) -> tuple[pd.DataFrame, list[str]]:
    """The effects in one segment that its data support, and the arms of those that they do not."""
    least, events, widest = rule
    arms = part[arm].astype(str) if arm in part else pd.Series("", index=part.index)
    sizes = arms.value_counts()
    pairs = list(whole[["outcome", "arm"]].itertuples(index=False, name=None))
    good: dict[str, list[str]] = {}
    for outcome, name in pairs:
        sides = list(sizes.index) if one else [str(name), str(control)]
        enough = len(part) >= 2 * least and all(sizes.get(s, 0) >= least for s in sides)
        if enough and outcome in part:
            counts = part.loc[arms.isin(sides), outcome].value_counts()
            enough = counts.sum() - counts.max() >= events if len(counts) else False
        if enough:
            good.setdefault(outcome, []).append(name)
    found = [whole.iloc[:0]]
    for outcome, names in good.items():
        # Arms that are too small here are not to disturb the others.
        own = part if one else part[arms.isin([*map(str, names), str(control)])]
        try:
            rows = _effects(estimated(own, [outcome]), one, len(own))
        except CollectlabError:
            continue
        # Values that are missing make arms smaller than their rows.
        sound = (rows["std_error"] > 0) & (rows["n"] >= least) & ~(rows["control_n"] < least)
        sound &= (rows["conf_high"] - rows["conf_low"]) / 2 <= widest
        found.append(rows[sound])
    kept = pd.concat(found, ignore_index=True)
    there = set(kept[["outcome", "arm"]].itertuples(index=False, name=None))
    return kept, [name for outcome, name in pairs if (outcome, name) not in there]


def _told_apart(
    table: pd.DataFrame, columns: list[str], conf_level: float
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simultaneous intervals, the test of each question, and the segments that differ."""
    from scipy import stats

    inside = (table["segment_by"] != "all").to_numpy()
    count = max(int(inside.sum()), 1)
    freedom = (table["n"] + table["control_n"] - 2).fillna(np.inf).to_numpy(float)
    reach = stats.t.ppf((1 + conf_level ** (1 / count)) / 2, freedom) * table["std_error"]
    table = table.assign(shrunken=np.nan, rest=np.nan, p_differs=np.nan, reading="in everybody")
    table.loc[inside, "conf_low"] = (table["estimate"] - reach)[inside]
    table.loc[inside, "conf_high"] = (table["estimate"] + reach)[inside]
    table.loc[inside, "p_value"] = -np.expm1(count * np.log1p(-table["p_value"].clip(upper=1 - 1e-15)))[
        inside
    ]
    everybody = table.loc[~inside, ["outcome", "arm"]]
    tests = []
    for outcome, name in everybody.itertuples(index=False):
        for column in columns:
            own = (table["outcome"] == outcome) & (table["arm"] == name) & (table["segment_by"] == column)
            tests.append((outcome, name, column, table.index[own]))
    m = max(sum(len(rows) >= 2 for *_, rows in tests), 1)
    told = []
    for outcome, name, column, rows in tests:
        k = len(rows)
        row = {"outcome": outcome, "arm": name, "segment_by": column, "segments": k, "q": np.nan, "df": k - 1,
               "p_value": np.nan, "p_adjusted": np.nan, "sd": np.nan}  # fmt: skip
        told.append(row)
        if k < 2:
            table.loc[rows, "reading"] = "nothing to compare with"
            continue
        tau, weight = table.loc[rows, "estimate"].to_numpy(), 1 / table.loc[rows, "std_error"].to_numpy() ** 2
        mean = weight @ tau / weight.sum()
        pulled = shrink(tau - mean, np.diag(1 / weight), weight / weight.sum(), conf_level)
        row["q"] = float(weight @ (tau - mean) ** 2)
        row["p_value"] = float(stats.chi2.sf(row["q"], k - 1))
        row["p_adjusted"], row["sd"] = min(1.0, m * row["p_value"]), pulled.sd
        others = (weight @ tau - weight * tau) / (weight.sum() - weight)
        z = (tau - others) / np.sqrt(1 / weight + 1 / (weight.sum() - weight))
        p = np.minimum(1.0, 2 * stats.norm.sf(np.abs(z)) * m * max(k - 2, 1))
        p = np.maximum(p, row["p_adjusted"])
        table.loc[rows, "shrunken"] = mean + pulled.estimate
        table.loc[rows, "rest"] = others
        table.loc[rows, "p_differs"] = p
        clear = p <= 1 - conf_level
        table.loc[rows, "reading"] = np.where(clear, np.where(z > 0, LARGER, SMALLER), ALIKE)
    first = ["outcome", "arm", "segment_by", "segment", "n", "control_n", "unit"]
    order = {pair: i for i, pair in enumerate(everybody.itertuples(index=False, name=None))}
    place = [order[pair] for pair in zip(table["outcome"], table["arm"])]
    table = table.iloc[np.argsort(place, kind="stable")]
    return table[[*first, *(c for c in table.columns if c not in first)]].reset_index(
        drop=True
    ), pd.DataFrame(told)


def _sentence(test: dict, table: pd.DataFrame, conf_level: float) -> str:
    """What the answer to one question is."""
    by = str(test["segment_by"]).replace("_", " ")
    name = label_of(test["outcome"])
    what = "the effect" + (f" of {test['arm']}" if len(set(table["arm"])) > 1 else "")
    what += f" on {name[:1].lower() + name[1:]}" if test["outcome"] else ""
    if test["segments"] < 2:
        return f"By {by} nothing can be said of {what}: fewer than two segments have enough data."
    p = f"p {'' if test['p_adjusted'] < 0.001 else '= '}{format_value(test['p_adjusted'], 'p_value')}"
    if test["p_adjusted"] > 1 - conf_level:
        return f"By {by} there is no sign that {what} differs ({p}, all questions counted)."
    rows = table
    for column in ("outcome", "arm", "segment_by"):
        rows = rows[rows[column] == test[column]]
    named = []
    for reading, word in ((LARGER, "larger"), (SMALLER, "smaller")):
        if len(own := rows[rows["reading"] == reading]):
            cells = zip(own["segment"], own["estimate"], own["unit"])
            named.append(f"{word} in " + ", ".join(f"{s} ({format_value(e, u)})" for s, e, u in cells))
    if not named:
        return f"By {by} {what} differs ({p}), but no one segment can be told from the rest."
    return f"By {by} {what} differs ({p}): {', '.join(named)}."


def _in_short(tests: pd.DataFrame, says: Sequence[str], conf_level: float) -> list[str]:
    """The sentences, those that say "no sign" in one."""
    quiet = (tests["p_adjusted"] > 1 - conf_level).to_numpy()
    if quiet.sum() < 2:
        return list(says)
    columns = [str(c).replace("_", " ") for c in dict.fromkeys(tests.loc[quiet, "segment_by"])]
    lowest = format_value(float(tests.loc[quiet, "p_adjusted"].min()), "p_value")
    one = (
        f"No sign that an effect differs in {int(quiet.sum())} of {len(tests)} questions, by {first_few(columns, 10)} "
        f"(smallest p = {lowest}, all questions counted)."
    )
    return [*(s for s, q in zip(says, quiet) if not q), one]


def _before(rows: pd.DataFrame, cuts: Mapping[str, pd.Categorical], arm: str, cluster: str | None) -> Check:
    """Arms must be spread alike over segments that were known before anybody was assigned."""
    from scipy import stats

    where, p_low = "", 1.0
    for column, values in cuts.items():
        data = pd.DataFrame({"arm": rows[arm].astype(str), "segment": values, "unit": rows[cluster] if cluster else range(len(rows))})  # fmt: skip
        data = data[rows[arm].notna().to_numpy()].drop_duplicates()
        counts = pd.crosstab(data["segment"], data["arm"])
        if min(counts.shape) < 2:
            continue
        p = float(stats.chi2_contingency(counts, correction=False)[1]) * len(cuts)
        if p < p_low:
            p_low, where = p, column
    holds = p_low > UNEVEN
    says = (
        "Arms are spread alike over the segments, as they must be over anything known before the assignment."
        if holds
        else f"Arms are not spread alike over {where.replace('_', ' ')}: it may have been known only after the assignment."
    )
    return Check(name="before_assignment", passed=holds, says=says, value=min(p_low, 1.0), limit=UNEVEN)


def _enough(tests: pd.DataFrame, columns: list[str]) -> Check:
    short = sorted({str(c) for c in tests.loc[tests["segments"] < 2, "segment_by"]})
    if short:
        says = f"Fewer than two segments have enough data by {first_few(short)}."
        return Check(name="enough", passed=False, says=says, value=float(tests["segments"].min()), limit=2)
    says = f"Each of {first_few([c.replace('_', ' ') for c in columns], 8)} has two segments or more with enough data."
    return Check(name="enough", passed=True, says=says, value=float(tests["segments"].min()), limit=2)
