"""Survival on small hand-worked tables, and what comes back from bad input."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectlab.core.engine import scan
from collectlab.core.errors import FrameError
from collectlab.measures.survival import (
    cumulative_incidence,
    kaplan_meier,
    log_rank,
    nelson_aalen,
    restricted_mean,
)


def book(days, outcomes, **columns):
    return pd.DataFrame({"exit_day": days, "outcome": outcomes, **columns})


SIX = book(
    [0, 10, 10, 20, 30, 40],
    ["cured", "cured", "censored", "charged_off", "cured", "censored"],
    team=list("AABBAB"),
)


def test_kaplan_meier_by_hand():
    table = kaplan_meier(SIX).table
    assert table["day"].tolist() == [0, 10, 20, 30, 40]
    assert table["at_risk"].tolist() == [6, 5, 3, 2, 1]
    assert table["events"].tolist() == [1, 1, 0, 1, 0]
    assert table["censored"].tolist() == [0, 1, 1, 0, 1]
    s = [5 / 6, 5 / 6 * 4 / 5, 2 / 3, 1 / 3, 1 / 3]
    assert table["estimate"].tolist() == pytest.approx(s)
    greenwood = 1 / (6 * 5) + 1 / (5 * 4) + 1 / (2 * 1)
    assert table["std_error"].iloc[3] == pytest.approx(s[3] * np.sqrt(greenwood))


def test_incidences_add_up_and_are_below_the_complement_of_kaplan_meier():
    curves = cumulative_incidence(SIX)
    cured, off = (
        curves.table.query("outcome == @o")["estimate"].to_numpy() for o in ("cured", "charged_off")
    )
    assert cured.tolist() == pytest.approx([1 / 6, 1 / 3, 1 / 3, 1 / 3 + 4 / 9 / 2, 5 / 9])
    assert off.tolist() == pytest.approx([0, 0, 2 / 9, 2 / 9, 2 / 9])
    assert 1 - kaplan_meier(SIX).table["estimate"].iloc[-1] > cured[-1]
    assert any("charged off" in note for note in kaplan_meier(SIX).notes)


def test_single_outcome_incidence_is_kaplan_meier_turned_round():
    frame = book([1, 2, 2, 5, 7], ["cured", "cured", "censored", "cured", "censored"])
    up, down = cumulative_incidence(frame).table, kaplan_meier(frame).table
    assert up["estimate"].tolist() == pytest.approx((1 - down["estimate"]).tolist())
    assert up["std_error"].tolist() == pytest.approx(down["std_error"].tolist())
    assert up["conf_low"].tolist() == pytest.approx((1 - down["conf_high"]).tolist())


def test_late_entry_joins_the_risk_set_after_its_day():
    frame = book([5, 5, 9], "cured", entry_day=[0, 5, 4])
    curves = kaplan_meier(frame, entry="entry_day")
    assert curves.table["at_risk"].tolist() == [2, 1]  # the second row has no length and does not count
    assert curves.at([4, 5])["at_risk"].tolist() == [1, 2]
    assert "1 of 3 episodes have no follow-up" in curves.notes[0]


def test_unused_entry_is_said():
    assert "entry_day was not used" in kaplan_meier(book([5], "cured", entry_day=[0])).notes[0]


def test_gap_in_the_risk_set_is_said():
    curves = kaplan_meier(book([5, 9, 30], ["cured", "censored", "cured"], e=[0, 0, 20]), entry="e")
    assert any("after day 9" in note for note in curves.notes)
    late = kaplan_meier(book([5], "cured", e=[3]), entry="e")
    assert any("everybody from day 3" in note for note in late.notes)


def test_weights_stand_for_rows():
    weighted = book([1, 3, 3, 8], ["cured", "censored", "cured", "sold"], w=[2, 1, 3, 2])
    repeated = weighted.loc[weighted.index.repeat(weighted["w"])]
    for measure in (kaplan_meier, cumulative_incidence, nelson_aalen):
        pd.testing.assert_frame_equal(measure(weighted, weight="w").table, measure(repeated).table)
    halves = cumulative_incidence(weighted.assign(w=weighted["w"] / 2), weight="w").table
    assert halves["estimate"].tolist() == cumulative_incidence(repeated).table["estimate"].tolist()


def test_fractional_weights_leave_no_crumbs_in_the_risk_set():
    frame = book([1, 2, 3, 4], "cured", w=[0.1, 0.2, 0.3, 0.7])
    table = kaplan_meier(frame, weight="w").table
    assert table["estimate"].iloc[-1] == 0
    assert table["at_risk"].tolist() == pytest.approx([1.3, 1.2, 1.0, 0.7])


def test_quantiles_take_the_middle_of_a_flat_stretch():
    curves = kaplan_meier(book([10, 20, 30, 40], "cured"))
    assert curves.quantiles([0.25, 0.3, 0.5]).table["estimate"].tolist() == [15, 20, 25]
    assert np.isnan(kaplan_meier(book([10, 20], "censored")).quantiles(0.5).table["estimate"]).all()


def test_restricted_mean_is_the_area():
    frame = book([2, 4, 4], ["cured", "cured", "censored"])
    table = restricted_mean(frame, horizon=4).table
    assert table["estimate"].tolist() == pytest.approx([2 + 2 * 2 / 3])
    assert table["std_error"].tolist() == pytest.approx([np.sqrt((2 * 2 / 3) ** 2 / (3 * 2))])
    with pytest.raises(FrameError, match="everybody up to day 4"):
        restricted_mean(frame, horizon=5)
    assert restricted_mean(book([2, 4], "cured"), horizon=100).table["estimate"].tolist() == [3]


def test_log_rank_by_hand():
    test = log_rank(book([1, 2, 3, 4], "cured", team=list("AABB")), by="team")
    assert test.table["observed"].tolist() == [2, 2]
    assert test.table["expected"].tolist() == pytest.approx([1 / 2 + 1 / 3, 1 / 2 + 2 / 3 + 2])
    assert test.statistic == pytest.approx((2 - 5 / 6) ** 2 / (1 / 4 + 2 / 9))
    assert "χ²" in test.notes[0]


def test_log_rank_needs_groups_and_events():
    with pytest.raises(FrameError, match="one group"):
        log_rank(SIX, by=[])
    with pytest.raises(FrameError, match="nobody is cured"):
        log_rank(SIX.assign(outcome="censored"), by="team")


def test_at_refuses_to_go_beyond_each_group_and_names_it():
    curves = kaplan_meier(book([10, 50, 30], "censored", team=list("AAB")), by="team")
    with pytest.raises(FrameError, match="team=B up to day 30"):
        curves.at(40)
    assert np.isnan(curves.at(40, beyond="nan")["estimate"]).tolist() == [False, True]
    with pytest.raises(FrameError, match="Allowed: 'raise'"):
        curves.at(1, beyond="extend")
    with pytest.raises(FrameError, match="whole days"):
        curves.at(1.5)


def test_at_goes_on_where_nobody_is_left():
    curves = cumulative_incidence(book([10, 20], ["cured", "sold"]))
    assert curves.at(500)["estimate"].tolist() == [0.5, 0.5]


def test_at_before_anything_happened():
    assert kaplan_meier(SIX.iloc[1:]).at(5)["estimate"].tolist() == [1.0]
    assert cumulative_incidence(SIX.iloc[1:]).at(5)["estimate"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "name", ["group", "day", "estimate", "outcome", "my team", 'a "b"', "events", "by0", "exit"]
)
def test_any_column_names(name):
    frame = pd.DataFrame(
        {"days in book": [3, 5, 9], "how": ["cured", "censored", "sold"], name: ["x", "y", "x"]}
    )
    for measure in (kaplan_meier, cumulative_incidence):
        result = measure(frame, duration="days in book", outcome="how", by=name)
        assert result.table.columns.is_unique
        assert result.by[0] in (name, f"by_{name}")
        assert (result.by[0] == name) or any("stands as" in note for note in result.notes)
        assert list(result.at(3)[result.by[0]].unique()) == ["x", "y"]
        assert result.table[result.by[0]].iloc[0] == "x"


def test_groups_stand_in_natural_order_missing_last():
    frame = book([1, 2, 3, 4], "cured", team=["S10", None, "S2", "S1"])
    assert kaplan_meier(frame, by="team").table["team"].tolist() == ["S1", "S2", "S10", None]


def test_two_grouping_columns_keep_their_types():
    table = kaplan_meier(SIX.assign(year=[2024, 2023] * 3), by=["team", "year"]).table
    assert list(table.columns[:2]) == ["team", "year"]
    assert table[["team", "year"]].drop_duplicates().to_numpy().tolist() == [
        ["A", 2023], ["A", 2024], ["B", 2023], ["B", 2024]]  # fmt: skip


def test_codes_and_booleans_are_outcomes_too():
    for codes in ([1, 0, 1], [True, False, True], [1.0, 0.0, 1.0]):
        frame = book([1, 2, 3], codes)
        assert kaplan_meier(frame, event=(1,)).table["events"].tolist() == [1, 0, 1]
        assert cumulative_incidence(frame).table["events"].tolist() == [1, 0, 1]
    assert kaplan_meier(book([1], [0]), event=1).table["events"].tolist() == [0]


def test_no_event_all_events_one_row():
    none = kaplan_meier(book([1, 2], "censored"))
    assert none.table["estimate"].tolist() == [1, 1]
    assert "Nobody is cured." in none.notes
    assert kaplan_meier(book([3], "cured")).table["estimate"].tolist() == [0]
    with pytest.raises(FrameError, match="every 'outcome' is censored"):
        cumulative_incidence(book([1, 2], "censored"))


@pytest.mark.parametrize("engine", ["pandas", "polars", "polars lazy", "pyarrow", "relation"])
def test_every_engine_counts_alike(engine):
    frame = pl.from_pandas(SIX)
    given = {
        "pandas": lambda: SIX,
        "polars": lambda: frame,
        "polars lazy": frame.lazy,
        "pyarrow": frame.to_arrow,
        "relation": lambda: scan(SIX).to_native(),
    }[engine]()
    pd.testing.assert_frame_equal(
        cumulative_incidence(given, by="team").table, cumulative_incidence(SIX, by="team").table
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_weights_in_polars(lazy):
    frame = pl.from_pandas(SIX.assign(w=[0.5, 2.25, 1, 1e-3, 7, 1]))
    ours = cumulative_incidence(frame.lazy() if lazy else frame, weight="w").table
    pd.testing.assert_frame_equal(ours, cumulative_incidence(frame.to_pandas(), weight="w").table)


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        ({"exit_day": [1, -2, 3, 4, 5, -6]}, {}, r"2 of 6 rows have 'exit_day' < 0 \(-6, -2\)"),
        ({"exit_day": [1, None, 3, 4, 5, 6]}, {}, "1 of 6 rows have no 'exit_day'"),
        ({"exit_day": [1, 2.5, 3, 4, 5, 6]}, {}, r"no whole day \(2.5\)"),
        ({"exit_day": [1, np.inf, 3, 4, 5, 6]}, {}, "no whole day"),
        ({"exit_day": list("abcdef")}, {}, "Allowed for a duration: numbers"),
        ({"exit_day": pd.Timestamp("2024-01-01")}, {}, "Allowed for a duration: numbers"),
        ({"outcome": [None] * 2 + ["cured"] * 4}, {}, "2 of 6 rows have no 'outcome'"),
        ({"outcome": ["Censored"] + ["cured"] * 5}, {}, "Did you mean 'censored'"),
        ({}, {"event": "curd"}, "Did you mean 'cured'"),
        ({}, {"event": ("censored",)}, "stands for censoring"),
        ({}, {"event": ()}, "event is empty"),
        ({}, {"event": (1,)}, "not among the outcomes"),
        ({"outcome": [1] * 6}, {}, "not among the outcomes"),
        ({"e": [0, 0, 0, 0, 31, 0]}, {"entry": "e"}, r"have 'e' after 'exit_day' \(31 > 30\)"),
        ({"e": [0, 0, 0, None, 1, 0]}, {"entry": "e"}, "1 of 6 rows have no 'e'"),
        ({"w": [1, 0, -1, np.inf, np.nan, 1]}, {"weight": "w"}, "4 of 6 rows have a 'w'"),
        ({}, {"by": "taem"}, "Did you mean team"),
        ({}, {"duration": "exitday"}, "Did you mean exit_day"),
        ({}, {"conf_level": 95}, "conf_level is 95"),
        ({}, {"conf_type": "loglog"}, "Allowed: 'log-log'"),
    ],
)
def test_bad_input_is_named(change, arguments, words):
    with pytest.raises(FrameError, match=words):
        kaplan_meier(SIX.assign(**change), **arguments)


def test_all_faults_come_at_once():
    with pytest.raises(FrameError) as caught:
        kaplan_meier(book([-1, 2.5, None], ["cured", None, "cured"], w=[0, 1, 1]), weight="w")
    assert len(caught.value.faults) == 5


def test_empty_frame_and_no_follow_up():
    with pytest.raises(FrameError, match="no rows"):
        kaplan_meier(SIX.iloc[:0])
    with pytest.raises(FrameError, match="no episode has any follow-up"):
        kaplan_meier(book([3, 3], "cured", e=3), entry="e")


def test_too_many_groups():
    frame = pd.DataFrame({"exit_day": 1, "outcome": "cured", "account": range(1_001)})
    with pytest.raises(FrameError, match="1,001 groups"):
        kaplan_meier(frame, by="account")


def test_display_is_short_and_the_same_each_time():
    rng = np.random.default_rng(3)
    frame = book(
        rng.integers(0, 700, 3_000),
        rng.choice(["cured", "sold", "censored"], 3_000),
        g=rng.integers(0, 8, 3_000),
    )
    curves = cumulative_incidence(frame, by="g")
    assert len(curves.display_table()) <= 40
    shuffled = cumulative_incidence(frame.sample(frac=1, random_state=1), by="g")
    assert curves._repr_html_() == shuffled._repr_html_()
    pd.testing.assert_frame_equal(curves.table, shuffled.table)


def test_charts():
    rng = np.random.default_rng(3)
    frame = book(
        rng.integers(0, 700, 500), rng.choice(["cured", "sold", "censored"], 500), g=rng.integers(0, 9, 500)
    )
    ax = kaplan_meier(frame, by="g").plot()
    assert len(ax.get_lines()) == 6
    assert "6 largest of 9" in ax.get_title("left")
    together = cumulative_incidence(frame).plot()
    assert [t.get_text() for t in together.get_legend().get_texts()] == ["cured", "sold"]
    assert cumulative_incidence(frame, by="g").plot("sold", at_risk=False, max_groups=2) is not None
    texts = [t.get_text() for t in kaplan_meier(frame).plot().texts]
    assert texts[:2] == ["At risk", "500"]
    with pytest.raises(FrameError, match="Did you mean sold"):
        cumulative_incidence(frame).plot("solt")
    kaplan_meier(book([0], "cured")).plot()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 12), st.sampled_from(["cured", "sold", "censored"])),
        min_size=1,
        max_size=40,
    )
)
def test_incidences_and_staying_make_one(rows):
    frame = pd.DataFrame(rows, columns=["entry", "length", "outcome"])
    frame["exit_day"] = frame["entry"] + frame["length"]
    if not ((frame["length"] > 0) & (frame["outcome"] != "censored")).any():
        return
    used = frame[frame["length"] > 0]
    shares = cumulative_incidence(frame, entry="entry").table.groupby("day")["estimate"].sum()
    staying = kaplan_meier(used, entry="entry", event=tuple({"cured", "sold"})).table.set_index("day")[
        "estimate"
    ]
    np.testing.assert_allclose(shares + staying, 1, atol=1e-12)
    assert (shares.diff().dropna() >= -1e-12).all()
    table = kaplan_meier(used, entry="entry").table
    for day, at_risk in zip(table["day"], table["at_risk"]):
        assert at_risk == ((used["entry"] < day) & (used["exit_day"] >= day)).sum()
