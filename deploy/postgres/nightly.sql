-- The nightly refresh of BMOS: last month and this one in the summary, and the partitions of the next three months.
--   psql -X -v ON_ERROR_STOP=1 -d bmos -f nightly.sql
-- As bmos_owner, on the primary (through pgshunt it gets there by itself). jobs.sql or bmos-nightly.timer runs it.
SELECT refresh_monthly_summary((date_trunc('month', now()) - interval '1 month')::date) AS refreshed;
SELECT make_order_partitions(date_trunc('month', now())::date,
                             (date_trunc('month', now()) + interval '3 months')::date) AS partitions_made;
