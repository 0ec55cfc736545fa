-- One letter to each owner outside the holdout.
SELECT
    'letter-' || owner_id AS action_id,
    owner_id AS account_id,
    CAST(getvariable('mailed_on') AS TIMESTAMP) + INTERVAL 9 HOUR AS "at",
    'letter' AS channel,
    'debtor' AS party,
    treat8 AS letter,
    CAST(getvariable('letter_cost') AS DOUBLE) AS cost
FROM owners
WHERE treat8 <> 'Holdout'
