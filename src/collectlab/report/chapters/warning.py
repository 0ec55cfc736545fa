"""Early warning: who will fall past due or roll on next month, how well that is told, and what acting on it is worth."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pandas as pd

from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.core.results import Result
from collectlab.core.suppression import suppress
from collectlab.core.tables import format_value
from collectlab.effects.settle import settling
from collectlab.policy.options import Figure, Option
from collectlab.policy.warning import (
    Drivers,
    Validation,
    Value,
    WarningList,
    WarningModel,
    fit_warning,
    load_warning,
    loss_of_event,
    rolling,
    value_of_acting,
    warning_list,
    warning_rows,
)
from collectlab.policy.warning import fairness as fairness_of
from collectlab.policy.warning.assumed import Acting, WarningParams
from collectlab.policy.warning.figures import FIGURES
from collectlab.policy.warning.validate import HISTORY, RULE, WARNING
from collectlab.policy.warning.value import SAVING
from collectlab.report.chapters.shown import on_page
from collectlab.report.chapters.warning_shown import (
    MONTHS_SHOWN,
    TERMS,
    alike,
    beside,
    by_threshold,
    catches,
    lately,
    odds,
    pays,
)
from collectlab.report.month import Month
from collectlab.report.parts import minimum_cell, part

#: Accounts listed, and bands of the drivers shown.
LISTED, BANDS_SHOWN = 10, 10
#: What acting is, in words.
_ACT = {
    "falls": "Remind, before the due date, the current accounts with the highest chances of falling past due",
    "rolls": "Call first the accounts past due with the highest chances of rolling to a worse bucket",
}
#: Columns of figures as people read them.
_HEADS = {"auc": "AUC", "auc_low": "AUC_from", "auc_high": "AUC_to", "observed_expected": "observed_to_expected",
          "oe_low": "O_to_E_from", "oe_high": "O_to_E_to", "psi": "PSI"}  # fmt: skip
_EVENT = {"falls": "fall past due", "rolls": "roll to a worse bucket"}


@dataclasses.dataclass(frozen=True)
class _Worked:
    """The validation, the model in force, and the last month's rows."""

    validation: Validation
    model: WarningModel
    now: pd.DataFrame
    loss: Any


@part
def works(month: Month, target: str = "falls") -> Validation:
    """How well the warning does on months it had not seen."""
    held = _worked(month, target).validation
    told = held.table[
        held.table["model"].isin([WARNING, RULE]) | held.table["measure"].isin(["auc", "top_10"])
    ]
    caught = (told["estimate"] * held.scored["outcome"].sum()).round()
    few = told["measure"].str.startswith("top_") & caught.isin(range(1, minimum_cell(month)))
    told = told[~told["measure"].isin(told.loc[few, "measure"])]
    words = {k: said for k, (said, _) in FIGURES.items()}
    months = held.by_month
    spread = (
        f"Month by month: AUC {months['auc'].min():.2f} to {months['auc'].max():.2f}, observed ÷ expected "
        f"{months['observed_expected'].min():.2f} to {months['observed_expected'].max():.2f}, stability index (PSI) of the "
        f"chances at most {months['psi'].max():.2f} (under 0.1: stable)."
    )
    table = told.assign(measure=told["measure"].map(words))
    rule = "months since and past due 12"
    in_words = (
        n.replace(rule, "when an account was last past due, and how often in 12 months,") for n in held.notes
    )
    notes = (catches(told), TERMS, *in_words, spread)
    return on_page(dataclasses.replace(held, table=table, notes=notes), beside)


@part
def stable(month: Month, target: str = "falls") -> Result:
    """The warning month by month and by product: ranking, calibration, stability."""
    held = _worked(month, target).validation
    table = held.by_month.rename(columns={"month": "level"}).assign(slice="month")
    if len(held.by_segment):
        table = pd.concat([table, held.by_segment.rename(columns={"segment": "slice"})], ignore_index=True)
    table = table[["slice", "level", *(c for c in table if c not in ("slice", "level"))]]
    told = table[table["slice"] == "month"]
    off = told[(told["oe_low"] > 1) | (told["oe_high"] < 1)]
    made = Result(
        table=table.rename(columns=_HEADS),
        estimand=held.estimand,
        unit="number",
        title="Month by month and by product",
        notes=(
            f"What came was beyond noise off what was foretold in {len(off)} of {len(told)} months; the chances "
            f"{'kept their spread' if told['psi'].max() < 0.1 else 'have shifted: learn the warning anew'} (stability "
            f"index at most {told['psi'].max():.2f}; under 0.1 stable, over 0.25 not).",
            f"Shown: the last {MONTHS_SHOWN} months and every product; all months stand in the file.",
        ),
        formats={"expected": "share", **dict.fromkeys(_HEADS.values(), "ratio"), "PSI": "number"},
        conf_level=held.conf_level,
    )
    return on_page(made, lately)


@part(picture=False)
def drivers(month: Month, target: str = "falls") -> Drivers:
    """What goes with the event, in words."""
    found = _worked(month, target).model.drivers()
    table = found.table.drop(columns="feature")
    sure = table[(table["conf_low"] > 1) | (table["conf_high"] < 1)]
    if sure.empty:
        raise NotAvailable("no band differs from its reference beyond noise.")
    order = sure["estimate"].map(math.log).abs().sort_values(ascending=False, kind="stable").index
    note = f"{len(sure)} of {len(table)} bands differ from their reference beyond noise; shown: the strongest {BANDS_SHOWN}."
    means = "Odds ratio above 1: the event is likelier than in the band compared with; it says whom to look at first."
    notes = [re.sub(r"[a-z]+(_[a-z]+)+", lambda m: m[0].replace("_", " "), n) for n in found.notes]
    made = dataclasses.replace(found, table=sure.loc[order].head(BANDS_SHOWN), notes=(means, note, *notes))
    return on_page(made, odds)


@part
def worth(month: Month, target: str = "falls") -> Value:
    """What acting on the warning is worth at each threshold, if acting helps as assumed."""
    found, scored = _value(month, target), _worked(month, target).validation.scored
    kept = _of_many(found.table, len(scored), int(scored["outcome"].sum()), minimum_cell(month))
    if not any(kept):
        raise NotAvailable("at every threshold few were warned of, or few of them had the event.")
    table = found.table[kept]
    made = dataclasses.replace(found, table=table, notes=(pays(found.acting, table), *found.notes))
    return on_page(made, by_threshold)


def _of_many(table: pd.DataFrame, n: int, events: int, minimum: int) -> list[bool]:
    """Thresholds at which neither those warned of, nor those added since the last one shown, nor the rest are few.

    The table's counts are means of a month; these are the account-months behind them, with and without the event.
    """

    def few(warned: int, hit: int) -> bool:
        return any(0 < v < minimum for v in (warned, hit, warned - hit))

    kept, last = [], (0, 0)
    for rule, share, caught in table[["rule", "warned_share", "caught"]].itertuples(index=False):
        warned, hit = round(share * n), round(caught * events)
        before = (0, 0) if rule == SAVING else last  # the rule without a threshold is a set of its own
        kept.append(not few(warned - before[0], hit - before[1]) and not few(n - warned, events - hit))
        if kept[-1] and rule != SAVING:
            last = (warned, hit)
    return kept


@part
def named(month: Month, target: str = "falls") -> WarningList:
    """The accounts with the highest chances next month, without names, and why."""
    worked = _worked(month, target)
    found = warning_list(worked.now, worked.model, top=LISTED)
    high, few = found.counts[~found.counts["chance_of"].str.startswith("under")], minimum_cell(month)
    said = ", ".join(
        f"{c}: {f'{n:,}' if n >= few else f'fewer than {few}'}"
        for c, n in zip(high["chance_of"], high["accounts"])
    )
    return dataclasses.replace(found, notes=(*found.notes, f"Accounts by chance: {said}."))


@part(picture=False)
def fair(month: Month, target: str = "falls") -> Result:
    """Whether people are warned of alike by what the warning must not use."""
    params, acting = _params(month), _acting(month, target)
    found = fairness_of(
        _worked(month, target).validation,
        params.forbidden_on(month.end),
        warned_share=acting.warned_share,
    )
    tidy, keys = found.table, ["attribute", "group", "n", "events"]
    table = tidy[keys].drop_duplicates(ignore_index=True)
    for measure, name in (
        ("warned", "warned"),
        ("false_alarms", "false_alarms"),
        ("auc", "AUC"),
        ("observed_expected", "observed_to_expected"),
    ):
        ends = {"estimate": name, "conf_low": f"{name}_from", "conf_high": f"{name}_to"}
        part_ = tidy.loc[tidy["measure"] == measure, [*keys, *ends]].rename(columns=ends)
        table = table.merge(part_, on=keys, how="left")
    hidden = _few_alarms(table, minimum_cell(month))
    alarms = [c for c in table if c.startswith(("warned", "false_alarms"))]
    table[alarms] = table[alarms].mask(hidden)
    apart = tidy[(tidy["measure"] == "false_alarms") & ((tidy["diff_low"] > 0) | (tidy["diff_high"] < 0))]
    said = "; ".join(
        f"{r.attribute} {r.group} ({format_value(r.difference, 'points')})" for r in apart.itertuples()
    )
    note = f"False alarms differ from all others' beyond noise for: {said or 'no group'} ({len(table)} groups looked at)."
    if hidden.any():
        note += " Not shown where they would tell of few."
    means = (
        "No group is warned of in vain more often than the others, as far as can be told."
        if apart.empty
        else "Some groups are warned of in vain more often or less often than the others: look into why before acting."
    )
    made = Result(
        table=table.drop(columns=["warned_from", "warned_to"]),
        estimand=found.estimand,
        unit="number",
        title=found.title,
        notes=(means, note, "False alarms: the share warned of among those without the event.", found.notes[-1]),
        formats={"warned": "share", "false_alarms": "share", "false_alarms_from": "share", "false_alarms_to": "share",
                 **dict.fromkeys(("AUC", "AUC_from", "AUC_to", "observed_to_expected", "observed_to_expected_from",
                                  "observed_to_expected_to"), "ratio")},
        conf_level=found.conf_level,
    )  # fmt: skip
    return on_page(made, alike)


def _few_alarms(table: pd.DataFrame, minimum: int) -> pd.Series:
    """Groups whose shares would tell how few were warned of, rightly or not, or missed."""
    warned = (table["warned"] * table["n"]).round()
    caught = warned - (table["false_alarms"] * (table["n"] - table["events"])).round()
    parts = {
        "warned_of": warned,
        "caught": caught,
        "missed": table["events"] - caught,
        "false": warned - caught,
    }
    told = table[["attribute", "group", "n", "events"]].assign(**parts)
    found = suppress(told, by=["attribute", "group"], counts=["n"], parts=[*parts, "events"], minimum=minimum)
    return pd.Series(found.rows, index=table.index)


def _params(month: Month) -> WarningParams:
    try:
        return load_warning(month.params / "warning.yml")
    except ParamsError as error:
        raise NotAvailable(" ".join(str(error).split())) from error


def _acting(month: Month, target: str) -> Acting:
    try:
        return _params(month).acting(target, month.end)
    except ParamsError as error:
        raise NotAvailable(" ".join(str(error).split())) from error


def _worked(month: Month, target: str) -> _Worked:
    return month.shared(f"early warning {target}", lambda: _work(month, target))


def _work(month: Month, target: str) -> _Worked:
    params = _params(month)
    forbidden = params.forbidden_on(month.end)
    there = [c for c in forbidden if c in month.book.columns("accounts")]
    rows = warning_rows(month.book, target=target, columns=there)
    validation = rolling(rows, target=target, forbidden=forbidden)
    last = int(rows["month"].max())
    recent = rows[(rows["month"] >= last - HISTORY) & rows["outcome"].notna()]
    model = fit_warning(recent, target=target, forbidden=forbidden)
    loss = None
    if "balance" in rows:
        acting = _acting(month, target)
        loss = loss_of_event(
            recent.assign(chance=model.score(recent)), given_off=acting.given_off, otherwise=acting.loss
        )
    return _Worked(validation, model, rows[rows["month"] == last], loss)


def _value(month: Month, target: str) -> Value:
    worked = _worked(month, target)
    acting = _acting(month, target)
    return value_of_acting(worked.validation, acting=acting, loss=worked.loss)


def options(month: Month) -> list[Option]:
    """Acting on the warning, where it pays over the whole range of what acting may bring."""
    found = []
    for target in _ACT:
        try:
            shown = worth(month, target)
            held = shown.result
            if held is None or not len(shown.table):
                continue
            acting = held.acting
        except (NotAvailable, FrameError, ParamsError):
            continue
        table = shown.table[(shown.table["rule"] != SAVING) & shown.table["estimate"].notna()]
        if table.empty:
            continue
        # As many as can be acted on, by the parameters: not the threshold that happened to do best.
        row = table.loc[(table["warned_share"].astype(float) - acting.warned_share).abs().idxmin()]
        if row["conf_low"] > 0 and row["net_low"] > 0:
            found.append(_option(target, held, row))
    return found


def _option(target: str, held: Value, row: pd.Series) -> Option:
    acting, part_ = held.acting, f"warning_worth_{target}"
    where = {"rule": row["rule"]}

    def money(column: str) -> str:
        return format_value(row[column], "money")

    figures = tuple(
        Figure(name=name, value=float(row[column]), part=part_, where=where, column=column)
        for column, name in (
            ("estimate", "net a month"),
            ("conf_low", "its lower end"),
            ("conf_high", "its upper end"),
            ("net_low", "net at the lowest effect"),
            ("accounts", "accounts a month"),
            ("came_true", "share that came true"),
            ("caught", "share of the events"),
            ("cost", "cost a month"),
        )
    )
    low, high = (format_value(v, "share") for v in (acting.effect_low, acting.effect_high))
    test = settling("acting on the warning", "not acting", smallest=acting.effect * float(row["came_true"]),
                    baseline=float(row["came_true"]), pace=float(row["accounts"]), horizon=31)  # fmt: skip
    return Option(
        key=f"warning_{target}",
        what=_ACT[target],
        whom=f"Accounts with a {row['rule']}",
        area="process",
        net=float(row["estimate"]),
        low=float(row["conf_low"]),
        high=float(row["conf_high"]),
        words=(
            f"{format_value(row['accounts'], 'count')} accounts a month, of whom {format_value(row['came_true'], 'share')} would "
            f"{_EVENT[target]} ({format_value(row['caught'], 'share')} of all who do): a net gain of {money('estimate')} a month "
            f"({money('conf_low')} to {money('conf_high')}); {money('net_low')} at the lowest effect assumed."
        ),
        grade="model",
        evidence=(
            f"Who will {_EVENT[target]} is tested on months the model had not seen. That acting prevents "
            f"{format_value(acting.effect, 'share')} of it ({low} to {high}) is an assumption ({acting.source})."
        ),
        cost=float(row["cost"]),
        cost_words=f"{money('cost')} a month.",
        legal_risk="Messages before the due date are contacts, too: consent and contact rules hold.",
        customer_risk="Most of those warned of would have paid: a reminder must not read like a demand.",
        failing="Among accounts warned of, drawn by lot, those acted on have the event as often as the others.",
        settle=test,
        figures=figures,
    )


__all__ = ["drivers", "fair", "named", "options", "stable", "works", "worth"]
