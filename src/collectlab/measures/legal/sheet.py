"""An agency's yearly sheet, as it is read."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from collectlab.core.errors import FrameError, first_few
from collectlab.core.results import Result
from collectlab.core.tables import display_table, format_value, humanise

#: Where a figure stands against the contract.
MET, MISSED, UNTOLD, NO_TERM = "met", "missed", "cannot be told", "–"
#: More agencies than this do not fit beside each other.
_BESIDE = 6
#: The sheet's figures in their order, as a reader calls them.
WORDS = {
    "placements": "Accounts placed",
    "placed": "Amount placed",
    "recovered": "Amount recovered",
    "recovery_rate": "Share recovered",
    "recovery_rate_same_mix": "Share recovered at the same mix of cases, all years",
    "commission": "Commission",
    "cost_per_100_recovered": "Cost per 100 recovered",
    "complaints_per_1000": "Complaints per 1,000 contacts",
    "violations_per_1000": "Actions against the contact rules per 1,000 contacts",
    "recorded": "Contacts recorded",
    "third_party": "Contacts with third parties",
    "days_to_first_contact": "Median days to the first contact",
}


@dataclass(frozen=True, kw_only=True)
class EvaluationSheet(Result):
    """Agencies in one year: a row per agency × measure; ``term`` is the contract's limit, ``standing`` what it comes to."""

    year: int = 0

    def of(self, agency: str) -> Result:
        """One agency's sheet.

        Parameters
        ----------
        agency : str

        Returns
        -------
        Result

        Raises
        ------
        FrameError
            No such agency.
        """
        names = list(dict.fromkeys(self.table["agency"]))
        if agency not in names:
            raise FrameError(f"agency is {agency!r}. Allowed: {first_few(names, 20)}.")
        rows = self.table[self.table["agency"] == agency].drop(columns="agency")
        return Result(
            table=rows, estimand=self.estimand, title=f"{agency}, {self.year}", notes=self.notes,
            formats=self.formats, conf_level=self.conf_level,
        )  # fmt: skip

    def display_table(self) -> pd.DataFrame:
        """A row per measure, a column per agency: estimate, interval, what it rests on, standing; many agencies: as they are."""
        table = self.table.assign(measure=[WORDS.get(m, humanise(m)) for m in self.table["measure"]])
        agencies = list(dict.fromkeys(table["agency"]))
        if len(agencies) > _BESIDE:
            return display_table(table, self.unit, self.formats, self.conf_level)
        rows = []
        for measure in dict.fromkeys(table["measure"]):
            mine = table[table["measure"] == measure].set_index("agency")
            terms = mine.loc[mine["term"] != "", "term"]
            asked = terms.groupby(terms, sort=False).groups.items()
            said = [
                t if len(terms) == len(agencies) == len(who) else f"{', '.join(who)}: {t}" for t, who in asked
            ]
            cells = {a: _cell(mine.loc[a]) if a in mine.index else "–" for a in agencies}
            rows.append({"Measure": measure, **cells, "Contract": "; ".join(said) or "–"})
        return pd.DataFrame(rows, dtype=object)

    def missed(self) -> pd.DataFrame:
        """The terms that were missed, whole interval beyond the limit."""
        return self.table[self.table["standing"] == MISSED].reset_index(drop=True)


def _cell(row: pd.Series) -> str:
    """``33.4 % (5.0 % to 82.9 %; n 34), cannot be told``."""
    if pd.isna(row["estimate"]):  # not published: what it comes to may be told all the same
        return f"–, {row['standing']}" if row["standing"] in (MET, MISSED) else "–"
    told = format_value(row["estimate"], row["unit"])
    inside = []
    if not pd.isna(row["conf_low"]) and not pd.isna(row["conf_high"]):
        inside.append(" to ".join(format_value(row[c], row["unit"]) for c in ("conf_low", "conf_high")))
    if row["measure"] != WORDS["placements"]:
        inside.append(f"n {format_value(row['n'], 'count')}")
    told += f" ({'; '.join(inside)})" if inside else ""
    return told if row["standing"] == NO_TERM else f"{told}, {row['standing']}"
