"""What one more contact brings and costs, and where it stops paying."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.effects.pressure.dose import ENOUGH, DoseResponse
from collectlab.measures.ratios import Measures

PAYS, COSTS, OPEN = "pays", "costs more than it brings", "cannot be told"


def marginal(response: DoseResponse, *, complaint_price: float | None = None) -> Measures:
    """Money brought, cost and complaints of one more contact, step by step, and what is left.

    * ``recovery`` — CNY paid more within the horizon;
    * ``cost`` — CNY spent more on actions within the horizon: the contact itself, less later ones that it spares;
    * ``complaints`` — complaints more per 1,000 such contacts;
    * ``net`` — recovery − cost, and less ``complaint_price`` × complaints where a price is given. Its error allows for
      the three moving together (covariance of all estimates, by customer).

    A payment brought forward counts as brought: within the horizon the two look the same.

    Parameters
    ----------
    response : DoseResponse
    complaint_price : float, optional
        CNY that a complaint is held to cost. None: complaints are shown beside, not netted.

    Returns
    -------
    Measures
        contact (which one of the last seven days), measure, days, contacted, estimate and interval.

    Raises
    ------
    FrameError
        A price below 0.
    NotAvailable
        A price, but no complaints in the book.

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> from collectlab.effects.pressure import dose_response
    >>> book = open_book(simulate(accounts=600, months=8, truth_accounts=0).book_tables)
    >>> marginal(dose_response(book), complaint_price=300).table["measure"].unique().tolist()
    ['recovery', 'cost', 'complaints', 'net']
    """
    from scipy.special import ndtri

    price = _price(response, complaint_price)
    names, steps = list(response.outcomes), response.steps("paid")
    weights = {"recovery": {"paid": 1.0}, "cost": {"cost": 1.0}, "complaints": {"complaint": 1000.0}}
    weights["net"] = {"paid": 1.0, "cost": -1.0, "complaint": -price}
    units = {"complaints": "number"}
    quantile = float(ndtri((1 + response.conf_level) / 2))
    rows = []
    for s in range(len(steps)):
        for measure, of in weights.items():
            if measure != "net" and not set(of) <= set(names):
                continue
            told = all(_told(response, name, s) for name, w in of.items() if w and name in names)
            w = np.zeros(response.adjusted.shape)
            for name, value in of.items():
                if name in names:
                    w[s, names.index(name)] = value
            flat = w.ravel()
            estimate = float((w * np.nan_to_num(response.adjusted)).sum()) if told else np.nan
            error = float(np.sqrt(max(flat @ response.covariance @ flat, 0.0))) if told else np.nan
            rows.append(
                {
                    "contact": steps["contact"][s],
                    "measure": measure,
                    "days": steps["days"][s],
                    "contacted": steps["contacted"][s],
                    "estimate": estimate,
                    "std_error": error,
                    "conf_low": estimate - quantile * error,
                    "conf_high": estimate + quantile * error,
                    "unit": units.get(measure, "money2"),
                }
            )
    notes = ["A payment that would have come later anyway, but beyond the horizon, counts as brought."]
    if "cost" not in names:
        notes.append("The actions have no cost, so none is taken off.")
    if price:
        notes.append(f"Net of {format_value(price, 'money')} per complaint.")
    elif "complaint" in names:
        notes.append("No price is put on a complaint: complaints stand beside the net, not in it.")
    what = response.channels[0] if len(response.channels) == 1 else "contact"
    return Measures(
        table=pd.DataFrame(rows),
        by=("contact",),
        shown=("net",),
        estimand=(
            f"Of one more {what} on a day, within {response.horizon} days: CNY paid more, CNY spent more, complaints "
            "more per 1,000, and what is left"
        ),
        title=f"What one more {what} brings",
        notes=tuple(notes),
        formats={"days": "count", "contacted": "count"},
        conf_level=response.conf_level,
    )


def _price(response: DoseResponse, price: float | None) -> float:
    if price is None:
        return 0.0
    if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 <= price < np.inf:
        raise FrameError(f"complaint_price is {price!r}. Allowed: CNY ≥ 0, or None.")
    if price and "complaint" not in response.outcomes:
        raise NotAvailable("this book has no complaints, so a price of them nets nothing.")
    return float(price)


def _told(response: DoseResponse, outcome: str, step: int) -> bool:
    name = "complaints_per_1000" if outcome == "complaint" else outcome
    return bool(np.isfinite(response.steps(name)["estimate"][step]))


@dataclass(frozen=True, kw_only=True)
class Stops(Result):
    """Where one more contact stops paying.

    ``table``: contact, what is left (estimate and interval), ``says`` (pays, costs more than it brings, cannot be told).
    ``pays_surely`` and ``pays_likely`` are the last step of an unbroken row from the first on at which the interval, and
    the estimate, lie above 0 (0: not even the first); ``stops`` the first step that surely does not pay (None: none).
    """

    pays_surely: int = 0
    pays_likely: int = 0
    stops: int | None = None
    sentence: str = ""
    parts: Measures | None = field(default=None, repr=False, compare=False)

    def display_table(self) -> pd.DataFrame:
        """Each step: what it brings, costs, its complaints, what is left, and what that says."""
        told = self.table["contacted"] >= ENOUGH
        if self.parts is None or self.parts.table["contact"].nunique() != len(self.table):
            return super().display_table()
        shown = self.parts.display_table().drop(columns="Days").assign(Says=list(self.table["says"]))
        heads = {
            "Contact": "Which in 7 days", "Recovery": "Paid more", "Cost": "Spent more", "Net": "What is left",
            "Complaints": "Complaints more per 1,000", "Says": "So it",
        }  # fmt: skip
        return shown[told.to_numpy()].reset_index(drop=True).rename(columns=heads)

    def _repr_html_(self) -> str:
        import html

        return f'<div class="cl-result"><p>{html.escape(self.sentence)}</p></div>\n' + super()._repr_html_()

    def _repr_markdown_(self) -> str:
        return f"{self.sentence}\n\n" + super()._repr_markdown_()


def where_it_stops(response: DoseResponse, *, complaint_price: float | None = None) -> Stops:
    """The last contact in seven days that still pays, and how sure that is.

    A step pays where the whole interval of its net (:func:`marginal`) lies above 0, costs more than it brings where it
    lies below, and cannot be told where it holds 0. A later step does not count as paying where an earlier one does
    not: nobody gets to the fourth contact but by the third.

    Parameters
    ----------
    response : DoseResponse
    complaint_price : float, optional
        As in :func:`marginal`.

    Returns
    -------
    Stops

    Examples
    --------
    >>> from collectlab.book.open import open_book
    >>> from collectlab.book.simulate import simulate
    >>> from collectlab.effects.pressure import dose_response
    >>> book = open_book(simulate(accounts=600, months=8, truth_accounts=0).book_tables)
    >>> set(where_it_stops(dose_response(book)).table["says"]) <= {"pays", "cannot be told", "costs more than it brings"}
    True
    """
    found = marginal(response, complaint_price=complaint_price)
    net = found.table[found.table["measure"] == "net"].reset_index(drop=True)
    net["says"] = [
        PAYS if low > 0 else COSTS if high < 0 else OPEN
        for low, high in zip(net["conf_low"], net["conf_high"])
    ]
    surely = _unbroken(net["conf_low"] > 0)
    likely = _unbroken(net["estimate"] > 0)
    below = np.flatnonzero(net["says"] == COSTS)
    stops = int(below[0]) + 1 if len(below) else None
    what = response.channels[0] if len(response.channels) == 1 else "contact"
    return Stops(
        table=net[["contact", "contacted", "estimate", "std_error", "conf_low", "conf_high", "says"]],
        estimand=found.estimand
        + (" (recovery less cost" + (", less complaints)" if complaint_price else ")")),
        unit="money2",
        title=f"Where one more {what} stops paying",
        notes=found.notes,
        formats={"contacted": "count"},
        conf_level=response.conf_level,
        pays_surely=surely,
        pays_likely=likely,
        stops=stops,
        sentence=_sentence(net, what, surely, likely, stops),
        parts=found,
    )


def _unbroken(good: pd.Series) -> int:
    bad = np.flatnonzero(~good.to_numpy(bool))
    return int(bad[0]) if len(bad) else len(good)


def _sentence(net: pd.DataFrame, what: str, surely: int, likely: int, stops: int | None) -> str:
    """In words, with the figure of the last step that surely pays."""
    label = net["contact"].tolist()
    if surely:
        row = net.iloc[surely - 1]
        left = (
            f"{format_value(row['estimate'], 'money')} CNY ({format_value(row['conf_low'], 'money')} to "
            f"{format_value(row['conf_high'], 'money')})"
        )
        says = f"Up to the {label[surely - 1]} {what} in seven days, one more pays: there it leaves {left}."
    else:
        says = f"It cannot be told that even the first {what} in seven days pays for itself."
        if stops == 1:
            says = f"Even the first {what} in seven days costs more than it brings."
    if stops is not None and stops > 1:
        says += f" From the {label[stops - 1]} on it costs more than it brings."
    told = net["estimate"].notna().tolist()
    open_ = [label[i] for i in range(surely, (stops or len(label) + 1) - 1) if told[i]]
    if open_ and surely:
        which = f"the {open_[0]}" if len(open_) == 1 else f"the {open_[0]} to the {open_[-1]}"
        says += f" For {which} it cannot be told from this book" + (
            f"; the best guess is that it pays up to the {label[likely - 1]}." if likely > surely else "."
        )
    return says
