"""The warning list: who is warned of, with which chance and why, in words."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.results import Result
from collectlab.policy.warning.checks import check_kind, rows_of
from collectlab.policy.warning.features import TARGETS
from collectlab.policy.warning.model import WarningModel

#: Reasons given for an account, at most; a smaller addition to the log odds is no reason.
REASONS, LEAST = 3, 0.1


@dataclass(frozen=True, kw_only=True, repr=False)
class WarningList(Result):
    """The accounts with the highest chances, under names that tell nobody who they are.

    ``counts`` says how many of the accounts scored have which chance. :meth:`accounts` gives the ids to those who
    hold the book; it is never written anywhere.
    """

    counts: pd.DataFrame
    ids: tuple[object, ...]

    def accounts(self) -> pd.DataFrame:
        """The list with its account ids, for those who act on it: account_id, chance, why."""
        return self.table[["chance", "why"]].assign(account_id=list(self.ids))[
            ["account_id", "chance", "why"]
        ]


def warning_list(rows: pd.DataFrame, model: WarningModel, *, top: int = 20) -> WarningList:
    """The accounts of the last month with the highest chances, each with its reasons.

    A reason is a band that adds to the account's log odds against the average of all accounts scored, the largest
    first.

    Parameters
    ----------
    rows : pandas.DataFrame
        As :func:`~collectlab.policy.warning.rows.warning_rows` gives them; only those of the last month are scored.
    model : WarningModel
        Of :func:`~collectlab.policy.warning.model.fit_warning`.
    top : int
        Accounts listed.

    Returns
    -------
    WarningList
        Table: rank, account (``Account 1`` …), chance, why.

    Raises
    ------
    NotAvailable
        No account is there to be scored.
    FrameError
        ``top`` below 1.

    Examples
    --------
    >>> warning_list(rows, fit_warning(rows), top=50).accounts()  # doctest: +SKIP
    """
    if isinstance(top, bool) or not isinstance(top, int) or top < 1:
        raise FrameError(f"top is {top!r}. Allowed: whole accounts ≥ 1.")
    check_kind(model, WarningModel, "model", "a model, as fit_warning gives it")
    rows = rows_of(rows, "account_id", "month")
    now = rows[rows["month"] == rows["month"].max()].reset_index(drop=True)
    if now.empty:
        raise NotAvailable("there is no account to be warned of.")
    chance = model.score(now)
    # Ties are broken by the id, so that the list does not depend on the order of rows.
    order = np.lexsort((now["account_id"].astype(str).to_numpy(), -chance))[:top]
    codes, parts = model.codes(now)[order], model.contributions(now)[order]
    why = []
    for code, part in zip(codes, parts):
        largest = [f for f in np.argsort(-part, kind="stable") if part[f] >= LEAST][:REASONS]
        said = [model.bands[f].feature.said(model.bands[f].labels[code[f]]) for f in largest]
        why.append("; ".join(said) or "nothing single stands out")
    table = pd.DataFrame(
        {
            "rank": np.arange(1, len(order) + 1),
            "account": [f"Account {i}" for i in range(1, len(order) + 1)],
            "chance": np.round(chance[order], 2),
            "why": why,
        }
    )
    edges = np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.5])
    band = np.searchsorted(edges, chance, side="right")
    said = [
        "under 1 %",
        *(f"{100 * a:.0f} to {100 * b:.0f} %" for a, b in pairwise(edges)),
        "50 % or more",
    ]
    n = np.bincount(band, minlength=len(said))
    counts = pd.DataFrame(
        {"chance_of": said, "accounts": n, "expected": np.bincount(band, chance, len(said))}
    )
    return WarningList(
        table=table,
        estimand=f"Chance that {TARGETS[model.target]}",
        unit="share",
        title=f"The {len(order)} accounts with the highest chances",
        notes=(
            f"{len(now):,} accounts were scored; {chance.sum():,.0f} are expected to have the event. The reasons are what "
            "sets the account's chance apart from the average: grounds to look, not causes.",
        ),
        formats={"chance": "share"},
        counts=counts[n > 0].reset_index(drop=True),
        ids=tuple(now["account_id"].astype(object).to_numpy()[order]),
    )
