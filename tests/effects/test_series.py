"""Interrupted series: paths by hand, the mixture over ρ, its level on short series, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError
from collectlab.effects import _series_fit as fit
from collectlab.effects.series import interrupted_series


def monthly(
    seed: int = 0, effect: float = 0.0, months: int = 36, change: int = 24, rho: float = 0.4
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    t = np.arange(months)
    shock = np.empty(months)
    shock[0] = rng.normal(0, 0.015)
    for i in range(1, months):
        shock[i] = rho * shock[i - 1] + rng.normal(0, 0.015 * np.sqrt(1 - rho**2))
    value = 0.5 + 0.001 * t + 0.03 * np.sin(2 * np.pi * t / 12) + shock + effect * (t >= change)
    return pd.DataFrame(
        {
            "month": pd.date_range("2022-01-01", periods=months, freq="MS"),
            "cured": value,
            "elsewhere": 0.4 + shock,
            "accounts": rng.integers(500, 900, months),
        }
    )


def ask(frame: pd.DataFrame, changed_on="2024-01-01", **options):
    return interrupted_series(frame, time="month", outcome="cured", changed_on=changed_on, **options)


def test_a_path_without_noise_comes_back():
    t = np.arange(24.0)
    tiny = 1e-6 * np.sin(t * 7)
    frame = pd.DataFrame({"month": t, "cured": 3 + 0.5 * t + (t >= 12) * (2 - 0.25 * (t - 12)) + tiny})
    table = ask(frame, 12, season=None).table.set_index("method")["estimate"]
    assert table["level change"] == pytest.approx(2, abs=1e-4)
    assert table["slope change"] == pytest.approx(-0.25, abs=1e-4)
    assert table["mean effect after"] == pytest.approx(2 - 0.25 * 5.5, abs=1e-4)


def test_at_one_correlation_it_is_generalised_least_squares():
    import statsmodels.api as sm

    frame = monthly(3)
    place = np.arange(36) - 24
    x = fit.matrix(place, 0, fit.waves_of(place, 12))
    found = fit.fit_path(frame["cured"].to_numpy(), x, np.ones(36), fit.whiteners(place))
    for k in (10, 20, 30):
        rho = fit.CORRELATIONS[k]
        other = sm.GLS(frame["cured"], x, sigma=rho ** np.abs(place[:, None] - place)).fit()
        np.testing.assert_allclose(found.beta[k], other.params, rtol=1e-6)
        np.testing.assert_allclose(found.covariance[k], other.cov_params(), rtol=1e-6)


def test_the_mixture_of_one_correlation_is_students_t():
    from scipy import stats

    one = fit.Fit(np.array([1.0]), np.array([[2.0]]), np.array([[[0.25]]]), 9)
    row = fit.averaged(one, np.array([1.0]), 0.95)
    reach = stats.t.ppf(0.975, 9) * 0.5
    assert (row["conf_low"], row["conf_high"]) == pytest.approx((2 - reach, 2 + reach))
    assert row["p_value"] == pytest.approx(2 * stats.t.sf(4, 9))


def test_autocorrelated_errors_widen_the_interval():
    place = np.arange(60) - 40
    x = fit.matrix(place, 0, np.zeros((60, 0)))
    rng = np.random.default_rng(1)
    noise = rng.normal(size=60)
    lasting = np.empty(60)
    lasting[0] = noise[0]
    for i in range(1, 60):
        lasting[i] = 0.8 * lasting[i - 1] + 0.6 * noise[i]
    errors = []
    for y in (noise, lasting):
        found = fit.fit_path(y, x, np.ones(60), fit.whiteners(place))
        errors.append(found.share @ fit.CORRELATIONS)
    assert abs(errors[0]) < 0.3 and errors[1] > 0.5


def test_a_gap_and_a_change_within_a_month():
    frame = monthly(2, 0.1).drop(index=[5, 6]).reset_index(drop=True)
    result = ask(frame, "2024-01-15")
    assert (result.table["n_untreated"].iloc[0], result.table["n_treated"].iloc[0]) == (22, 11)
    assert any("2024-01 is left out" in n for n in result.notes)
    assert result.table["conf_low"].iloc[0] < 0.1 < result.table["conf_high"].iloc[0]
    assert ask(monthly(2, 0.1)).table["n_treated"].iloc[0] == 12


def test_a_comparison_takes_common_shocks_off():
    frame = monthly(4, 0.05)
    alone, beside = ask(frame), ask(frame, comparison="elsewhere")
    width = lambda r: r.table["conf_high"].iloc[0] - r.table["conf_low"].iloc[0]  # noqa: E731
    assert width(beside) < width(alone) / 5
    assert beside.table["estimate"].iloc[0] == pytest.approx(0.05, abs=0.005)
    assert alone.check("comparison").passed is None and beside.check("comparison").passed


def test_a_break_on_an_earlier_date_is_seen():
    frame = monthly(1)
    assert ask(frame).check("placebo_date").passed
    frame.loc[frame.index >= 12, "cured"] += 0.3
    assert not ask(frame).check("placebo_date").passed


def test_short_series_say_so():
    short = monthly(1, months=16, change=10)
    result = ask(short, "2022-11-01")
    assert not result.check("points").passed and not result.check("season").passed
    assert result.check("placebo_date").passed is None and result.check("autocorrelation").passed is None


@pytest.mark.parametrize(
    ("change", "on", "said"),
    [
        (lambda f: f, "2022-02-01", "1 periods before"),
        (lambda f: f, "2030-01-01", "0 after"),
        (lambda f: f, "soon", "changed_on: 1 of 1 values are no dates"),
        (lambda f: f, 12, "what month holds"),
        (lambda f: f.assign(cured=0.5), "2024-01-01", "constant"),
        (lambda f: pd.concat([f, f.tail(1)]), "2024-01-01", "2024-12-01: several rows"),
        (lambda f: f.assign(month="2024-13-45"), "2024-01-01", "are no dates"),
        (lambda f: f.head(0), "2024-01-01", "no rows"),
        (lambda f: f.assign(cured=np.nan), "2024-01-01", "missing in all 36 periods"),
    ],
)
def test_bad_input_is_refused(change, on, said):
    with pytest.raises(FrameError, match=said):
        ask(change(monthly()), on)


@pytest.mark.parametrize("season", [0, 1, 2, True, "12", float("nan")])
def test_a_season_too_short_for_a_wave_is_refused(season):
    with pytest.raises(FrameError, match=r"season is .*3 or more"):
        ask(monthly(), season=season)


@pytest.mark.parametrize("season", [3, 4, 5, 52.18])
def test_other_years_than_twelve_months_are_taken(season):
    months = 220 if season > 12 else 36
    found = ask(monthly(months=months, effect=0.1), season=season).table
    assert found["estimate"].iloc[0] == pytest.approx(0.1, abs=0.06) and found["std_error"].iloc[0] > 0


def test_a_column_plays_one_part_and_is_written_in_words():
    frame = monthly().rename(columns={"cured": "paid_within_60"})
    with pytest.raises(FrameError, match="'elsewhere' is both weight and comparison"):
        ask(monthly(), weight="elsewhere", comparison="elsewhere")
    result = interrupted_series(frame, time="month", outcome="paid_within_60", changed_on="2024-01-01")
    assert result.title == "Paid anything within 60 days before and after the change"
    assert result.plot().get_ylabel() == "Paid anything within 60 days"


def test_a_weight_of_zero_is_refused_and_a_missing_value_counted():
    frame = monthly()
    with pytest.raises(FrameError, match="1 rows have a accounts"):
        ask(frame.assign(accounts=frame["accounts"].where(frame.index != 3, 0)), weight="accounts")
    frame.loc[3, "cured"] = np.nan
    assert "1 of 36 periods have no cured" in ask(frame, weight="accounts").notes[0]


@pytest.mark.parametrize(("months", "change", "rho"), [(24, 12, 0.3), (36, 24, 0.6)])
def test_the_interval_keeps_its_level(months, change, rho):
    """Small version of benchmarks/policy_changes.py; Newey and West's cover 71–91 % on such series."""
    place = np.arange(months) - change
    x, white = fit.matrix(place, 0, fit.waves_of(place, 12)), fit.whiteners(place)
    held, gaps = [], []
    for seed in range(250):
        y = monthly(seed, 0.04, months, change, rho)["cured"].to_numpy()
        row = fit.averaged(fit.fit_path(y, x, np.ones(months), white), np.eye(x.shape[1])[2], 0.95)
        held.append(row["conf_low"] <= 0.04 <= row["conf_high"])
        gaps.append(row["estimate"] - 0.04)
    assert 0.91 <= np.mean(held) <= 0.99
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / np.sqrt(250)


def test_the_chart_shows_the_path_without_the_change():
    ax = ask(monthly(1, 0.1)).plot()
    assert {t.get_text() for t in ax.get_legend().get_texts()} == {"seen", "fitted", "without the change"}
