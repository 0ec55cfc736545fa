-- The arm of each owner. An owner of several properties is no single random draw: see source.yml.
SELECT
    owner_id AS account_id,
    treat8 AS strategy,
    getvariable('mailed_on') AS assigned_on,
    unq_own = 1 AS randomised,
    CAST(CAST(rand_id AS INTEGER) AS VARCHAR) AS block
FROM owners
