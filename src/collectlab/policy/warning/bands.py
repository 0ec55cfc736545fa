"""Bands: how a feature is cut, so that each band holds enough of either outcome and can be said in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from collectlab.policy.warning.features import UNKNOWN, Feature, band_labels, feature_of

#: A band in which fewer rows of either outcome would be expected joins its neighbour.
FEWEST = 10
#: Bands of equal size that a feature without fixed cuts gets.
BANDS = 5


@dataclass(frozen=True)
class Bands:
    """How one feature is cut: each row gets the number of its band.

    ``edges`` (numbers) or ``levels`` (texts) give raw bands, the last raw band being "unknown"; ``joined`` says
    which band of the model each raw one belongs to; ``labels`` names the model's bands; band ``reference`` has the
    most rows.
    """

    feature: Feature
    edges: np.ndarray | None
    levels: tuple[str, ...]
    joined: np.ndarray
    labels: tuple[str, ...]
    reference: int

    def code(self, values: pd.Series) -> np.ndarray:
        """The band of each value."""
        if self.edges is not None:
            held = values.to_numpy(float)
            raw = np.searchsorted(self.edges, held, side="right")
            return self.joined[np.where(np.isnan(held), len(self.edges) + 1, raw)]
        held = _texts(values)
        # A level never met before counts as unknown; code −1 (missing) takes the last place.
        place = np.append(pd.Index(self.levels).get_indexer(held.categories), -1)
        raw = place[held.codes]
        return self.joined[np.where(raw < 0, len(self.levels), raw)]


def _texts(values: pd.Series) -> pd.Categorical:
    """Texts and flags as categories."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return values.array
    return pd.Categorical(values.map(str, na_action="ignore"))


def bands_of(values: pd.Series, name: str, y: np.ndarray) -> Bands | None:
    """The bands of a feature among these rows; None where all would be one."""
    text = not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values)
    feature = feature_of(name, text)
    unknown = feature.unknown or UNKNOWN
    if text:
        held = _texts(values)
        levels = tuple(str(v) for v in held.categories)
        raw = np.where(held.codes < 0, len(levels), held.codes)
        labels = [*levels, unknown]
        edges = None
    else:
        number = values.to_numpy(float)
        if feature.kind == "yes":
            edges, labels = np.array([0.5]), ["no", "yes", unknown]
        else:
            edges = np.array(feature.cuts, dtype=float) if feature.cuts else _equal(number)
            if not len(edges):
                return None
            labels = [*band_labels(edges, feature.kind, feature.least, feature.most), unknown]
        raw, levels = np.searchsorted(edges, number, side="right"), ()
        raw = np.where(np.isnan(number), len(edges) + 1, raw)
    n, events = np.bincount(raw, minlength=len(labels)), np.bincount(raw, y, len(labels))
    group = _join(n, events, ordered=not text)
    kept = list(dict.fromkeys(group.tolist()))
    if len(kept) < 2:
        return None
    number_of = {g: i for i, g in enumerate(kept)}
    joined = np.array([number_of[g] for g in group])
    shown = [
        _together([labels[i] for i in range(len(labels)) if group[i] == g and n[i] > 0], text) for g in kept
    ]
    size = np.bincount(joined, n)
    return Bands(feature, edges, levels, joined, tuple(shown), int(size.argmax()))


def _equal(number: np.ndarray) -> np.ndarray:
    """Cuts into bands of equal size, at round numbers of three figures."""
    known = number[~np.isnan(number)]
    if not len(known):
        return known
    cut = np.quantile(known, np.arange(1, BANDS) / BANDS)
    with np.errstate(divide="ignore"):
        size = 10.0 ** np.floor(np.log10(np.maximum(np.abs(cut), 1e-9)) - 1)
    cut = np.unique(np.round(cut / size) * size)
    return cut[(cut > known.min()) & (cut <= known.max())]


def _join(n: np.ndarray, events: np.ndarray, ordered: bool) -> np.ndarray:
    """The group of each raw band (the last one: unknown), so that each group holds enough of either outcome."""
    group = np.arange(len(n))
    last, overall = len(n) - 1, events.sum() / n.sum()
    while True:
        ids = np.unique(group)
        sums = [(events[group == g].sum(), (n - events)[group == g].sum(), n[group == g].sum()) for g in ids]
        thin = [i for i, (_, _, rows) in enumerate(sums) if rows * min(overall, 1 - overall) < FEWEST]
        if not thin or len(ids) == 1:
            return group
        i = min(thin, key=lambda k: sums[k][2])
        others = [k for k in range(len(ids)) if k != i]
        if not ordered or _alone(group, ids[i], last):
            # The unknown, and a rare text, join those whom it happens to about as often.
            j = min(others, key=lambda k: abs(_share(*sums[k], overall) - _share(*sums[i], overall)))
        else:
            beside = [k for k in (i - 1, i + 1) if k in others and not _alone(group, ids[k], last)]
            j = min(beside or others, key=lambda k: sums[k][2])
        low, high = sorted((ids[i], ids[j]))
        group = np.where(group == high, low, group)


def _share(events: float, _: float, n: float, overall: float) -> float:
    """The share of events, drawn to the overall one where there are few rows."""
    return (events + FEWEST * overall) / (n + FEWEST)


def _alone(group: np.ndarray, g: int, last: int) -> bool:
    """Whether a group is the unknown alone."""
    return group[last] == g and (group == g).sum() == 1


def _together(labels: list[str], text: bool) -> str:
    """One label of the bands that were joined: ``3–5`` and ``6 or more`` → ``3 or more``."""
    if len(labels) == 1:
        return labels[0]
    if text:
        return " or ".join(labels) if len(labels) <= 3 else f"{labels[0]} or {len(labels) - 1} others"
    first, last = labels[0], labels[-1]
    numbers = [x for x in labels if x[0].isdigit() or x[0] == "−" or x.startswith("under ")]
    if len(numbers) < len(labels):  # with the unknown
        rest = [x for x in labels if x not in numbers]
        return " or ".join(([_together(numbers, text)] if numbers else []) + rest)
    low = first.split(" to ")[0].split("–")[0].removesuffix(" or more")
    if first.startswith("under "):
        return "any" if last.endswith("or more") else f"under {last.split(' to ')[-1].split('–')[-1]}"
    if last.endswith("or more"):
        return f"{low} or more" if low != "0" else "any number of"
    return f"{low} to {last.split(' to ')[-1]}" if " to " in last else f"{low}–{last.split('–')[-1]}"
