"""Cox regression agrees with R's coxph (Efron ties, cause-specific, with and without delayed entry)."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from collectlab.core.errors import FrameError, NotAvailable
from collectlab.measures.drivers_cox import cox_regression

REFERENCE = Path(__file__).parents[1] / "reference" / "survival"
COVARIATES = ["score", "ltv", "lbal", "rate", "prior", "autopay", "treat", "secured"]


def book(name: str) -> pd.DataFrame:
    with gzip.open(REFERENCE / name, "rt") as file:
        frame = pd.read_csv(file)
    names = {0: "censored", 1: "cured", 2: "charged_off"}
    frame["outcome"] = frame["event"].map(names)
    if "entry" not in frame:
        frame["entry"] = 0
    return frame


@pytest.mark.parametrize(
    ("name", "file", "event"),
    [
        ("cs_cured_efron", "book.csv.gz", "cured"),
        ("cs_co_efron", "book.csv.gz", "charged_off"),
        ("lt_cs_cured_efron", "book_lt.csv.gz", "cured"),
    ],
)
def test_coefficients_and_errors_agree_with_r(name, file, event):
    wanted = json.loads((REFERENCE / "reference.json").read_text())["cox"][name]
    table = cox_regression(
        book(file),
        covariates=COVARIATES,
        event=event,
        duration="duration",
        entry="entry",
        steps=dict.fromkeys(COVARIATES, 1),
        cluster=None,
    ).table
    assert sorted(table["term"]) == sorted(COVARIATES)
    for row in table.itertuples():
        sign = -1 if row.reference == "1" else 1  # the more frequent level is the reference here
        assert sign * np.log(row.estimate) == pytest.approx(wanted["coef"][row.term], abs=1e-6)
        assert row.std_error == pytest.approx(wanted["se"][row.term], abs=1e-6)
        assert row.conf_low < row.estimate < row.conf_high


def test_too_few_events_and_no_covariates_are_refused():
    frame = book("book.csv.gz").head(30)
    with pytest.raises(NotAvailable, match="at least 10 episodes that end as 'sold'"):
        cox_regression(frame, covariates=["score"], event="sold", duration="duration", entry="entry")
    with pytest.raises(FrameError, match="covariates is empty"):
        cox_regression(frame, covariates=[], duration="duration", entry="entry")


def test_a_repeated_customer_widens_the_interval():
    frame = book("book.csv.gz").head(1500)
    twice = pd.concat([frame, frame], ignore_index=True)
    options = {"covariates": ["score"], "duration": "duration", "entry": "entry"}
    plain = cox_regression(twice, cluster=None, **options).table
    robust = cox_regression(twice, cluster="id", **options).table
    assert robust["estimate"][0] == pytest.approx(plain["estimate"][0])
    assert robust["std_error"][0] > 1.2 * plain["std_error"][0]
