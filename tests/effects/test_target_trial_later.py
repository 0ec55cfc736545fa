"""What is defined by something after time zero is refused, with a question that can be answered."""

import pytest

from collectlab.core.errors import FrameError
from collectlab.effects.target_trial_later import LaterTreatment, later_columns, later_faults, refuse_later


@pytest.mark.parametrize(
    ("said", "why", "nearest"),
    [
        ("was visited", "immortal time", "start a visit within 14 days of being 30 days past due"),
        ("ever called", "immortal time", "start a call within 14 days"),
        ("visit", "immortal time", "start a visit within 14 days"),
        ("reached_60", "staying past due", "within 14 days of being 60 days past due"),
        ("days_past_due >= 90", "staying past due", "within 14 days of being 90 days past due"),
        ("rolled to bucket 3", "staying past due", "start a visit"),
        ("kept a promise", "has paid by then", "start a call"),
        ("promise_kept", "has paid by then", "start a call"),
        ("has paid", "it is the outcome", "with this as the outcome"),
        ("made a payment", "it is the outcome", "with this as the outcome"),
        ("cured", "it is the outcome", "with this as the outcome"),
        ("signed a payment plan", "willing to sign", "offer a plan within 14 days"),
        ("restructured", "willing to sign", "offer a plan"),
        ("whatsapp", "only known afterwards", "start a whatsapp within 14 days"),
    ],
)
def test_refused_with_reason_and_nearest_question(said, why, nearest):
    with pytest.raises(LaterTreatment) as refused:
        refuse_later(said, days_past_due=30)
    assert why in str(refused.value)
    assert nearest in refused.value.nearest_question
    assert "among those still past due then" in refused.value.nearest_question
    assert isinstance(refused.value, FrameError)


@pytest.mark.parametrize(
    "channel", ["call", "visit", "letter", "sms", "legal", "agency", "email", "whatsapp"]
)
def test_a_channel_started_within_a_grace_period_may_pass(channel):
    refuse_later(channel, grace=14)


@pytest.mark.parametrize("said", ["was visited", "reached_60", "kept_promise", "paid", "payment_plan"])
def test_a_grace_period_does_not_save_what_happens_later(said):
    with pytest.raises(LaterTreatment):
        refuse_later(said, grace=14)


def test_later_columns():
    known = ["strategy", "days_past_due", "paid_before_90", "amount_past_due"]
    later = ["outcome", "end_day", "followed", "cured_within_60", "current_after_30", "max_days_past_due"]
    assert later_columns([*known, *later]) == later
    assert later_faults("covariates", known) == []
    assert "outcome, end_day" in later_faults("covariates", later)[0]
