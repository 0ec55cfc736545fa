-- One row per account seen in credit_record; facts of the applicant where exactly one application has its ID.
WITH seen AS (
    SELECT
        ID,
        min(MONTHS_BALANCE) AS first_month,
        arg_min(STATUS, MONTHS_BALANCE) AS first_status
    FROM credit_record
    GROUP BY ID
),
applicant AS (
    SELECT * FROM application_record
    QUALIFY count(*) OVER (PARTITION BY ID) = 1
),
opened AS (
    SELECT
        ID,
        CAST(getvariable('anchor_month') + to_months(first_month) AS DATE) AS first_day,
        CASE first_status
            WHEN '1' THEN 30 WHEN '2' THEN 60 WHEN '3' THEN 90 WHEN '4' THEN 120 WHEN '5' THEN 150 ELSE 0
        END AS first_days_past_due
    FROM seen
)
SELECT
    ID AS account_id,
    'credit card' AS product,
    least(first_day, last_day(first_day) - first_days_past_due) AS originated_on,
    CASE CODE_GENDER WHEN 'F' THEN 'female' WHEN 'M' THEN 'male' END AS gender,
    CAST(floor(-DAYS_BIRTH / 365.25) AS INTEGER) AS age,
    OCCUPATION_TYPE AS occupation,
    round(AMT_INCOME_TOTAL / 12, 2) AS monthly_income,
    NAME_EDUCATION_TYPE AS education,
    NAME_FAMILY_STATUS AS family_status,
    CAST(CNT_CHILDREN AS INTEGER) AS children,
    CAST(CNT_FAM_MEMBERS AS INTEGER) AS family_members,
    NAME_HOUSING_TYPE AS housing,
    NAME_INCOME_TYPE AS income_type,
    FLAG_OWN_CAR = 'Y' AS owns_car,
    FLAG_OWN_REALTY = 'Y' AS owns_property,
    CASE WHEN DAYS_EMPLOYED <= 0 THEN round(-DAYS_EMPLOYED / 365.25, 1) END AS years_employed
FROM opened
LEFT JOIN applicant USING (ID)
