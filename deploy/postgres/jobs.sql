-- Puts the nightly and the weekly job into pg_cron, if this server has it; else says which timers do the same.
--   psql -X -v ON_ERROR_STOP=1 -d bmos -f jobs.sql
-- As a superuser, in the database pg_cron lives in (cron.database_name). Running it again changes nothing.
-- pg_cron runs one statement at a time and so can't choose indexes by their use: it rebuilds those of the tables that
-- change in place. The timers (../systemd/bmos-*.timer) run nightly.sql and weekly.sql.
DO $$
DECLARE
    job record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
        RAISE NOTICE 'pg_cron is not installed in this database: enable bmos-nightly.timer and bmos-weekly.timer instead';
        RETURN;
    END IF;
    FOR job IN
        SELECT * FROM (VALUES
            ('bmos nightly summary', '15 2 * * *',
             $job$SELECT refresh_monthly_summary((date_trunc('month', now()) - interval '1 month')::date)$job$),
            ('bmos nightly partitions', '45 2 * * *',
             $job$SELECT make_order_partitions(date_trunc('month', now())::date, (date_trunc('month', now()) + interval '3 months')::date)$job$),
            ('bmos weekly summary indexes', '0 3 * * 0', 'REINDEX TABLE CONCURRENTLY mv_monthly_summary'),
            ('bmos weekly customer indexes', '20 3 * * 0', 'REINDEX TABLE CONCURRENTLY dim_customer'),
            ('bmos weekly evaluation indexes', '40 3 * * 0', 'REINDEX TABLE CONCURRENTLY manager_evaluation'),
            ('bmos weekly model indexes', '0 4 * * 0', 'REINDEX TABLE CONCURRENTLY model_parameters_storage'),
            ('bmos weekly statistics', '30 4 * * 0', 'VACUUM (ANALYZE)')
        ) AS jobs (name, schedule, command)
    LOOP
        -- A job of the same name is replaced.
        EXECUTE format('SELECT cron.schedule(%L, %L, %L)', job.name, job.schedule, job.command);
    END LOOP;
END
$$;
