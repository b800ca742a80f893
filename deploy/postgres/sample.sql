-- Sample rows for schema.sql: 100 tenants, some 200,000 orders of 2025 and 2026. Run as bmos_owner, once.
--
-- The same rows every time: what looks like chance is a hash of the row's number. Sizes follow Zipf: tenant 1 has a
-- hundred times the orders of tenant 100. Tenant n is 00000000-0000-4000-8000- and n in twelve digits.

CREATE TEMPORARY TABLE tenant AS
SELECT n, ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid AS id,
       round(38555.0 / n)::integer AS orders,        -- 200,000 in all
       10 + 400 / n AS customers,
       2 + 20 / n AS managers
FROM generate_series(1, 100) AS n;

-- A number from 0 to below-1 that depends on row and turn alone.
CREATE FUNCTION pg_temp.dice(row_number bigint, turn bigint, below bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE
AS 'SELECT (hashint8extended(row_number, turn) & 9007199254740991) % below';

INSERT INTO dim_customer (tenant_id, customer_id, code, name, industry, region, segment, since, updated_at)
SELECT id, c, 'C' || lpad(c::text, 5, '0'), 'Customer ' || c || ' of tenant ' || n,
       (ARRAY['retail', 'energy', 'health', 'logistics', 'software'])[1 + pg_temp.dice(c, n, 5)],
       (ARRAY['north', 'east', 'south', 'west'])[1 + pg_temp.dice(c, n + 1000, 4)],
       (ARRAY['small', 'small', 'small', 'medium', 'medium', 'large'])[1 + pg_temp.dice(c, n + 2000, 6)],
       date '2020-01-01' + pg_temp.dice(c, n + 3000, 1800)::integer,
       timestamptz '2026-12-31 00:00+00'
FROM tenant, generate_series(1, customers) AS c;

INSERT INTO fact_order (tenant_id, order_date, customer_id, category, channel, status, quantity, amount, cost, note,
                        updated_at)
SELECT id, day, customer, category, channel,
       CASE WHEN dice % 25 = 0 THEN 'cancelled' WHEN day > '2026-12-10' THEN 'open'
            WHEN day > '2026-11-25' THEN 'shipped' ELSE 'paid' END,
       quantity, amount, round(amount * (55 + dice % 30) / 100, 2),
       CASE WHEN dice % 40 = 1 THEN 'Call before delivery' END,
       (day + interval '12 hours') AT TIME ZONE 'UTC'
FROM (
    SELECT id,
           date '2025-01-01' + ((o - 1) * 730 / orders)::integer AS day,
           -- The square of a die: a few customers order a lot.
           1 + pg_temp.dice(o, n, customers) * pg_temp.dice(o, n + 1000, customers) / customers AS customer,
           (ARRAY['hardware', 'software', 'service', 'training'])[1 + pg_temp.dice(o, n + 2000, 4)] AS category,
           (ARRAY['direct', 'partner', 'online'])[1 + pg_temp.dice(o, n + 3000, 3)] AS channel,
           1 + pg_temp.dice(o, n + 4000, 20)::integer AS quantity,
           (1 + pg_temp.dice(o, n + 4000, 20)) * (500 + pg_temp.dice(o, n + 5000, 49500)) / 100.0 AS amount,
           pg_temp.dice(o, n + 6000, 1000) AS dice
    FROM tenant, generate_series(1, orders) AS o
) AS orders
ORDER BY day;

INSERT INTO tenant_config (tenant_id, config_key, config_value, updated_at)
SELECT id, key, value, timestamptz '2026-12-31 00:00+00'
FROM tenant, LATERAL (VALUES
    ('company', jsonb_build_object('name', 'Enterprise ' || n, 'employees', 20 + 5000 / n)),
    ('currency', '"EUR"'),
    ('fiscal_year_start', to_jsonb(1 + n % 12)),
    ('features', jsonb_build_object('forecast', n % 2 = 0, 'evaluation', true, 'export', n % 3 = 0)),
    ('dashboard', jsonb_build_object('tiles', jsonb_build_array('revenue', 'margin', 'orders'), 'refresh_s', 60)),
    ('locale', to_jsonb((ARRAY['en', 'de', 'fr', 'zh'])[1 + n % 4]))
) AS config (key, value);

INSERT INTO manager_evaluation (tenant_id, manager_id, month, manager_name, revenue, retention, teamwork, updated_at)
SELECT id, m, month, 'Manager ' || m, 40 + pg_temp.dice(m, n + 10000 * mon, 60),
       50 + pg_temp.dice(m, n + 10000 * mon + 1000, 50), 60 + pg_temp.dice(m, n + 10000 * mon + 2000, 40),
       (month + interval '1 month') AT TIME ZONE 'UTC'
FROM tenant, generate_series(1, managers) AS m, generate_series(0, 23) AS mon,
     LATERAL (SELECT (date '2025-01-01' + mon * interval '1 month')::date) AS months (month);

INSERT INTO model_parameters_storage (tenant_id, model, version, parameters, weights, error, is_active, trained_at)
SELECT id, model, version,
       jsonb_build_object('horizon', 3 * version, 'season', 12, 'rate', 0.1 / version),
       decode(repeat(md5(model || n || '/' || version), 64), 'hex'),
       0.3 / version + n * 0.001, version = 3, timestamptz '2026-10-01 00:00+00' + version * interval '1 month'
FROM tenant, (VALUES ('revenue'), ('churn'), ('stock')) AS models (model), generate_series(1, 3) AS version;

SELECT refresh_monthly_summary();

DROP FUNCTION pg_temp.dice;
DROP TABLE tenant;
ANALYZE dim_customer, fact_order, tenant_config, manager_evaluation, model_parameters_storage, mv_monthly_summary;
