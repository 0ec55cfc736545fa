"""The shipped contact rules at their edges, as tables a compliance officer can read.

Each table is a small action log. Its last column says whether the rule named above it is broken by that action,
and why. Times are the debtor's local time; those ending in Z are UTC and the table names the debtor's zone. An
empty cell is a field the log does not hold. ``connected`` is whether a person answered.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest

from collectlab.measures.conduct import audit, load_rules

FOLDER = Path(__file__).parents[2] / "params" / "contact_rules"
SHIPPED = ("au", "cn", "ie", "in", "uk", "us")


@dataclass(frozen=True)
class Case:
    rule: str
    about: str
    log: str
    zone: str | None = None
    holds: tuple[tuple[str, str, str], ...] = field(default=())

    def __str__(self) -> str:
        return f"{self.rule}: {self.about}"

    @property
    def jurisdiction(self) -> str:
        return self.rule.split("_")[0]


CASES = [
    # ------------------------------------------------------------------ China, GB/T 45251-2025
    Case(
        "cn_quiet_hours",
        "the last minute of the evening, the first of the morning",
        """
        account | at                  | channel | connected | violation
        a       | 2025-06-03 21:59    | call    | yes       | no: the last minute allowed
        b       | 2025-06-03 21:59:59 | call    | yes       | no: the last second allowed
        c       | 2025-06-03 22:00    | call    | yes       | yes: quiet from 22:00 on
        d       | 2025-06-04 03:00    | sms     |           | yes: a message in the night
        e       | 2025-06-04 07:59    | call    | no        | yes: quiet until 08:00, answered or not
        f       | 2025-06-04 08:00    | call    | no        | no: the first minute allowed
        g       | 2025-06-04 23:00    | letter  |           | no: a letter does not ring
        h       | 2025-06-07 12:00    | visit   | yes       | no: Saturday is like any day here
        """,
    ),
    Case(
        "cn_quiet_hours",
        "before and after the standard came into force",
        """
        account | at               | channel | connected | violation
        a       | 2025-02-27 23:00 | call    | yes       | no: the standard was not yet in force
        a       | 2025-02-28 23:00 | call    | yes       | yes: its first day
        """,
    ),
    Case(
        "cn_connected_3_a_day",
        "the third and the fourth answered call of one debtor on one day",
        """
        account | customer | at               | channel    | connected | violation
        a       | C1       | 2025-06-03 09:00 | call       | yes       | no: first
        a       | C1       | 2025-06-03 10:00 | call       | no        | no: not answered
        b       | C1       | 2025-06-03 11:00 | robot_call | yes       | no: second, on the debtor's other loan
        a       | C1       | 2025-06-03 12:00 | agency     | yes       | no: third, the agency's
        b       | C1       | 2025-06-03 21:00 | call       | yes       | yes: fourth answered call of the day
        a       | C1       | 2025-06-03 21:30 | sms        |           | no: not a voice call
        a       | C1       | 2025-06-04 08:00 | call       | yes       | no: a new day
        c       | C2       | 2025-06-03 12:00 | call       | yes       | no: another debtor
        """,
    ),
    Case(
        "cn_connected_3_a_day",
        "calls with the debtor count, not those a relative answered",
        """
        account | at               | channel | party       | connected | violation
        a       | 2025-06-03 09:00 | call    | debtor      | yes       | no: first
        a       | 2025-06-03 10:00 | call    | third_party | yes       | no: not the debtor
        a       | 2025-06-03 11:00 | call    | debtor      | yes       | no: second
        a       | 2025-06-03 12:00 | call    | debtor      | yes       | no: third
        a       | 2025-06-03 13:00 | call    | debtor      | yes       | yes: fourth
        """,
    ),
    Case(
        "cn_debtor_only",
        "a relative, before and after the debtor could not be reached",
        """
        account | at               | channel | party       | connected | outcome      | violation
        a       | 2025-06-03 09:00 | call    | third_party | yes       | contact      | yes: nobody tried the debtor first
        b       | 2025-06-03 09:00 | call    | debtor      | no        | no_answer    | no: the debtor
        b       | 2025-06-04 09:00 | call    | third_party | yes       | contact      | no: the debtor was not reached
        c       | 2025-06-03 09:00 | call    | debtor      | no        | no_answer    | no: the debtor
        c       | 2025-06-04 09:00 | call    | debtor      | yes       | contact      | no: the debtor, reached
        c       | 2025-06-05 09:00 | call    | third_party | yes       | contact      | yes: the debtor was reached last
        d       | 2025-06-03 09:00 | call    | debtor      | no        | wrong_number | no: the number is wrong
        d       | 2025-06-04 09:00 | call    | third_party | yes       | contact      | no: the number was wrong
        """,
    ),
    # ------------------------------------------------------------------ China, guideline of January 2026
    Case(
        "cn_cba_quiet_hours",
        "edges, agreement, and the day it was published",
        """
        account | at               | channel | connected | agreed  | violation
        a       | 2026-01-29 23:00 | call    | yes       |         | no: not yet published
        a       | 2026-01-30 23:00 | call    | yes       |         | yes: published that day
        b       | 2026-03-03 21:59 | call    | yes       | no      | no: before 22:00
        c       | 2026-03-03 22:00 | call    | yes       | no      | yes: not agreed
        d       | 2026-03-03 22:00 | call    | yes       | yes     | no: the debtor agreed to it
        e       | 2026-03-04 07:59 | visit   | yes       |         | yes: no agreement is recorded
        f       | 2026-03-04 08:00 | visit   | yes       |         | no: from 08:00 on
        """,
    ),
    Case(
        "cn_cba_quiet_hours",
        "a general consent to be contacted is no agreement to the night",
        """
        account | at               | channel | connected | consent | agreed | violation
        a       | 2026-03-03 22:00 | call    | yes       | yes     |        | yes: consent to calls, not to the night
        b       | 2026-03-03 22:00 | call    | yes       | yes     | no     | yes: asked, and not agreed
        c       | 2026-03-03 22:00 | call    | yes       | no      | yes    | no: agreed to this call
        """,
    ),
    Case(
        "cn_cba_unanswered_6",
        "the sixth and the seventh unanswered call to one number on one day",
        """
        account | number | at               | channel    | connected | outcome   | violation
        a       | 1      | 2026-03-03 09:00 | call       | no        | no_answer | no: 1
        a       | 1      | 2026-03-03 10:00 | call       | no        | no_answer | no: 2
        a       | 1      | 2026-03-03 11:00 | robot_call | no        | no_answer | no: 3
        a       | 1      | 2026-03-03 12:00 | call       | no        | no_answer | no: 4
        a       | 1      | 2026-03-03 13:00 | call       | yes       | contact   | no: answered
        a       | 1      | 2026-03-03 14:00 | call       | no        | no_answer | no: 5
        a       | 1      | 2026-03-03 15:00 | agency     | no        | no_answer | no: 6
        a       | 1      | 2026-03-03 16:00 | call       | no        | no_answer | yes: 7
        a       | 2      | 2026-03-03 17:00 | call       | no        | no_answer | no: another number
        a       | 1      | 2026-03-04 09:00 | call       | no        | no_answer | no: a new day
        """,
    ),
    Case(
        "cn_cba_third_party",
        "two failures, three failures, a wrong number, a conversation in between",
        """
        account | at               | channel | party       | connected | outcome      | violation
        a       | 2026-03-02 09:00 | call    | debtor      | no        | no_answer    | no: failure 1
        a       | 2026-03-03 09:00 | call    | debtor      | no        | no_answer    | no: failure 2
        a       | 2026-03-04 09:00 | call    | third_party | yes       | contact      | yes: only two failures so far
        b       | 2026-03-02 09:00 | call    | debtor      | no        | no_answer    | no: failure 1
        b       | 2026-03-03 09:00 | call    | debtor      | no        | no_answer    | no: failure 2
        b       | 2026-03-04 09:00 | call    | debtor      | no        | no_answer    | no: failure 3
        b       | 2026-03-05 09:00 | call    | third_party | yes       | contact      | no: after three failures
        c       | 2026-03-02 09:00 | call    | debtor      | no        | wrong_number | no: the number is wrong
        c       | 2026-03-02 10:00 | call    | third_party | yes       | contact      | no: the number is invalid
        d       | 2026-03-02 09:00 | call    | debtor      | no        | no_answer    | no: failure 1
        d       | 2026-03-02 10:00 | call    | debtor      | no        | no_answer    | no: failure 2
        d       | 2026-03-02 11:00 | call    | debtor      | no        | no_answer    | no: failure 3
        d       | 2026-03-03 09:00 | call    | debtor      | yes       | promise      | no: the debtor, reached
        d       | 2026-03-09 09:00 | call    | third_party | yes       | contact      | yes: the debtor was reached since
        """,
    ),
    Case(
        "cn_cba_third_party",
        "three failures to reach a relative are not failures to reach the debtor",
        """
        account | at               | channel | party       | connected | outcome   | violation
        a       | 2026-03-02 09:00 | call    | third_party | no        | no_answer | no: nobody was contacted
        a       | 2026-03-03 09:00 | call    | third_party | no        | no_answer | no: nobody was contacted
        a       | 2026-03-04 09:00 | call    | third_party | no        | no_answer | no: nobody was contacted
        a       | 2026-03-05 09:00 | call    | third_party | yes       | contact   | yes: the debtor was never tried
        """,
    ),
    # ------------------------------------------------------------------ United States, Regulation F
    Case(
        "us_attempts_7_in_7",
        "the seventh and the eighth call in seven days",
        """
        account | at               | channel    | connected | violation
        a       | 2026-03-02 10:00 | call       | no        | no: 1
        a       | 2026-03-03 10:00 | call       | no        | no: 2
        a       | 2026-03-04 10:00 | call       | no        | no: 3
        a       | 2026-03-05 10:00 | robot_call | no        | no: 4
        a       | 2026-03-06 10:00 | call       | no        | no: 5
        a       | 2026-03-07 10:00 | call       | no        | no: 6
        a       | 2026-03-08 10:00 | call       | no        | no: 7, the seventh call on the seventh day
        a       | 2026-03-08 20:00 | call       | no        | yes: 8 from 2 to 8 March
        a       | 2026-03-08 20:30 | sms        |           | no: a message is no call
        """,
    ),
    Case(
        "us_attempts_7_in_7",
        "seven days are seven dates: the eighth day begins anew",
        """
        account | at               | channel | connected | violation
        a       | 2026-03-02 20:59 | call    | no        | no: 1
        a       | 2026-03-03 10:00 | call    | no        | no: 2
        a       | 2026-03-04 10:00 | call    | no        | no: 3
        a       | 2026-03-05 10:00 | call    | no        | no: 4
        a       | 2026-03-06 10:00 | call    | no        | no: 5
        a       | 2026-03-07 10:00 | call    | no        | no: 6
        a       | 2026-03-08 10:00 | call    | no        | no: 7
        a       | 2026-03-09 08:00 | call    | no        | no: 7 from 3 to 9 March, the call of 2 March no longer counts
        b       | 2026-03-09 08:30 | call    | no        | no: another debt
        """,
    ),
    Case(
        "us_attempts_7_in_7",
        "calls the consumer agreed to do not count, nor are they judged",
        """
        account | at               | channel | connected | agreed  | violation
        a       | 2026-03-02 09:00 | call    | no        |         | no: 1
        a       | 2026-03-02 10:00 | call    | no        |         | no: 2
        a       | 2026-03-02 11:00 | call    | no        |         | no: 3
        a       | 2026-03-02 12:00 | call    | no        |         | no: 4
        a       | 2026-03-02 13:00 | call    | no        |         | no: 5
        a       | 2026-03-02 14:00 | call    | no        |         | no: 6
        a       | 2026-03-02 15:00 | call    | no        | yes     | no: asked for by the consumer
        a       | 2026-03-02 16:00 | call    | no        |         | no: 7
        a       | 2026-03-02 17:00 | call    | no        | yes     | no: asked for by the consumer
        a       | 2026-03-02 18:00 | call    | no        |         | yes: 8
        """,
    ),
    Case(
        "us_attempts_7_in_7",
        "seven dates in New York, not in UTC, in the week of the clock change",
        """
        account | at                | channel | connected | violation
        a       | 2026-03-06 01:30Z | call    | no        | no: 1, 20:30 on 5 March
        a       | 2026-03-07 15:00Z | call    | no        | no: 2
        a       | 2026-03-08 15:00Z | call    | no        | no: 3, the clocks went forward that night
        a       | 2026-03-09 15:00Z | call    | no        | no: 4
        a       | 2026-03-10 15:00Z | call    | no        | no: 5
        a       | 2026-03-11 15:00Z | call    | no        | no: 6
        a       | 2026-03-11 16:00Z | call    | no        | no: 7 from 5 to 11 March
        a       | 2026-03-12 15:00Z | call    | no        | no: 7 from 6 to 12 March
        a       | 2026-03-13 00:30Z | call    | no        | yes: 8, 20:30 on 12 March, from 6 to 12 March
        """,
        zone="America/New_York",
    ),
    Case(
        "us_rest_after_conversation",
        "one more call on day 1, day 7 and day 8",
        """
        account | at               | channel | connected | violation
        a       | 2026-03-02 10:00 | call    | yes       | no: the conversation, day 1
        a       | 2026-03-02 15:00 | call    | no        | yes: the same day
        b       | 2026-03-02 10:00 | call    | yes       | no: the conversation, day 1
        b       | 2026-03-08 20:59 | call    | no        | yes: day 7
        c       | 2026-03-02 10:00 | call    | yes       | no: the conversation, day 1
        c       | 2026-03-09 08:00 | call    | no        | no: day 8
        d       | 2026-03-02 09:00 | call    | no        | no: before the conversation
        d       | 2026-03-02 10:00 | call    | yes       | no: the conversation
        d       | 2026-03-04 10:00 | letter  |           | no: a letter is no call
        d       | 2026-03-05 10:00 | call    | no        | yes: day 4
        d       | 2026-03-06 10:00 | call    | no        | yes: day 5
        e       | 2026-03-03 10:00 | call    | no        | no: another debt
        """,
    ),
    Case(
        "us_rest_after_conversation",
        "the rule's first day: what went before it is neither judged nor counted",
        """
        account | at               | channel | connected | violation
        a       | 2021-11-29 10:00 | call    | yes       | no: a conversation before the rule
        a       | 2021-11-30 09:00 | call    | no        | no: nothing counts before the first day
        b       | 2021-11-30 10:00 | call    | yes       | no: the conversation, day 1
        b       | 2021-12-01 10:00 | call    | no        | yes: day 2
        """,
    ),
    Case(
        "us_hours",
        "the edges of the day",
        """
        account | at               | channel | connected | agreed  | violation
        a       | 2026-03-03 07:59 | call    | no        |         | yes: before 08:00
        b       | 2026-03-03 08:00 | call    | no        |         | no: from 08:00 on
        c       | 2026-03-03 20:59 | sms     |           |         | no: until 21:00
        d       | 2026-03-03 21:00 | sms     |           |         | yes: from 21:00 on
        e       | 2026-03-03 21:00 | sms     |           | yes     | no: the consumer agreed to it
        f       | 2026-03-03 22:00 | letter  |           |         | no: a letter has no hour
        """,
    ),
    Case(
        "us_hours",
        "the same hour of UTC before and after the clocks went forward (8 March 2026)",
        """
        account | at                | channel | connected | violation
        a       | 2026-03-07 12:30Z | call    | no        | yes: 07:30 in New York
        a       | 2026-03-08 12:30Z | call    | no        | no: 08:30 in New York, summer time
        a       | 2026-03-08 01:30Z | call    | no        | no: 20:30 in New York
        a       | 2026-03-09 01:30Z | call    | no        | yes: 21:30 in New York, summer time
        """,
        zone="America/New_York",
    ),
    # ------------------------------------------------------------------ Australia, RG 96
    Case(
        "au_call_hours",
        "weekday, weekend, holiday",
        """
        account | at               | channel | connected | violation
        a       | 2026-03-03 07:29 | call    | no        | yes: Tuesday, before 07:30
        b       | 2026-03-03 07:30 | call    | no        | no: Tuesday, from 07:30 on
        c       | 2026-03-03 20:59 | call    | no        | no: Tuesday evening
        d       | 2026-03-03 21:00 | call    | no        | yes: Tuesday, from 21:00 on
        e       | 2026-03-07 08:59 | call    | no        | yes: Saturday, before 09:00
        f       | 2026-03-07 09:00 | call    | no        | no: Saturday, from 09:00 on
        g       | 2026-03-08 08:59 | call    | no        | yes: Sunday, before 09:00
        h       | 2026-03-08 09:00 | call    | no        | no: Sunday, from 09:00 on
        i       | 2026-04-02 12:00 | call    | no        | no: the Thursday before Easter
        j       | 2026-04-03 12:00 | call    | no        | yes: Good Friday
        k       | 2026-04-06 12:00 | call    | no        | yes: Easter Monday
        l       | 2026-04-07 12:00 | call    | no        | no: the day after
        m       | 2026-04-25 12:00 | call    | no        | yes: Anzac Day, a Saturday
        n       | 2021-04-12 22:00 | call    | no        | no: the day before this edition of the guideline
        """,
    ),
    Case(
        "au_call_hours",
        "clocks go back in Sydney on 5 April 2026: the same hour of UTC",
        """
        account | at                | channel | connected | violation
        a       | 2026-04-03 22:30Z | call    | no        | no: 09:30 on Saturday 4 April, summer time
        a       | 2026-04-04 22:30Z | call    | no        | yes: 08:30 on Sunday 5 April, standard time
        a       | 2026-04-04 23:00Z | call    | no        | no: 09:00 on Sunday 5 April
        """,
        zone="Australia/Sydney",
    ),
    Case(
        "au_visit_hours",
        "visits from nine to nine",
        """
        account | at               | channel | connected | violation
        a       | 2026-03-03 08:59 | visit   | yes       | yes: before 09:00
        b       | 2026-03-03 09:00 | visit   | yes       | no: from 09:00 on
        c       | 2026-03-07 20:59 | visit   | yes       | no: Saturday until 21:00
        d       | 2026-03-07 21:00 | visit   | yes       | yes: from 21:00 on
        e       | 2026-12-25 12:00 | visit   | yes       | yes: Christmas Day
        f       | 2026-03-03 08:00 | call    | yes       | no: a call has other hours
        """,
    ),
    Case(
        "au_contacts_3_a_week",
        "the third and the fourth contact of a week",
        """
        account | at               | channel | connected | violation
        a       | 2026-03-02 10:00 | call    | yes       | no: 1, Monday
        a       | 2026-03-03 10:00 | call    | no        | no: an attempt is no contact
        a       | 2026-03-04 10:00 | sms     |           | no: 2, a message that was sent
        a       | 2026-03-05 10:00 | letter  |           | no: 3
        a       | 2026-03-06 10:00 | visit   | yes       | no: visits are counted apart
        a       | 2026-03-08 10:00 | call    | yes       | yes: 4, Sunday of the same week
        a       | 2026-03-09 10:00 | call    | yes       | no: Monday, a new week
        b       | 2026-03-08 11:00 | call    | yes       | no: another account
        """,
    ),
    Case(
        "au_contacts_10_a_month",
        "the tenth and the eleventh contact of a month",
        """
        account | at               | channel | connected | violation
        a       | 2026-03-02 10:00 | call    | yes       | no: 1
        a       | 2026-03-03 10:00 | sms     |           | no: 2
        a       | 2026-03-04 10:00 | sms     |           | no: 3
        a       | 2026-03-09 10:00 | sms     |           | no: 4
        a       | 2026-03-10 10:00 | sms     |           | no: 5
        a       | 2026-03-11 10:00 | sms     |           | no: 6
        a       | 2026-03-16 10:00 | email   |           | no: 7
        a       | 2026-03-17 10:00 | sms     |           | no: 8
        a       | 2026-03-18 10:00 | letter  |           | no: 9
        a       | 2026-03-23 10:00 | call    | no        | no: not answered
        a       | 2026-03-24 10:00 | sms     |           | no: 10
        a       | 2026-03-31 10:00 | call    | yes       | yes: 11
        a       | 2026-04-01 10:00 | call    | yes       | no: a new month
        """,
    ),
    Case(
        "au_visits_1_a_month",
        "the first and the second visit of a month",
        """
        account | at               | channel | connected | violation
        a       | 2026-03-02 10:00 | visit   | yes       | no: the first
        a       | 2026-03-31 10:00 | visit   | yes       | yes: the second
        a       | 2026-04-01 10:00 | visit   | yes       | no: a new month
        """,
    ),
    # ------------------------------------------------------------------ India
    Case(
        "in_call_hours",
        "the edges of the day, and the circular's first day",
        """
        account | at               | channel | connected | violation
        a       | 2025-03-03 07:59 | call    | no        | yes: before 08:00
        b       | 2025-03-03 08:00 | call    | no        | no: from 08:00 on
        c       | 2025-03-03 18:59 | agency  | no        | no: until 19:00
        d       | 2025-03-03 19:00 | agency  | no        | yes: from 19:00 on, the agency's call
        e       | 2025-03-03 19:30 | sms     |           | no: the circular speaks of calls
        f       | 2022-08-11 20:00 | call    | no        | no: the day before the circular
        f       | 2022-08-12 20:00 | call    | no        | yes: the day of the circular
        """,
    ),
    Case(
        "in_visit_hours",
        "visits, if the draft of 2026 holds",
        """
        account | at               | channel | connected | violation
        a       | 2026-06-30 19:30 | visit   | yes       | no: the day before
        a       | 2026-07-01 18:59 | visit   | yes       | no: until 19:00
        a       | 2026-07-02 19:00 | visit   | yes       | yes: from 19:00 on
        a       | 2026-07-03 07:59 | visit   | yes       | yes: before 08:00
        a       | 2026-07-04 08:00 | visit   | yes       | no: from 08:00 on
        """,
    ),
    Case(
        "in_borrower_only",
        "nobody else, even after failures, if the draft of 2026 holds",
        """
        account | at               | channel | party       | connected | outcome   | violation
        a       | 2026-06-30 10:00 | call    | third_party | yes       | contact   | no: the day before
        b       | 2026-07-01 10:00 | call    | debtor      | no        | no_answer | no: the borrower
        b       | 2026-07-01 11:00 | call    | debtor      | no        | no_answer | no: the borrower
        b       | 2026-07-01 12:00 | call    | debtor      | no        | no_answer | no: the borrower
        b       | 2026-07-01 13:00 | call    | third_party | yes       | contact   | yes: failures change nothing
        """,
    ),
    # ------------------------------------------------------------------ Ireland
    Case(
        "ie_call_hours",
        "evening, Sunday, public holiday, agreement, the code's last day",
        """
        account | at               | channel | connected | agreed  | violation
        a       | 2025-03-04 08:59 | call    | no        |         | yes: before 09:00
        b       | 2025-03-04 09:00 | call    | no        |         | no: from 09:00 on
        c       | 2025-03-04 20:59 | call    | no        |         | no: until 21:00
        d       | 2025-03-04 21:00 | call    | no        |         | yes: from 21:00 on
        e       | 2025-03-08 12:00 | call    | no        |         | no: Saturday
        f       | 2025-03-09 12:00 | call    | no        |         | yes: Sunday
        g       | 2025-03-09 12:00 | call    | no        | yes     | no: Sunday, but agreed
        h       | 2025-03-17 12:00 | call    | no        |         | yes: Saint Patrick's Day, a Monday
        i       | 2025-04-18 12:00 | call    | no        |         | no: Good Friday is no public holiday
        j       | 2025-04-21 12:00 | call    | no        |         | yes: Easter Monday
        k       | 2026-03-23 22:00 | call    | no        |         | yes: the last day of the Code of 2012
        k       | 2026-03-24 22:00 | call    | no        |         | no: judged by the rule that follows
        """,
    ),
    Case(
        "ie_call_hours_2026",
        "the same hours from 24 March 2026",
        """
        account | at               | channel | connected | agreed  | violation
        a       | 2026-03-23 22:00 | call    | no        |         | no: judged by the Code of 2012
        a       | 2026-03-24 21:00 | call    | no        |         | yes: the first day, from 21:00 on
        b       | 2026-03-24 20:59 | call    | no        |         | no: until 21:00
        c       | 2026-03-25 08:59 | call    | no        |         | yes: before 09:00
        d       | 2026-03-25 09:00 | call    | no        |         | no: from 09:00 on
        e       | 2026-03-29 12:00 | call    | no        |         | yes: Sunday
        f       | 2026-10-26 12:00 | call    | no        |         | yes: the October holiday
        f       | 2026-10-27 12:00 | call    | no        |         | no: the day after
        """,
    ),
    Case(
        "ie_three_a_month",
        "the third and the fourth contact of a month",
        """
        account | customer | at               | channel | connected | agreed  | violation
        a       | C1       | 2025-05-01 10:00 | call    | yes       |         | no: 1
        a       | C1       | 2025-05-02 10:00 | call    | no        |         | no: a missed call does not count
        b       | C1       | 2025-05-06 10:00 | letter  |           |         | no: 2, on the other loan
        a       | C1       | 2025-05-07 10:00 | call    | yes       | yes     | no: asked for, not counted
        a       | C1       | 2025-05-20 10:00 | sms     |           |         | no: 3
        a       | C1       | 2025-05-30 10:00 | call    | yes       |         | yes: 4
        a       | C1       | 2025-06-03 10:00 | call    | yes       |         | no: a new month
        """,
    ),
    # ------------------------------------------------------------------ United Kingdom
    Case(
        "uk_house_hours",
        "the house limit's edges",
        """
        account | at               | channel | connected | violation
        a       | 2026-03-03 07:59 | call    | no        | yes: before 08:00
        b       | 2026-03-03 08:00 | call    | no        | no: from 08:00 on
        c       | 2026-03-03 20:59 | sms     |           | no: until 21:00
        d       | 2026-03-03 21:00 | sms     |           | yes: from 21:00 on
        e       | 2026-03-07 17:59 | call    | no        | no: Saturday until 18:00
        f       | 2026-03-07 18:00 | call    | no        | yes: Saturday from 18:00 on
        g       | 2026-03-08 12:00 | call    | no        | yes: Sunday
        """,
    ),
    Case(
        "uk_house_3_a_week",
        "the third and the fourth contact in seven days",
        """
        account | customer | at               | channel | connected | violation
        a       | C1       | 2026-03-03 10:00 | call    | yes       | no: 1
        a       | C1       | 2026-03-04 10:00 | call    | no        | no: not answered
        b       | C1       | 2026-03-05 10:00 | sms     |           | no: 2, the customer's other loan
        a       | C1       | 2026-03-06 10:00 | visit   | yes       | no: 3
        a       | C1       | 2026-03-09 10:00 | call    | yes       | yes: 4 from 3 to 9 March
        b       | C1       | 2026-03-12 10:00 | call    | yes       | no: 3 from 6 to 12 March
        """,
    ),
    Case(
        "uk_breathing_space",
        "the first and the last day of a moratorium",
        """
        account | at               | channel | connected | agreed  | violation
        a       | 2026-03-02 12:00 | call    | yes       |         | no: the day before
        a       | 2026-03-03 08:00 | call    | no        |         | yes: the first day, an attempt
        a       | 2026-04-01 12:00 | letter  |           |         | yes: in between
        a       | 2026-04-02 12:00 | call    | yes       | yes     | no: at the debtor's request
        a       | 2026-05-01 20:59 | sms     |           |         | yes: the last day
        a       | 2026-05-02 08:00 | call    | yes       |         | no: the day after
        b       | 2026-04-01 12:00 | call    | yes       |         | no: no moratorium for this account
        """,
        holds=(("a", "2026-03-03", "2026-05-01"),),
    ),
]


def read(case: Case) -> tuple[pd.DataFrame, pd.Series]:
    """The log as a frame, and for each action whether it breaks the rule."""
    lines = [[cell.strip() for cell in line.split("|")] for line in case.log.strip().splitlines()]
    table = pd.DataFrame(lines[1:], columns=lines[0]).replace("", None)
    assert table["violation"].str.match(r"(yes|no): \S").all()
    broken = table.pop("violation").str.startswith("yes")
    log = table.rename(columns={"account": "account_id", "customer": "customer_id"})
    log["action_id"] = [f"N{i:02d}" for i in range(len(log))]
    log["at"] = pd.to_datetime(log["at"].str.removesuffix("Z"), format="ISO8601", utc=bool(case.zone))
    for name in {"connected", "consent", "agreed"} & set(log.columns):
        log[name] = log[name].map({"yes": True, "no": False, None: None}).astype("boolean")
    return log, broken


def audited(case: Case, rule: str | None = None):
    log, broken = read(case)
    customer = log.pop("customer_id") if "customer_id" in log else log["account_id"]
    accounts = pd.DataFrame({"account_id": log["account_id"], "customer_id": customer}).drop_duplicates()
    holds = pd.DataFrame(case.holds, columns=["account_id", "from", "to"]) if case.holds else None
    rules = load_rules(case.jurisdiction, folder=FOLDER)
    # The order of the rows must not matter.
    shuffled = log.sample(frac=1, random_state=1)
    return audit(shuffled, rules=rules, accounts=accounts, holds=holds, time_zone=case.zone), log, broken


@pytest.mark.parametrize("case", CASES, ids=str)
def test_rule_at_its_edge(case):
    result, log, broken = audited(case)
    found = set(result.evidence(rule=case.rule)["action_id"])
    judged = log.assign(expected=broken, found=log["action_id"].isin(found))
    wrong = judged[judged["expected"] != judged["found"]]
    assert wrong.empty, f"{case}\n{wrong.to_string()}"


@pytest.mark.parametrize("jurisdiction", SHIPPED)
def test_every_rule_that_counts_has_a_case_inside_and_outside(jurisdiction):
    for rule in load_rules(jurisdiction, folder=FOLDER).rules:
        if rule.kind == "fact":
            continue
        broken = pd.concat([read(case)[1] for case in CASES if case.rule == rule.key])
        assert broken.any() and not broken.all(), rule.key


def test_shipped_jurisdictions():
    assert tuple(sorted(p.stem for p in FOLDER.glob("*.yml"))) == SHIPPED


@pytest.mark.parametrize("jurisdiction", SHIPPED)
def test_each_rule_says_how_sure_it_is_and_what_it_counts(jurisdiction):
    rules = load_rules(jurisdiction, folder=FOLDER)
    for rule in rules.rules:
        assert rule.key.startswith(f"{jurisdiction}_")
        for words in (rule.title.en, rule.title.zh, rule.says.en, rule.says.zh, rule.citation):
            assert words.strip()
        if rule.limit is not None:
            assert str(rule.limit) in rule.says.en or rule.limit == 1, rule.key
    marked = {r.key: r.certainty for r in rules.rules}
    # What nobody has read is never passed off as read: neither the standard nor the guideline of China was.
    if jurisdiction == "cn":
        assert set(marked.values()) == {"reported"}


def _easter(year: int) -> dt.date:
    return pd.Timestamp(pd.offsets.Easter().rollforward(pd.Timestamp(year, 1, 1))).date()


def _monday(year: int, month: int, last: bool = False) -> dt.date:
    days = [
        d for d in pd.date_range(f"{year}-{month}-01", periods=31) if d.month == month and d.weekday() == 0
    ]
    return days[-1 if last else 0].date()


@pytest.mark.parametrize("year", [2024, 2025, 2026, 2027])
def test_holidays_of_ireland_by_rule(year):
    easter, day = _easter(year), dt.timedelta(days=1)
    first = dt.date(year, 2, 1)
    expected = {
        dt.date(year, 1, 1),
        first if first.weekday() == 4 else _monday(year, 2),
        dt.date(year, 3, 17),
        easter + day,
        _monday(year, 5),
        _monday(year, 6),
        _monday(year, 8),
        _monday(year, 10, last=True),
        dt.date(year, 12, 25),
        dt.date(year, 12, 26),
    }
    listed = load_rules("ie", folder=FOLDER).holidays
    assert {d for d in listed if d.year == year} == expected


@pytest.mark.parametrize("year", [2024, 2025, 2026, 2027])
def test_national_holidays_of_australia_by_rule(year):
    easter, day = _easter(year), dt.timedelta(days=1)
    australia = dt.date(year, 1, 26)
    australia += day * {5: 2, 6: 1}.get(australia.weekday(), 0)  # kept on the Monday after a weekend
    expected = {
        dt.date(year, 1, 1),
        australia,
        easter - 2 * day,
        easter + day,
        dt.date(year, 4, 25),
        dt.date(year, 12, 25),
        dt.date(year, 12, 26),
    }
    # Christmas or Boxing Day on a weekend: additional days after it (2026: Saturday 26th; 2027: both).
    expected |= {2026: {dt.date(2026, 12, 28)}, 2027: {dt.date(2027, 12, 27), dt.date(2027, 12, 28)}}.get(
        year, set()
    )
    listed = load_rules("au", folder=FOLDER).holidays
    assert {d for d in listed if d.year == year} == expected


def test_holds_not_given_are_not_no_violation():
    case = next(c for c in CASES if c.rule == "uk_breathing_space")
    log, _ = read(case)
    result = audit(log, rules=load_rules("uk", folder=FOLDER))
    assert "uk_breathing_space" in str(result.not_judged)
