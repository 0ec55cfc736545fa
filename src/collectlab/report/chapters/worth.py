"""What the strategies are worth: present value over time, increments over what would have been paid anyway, prices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import narwhals as nw
import pandas as pd

from collectlab.core import engine
from collectlab.core.errors import FrameError, NotAvailable, ParamsError
from collectlab.core.results import Result
from collectlab.core.tables import format_value
from collectlab.effects.cohort import cohort
from collectlab.effects.compare import compare
from collectlab.effects.experiment import experiment
from collectlab.effects.experiment_cells import arms_of, control_of
from collectlab.effects.verdict_rule import CAUSAL, SUGGESTIVE
from collectlab.measures.worth.incremental import Incremental, incremental
from collectlab.measures.worth.present_value import PresentValue, present_value
from collectlab.measures.worth.present_value_money import MoneyFlows, book_flows
from collectlab.measures.worth.present_value_rows import present_values
from collectlab.measures.worth.prices import Prices, load_prices
from collectlab.policy.agencies import load_agencies
from collectlab.policy.options import Figure, Option
from collectlab.report.chapters import caused, trials
from collectlab.report.chapters.asked import plans, questions
from collectlab.report.chapters.shown import across, cells, on_page
from collectlab.report.month import WINDOW_MONTHS, Month
from collectlab.report.parts import part

#: Days over which the curve runs, and within which increments are counted.
LONG, WITHIN = 180, 90
CURED = "cured_within_60"
#: Grade of a verdict → that of an increment; whatever has another grade has none.
GRADES = {CAUSAL: "causal", SUGGESTIVE: "suggestive"}


def _prices(month: Month) -> Prices:
    """The prices, where they are in the book's own currency."""

    def made() -> Prices:
        currency = month.book.about.currency
        file = month.params / "costs.yml"
        if not file.is_file():
            raise NotAvailable("there is no costs.yml among the parameters.")
        fees = month.params / "fees.yml"
        found = load_prices(file, fees if fees.is_file() else None)
        if not currency or not any(currency in p.unit for p in found.params.values()):
            raise NotAvailable(
                f"costs.yml has no prices in the book's currency ({currency or 'not stated'})."
            )
        return found

    return month.once("prices", made)


def _flows(month: Month) -> MoneyFlows:
    def made() -> MoneyFlows:
        file = month.params / "agencies.yml"
        terms = None
        if file.is_file():
            rows = [
                (name, since, held.until, held.commission)
                for name, contracts in load_agencies(file).contracts.items()
                for since, held in contracts.items()
            ]
            terms = pd.DataFrame(rows, columns=["agency", "first", "until", "commission"])
        return book_flows(month.book, _prices(month), contracts=terms)

    return month.once("money flows", made)


def _rates(month: Month) -> dict[str, float]:
    """The discount rate and the cost of funds in force; 0 where the file has none."""
    held = _prices(month).params.on(month.end)
    return {
        "rate": held["discount_rate"].value if "discount_rate" in held else 0.0,
        "funding_rate": held["funding_rate"].value if "funding_rate" in held else 0.0,
    }


def _tested(month: Month) -> nw.LazyFrame:
    """Each randomised account's first episode after the draw."""
    if not month.book.has("assignments"):
        raise NotAvailable("no account was assigned to a strategy, so strategies cannot be compared.")
    if trials.at_assignment(month):
        raise NotAvailable(
            "accounts were past due when they were assigned; what each arm is worth stands with the test."
        )
    return trials.frame(month)


def _arms(month: Month) -> tuple[str, list[str]]:
    """The control of the test, and its other arms."""
    there, _ = arms_of(_tested(month), "strategy")
    control, _ = control_of(month.control or None, there, "strategy")
    return control, [a for a in there if a != control]


def _grades(month: Month, control: str, arms: list[str]) -> dict[str, str]:
    """The grade of each arm's answer by the published rule; of several, the first that is not causal."""
    planned = plans(month, {control, *arms})
    names = [a for p in planned for a in p.plan.arms] if planned else arms
    found: dict[str, str] = {}
    for arm, said in zip(names, caused.experiments(month)):
        if found.get(arm, CAUSAL) == CAUSAL:
            found[arm] = said.grade
    return {a: found.get(a, "not known") for a in arms}


def value(month: Month) -> PresentValue:
    """The present value by arm of the test, against its control; counted once for all chapters."""

    def made() -> PresentValue:
        flows, rows = _flows(month), _tested(month)
        control, _ = _arms(month)
        return present_value(rows, flows, **_rates(month), control=control, horizon=LONG, through="follow_up")

    return month.shared("present value of the arms", made)


@part
def over_time(month: Month) -> Result:
    """Net present value by strategy over time"""
    found = value(month)
    last = found.differences[found.differences["day"] == LONG]
    notes = [
        f"{str(row.strategy).capitalize()} less {found.control} by day {LONG}, {_MORE[row.measure]}: {format_value(row.estimate, 'money')} "
        f"({format_value(row.conf_low, 'money')} to {format_value(row.conf_high, 'money')}) per account."
        for row in last.itertuples()
        if row.measure in _MORE and pd.notna(row.estimate)
    ]
    table = found.table
    kept = table["measure"].isin(["net", "society"]) | (table["day"] % 30 == 0)
    made = dataclasses.replace(
        found,
        table=table[kept],
        estimand="Mean present value by day t per account of the test, from its first day past due; arms drawn by lot",
        notes=(_surely(last, str(found.control)), *notes, *found.notes),
        formats={"day": "hidden"},
    )
    return on_page(made, _at_the_end)


def _at_the_end(found: PresentValue) -> pd.DataFrame:
    """Each measure at the end of the curve, the strategies side by side."""
    words = PresentValue.display_table(found)["Measure"]
    last = found.table[found.table["day"] == found.table["day"].max()].reset_index(drop=True)
    last = last.assign(measure=words.to_numpy())
    return across(
        last,
        rows="measure",
        columns="strategy",
        texts=cells(last, "money"),
        head=f"Per account, by day {LONG}",
    )


def _surely(rows: pd.DataFrame, control: str) -> str:
    """Whether an arm is worth more than the control, in a sentence."""
    net = rows[(rows["measure"] == "net") & rows["conf_low"].notna()]
    better, worse = net[net["conf_low"] > 0], net[net["conf_high"] < 0]
    said = [f"{r.strategy} is worth surely more than {control}" for r in better.itertuples()]
    said += [f"{r.strategy} is worth surely less than {control}" for r in worse.itertuples()]
    if not said:
        return f"No strategy of the test is surely worth more or less than {control}: the difference is within noise."
    return f"By day {LONG} {'; '.join(said)}."


_MORE = {"net": "net for the bank", "society": "net for society"}


def increments(month: Month) -> Incremental:
    """What each arm and each choice adds; counted once for all chapters."""
    return month.shared("increments", lambda: _increments(month))


def _increments(month: Month) -> Incremental:
    _flows(month)  # where nothing has a price, that is the answer
    found: list[Incremental] = []
    notes: list[str] = []
    for make in (_drawn, _chosen):
        try:
            found += make(month, notes)
        except (NotAvailable, FrameError) as error:
            notes.append(_one_line(error))
    if not found:
        raise NotAvailable(" ".join(notes) or "no two strategies can be compared in this book.")
    first = found[0]
    rows = pd.concat([f.table for f in found], ignore_index=True)
    return dataclasses.replace(
        first,
        table=rows,
        estimand=f"Per account within {WITHIN} days, over and above what would have come without the strategy",
        title="What the strategies add to what would have been paid anyway",
        notes=tuple(dict.fromkeys([n for f in found for n in (f"Whom: {f.population}.", *f.notes)] + notes)),
        population="",
        evidence="",
    )


def _drawn(month: Month, notes: list[str]) -> list[Incremental]:
    rows = present_values(
        _tested(month), _flows(month), horizon=WITHIN, amount="amount_at_entry", **_rates(month)
    )
    control, arms = _arms(month)
    grades = _grades(month, control, arms)
    kept = {a: GRADES[g] for a, g in grades.items() if g in GRADES}
    notes += [f"{a}: left out, the test's answer is {g}." for a, g in grades.items() if a not in kept]
    if not kept:
        return []
    rows = rows[rows["strategy"].isin([control, *kept])]

    def of(frame: pd.DataFrame, outcome: str) -> pd.DataFrame:
        return experiment(frame, outcomes=outcome, control=control).table

    begun = pd.to_datetime(rows["started_on"])
    whom = (
        f"the {len(rows):,} accounts of the test that fell past due from {begun.min():%Y-%m-%d} to "
        f"{begun.max():%Y-%m-%d} (the first time each), drawn by lot for {', '.join([*kept, control])}"
    )
    return [_worth_of(rows, of, whom, kept, control, _pace(month, control))]


def _chosen(month: Month, notes: list[str]) -> list[Incremental]:
    """The strategies that people chose between, where the published rule lets the comparison stand."""
    found = []
    asked = questions(month).choices
    for question, (said, _) in zip(asked.values(), caused.choices(month)):
        arms = [question.treatment, question.control]
        if GRADES.get(said.grade) != "suggestive":
            notes.append(f"{arms[0]} against {arms[1]}: left out, the answer is {said.grade}.")
            continue
        rows = cohort(month.book, month.episodes, horizons=[60, WITHIN])
        rows = rows.filter(nw.col("strategy").is_in(arms))
        if "randomised" in rows.collect_schema().names():
            rows = rows.filter(~nw.col("randomised").fill_null(False))
        valued = present_values(
            rows, _flows(month), horizon=WITHIN, start="time_zero", amount="amount_past_due", followed="followed",
            **_rates(month),
        )  # fmt: skip
        known = [c for c in question.covariates if c in valued]

        def of(frame: pd.DataFrame, outcome: str, question=question, known=known) -> pd.DataFrame:
            result = compare(
                frame, treatment="strategy", treated=question.treatment, outcome=outcome, covariates=known,
                cluster="customer_id",
            )  # fmt: skip
            head = result.table.loc[[result.headline]]
            return head.assign(arm=question.treatment, n=head["n_treated"])

        whom = (
            f"the accounts outside the test that {' or '.join(arms)} handled, as far as either could have got them (the "
            "first time each fell past due), by what people went by as far as the book holds it"
        )
        found.append(_worth_of(valued, of, whom, {arms[0]: "suggestive"}, arms[1], None))
    return found


def _worth_of(
    rows: pd.DataFrame, of: Callable[[pd.DataFrame, str], pd.DataFrame], whom: str, grades: Mapping[str, str],
    control: str, pace: float | None,
) -> Incremental:  # fmt: skip
    """The effects on money, cost, net and cures with their covariances, put together."""
    names = {"money": "value_paid", "cost": "value_cost", "net": "value_net"}
    rows = rows.dropna(subset=[CURED]) if CURED in rows else rows
    if CURED in rows and rows[CURED].nunique() > 1:
        names["cures"] = CURED
        # Var(a + b) = Var a + Var b + 2 Cov(a, b), on one scale so that no digits are lost
        scale = float(rows["value_cost"].std() / rows[CURED].std()) or 1.0
        rows = rows.assign(value_both=rows["value_cost"] + scale * rows[CURED])
    parts = {key: of(rows, column) for key, column in names.items()}
    told = pd.concat([t.assign(outcome=key) for key, t in parts.items()], ignore_index=True)
    told = told[["outcome", "arm", "n", "estimate", "std_error", "conf_low", "conf_high"]]
    covariance = {}
    if "cures" in names:
        both = of(rows, "value_both").set_index("arm")["std_error"]
        cost, cures = (parts[k].set_index("arm")["std_error"] for k in ("cost", "cures"))
        for arm in both.index:
            joint = (both[arm] ** 2 - cost[arm] ** 2 - (scale * cures[arm]) ** 2) / (2 * scale)
            covariance[arm, "cost", "cures"] = joint
    found = incremental(
        told, population=whom, covariance=covariance, evidence=grades, control=control,
        cures="cures" if "cures" in names else None,
    )  # fmt: skip
    if pace is None:
        return found
    table = found.table
    table["a_month"] = [pace if m == "net" else float("nan") for m in table["measure"]]
    month_rows = table[table["measure"] == "net"].assign(measure="net_a_month", unit="money")
    for column in ("estimate", "std_error", "conf_low", "conf_high"):
        month_rows[column] = month_rows[column] * pace
    return dataclasses.replace(found, table=pd.concat([table, month_rows], ignore_index=True))


def _pace(month: Month, control: str) -> float:
    """Accounts a month that fell past due under the control, over the window."""
    if "strategy" not in month.recent.collect_schema().names():
        return float("nan")
    n = engine.collect(month.recent.filter(nw.col("strategy") == control).select(n=nw.len()))["n"][0]
    return float(n) / WINDOW_MONTHS


@part(picture=False)
def added(month: Month) -> Result:
    """What the strategies add to what would have been paid anyway"""
    found = increments(month)
    net = found.table[found.table["measure"] == "net"]
    sure = [f"{r.arm} against {r.control}" for r in net.itertuples() if r.conf_low > 0 or r.conf_high < 0]
    means = (
        f"Beyond noise, in net: {'; '.join(sure)}."
        if sure
        else "Nothing beyond noise: no strategy surely adds net money over the one it is compared with."
    )
    return on_page(dataclasses.replace(found, notes=(means, *found.notes)), _side_by_side)


def _side_by_side(found: Incremental) -> pd.DataFrame:
    """Each measure in a row, each comparison in a column; what cannot be told says so."""
    large = found.table[["estimate", "conf_low", "conf_high"]].abs().max(axis=1) >= 10
    units = found.table["unit"].mask(large & (found.table["unit"] == "money2"), "money")
    table = found.table.assign(measure=Incremental.display_table(found)["Measure"].to_numpy(), unit=units)
    reading = [str(r) if str(r).startswith("no ratio") else "" for r in table["reading"]]
    texts = [r or text for r, text in zip(reading, cells(table, found.unit))]
    columns = [f"{a} against {c} ({e})" for a, c, e in zip(table["arm"], table["control"], table["evidence"])]
    return across(table.assign(compared=columns), rows="measure", columns="compared", texts=texts)


@part
def prices(month: Month) -> Result:
    """Prices in force"""
    return _prices(month).table(month.end)


def options(month: Month) -> list[Option]:
    """Arms drawn by lot whose net is surely above that of the control."""
    try:
        table = added(month).table
    except (NotAvailable, FrameError, ParamsError):
        return []
    found = []
    for _, row in table[(table["measure"] == "net") & (table["evidence"] == "causal")].iterrows():
        total = table[(table["arm"] == row["arm"]) & (table["measure"] == "net_a_month")]
        if not row["conf_low"] > 0 or total.empty or pd.isna(total["conf_low"].iloc[0]):
            continue
        found.append(_option(table, row, total.iloc[0]))
    return found


def _option(table: pd.DataFrame, row: pd.Series, total: pd.Series) -> Option:
    arm, control = str(row["arm"]), str(row["control"])
    cost = table[(table["arm"] == arm) & (table["measure"] == "cost")].iloc[0]
    where = {"arm": arm, "measure": "net"}
    figures = [
        Figure(name=name, value=float(source[column]), part="worth_added", where=at, column=column)
        for source, at, names in (
            (row, where, {"estimate": "net per account", "conf_low": "its lower end", "conf_high": "its upper end"}),
            (row, where, {"a_month": "accounts a month"}),
            (total, {"arm": arm, "measure": "net_a_month"}, {"estimate": "net a month"}),
            (cost, {"arm": arm, "measure": "cost"}, {"estimate": "cost per account"}),
        )
        for column, name in names.items()
    ]  # fmt: skip

    def money(v: float) -> str:
        return format_value(v, "money")

    return Option(
        key=f"worth_{arm}",
        what=f"Handle by {arm} the accounts that {control} handles now",
        whom=f"Accounts that fall past due under {control}",
        area="strategy",
        net=float(total["estimate"]),
        low=float(total["conf_low"]),
        high=float(total["conf_high"]),
        words=(
            f"Each account brings {money(row['estimate'])} ({money(row['conf_low'])} to {money(row['conf_high'])}) more net "
            f"within {WITHIN} days; with {money(row['a_month'])} accounts a month that is {money(total['estimate'])} a month."
        ),
        grade="causal",
        evidence=f"Accounts were drawn by lot for {arm} and {control}; all costs, complaints and funding are taken off.",
        cost=float(cost["estimate"] * row["a_month"]),
        cost_words=f"{money(cost['estimate'])} more per account.",
        legal_risk=f"Contacts rise or fall with {arm}: the contact rules must hold at its volume.",
        customer_risk="What the test showed of complaints holds for all accounts.",
        failing=f"The net of {arm} against a remaining control group of {control} falls to 0 or below.",
        settle=f"Keep one account in ten with {control}, drawn by lot, for six months.",
        figures=tuple(figures),
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
