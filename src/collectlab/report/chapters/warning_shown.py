"""How the early warning's tables stand on the page, and what each means in a sentence."""

from __future__ import annotations

import pandas as pd

from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.policy.warning import Drivers, Validation, Value
from collectlab.policy.warning.assumed import Acting
from collectlab.policy.warning.figures import FIGURES
from collectlab.policy.warning.validate import RULE, WARNING
from collectlab.policy.warning.value import SAVING
from collectlab.report.chapters.shown import across, cell, cells, plain

#: Months told one by one on the page.
MONTHS_SHOWN = 6
#: Measures on the page; the others stand in the file.
_SHOWN = ("auc", "ks", "slope", "observed_expected", "top_5", "top_10", "top_20")
TERMS = (
    "AUC: how often an account with the event had a higher chance than one without (0.5 is guessing). KS: the largest "
    "gap between the two in what a threshold catches. Observed ÷ expected: what came, against what was foretold."
)

_OE = ("observed_to_expected", "O_to_E_from", "O_to_E_to")


def catches(told: pd.DataFrame) -> str:
    """What the warning is good for, in a sentence."""
    rows = told.set_index(["measure", "model"])
    if ("top_10", WARNING) not in rows.index:
        return "Too few events to say how many of them stand among the highest chances."
    own = rows.loc[("top_10", WARNING)]
    said = cell(own["estimate"], own["conf_low"], own["conf_high"], "share")
    out = f"The 10 % of accounts with the highest chances hold {said} of those with the event"
    if ("top_10", RULE) in rows.index:
        out += (
            f"; the simple rule's 10 % hold {format_value(rows.loc[('top_10', RULE), 'estimate'], 'share')}"
        )
    return f"{out}."


def beside(held: Validation) -> pd.DataFrame:
    """A row for each measure, the warning and the simple rule side by side."""
    names = {FIGURES[k][0]: FIGURES[k][1] for k in _SHOWN}
    table = held.table[held.table["measure"].isin(list(names))]
    table = table.assign(unit=["share" if names[m] == "share" else "ratio" for m in table["measure"]])
    texts = [
        text if m != "difference" or u != "share" else text.replace(" %", " pp")
        for text, m, u in zip(cells(table, "ratio"), table["model"], table["unit"])
    ]
    return across(table, rows="measure", columns="model", texts=texts)


def lately(made: Result) -> pd.DataFrame:
    """The last months and every product, each figure with its interval in one cell."""
    table = made.table
    months = table[table["slice"] == "month"].tail(MONTHS_SHOWN)
    table = pd.concat([months, table[table["slice"] != "month"]], ignore_index=True)
    return plain(
        made,
        in_cells(table.drop(columns="PSI"), ("AUC", "AUC_from", "AUC_to"), _OE),
        {"Level": "Which", "Number": "Account-months", "Share": "Came true", "Expected": "Foretold",
         "Observed to expected": "Came true ÷ foretold"},
        AUC="text",
        observed_to_expected="text",
    )  # fmt: skip


def in_cells(table: pd.DataFrame, *ends: tuple[str, str, str], kind: str = "ratio") -> pd.DataFrame:
    """The table with each estimate and its ends in one column of texts."""
    out = table
    for at in ends:
        out = out.assign(**{at[0]: cells(table, kind, at)}).drop(columns=list(at[1:]))
    return out


def odds(found: Drivers) -> pd.DataFrame:
    heads = {"Reference": "Compared with", "Number": "Account-months", "Share": "With the event"}
    return plain(found, found.table, heads, estimate="Odds ratio")


def pays(acting: Acting, table: pd.DataFrame) -> str:
    """Whether acting on as many as can be acted on pays, in a sentence."""
    row = table.loc[(table["warned_share"].astype(float) - acting.warned_share).abs().idxmin()]
    lowest = format_value(acting.effect_low, "share")
    surely = row["conf_low"] > 0 and row["net_low"] > 0
    said = cell(row["estimate"], row["conf_low"], row["conf_high"], "money")
    at = (
        f"at a {row['rule']}" if str(row["rule"]) != SAVING else "where the expected saving is above the cost"
    )
    if surely:
        return f"Acting {at} brings {said} a month, and still pays if it prevents only {lowest} of the events it warns of."
    return f"Do not act on the warning for money alone: {at} it brings {said} a month, which is not surely above 0."


def by_threshold(found: Value) -> pd.DataFrame:
    """What is gained by whom, and at the lowest effect; the rest stands in the file."""
    kept = [
        "rule",
        "warned_share",
        "accounts",
        "came_true",
        "caught",
        "estimate",
        "std_error",
        "conf_low",
        "conf_high",
    ]
    heads = {
        "Rule": "Act on accounts with", "Warned share": "Share of accounts", "Accounts": "Accounts a month",
        "Caught": "Share of events caught", "Net low": "At the lowest effect",
    }  # fmt: skip
    return plain(found, found.table[[*kept, "net_low"]], heads, estimate="Net a month", net_low="money")


def alike(made: Result) -> pd.DataFrame:
    """Each figure with its interval in one cell; how well each group is ranked stands in the file."""
    at = ("observed_to_expected", "observed_to_expected_from", "observed_to_expected_to")
    table = in_cells(made.table.drop(columns=["AUC", "AUC_from", "AUC_to"]), at)
    table = in_cells(table, ("false_alarms", "false_alarms_from", "false_alarms_to"), kind="share")
    heads = {"Number": "Account-months", "Observed to expected": "Came true ÷ foretold"}
    return plain(made, table, heads, observed_to_expected="text", false_alarms="text")
