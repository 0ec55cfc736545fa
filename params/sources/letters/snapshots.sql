-- Each owner at the mailing and at the three read-outs. The flag "paid in full" decides; money follows.
WITH read_out AS (
    SELECT owner_id, total_due, 0 AS days, 0 AS paid_full, 0.0 AS paid FROM owners
    UNION ALL
    SELECT owner_id, total_due, getvariable('july_days'), paid_full_jul, total_paid_jul FROM owners
    UNION ALL
    SELECT owner_id, total_due, getvariable('september_days'), paid_full_sep, total_paid_sep FROM owners
    UNION ALL
    SELECT owner_id, total_due, getvariable('december_days'), paid_full_dec, total_paid_dec FROM owners
),
owed AS (
    SELECT
        *,
        getvariable('mailed_on') + days AS as_of,
        CASE
            WHEN paid_full = 1 THEN 0
            -- Not paid in full although as much was paid as was due: interest, of an amount not in the file.
            WHEN round(total_due - greatest(paid, 0), 2) > 0 THEN round(total_due - greatest(paid, 0), 2)
        END AS still_due
    FROM read_out
)
SELECT
    owner_id AS account_id,
    as_of,
    CASE WHEN paid_full = 1 THEN 0 ELSE date_diff('day', getvariable('due_on'), as_of) END AS days_past_due,
    still_due AS balance,
    still_due AS amount_past_due,
    'open' AS status
FROM owed
