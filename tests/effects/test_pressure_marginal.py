"""What one more contact leaves, and where it stops: by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.effects.pressure import DoseResponse, marginal, where_it_stops
from collectlab.effects.pressure.dose import STEPS

OUTCOMES = ("cured", "paid", "cost", "complaint")


def response_of(paid, errors, cost=2.0, complaint=0.01, outcomes=OUTCOMES, correlation=0.0) -> DoseResponse:
    """A response with these effects on CNY paid by step, and a constant cost and complaint."""
    steps = len(paid)
    values = {
        "cured": np.zeros(steps),
        "paid": np.array(paid),
        "cost": np.full(steps, cost),
        "complaint": np.full(steps, complaint),
    }
    spread = {"cured": 0.0, "paid": 1.0, "cost": 0.0, "complaint": 0.0}
    adjusted = np.stack([values[o] for o in outcomes], axis=1)
    k = len(outcomes)
    covariance = np.zeros((steps * k, steps * k))
    for s in range(steps):
        p = s * k + outcomes.index("paid")
        covariance[p, p] = (errors[s] * spread["paid"]) ** 2
        if "cost" in outcomes and correlation:
            c = s * k + outcomes.index("cost")
            covariance[c, c] = errors[s] ** 2
            covariance[p, c] = covariance[c, p] = correlation * errors[s] ** 2
    rows = [
        {
            "outcome": {"complaint": "complaints_per_1000"}.get(o, o), "unit": "number", "method": "adjusted", "contact": STEPS[s],
            "days": 1000, "contacted": 100, "estimate": values[o][s], "std_error": 0.0, "conf_low": 0.0, "conf_high": 0.0, "p_value": 1.0,
        }
        for o in outcomes
        for s in range(steps)
    ]  # fmt: skip
    return DoseResponse(
        table=pd.DataFrame(rows),
        estimand="",
        design="comparison",
        outcomes=outcomes,
        adjusted=adjusted,
        covariance=covariance,
    )


def net(found) -> pd.DataFrame:
    return found.table[found.table["measure"] == "net"].reset_index(drop=True)


def test_net_is_recovery_less_cost_and_less_complaints_only_at_a_price():
    response = response_of([100.0], [10.0])
    assert net(marginal(response))["estimate"].tolist() == [98.0]
    row = net(marginal(response, complaint_price=500)).iloc[0]
    assert row["estimate"] == pytest.approx(93.0)
    assert row["conf_high"] - row["estimate"] == pytest.approx(1.959964 * 10)
    table = marginal(response).table.set_index("measure")
    assert table.loc["complaints", "estimate"] == pytest.approx(10)


def test_what_moves_together_makes_the_net_surer():
    row = net(marginal(response_of([100.0], [10.0], correlation=0.5))).iloc[0]
    assert row["std_error"] == pytest.approx(10)  # √(100 + 100 − 2 · 50)


def test_it_stops_where_the_row_of_paying_steps_breaks():
    found = where_it_stops(response_of([100.0, 60.0, 20.0, -50.0], [10.0, 10.0, 30.0, 10.0]))
    assert (found.pays_surely, found.pays_likely, found.stops) == (2, 3, 4)
    assert found.table["says"].tolist() == ["pays", "pays", "cannot be told", "costs more than it brings"]
    assert (
        "Up to the 2nd" in found.sentence and "From the 4th on" in found.sentence and "3rd" in found.sentence
    )


def test_a_later_step_does_not_count_where_an_earlier_one_does_not_pay():
    found = where_it_stops(response_of([-50.0, 100.0], [10.0, 10.0]))
    assert (found.pays_surely, found.pays_likely, found.stops) == (0, 0, 1)
    assert found.sentence.startswith("Even the first")


def test_where_all_holds_nought_nothing_is_claimed():
    found = where_it_stops(response_of([10.0, 5.0], [100.0, 100.0]))
    assert (found.pays_surely, found.stops) == (0, None)
    assert found.sentence.startswith("It cannot be told")


def test_a_price_can_turn_it():
    response = response_of([100.0], [10.0], complaint=0.05)
    assert where_it_stops(response).pays_surely == 1
    assert where_it_stops(response, complaint_price=3000).stops == 1


def test_a_step_that_is_not_told_does_not_pay():
    found = where_it_stops(response_of([100.0, np.nan], [10.0, 10.0]))
    assert found.pays_surely == 1 and found.table["says"].tolist() == ["pays", "cannot be told"]
    assert "2nd" not in found.sentence.replace("Up to the 1st", "")


def test_the_table_shown_leaves_out_what_is_not_told_and_says_the_rest():
    response = response_of([100.0, 60.0], [10.0, 10.0])
    response.table.loc[response.table["contact"] == "2nd", "contacted"] = 3
    found = where_it_stops(response)
    assert found.display_table()[["Which in 7 days", "So it"]].values.tolist() == [["1st", "pays"]]
    assert found.sentence in found._repr_markdown_() and found.sentence in found._repr_html_()


def test_prices_and_books_that_make_no_sense():
    for price in (-1, float("nan"), "ten", True):
        with pytest.raises(FrameError, match="complaint_price"):
            marginal(response_of([1.0], [1.0]), complaint_price=price)
    bare = response_of([1.0], [1.0], outcomes=("cured", "paid"))
    assert net(marginal(bare))["estimate"].tolist() == [1.0]
    with pytest.raises(NotAvailable, match="no complaints"):
        marginal(bare, complaint_price=10)
