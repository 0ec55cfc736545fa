"""How overdue accounts are told apart: days past due, amount, score, whether they were reached, and security."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from collectlab.book.episodes import bucket_labels
from collectlab.core.errors import FrameError, ParamsError, first_few
from collectlab.measures.worth.checks import plain_number, with_numbers


@dataclass(frozen=True)
class States:
    """How overdue accounts are told apart: days past due × amount × score × recently reached × secured.

    From ``late`` days past due on, few are left and what becomes of them hangs on the days and the security: amount,
    score and contact tell them no more apart.

    Attributes
    ----------
    days_past_due : tuple of int
        Lower bounds of the bands, whole days ≥ 1, rising.
    amount : float, optional
        From this amount past due on an account counts as large; by default the rows' median (see
        :meth:`fitted`); infinity puts all into one.
    score : tuple of float
        Cuts of the credit score, rising; empty leaves the score out.
    reached : bool
        Whether a right-party contact in the last 90 days tells accounts apart.
    secured : bool
        Whether secured and unsecured accounts are told apart, where the book says which they are: they differ in what
        is lost with them, and in when a bank gives up.
    late : int
        From this many days past due on, only days and security count.

    Examples
    --------
    >>> frame = pd.DataFrame({"days_past_due": [20, 200], "amount_past_due": [50.0, 900.0],
    ...                       "credit_score": [650, 590], "reached": [True, False], "secured": [False, True]})
    >>> States(amount=100.0).key(frame).tolist()
    ['15–29 | small | score 600–659 | reached | unsecured', '180–209 | secured']
    """

    days_past_due: tuple[int, ...] = (1, 15, 30, 60, 90, 120, 150, 180, 210, 240, 300, 360, 420)
    amount: float | None = None
    score: tuple[float, ...] = (600, 660)
    reached: bool = True
    secured: bool = True
    late: int = 90

    def __post_init__(self) -> None:
        faults = []
        cuts = list(self.days_past_due) if isinstance(self.days_past_due, Sequence) else []
        whole = all(isinstance(c, (int, np.integer)) and not isinstance(c, bool) and c >= 1 for c in cuts)
        if not cuts or not whole or cuts != sorted(set(cuts)):
            faults.append(f"days_past_due is {self.days_past_due!r}. Allowed: rising whole days ≥ 1.")
        scores = list(self.score) if isinstance(self.score, Sequence) else [float("nan")]
        if any(np.isnan(plain_number(c)) for c in scores) or scores != sorted(set(scores)):
            faults.append(f"score is {self.score!r}. Allowed: rising cuts, or none.")
        if self.amount is not None and not plain_number(self.amount) >= 0:
            faults.append(f"amount is {self.amount!r}. Allowed: money ≥ 0.")
        if not plain_number(self.late) >= 1:
            faults.append(f"late is {self.late!r}. Allowed: whole days ≥ 1.")
        if faults:
            raise ParamsError(faults)

    def fitted(self, frame: pd.DataFrame) -> States:
        """The same with the amount's cut at the median of ``frame``, where none is given."""
        if self.amount is not None:
            return self
        amounts = pd.to_numeric(frame.get("amount_past_due", pd.Series(dtype=float)), errors="coerce")
        middle = amounts.median()
        return replace(self, amount=float(middle) if middle == middle else float("inf"))

    @property
    def labels(self) -> list[list[str]]:
        """The words of each dimension, in order."""
        first = self.days_past_due[0]
        bands = list(bucket_labels(self.days_past_due).values())
        cuts = [f"{c:g}" for c in self.score]
        upto = [f"{c - 1:g}" if float(c).is_integer() else f"<{c:g}" for c in self.score]
        scores = [f"score <{cuts[0]}"] if cuts else []
        scores += [f"score {a}–{b}" for a, b in zip(cuts[:-1], upto[1:])]
        scores += [f"score {cuts[-1]}+"] if cuts else []
        return [
            [*([f"below {first}"] if first > 1 else []), *bands],
            ["small", "large", "amount unknown"],
            [*scores, "score unknown"],
            ["not reached", "reached"],
            ["unsecured", "secured", "security unknown"],
        ]

    def codes(self, frame: pd.DataFrame) -> np.ndarray:
        """Each row's place in every dimension of :attr:`labels`; −1 where the dimension is not used."""
        if self.amount is None:
            raise ParamsError("the states have no amount cut yet. Use states.fitted(rows), or give amount.")
        if "days_past_due" not in frame:
            raise FrameError(
                f"no column 'days_past_due'. Columns here: {first_few(list(frame.columns), 20)}."
            )
        frame = with_numbers(frame, ["days_past_due", "amount_past_due", "credit_score"])
        if unknown := int(frame["days_past_due"].isna().sum()):
            raise FrameError(
                f"days_past_due is missing in {unknown:,} of {len(frame):,} rows. Allowed: whole days."
            )
        n = len(frame)
        out = np.full((n, 5), -1)
        dpd = frame["days_past_due"].to_numpy(float)
        place = np.searchsorted(self.days_past_due, dpd, side="right") - 1
        out[:, 0] = place + (self.days_past_due[0] > 1)
        if "amount_past_due" in frame and np.isfinite(self.amount):
            owed = pd.to_numeric(frame["amount_past_due"]).to_numpy(float)
            out[:, 1] = np.where(np.isnan(owed), 2, owed >= self.amount)
        if "credit_score" in frame and self.score:
            score = pd.to_numeric(frame["credit_score"]).to_numpy(float)
            out[:, 2] = np.where(
                np.isnan(score), len(self.score) + 1, np.searchsorted(self.score, score, side="right")
            )
        if "reached" in frame and self.reached:
            out[:, 3] = frame["reached"].astype("boolean").fillna(False).to_numpy(bool)
        out[dpd >= self.late, 1:] = -1
        if "secured" in frame and self.secured:
            told = frame["secured"].notna().to_numpy()
            out[:, 4] = np.where(told, frame["secured"].astype("boolean").fillna(False).to_numpy(bool), 2)
        return out

    def key(self, frame: pd.DataFrame) -> np.ndarray:
        """The state of each row, as text.

        Parameters
        ----------
        frame : pandas.DataFrame
            days_past_due and, where there, amount_past_due, credit_score, reached, secured.

        Returns
        -------
        numpy.ndarray of str, shape (n_rows,)
        """
        return self.text(self.codes(frame))

    def text(self, codes: np.ndarray) -> np.ndarray:
        """The words of :meth:`codes`."""
        if not len(codes):
            return np.array([], dtype=object)
        seen, place = np.unique(codes, axis=0, return_inverse=True)
        labels = self.labels
        words = [" | ".join(labels[d][c] for d, c in enumerate(row) if c >= 0) for row in seen]
        return np.array(words, dtype=object)[place.ravel()]
