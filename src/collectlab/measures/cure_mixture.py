"""How many will never return to current, however long one waits: a mixture cure model.

Two meanings of one word. In credit an account is *cured* when it is back to current: here that is the event.
The literature on mixture cure models calls "cured" those who never have the event. Here those are the
*never-share*, the share that never returns to current; nothing in this module calls them cured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable, first_few
from collectlab.measures import survival_math as math
from collectlab.measures.cure_counts import Counted, count, refuse_disorder
from collectlab.measures.cure_mixture_fit import DISTRIBUTIONS, Sample, fit
from collectlab.measures.cure_mixture_result import (
    COLUMNS,
    Design,
    Fitted,
    MixtureCure,
    coefficient_rows,
    in_words,
)
from collectlab.measures.survival_cells import spoken

_DATING = ("day", "exact", "seen")


def mixture_cure(
    frame: Any,
    *,
    covariates: Sequence[str] = (),
    latency: Sequence[str] = (),
    distribution: str = "weibull",
    by: str | Sequence[str] | None = None,
    duration: str = "exit_day",
    outcome: str = "outcome",
    event: Any = ("cured",),
    entry: str | None = None,
    dating: str = "day",
    seen: str = "seen_day",
    conf_level: float = 0.95,
) -> MixtureCure:
    r"""Share that never has ``event`` (never returns to current), and the timing of those who do.

    .. math:: P(T > t \mid x, z) = \nu(x) + (1 - \nu(x))\, S(t \mid z), \qquad
        \log\frac{\nu(x)}{1 - \nu(x)} = \beta' x

    with the never-share :math:`\nu` and, for the others, a Weibull time (:math:`S = \exp(-(t / e^{\mu})^{k})`)
    or a lognormal one (:math:`\log T \sim N(\mu, \sigma^2)`), :math:`\mu = \gamma' z`. Maximum likelihood
    on counted cells (covariate pattern × days × event), from six seeded starts, finished by Newton's method;
    standard errors from the observed information.

    Other outcomes (charge-off, settlement, sale) end the watch as censoring does, so ν answers "if nothing else
    ended an episode". It is an extrapolation: it rests on the shape of the distribution beyond the follow-up
    unless the curve has levelled off within it; the notes say how far it has.

    Parameters
    ----------
    frame : frame
        One row per episode.
    covariates : sequence of str
        Columns that tell who never has the event. Numbers as they are; text and booleans as levels against
        the most frequent one. No gaps.
    latency : sequence of str
        Columns that shift the time of those who have it.
    distribution : {"weibull", "lognormal"}
    by : str or sequence of str, optional
        One model a group.
    duration, outcome : str
        Columns of the day of exit (whole days) and of how it ended.
    event : outcome or sequence of outcomes
        The event: back to current.
    entry : str, optional
        Column of the day observation began (late entry).
    dating : {"day", "exact", "seen"}
        When an event dated day t happened: during that day, in (t − 1, t]; exactly then, as textbooks and
        lifelines have it; or since the last snapshot, in (``seen``, t]. With "seen" give
        ``entry="first_seen_day"``, because a spell is in the data only if it lasted until a snapshot.
    seen : str
        Column of the last day seen without the event, for ``dating="seen"``.
    conf_level : float

    Returns
    -------
    MixtureCure
        ``table``: [by…], part, term, unit, estimate, std_error, conf_low, conf_high, ratio. The first row is the
        never-share of the episodes as they are (averaged over them); then β (log odds of never; ratio = odds
        ratio), γ (log days; ratio = how much longer it takes) and log k or log σ. ``.never_share(profiles)``,
        ``.survival(days, profiles)``, ``.plot()``.

    Raises
    ------
    FrameError
        Columns missing; days or covariates missing, negative or fractional; events on day 0; unknown names.
    NotAvailable
        Fewer events than three times the parameters; a never-share of 0 or 1; a likelihood without a proper
        maximum.

    References
    ----------
    Boag (1949), JRSS B 11; Farewell (1982), Biometrics 38; Maller and Zhou (1996), Survival Analysis with
    Long-Term Survivors (whether follow-up suffices); for credit: Dirick, Claeskens and Baesens (2017), JORS 68.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> days = np.arange(1, 101)
    >>> frame = pd.DataFrame({"exit_day": np.concatenate([days, np.full(100, 400)]),
    ...                       "outcome": ["cured"] * 100 + ["censored"] * 100})
    >>> model = mixture_cure(frame)
    >>> model.table[["part", "term"]].head(1).values.tolist(), round(float(model.table["estimate"][0]), 2)
    ([['never returns', 'all episodes']], 0.5)
    """
    faults = []
    if distribution not in DISTRIBUTIONS:
        faults.append(f"distribution is {distribution!r}. Allowed: {', '.join(map(repr, DISTRIBUTIONS))}.")
    if dating not in _DATING:
        faults.append(f"dating is {dating!r}. Allowed: {', '.join(map(repr, _DATING))}.")
    if faults:
        raise FrameError(faults)
    z = math.normal_quantile(conf_level)
    covariates, latency = (
        [c] if isinstance(c, str) else list(dict.fromkeys(c or ())) for c in (covariates, latency)
    )
    days = {"exit": duration}
    days |= {"entry": entry} if entry else {}
    days |= {"seen": seen} if dating == "seen" else {}
    both = list(dict.fromkeys([*covariates, *latency]))
    counted = count(frame, days, outcome=outcome, event=event, by=by, taken=COLUMNS, covariates=both)
    cells = counted.cells.rename(columns={f"x{i}": i for i in range(len(both))})
    happened = cells["outcome"].isin(counted.event).to_numpy()
    faults = refuse_disorder(cells, "entry", "exit", days) if entry else []
    if dating == "seen":
        faults += refuse_disorder(cells[happened], "seen", "exit", days)
    if zero := int(cells["n"][happened & (cells["exit"] == 0).to_numpy()].sum()):
        faults.append(
            f"{zero:,} rows have {spoken(counted.event)} on day 0. Allowed: days from 1 on; a time of 0 has no "
            "place in a Weibull or lognormal distribution (count the first day as day 1)."
        )
    if faults:
        raise FrameError(faults)
    notes = []
    if entry and (lost := int(cells["n"][(cells["entry"] == cells["exit"])].sum())):
        notes.append(f"{lost:,} episodes have no follow-up after they were first seen; left out.")
    whether = Design.of(cells, both, covariates)
    timing = Design.of(cells, both, latency)
    fitted, failed = [], []
    for g in range(len(counted.groups)):
        rows = (counted.group == g) & (True if not entry else (cells["entry"] < cells["exit"]).to_numpy())
        part = cells[rows].reset_index(drop=True)
        sample = _sample(part, happened[rows], dating, whether, timing, distribution)
        problem, found = _fitted(sample, counted.event)
        if problem:
            failed.append((counted.name(g), problem))
        fitted.append(Fitted(sample, found))
    if len(failed) == len(fitted):
        raise NotAvailable([f"no mixture model for {name}: {problem}." for name, problem in failed])
    if failed:
        notes.append("No model: " + first_few([f"{name} ({problem})" for name, problem in failed]) + ".")
    if counted.others:
        notes.append(f"Counted as censored: {spoken(counted.others)}.")
    notes += _follow_up(fitted, counted)
    notes.append(
        'Here "never" means never back to current. The literature calls that share "cured"; in credit, and in '
        "this report, cured means back to current."
    )
    good = [f.fit for f in fitted if f.fit is not None]
    notes.append(
        f"Maximum likelihood, {'; '.join(f'{f.agreeing} of {f.starts}' for f in good[:5])} starts agree"
        f"{' (first five models)' if len(good) > 5 else ''}; largest gradient per episode "
        f"{max(1e-12, float(f'{max(f.gradient for f in good):.0e}')):.0e}."
    )
    parts = [coefficient_rows(f, whether, timing, z) for f in fitted]
    table = pd.concat(parts, ignore_index=True)
    if len(counted.groups.columns):
        keys = counted.groups.iloc[np.repeat(np.arange(len(parts)), [len(p) for p in parts])]
        table = pd.concat([keys.reset_index(drop=True), table], axis=1)
    return MixtureCure(
        table=table,
        estimand=f"Share never {in_words(counted.event)}, however long one waits, and when the others are, "
        "as if nothing else ended an episode",
        unit="number",
        title=f"Never {in_words(counted.event)}: {distribution} mixture model",
        notes=tuple(notes),
        formats={"ratio": "ratio"},
        conf_level=conf_level,
        groups=counted.groups,
        fitted=tuple(fitted),
        whether=whether,
        timing=timing,
        event=counted.event,
    )


def _sample(
    cells: pd.DataFrame, happened: np.ndarray, dating: str, whether: Design, timing: Design, distribution: str
) -> Sample:
    upper = cells["exit"].to_numpy(float)
    lower = upper
    if dating == "day":
        lower = upper - 1
    elif dating == "seen":
        lower = np.minimum(cells["seen"].to_numpy(float), upper - 1)
    entry = cells["entry"].to_numpy(float) if "entry" in cells else np.zeros(len(cells))
    return Sample(
        upper=upper,
        lower=np.where(happened, np.maximum(lower, np.where(dating == "exact", lower, entry)), upper),
        entry=entry,
        event=happened,
        n=cells["n"].to_numpy(float),
        whether=whether.matrix(cells),
        timing=timing.matrix(cells),
        lognormal=distribution == "lognormal",
    )


def _fitted(sample: Sample, event: tuple) -> tuple[str, Any]:
    parameters = sample.whether.shape[1] + sample.timing.shape[1] + 1
    events, episodes = sample.n @ sample.event, sample.n.sum()
    if events < 3 * parameters:
        return f"{events:,.0f} {spoken(event)}, {3 * parameters} are needed for {parameters} parameters", None
    if events == episodes:
        return f"all {episodes:,.0f} episodes are {spoken(event)}, so nobody is left that never will be", None
    for design in (sample.whether, sample.timing):
        if np.linalg.matrix_rank(design * np.sqrt(sample.n)[:, None]) < design.shape[1]:
            return "a covariate is the same everywhere here, or follows from the others", None
    found = fit(sample)
    return (found.problem, None) if found.problem else ("", found)


def _follow_up(fitted: Sequence[Fitted], counted: Counted) -> list[str]:
    """Whether the curve has levelled off within the follow-up; see Maller and Zhou (1996), section 4.3."""
    short, ahead = [], []
    for g, f in enumerate(fitted):
        if f.fit is None:
            continue
        s = f.sample
        last_event, last = s.upper[s.event].max(), s.upper.max()
        recent = s.n @ (s.event & (s.upper > 2 * last_event - last))
        alpha = float((1 - min(recent / s.n.sum(), 1.0)) ** s.n.sum())
        if last <= last_event or alpha > 0.05:
            short.append(f"{counted.name(g)} (last event on day {last_event:,.0f} of {last:,.0f})")
        if (open_ := f.still_to_come(last)) > 0.02:
            ahead.append(f"{counted.name(g)} {open_:.0%}".replace("%", " %"))
    notes = []
    if ahead:
        notes.append(
            "Of those who return to current, the model puts this share after the last day of follow-up, where "
            f"only the shape of the distribution speaks: {first_few(ahead)}."
        )
    if short:
        notes.append(
            "Follow-up may be too short to tell the never-share from late returns (Maller and Zhou's test): "
            f"{first_few(short)}."
        )
    return notes
