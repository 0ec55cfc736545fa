-- What each read-out adds to the one before, dated on the read-out. September stands as it is; July is cut to
-- between 0 and September, December does not fall below September, so no amount is negative.
WITH cumulative AS (
    SELECT
        owner_id,
        round(least(greatest(total_paid_jul, 0), greatest(total_paid_sep, 0)), 2) AS by_july,
        round(greatest(total_paid_sep, 0), 2) AS by_september,
        round(greatest(total_paid_dec, total_paid_sep, 0), 2) AS by_december
    FROM owners
),
added AS (
    SELECT owner_id, getvariable('july_days') AS days, by_july AS amount FROM cumulative
    UNION ALL
    SELECT owner_id, getvariable('september_days'), by_september - by_july FROM cumulative
    UNION ALL
    SELECT owner_id, getvariable('december_days'), by_december - by_september FROM cumulative
)
SELECT
    owner_id AS account_id,
    getvariable('mailed_on') + days AS paid_on,
    round(amount, 2) AS amount
FROM added
WHERE round(amount, 2) > 0
