-- One row per account and month end.
SELECT
    ID AS account_id,
    last_day(CAST(getvariable('anchor_month') + to_months(MONTHS_BALANCE) AS DATE)) AS as_of,
    CASE STATUS
        WHEN 'C' THEN 0 WHEN 'X' THEN 0
        WHEN '0' THEN 1 WHEN '1' THEN 30 WHEN '2' THEN 60
        WHEN '3' THEN 90 WHEN '4' THEN 120 WHEN '5' THEN 150
        -- No ELSE: an unknown status becomes an empty value, which the book's checks set aside and count.
    END AS days_past_due,
    'open' AS status,
    STATUS AS bucket_code
FROM credit_record
