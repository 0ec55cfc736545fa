"""How a table is shown: keys as words, heads, sums of money."""

import pandas as pd
import pytest

from collectlab.core.plots import dots
from collectlab.core.tables import display_table, format_value, humanise, readable, to_html


def test_keys_of_the_data_are_shown_as_words_and_names_of_columns_as_they_are():
    table = pd.DataFrame(
        {"kind": ["payment_plan", "Call team 1"], "account_id": ["a_b", "c_d"], "column": "paid_on"}
    )
    assert display_table(table).values.tolist() == [
        ["payment plan", "a_b", "paid_on"], ["Call team 1", "c_d", "paid_on"],
    ]  # fmt: skip
    assert table["kind"].tolist() == ["payment_plan", "Call team 1"]  # the data stay
    assert [readable(v) for v in ("Branch_01", "a b_c", "_x", None)] == ["Branch_01", "a b_c", "_x", None]


def test_a_head_says_what_is_counted():
    assert humanise("n") == "Number" and humanise("days_past_due") == "Days past due"
    table = pd.DataFrame({"n": [5], "estimate": [0.2], "conf_low": [0.1], "conf_high": [0.3]})
    shown = display_table(table, "share", {"estimate": "Share recovered"})
    assert shown.columns.tolist() == ["Number", "Share recovered", "95 % interval"]
    assert display_table(table, "share").columns[1] == "Estimate"


@pytest.mark.parametrize(
    ("value", "shown"), [(18.574, "18.57"), (999.99, "999.99"), (-1385.91, "−1,386"), (1000.0, "1,000")]
)
def test_large_sums_have_no_cents(value, shown):
    assert format_value(value, "money2") == shown


def test_one_table_writes_its_sums_alike():
    table = pd.DataFrame(
        {"estimate": [-991.95, 12.5], "conf_low": [-5120.7, 1.0], "conf_high": [3136.8, 20.0]}
    )
    shown = display_table(table, "money2")
    assert shown["Estimate"].tolist() == ["−992", "12"]
    assert shown["95 % interval"].tolist() == ["−5,121 to 3,137", "1 to 20"]


def test_counts_stay_whole_where_others_are_missing():
    assert display_table(pd.DataFrame({"cases": [1188.0, None]}))["Cases"].tolist() == ["1,188", "–"]


def test_charts_write_keys_as_words():
    rows = pd.DataFrame({"estimate": [0.2], "conf_low": [0.1], "conf_high": [0.3]})
    axes = dots([("", rows)], ["income_loss"], unit="share", title="t", xlabel="x")
    assert [t.get_text() for t in axes.get_yticklabels()] == ["income loss"]


def test_a_figure_breaks_between_its_parts_only():
    shown = to_html(
        pd.DataFrame({"x": ["33.4 % (5.0 % to 82.9 %; n 34), met", "reported, not read in the source"]})
    )
    assert "reported, not read in the source" in shown
    assert "33.4\u00a0% (5.0\u00a0%\u00a0to\u00a082.9\u00a0%; n\u00a034), met" in shown
