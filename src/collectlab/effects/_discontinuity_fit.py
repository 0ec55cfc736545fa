"""The numbers of a regression discontinuity: rdrobust's lines as with minus without, bins and lines to draw."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from collectlab.core.engine import scan
from collectlab.core.errors import FrameError
from collectlab.effects._panel_inputs import one_part_each, rows_of, words_of

#: A sample needs so many on each side for a bandwidth to be chosen at all.
FEWEST_A_SIDE = 30
MANY_CLUSTERS = 100
#: Different scores on a side below which a line rests on its shape.
FEWEST_SCORES = 10


def prepared(frame, score, cutoff, outcome, covariates, cluster, received) -> tuple[pd.DataFrame, list[str]]:
    one_part_each(score=score, outcome=outcome, received=received, covariates=covariates)
    one_part_each(outcome=outcome, received=received, cluster=cluster)
    numbers = [score, outcome, *covariates, *([received] if received else [])]
    frame = scan(frame, [*numbers, *([cluster] if cluster else [])])
    rows = rows_of(frame, numbers, [cluster] if cluster else [])
    names = {f"x{i}": rows[c] for i, c in enumerate(covariates)}
    data = pd.DataFrame({"score": rows[score], "y": rows[outcome], **names})
    need = ["score", "y"]
    if received:
        data["received"], need = rows[received], [*need, "received"]
    if cluster:
        data["cluster"], need = rows[cluster].astype("string"), [*need, "cluster"]
    notes = []
    if gone := int(data[need].isna().any(axis=1).sum()):
        notes.append(
            f"{gone:,} of {len(data):,} rows miss one of {', '.join(words_of(c) for c in (score, outcome, received, cluster) if c)} and are left out."
        )
        data = data.dropna(subset=need)
    # One order for the rows, whatever the engine: sums of floats, and ties among neighbours, depend on it.
    data = data.sort_values(list(data.columns), ignore_index=True, kind="stable")
    if cluster:
        data["cluster"] = pd.factorize(data["cluster"], sort=True)[0]
    above = int((data["score"] >= cutoff).sum())
    faults = []
    if cluster and len(data) and data.groupby(data["score"] >= cutoff)["cluster"].nunique().min() < 2:
        faults.append(
            f"{cluster} has only one value on a side of {cutoff:g}, so no standard error can be had. Allowed: two clusters or "
            "more on each side."
        )
    if min(above, len(data) - above) < FEWEST_A_SIDE:
        span = (
            f"{score} runs from {data['score'].min():g} to {data['score'].max():g}"
            if len(data)
            else "no rows"
        )
        faults.append(
            f"{len(data) - above:,} accounts below {cutoff:g} and {above:,} at or above it ({span}). Allowed: "
            f"{FEWEST_A_SIDE} or more on each side."
        )
    if len(data) and np.ptp(data["y"]) == 0:
        faults.append(
            f"{outcome} is {data['y'].iloc[0]:g} for all {len(data):,} accounts: nothing to compare."
        )
    if received and len(data):
        if not set(data["received"].unique()) <= {0.0, 1.0}:
            faults.append(f"{received} holds other values than 0 and 1. Allowed: 0/1 or true/false.")
        elif data["received"].nunique() < 2:
            faults.append(f"{received} is the same for all accounts: the rule moved nobody.")
    if faults:
        raise FrameError(faults)
    return data, notes


@dataclass(frozen=True)
class Side:
    """Cutoff, sign of the treated side, and how errors are made."""

    cutoff: float
    sign: float
    clustered: bool
    conf_level: float

    def fit(
        self, data: pd.DataFrame, outcome: str, fuzzy: str | None = None, cutoff: float | None = None
    ) -> Any:
        from rdrobust import rdrobust

        given = {"fuzzy": data[fuzzy].to_numpy()} if fuzzy else {}
        if self.clustered:
            groups = data["cluster"].to_numpy()
            # With few clusters the plain errors are too small; with many the others take long and say the same.
            given |= {"cluster": groups, "vce": "cr3" if len(np.unique(groups)) <= MANY_CLUSTERS else "cr1"}
        else:
            given |= {"vce": "hc3"}
        score, place = data["score"].to_numpy(), self.cutoff if cutoff is None else cutoff
        # Where the bandwidth it chooses holds too few different scores (beside a hole), it is given one with enough.
        for widened in ({}, {"h": _wide(score, place)}):
            try:
                # It prints and warns that scores repeat; the check on mass points says so with the numbers.
                with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                    warnings.simplefilter("ignore")
                    return rdrobust(
                        data[outcome].to_numpy(),
                        score,
                        c=place,
                        level=100 * self.conf_level,
                        **given,
                        **widened,
                    )
            except Exception as error:  # the library raises plain exceptions where too little varies
                reason = error
        raise FrameError(
            f"no line can be fitted on both sides of {self.cutoff:g} ({str(reason) or type(reason).__name__}). Allowed: "
            "a score with more different values, and an outcome that varies, near the cutoff."
        ) from reason

    def row(self, found: Any, line: int) -> dict[str, float]:
        """One of rdrobust's three lines, as with minus without."""
        # Of a fuzzy estimate the sign is right already: both jumps turn.
        sign = 1.0 if found.rdmodel.startswith("Fuzzy") else self.sign
        ends = sorted(sign * float(v) for v in found.ci.iloc[line])
        return {
            "estimate": sign * float(found.coef.iloc[line, 0]),
            "std_error": float(found.se.iloc[line, 0]),
            "conf_low": ends[0],
            "conf_high": ends[1],
            "p_value": float(found.pv.iloc[line, 0]),
        }

    def sizes(self, found: Any) -> dict[str, float]:
        left, right = (int(n) for n in found.N_h)
        treated, untreated = (right, left) if self.sign > 0 else (left, right)
        return {
            "n_treated": treated,
            "n_untreated": untreated,
            "bandwidth": float(found.bws.loc["h", "left"]),
        }


def bins_of(score: np.ndarray, y: np.ndarray, side: Side, bandwidth: float) -> pd.DataFrame:
    """Means in twelve bins of equal width on each side, out to three bandwidths."""
    reach = 3 * bandwidth
    edges = side.cutoff + np.linspace(-reach, reach, 25)
    near = (score >= edges[0]) & (score < edges[-1])
    place = np.searchsorted(edges, score[near], side="right") - 1
    place = np.where(score[near] >= side.cutoff, np.maximum(place, 12), np.minimum(place, 11))
    count = np.bincount(place, minlength=24)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, weights=y[near], minlength=24) / count
    above = np.arange(24) >= 12
    table = pd.DataFrame(
        {
            "score": (edges[:-1] + edges[1:]) / 2,
            "mean": mean,
            "accounts": count,
            "treated": above == (side.sign > 0),
        }
    )
    return table[table["accounts"] > 0].reset_index(drop=True)


def lines_of(score: np.ndarray, y: np.ndarray, side: Side, bandwidth: float) -> pd.DataFrame:
    """The straight line on each side, with the weights of the triangular kernel."""
    away = (score - side.cutoff) / bandwidth
    parts = []
    for above in (False, True):
        inside = (np.abs(away) <= 1) & ((score >= side.cutoff) == above)
        root = np.sqrt(1 - np.abs(away[inside]))
        x = np.column_stack([np.ones(inside.sum()), away[inside]]) * root[:, None]
        line = np.linalg.lstsq(x, y[inside] * root, rcond=None)[0]
        ends = np.array([0.0, 1.0] if above else [-1.0, 0.0])
        parts.append(
            pd.DataFrame(
                {
                    "score": side.cutoff + ends * bandwidth,
                    "fitted": line[0] + line[1] * ends,
                    "treated": above == (side.sign > 0),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _wide(score: np.ndarray, cutoff: float) -> float:
    """A bandwidth inside which each side has a few different scores."""
    sides = (np.unique(cutoff - score[score < cutoff]), np.unique(score[score >= cutoff] - cutoff))
    return float(max(side[min(FEWEST_SCORES, len(side) - 1)] for side in sides)) * 1.001
