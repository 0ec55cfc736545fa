"""League tables that tell performance from luck and from the cases a team was given, or say that they cannot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd

from collectlab.core.engine import collect, require, scan
from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.core.jackknife import check_level
from collectlab.effects import _league_math as numbers
from collectlab.effects._bands import cut
from collectlab.effects._panel_inputs import one_part_each, title_of, words_of
from collectlab.effects.league_cases import FACTS, league_cases
from collectlab.effects.league_plot import ABOVE, ALIKE, BELOW, League
from collectlab.effects.league_says import HALF, OTHERS, assigned, enough, named, overlap, plural, sentence
from collectlab.measures.actions_rows import Period
from collectlab.measures.groups import natural

__all__ = ["League", "league", "league_cases"]

#: What cases from a book are made alike in.
MIX = ("days_past_due", "amount", *FACTS, "quarter")
BANDS = 4
_COLUMNS = ["among", "unit", "n", "observed", "expected", "unshrunken", "estimate", "std_error", "conf_low"]
_COLUMNS += ["conf_high", "p_value", "rank", "rank_low", "rank_high", "standing"]
_CLUSTERS = ("customer", "customer_id", "account_id")


def league(
    book_or_cases: Any,
    *,
    by: str = "team",
    outcome: str | None = None,
    horizon: int = 90,
    channels: Sequence[str] | None = None,
    definition: str = "current_once",
    period: Period = None,
    adjust: Sequence[str] | None = None,
    among: str | None = None,
    weight: str | None = None,
    cluster: str | None = None,
    least: int = 15,
    conf_level: float = 0.95,
) -> League:
    r"""Teams, agencies, agents or branches compared on the same mix of cases, shrunken, with rank intervals.

    Estimand: the unit's mean outcome minus what the average unit gets *on the same cases* (observed minus
    expected), the average being that of all cases of the group. Only units of one group (``among``: the same
    channel) are compared. With the outcome y of case i, its unit u(i), and its kind x (each column of ``adjust`` in
    bands),

    .. math:: y_i = \alpha_{u(i)} + \beta \cdot x_i + e_i, \qquad \theta_j = \alpha_j - \sum_k w_k \alpha_k

    by least squares on the cases. β is learned within units only, so a unit that was given the easy cases does
    not make easy cases look hard. The model is additive, so direct and indirect standardisation give the same θ;
    it does not break down, as strata do, where a small unit has no case of some kind.

    θ is then shrunken: true effects are taken as drawn from N(μ, τ²), and each estimate is pulled to the average
    by as much as it is noise (``estimate``, with an interval that counts that τ is estimated). Over all units such
    intervals hold the truth as often as they say; for a unit unlike all others less often. ``standing`` and
    the rank intervals rest on the unshrunken θ: a unit is above or below where Holm's test over all units of the table
    says so, hence among units that are all equal anybody is called out with at most 1 − ``conf_level``.

    It is not causal unless cases were given by lot: cases alike on paper may differ.

    Parameters
    ----------
    book_or_cases : Book or frame
        A book, whose cases are made by :func:`league_cases`; or one row per case with the columns named below.
    by : str
        Column of the unit: ``team``, ``agency``, ``agent``, ``branch`` or any other.
    outcome : str, optional
        Of a book ``cured`` or ``recovered`` (share of the amount owed at the start; cases weigh by that amount),
        by default ``recovered`` for agencies, else ``cured``. Of a frame a column of 0/1, shares or numbers.
    horizon, channels, definition, period
        Of a book: see :func:`league_cases`.
    adjust : sequence of str, optional
        Columns known when the case began (of a book: of its cases, or of its accounts). Numbers are cut into 4 bands of equal numbers of cases, missing values
        are a kind of their own. Default: of a book days past due, amount, product, credit score and quarter at
        the start; of a frame none, which is said.
    among : str, optional
        Column of the group within which units are compared. Default: ``among``, where the frame has it.
    weight : str, optional
        Column with the weight of a case (of a frame).
    cluster : str, optional
        Column whose rows belong together. Default: ``customer``, ``customer_id`` or ``account_id``.
    least : int
        Units with fewer cases (of weighted cases: fewer by Kish's effective number) are left out and named.
    conf_level : float
        Level of the intervals, of the rank intervals jointly, and of ``standing``.

    Returns
    -------
    League

    Raises
    ------
    FrameError
        A column is missing; an outcome that is no number or constant; a weight below 0.
    NotAvailable
        Fewer than two units of a group can be compared.

    References
    ----------
    Spiegelhalter (2005), Statistics in Medicine 24, 1185–1202. Morris (1983), JASA 78, 47–55. Mogstad, Romano,
    Shaikh & Wilhelm (2024), Review of Economic Studies 91, 476–518.

    Examples
    --------
    >>> import pandas as pd
    >>> cases = pd.DataFrame({"team": ["A"] * 50 + ["B"] * 50, "hard": ([0] * 30 + [1] * 20) + ([0] * 20 + [1] * 30),
    ...                       "cured": ([1] * 27 + [0] * 3 + [1] * 8 + [0] * 12) + ([1] * 17 + [0] * 3 + [1] * 5 + [0] * 25)})
    >>> result = league(cases, adjust=["hard"])
    >>> result.table[["team", "observed", "expected", "rank_low", "rank_high", "standing"]].round(2)
      team  observed  expected  rank_low  rank_high              standing
    0    A      0.70      0.63         1          2  cannot be told apart
    1    B      0.44      0.51         1          2  cannot be told apart
    """
    check_level(conf_level)
    cases, notes, options = _cases(
        book_or_cases, by, outcome, horizon, channels, definition, period, adjust, among, weight, cluster
    )
    parts, left_out, narrow, small, foreigners = [], [], [], [], 0
    for group in sorted(cases["group"].unique(), key=natural):
        part, few, alone, foreign = _comparable(cases[cases["group"] == group], least, options["mix"])
        left_out += [(group, *unit) for unit in few]
        narrow += [(group, *unit) for unit in alone]
        foreigners += foreign
        if part["unit"].nunique() >= 2:
            parts.append((group, part))
        elif len(part):
            small.append(str(part["unit"].iloc[0]))
    if foreigners:
        notes.append(
            f"{foreigners:,} cases are of kinds that hardly any other {words_of(by)} has, and are left out."
        )
    if small:
        notes.append(f"Nobody to compare with: {first_few(small)}.")
    if not parts:
        raise NotAvailable(
            " ".join(
                [f"no two {plural(by)} can be compared with {least} cases each.", *notes, *named(narrow)]
            )
        )
    tables, between, lost, repeats = [], [], [], 0.0
    for group, part in parts:
        if part["y"].min() == part["y"].max():
            raise FrameError(
                f"{options['outcome']} is {part['y'].iloc[0]:g} for all cases: nothing to compare."
            )
        rows, sd, units = _group(group, part, options["mix"], conf_level)
        tables.append(rows)
        between.append(sd)
        repeats = max(repeats, units.alike)
        if units.lost:
            lost.append(group)
    table = pd.concat(tables, ignore_index=True)
    table["p_value"] = numbers.holm(table["p_value"].to_numpy())
    clear = table["p_value"] <= 1 - conf_level
    table["standing"] = np.where(clear, np.where(table["unshrunken"] > 0, ABOVE, BELOW), ALIKE)
    sds = pd.DataFrame(between)
    unit = options["unit"]
    if options["mix"]:
        words = ", ".join(c.replace("_", " ") for c in options["mix"])
        notes.append(f"At the same mix of {words}. Not causal unless cases were given by lot.")
    else:
        notes.append("Not standardised: no columns were given to make cases alike.")
    if repeats > 0:
        notes.append(
            f"Cases of one customer go together (correlation up to {repeats:.2f}), which the errors count."
        )
    notes.append(
        f"Above and below hold for all {len(table)} at once, and so do the ranks; differences are shrunken, their "
        "intervals are one by one."
    )
    says = tuple(
        sentence(row, table[table["among"] == row["among"]], by, unit, conf_level) for row in between
    )
    return League(
        table=table[_COLUMNS].rename(columns={"unit": by}),
        estimand=f"{options['said']}: difference from what the average gets on the same cases, shrunken",
        unit=unit,
        title=f"{options['said']}, by {words_of(by)}",
        notes=(*says, *notes),
        formats={
            "n": "count",
            **dict.fromkeys(("observed", "expected"), "share" if unit == "points" else "number"),
        },
        conf_level=conf_level,
        by=by,
        between=sds,
        says=says,
        checks=(assigned(cases, by), overlap(narrow, lost, table, by), enough(left_out, table, by, least)),
    )


def _cases(data, by, outcome, horizon, channels, definition, period, adjust, among, weight, cluster):
    """Cases with group, unit, y, w, customer, lot and the columns of the mix as categories; notes; options."""
    from collectlab.book.open import Book

    notes: list[str] = []
    outcome = outcome or ("recovered" if by == "agency" and isinstance(data, Book) else "cured")
    one_part_each(by=by, outcome=outcome, adjust=adjust)
    if isinstance(data, Book):
        facts = [*FACTS, *(c for c in adjust or () if c in data.columns("accounts"))]
        frame, told = league_cases(
            data, by=by, outcome=outcome, horizon=horizon, channels=channels, definition=definition, period=period,
            facts=tuple(dict.fromkeys(facts)),
        )  # fmt: skip
        notes += told
        weight = "owed" if outcome == "recovered" else None
        usual = [c for c in MIX if c in frame.columns]
        said = {
            "cured": f"Cured within {horizon} days",
            "recovered": f"Share of the amount owed that was recovered within {horizon} days",
        }[outcome]
    else:
        one_part_each(outcome=outcome, among=among, weight=weight, cluster=cluster)
        lazy, said, usual = scan(data), title_of(outcome), []
        names = lazy.collect_schema().names()
        among = among or ("among" if "among" in names else None)
        cluster = cluster or next((c for c in _CLUSTERS if c in names), None)
        wanted = [by, outcome, *(adjust or ()), *(c for c in (among, weight, cluster) if c)]
        require(lazy, *wanted)
        wanted = list(dict.fromkeys([*wanted, *(["lot"] if "lot" in names else [])]))
        schema, numeric = lazy.collect_schema(), [c for c in (outcome, weight) if c]
        if odd := [
            c for c in numeric if not (schema[c].is_numeric() or schema[c] in (nw.Boolean, nw.Unknown))
        ]:
            raise FrameError([f"{c} holds {schema[c]}. Allowed: numbers or true/false." for c in odd])
        # Decimals, and true/false with gaps, are numbers too.
        frame = collect(
            lazy.select(nw.col(c).cast(nw.Float64) if c in numeric else nw.col(c) for c in wanted)
        )
        if cluster is None:
            notes.append("Every row is taken as a customer of its own.")
    mix = usual if adjust is None else list(adjust)
    if missing := [c for c in mix if c not in frame.columns]:
        raise FrameError(
            f"no column {first_few(missing)} to adjust for. Columns here: {first_few(list(frame), 20)}."
        )
    if frame.empty:
        raise FrameError("the frame of cases is empty. Allowed: one row per case.")
    where = "customer" if isinstance(data, Book) else cluster
    cases = pd.DataFrame(
        {
            "group": frame[among or "among"].astype(str) if among or "among" in frame else "all",
            "unit": frame[by],
            "y": frame[outcome].to_numpy(float, na_value=np.nan),
            "w": frame[weight].to_numpy(float, na_value=np.nan) if weight else 1.0,
            "customer": frame[where].astype(str) if where else np.arange(len(frame)),
            "lot": frame.get("lot"),
            **{f"x_{c}": frame[c] for c in mix},
        },
        index=range(len(frame)),
    )
    if bad := int((cases["w"] < 0).sum()):
        raise FrameError(f"{weight}: {bad:,} weights below 0. Allowed: numbers ≥ 0.")
    whole = np.isfinite(cases["y"]) & (cases["w"] > 0) & cases["unit"].notna()
    if gone := int((~whole).sum()):
        notes.append(
            f"{gone:,} of {len(cases):,} cases have no {words_of(by)}, {words_of(outcome)} or weight and are left out."
        )
    cases = cases[whole].reset_index(drop=True)
    if cases.empty:
        raise FrameError(f"no case has a value of both {by} and {outcome}. {notes[-1]}")
    for c in mix:
        if gaps := int(cases[f"x_{c}"].isna().sum()):
            notes.append(f"{gaps:,} cases have no {c.replace('_', ' ')}: a kind of their own.")
        cases[f"x_{c}"] = cut(cases[f"x_{c}"].rename(c), BANDS)
    # One order of rows whatever the frame's, so that sums have the same last digit.
    keys = ["group", "unit", "customer", "y", "w", *(f"x_{c}" for c in mix)]
    cases = cases.assign(unit=cases["unit"].astype(str)).sort_values(keys, ignore_index=True, kind="stable")
    share = cases["y"].between(0, 1).all()
    return (
        cases,
        notes,
        {"mix": mix, "outcome": outcome, "said": said, "unit": "points" if share else "number"},
    )


def _comparable(
    cases: pd.DataFrame, least: int, mix: list[str]
) -> tuple[pd.DataFrame, list[tuple[str, float]], list[tuple[str, str, float]], int]:
    """The cases that can be compared; units with too few of them; units with cases of a kind nobody else has; how many.

    Of the last: the kind that most of these cases are of, and the share of the unit's cases that is left.
    """
    code, names = pd.factorize(cases["unit"], sort=True)
    foreign = np.zeros(len(cases), dtype=bool)
    kind = np.full(len(cases), "", dtype=object)
    for column in mix if len(names) > 1 else ():
        values = cases[f"x_{column}"].cat
        level, width = values.codes.to_numpy(int), len(values.categories)
        counts = np.bincount(code * width + level, minlength=len(names) * width).reshape(-1, width)
        alone = (counts.sum(axis=0) - counts < OTHERS)[code, level]
        words = np.array([f"{column.replace('_', ' ')} {v}" for v in values.categories], dtype=object)
        kind[alone & ~foreign] = words[level[alone & ~foreign]]
        foreign |= alone
    left = 1 - np.bincount(code, weights=foreign) / np.bincount(code)
    narrow = [
        (names[u], pd.Series(kind[foreign & (code == u)]).mode()[0], float(left[u]))
        for u in np.flatnonzero(left < 1)
    ]
    keep = ~foreign & (left[code] >= HALF)
    w = cases["w"].to_numpy(float) * keep
    with np.errstate(invalid="ignore"):
        count = np.nan_to_num(np.bincount(code, weights=w) ** 2 / np.bincount(code, weights=w**2))
    few = [(names[u], float(count[u])) for u in np.flatnonzero((count < least) & (left >= HALF))]
    return cases[keep & (count[code] >= least)], few, narrow, int(foreign.sum())


def _group(group: str, cases: pd.DataFrame, mix: list[str], conf_level: float):
    """One group's rows of the table, its line about the spread between units, and the estimates behind them."""
    from scipy import stats

    names = sorted(cases["unit"].unique(), key=natural)
    code = pd.Categorical(cases["unit"], names).codes.astype(int)
    columns = [
        (codes[:, None] == np.unique(codes)[1:]).astype(float)
        for codes in (cases[f"x_{c}"].cat.codes.to_numpy() for c in mix)
    ]
    x = np.hstack([np.zeros((len(cases), 0)), *columns])
    y, w = cases["y"].to_numpy(float), cases["w"].to_numpy(float)
    found = numbers.same_mix(y, w, code, x, pd.factorize(cases["customer"])[0])
    pulled = numbers.shrink(found.effect, found.covariance, found.size, conf_level)
    widest = 0.5 if ((y >= 0) & (y <= 1)).all() else np.inf  # no spread of shares is wider
    first, last = numbers.rank_intervals(found.effect, found.covariance, conf_level)
    z = stats.norm.ppf((1 + conf_level) / 2)
    error = np.sqrt(np.diag(found.covariance))
    observed = np.bincount(code, weights=w * y) / np.bincount(code, weights=w)
    rows = pd.DataFrame(
        {
            "among": group, "unit": names, "n": np.bincount(code), "observed": observed,
            "expected": observed - found.effect, "unshrunken": found.effect, "estimate": pulled.estimate,
            "std_error": pulled.std_error, "conf_low": pulled.estimate - z * pulled.std_error,
            "conf_high": pulled.estimate + z * pulled.std_error,
            "p_value": 2 * stats.norm.sf(np.abs(found.effect) / np.where(error > 0, error, np.inf)),
            "rank_low": first, "rank_high": last,
        }
    )  # fmt: skip
    best_first = np.argsort(-rows["estimate"].round(12).to_numpy(), kind="stable")
    rows = rows.iloc[best_first].reset_index(drop=True)
    rows["rank"] = np.arange(1, len(rows) + 1)
    between = {
        "among": group, "units": len(names), "n": len(cases), "average": float(w @ y / w.sum()),
        "sd": pulled.sd, "sd_low": pulled.sd_low, "sd_high": min(pulled.sd_high, widest), "p_value": pulled.p_value,
    }  # fmt: skip
    return rows, between, found
