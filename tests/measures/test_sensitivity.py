"""One parameter at a time: the swing, where the decision turns, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.measures.worth.sensitivity import sensitivity

RANGES = {"amount": (500, 1000, 4000), "effect": (0.01, 0.05, 0.09), "cost": (30, 40, 45), "idle": (0, 1, 2)}


def net(amount, effect, cost, idle=1.0, price=1.0):
    return price * (amount * effect - cost)


def test_by_hand():
    found = sensitivity(net, RANGES)
    table = found.table.set_index("parameter")
    assert found.base == pytest.approx(10.0)
    assert table.index.tolist() == ["amount", "effect", "cost", "idle"]
    assert table["swing"].tolist() == pytest.approx([175, 80, 15, 0])
    assert table.loc["amount", ["at_low", "at_high"]].tolist() == pytest.approx([-15, 160])
    assert table["flips"].tolist() == [True, True, False, False]
    assert table["threshold"].tolist() == pytest.approx([800, 0.04, np.nan, np.nan], nan_ok=True)


def test_a_bend_inside_a_range_is_seen():
    found = sensitivity(lambda days: 10 - (days - 5) ** 2, {"days": (0, 5, 10)}, against=-100).table.iloc[0]
    assert found["at_low"] == found["at_high"] == -15 and found["swing"] == pytest.approx(25)
    turned = sensitivity(lambda days: 10 - (days - 5) ** 2, {"days": (3, 5, 12)}).table.iloc[0]
    assert turned["flips"] and turned["threshold"] == pytest.approx(5 + 10**0.5)


def test_a_table_of_estimates_is_a_table_of_ranges():
    told = pd.DataFrame(
        {
            "parameter": ["effect", "cost"],
            "estimate": [0.05, 40.0],
            "conf_low": [0.01, 30.0],
            "conf_high": [0.09, 45.0],
        }
    )
    found = sensitivity(net, told, fixed={"amount": 1000})
    assert found.table["parameter"].tolist() == ["effect", "cost"]
    assert found.table["swing"].tolist() == pytest.approx([80, 15])


def test_the_tornado_is_drawn_from_the_table():
    found = sensitivity(net, RANGES)
    ax = found.plot()
    assert [t.get_text() for t in ax.get_yticklabels()] == found.table["parameter"].tolist()
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches]
    assert ends == pytest.approx([*found.table["at_low"], *found.table["at_high"]])


def test_every_range_at_fault_is_told_at_once():
    with pytest.raises(FrameError) as error:
        sensitivity(
            net, {"amount": (4000, 1000, 500), "effect": (0.1, 0.05, 0.2), "cost": (1, float("nan"), 3)}
        )
    text = str(error.value)
    assert "amount: 4000 to 500 is reversed" in text
    assert "effect: its value 0.05 lies outside" in text
    assert "cost:" in text and "is no range" in text
    with pytest.raises(FrameError, match="no range"):
        sensitivity(net, {"amount": (1, 2)})
    with pytest.raises(FrameError, match="there are none"):
        sensitivity(net, {})
    with pytest.raises(FrameError, match="gives nan at amount = 0"):
        sensitivity(lambda amount: 1.0 if amount else float("nan"), {"amount": (0, 1, 2)})
    doubled = pd.DataFrame(
        {"parameter": ["a", "a"], "estimate": [1.0, 1], "conf_low": [0.0, 0], "conf_high": [2.0, 2]}
    )
    with pytest.raises(FrameError, match="more than once"):
        sensitivity(lambda a: a, doubled)
