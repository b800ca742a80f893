-- BMOS: business analysis for many enterprises, each a tenant. Run as bmos_owner in an empty database.
--
-- Every table has tenant_id first in its primary key, and every foreign key and index begins with it. So each row
-- belongs to exactly one tenant, each statement that names its tenant touches one tenant's rows, and a tenant's rows can
-- live on any shard, and move, without a change to the schema.

-- Customers ---------------------------------------------------------------------------------------------------------
CREATE TABLE dim_customer (
    tenant_id    uuid        NOT NULL,
    customer_id  bigint      NOT NULL,
    code         text        NOT NULL,
    name         text        NOT NULL,
    industry     text        NOT NULL,
    region       text        NOT NULL,
    segment      text        NOT NULL CHECK (segment IN ('small', 'medium', 'large')),
    since        date        NOT NULL,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, customer_id),
    UNIQUE (tenant_id, code)
);
CREATE INDEX dim_customer_region ON dim_customer (tenant_id, region, segment);
COMMENT ON TABLE dim_customer IS 'The customers of each tenant';

-- Orders ------------------------------------------------------------------------------------------------------------
-- One partition for each month: old months are detached and archived, reports read the months they name. A partition
-- key must be part of the primary key, hence order_date in it.
CREATE SEQUENCE fact_order_id;
CREATE TABLE fact_order (
    tenant_id    uuid          NOT NULL,
    order_date   date          NOT NULL,
    order_id     bigint        NOT NULL DEFAULT nextval('fact_order_id'),
    customer_id  bigint        NOT NULL,
    category     text          NOT NULL,
    channel      text          NOT NULL CHECK (channel IN ('direct', 'partner', 'online')),
    status       text          NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'shipped', 'paid', 'cancelled')),
    quantity     integer       NOT NULL CHECK (quantity > 0),
    amount       numeric(14,2) NOT NULL,
    cost         numeric(14,2) NOT NULL,
    note         text,
    updated_at   timestamptz   NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, order_date, order_id),
    FOREIGN KEY (tenant_id, customer_id) REFERENCES dim_customer
) PARTITION BY RANGE (order_date);
ALTER SEQUENCE fact_order_id OWNED BY fact_order.order_id;
CREATE INDEX fact_order_by_id ON fact_order (tenant_id, order_id);
CREATE INDEX fact_order_by_customer ON fact_order (tenant_id, customer_id, order_date);
CREATE INDEX fact_order_open ON fact_order (tenant_id, order_date) WHERE status = 'open';
COMMENT ON TABLE fact_order IS 'Orders, a partition for each month of order_date';

CREATE TABLE fact_order_other PARTITION OF fact_order DEFAULT;
COMMENT ON TABLE fact_order_other IS 'Orders of months that have no partition: should stay empty';

CREATE FUNCTION make_order_partitions(first_month date, last_month date) RETURNS integer
    LANGUAGE plpgsql
AS $$
DECLARE
    month date := date_trunc('month', first_month);
    made integer := 0;
    name text;
BEGIN
    WHILE month <= last_month LOOP
        name := 'fact_order_' || to_char(month, 'YYYY_MM');
        IF to_regclass(quote_ident(name)) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF fact_order FOR VALUES FROM (%L) TO (%L)',
                           name, month, month + interval '1 month');
            made := made + 1;
        END IF;
        month := month + interval '1 month';
    END LOOP;
    RETURN made;
END
$$;
COMMENT ON FUNCTION make_order_partitions IS 'Makes the missing partitions of fact_order; a monthly job calls it';

SELECT make_order_partitions('2025-01-01', '2026-12-01');

-- Configuration -----------------------------------------------------------------------------------------------------
-- Read at every page a user opens, written now and then. Hash partitions keep each index small and hot.
CREATE TABLE tenant_config (
    tenant_id    uuid        NOT NULL,
    config_key   text        NOT NULL,
    config_value jsonb       NOT NULL,
    version      integer     NOT NULL DEFAULT 1,
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, config_key)
) PARTITION BY HASH (tenant_id);
COMMENT ON TABLE tenant_config IS 'What each tenant has configured, in eight hash partitions';

DO $$
BEGIN
    FOR remainder IN 0..7 LOOP
        EXECUTE format('CREATE TABLE tenant_config_%s PARTITION OF tenant_config '
                       'FOR VALUES WITH (MODULUS 8, REMAINDER %s)', remainder, remainder);
    END LOOP;
END
$$;

-- Evaluations -------------------------------------------------------------------------------------------------------
CREATE TABLE manager_evaluation (
    tenant_id    uuid         NOT NULL,
    manager_id   bigint       NOT NULL,
    month        date         NOT NULL CHECK (month = date_trunc('month', month)),
    manager_name text         NOT NULL,
    revenue      numeric(5,2) NOT NULL CHECK (revenue BETWEEN 0 AND 100),
    retention    numeric(5,2) NOT NULL CHECK (retention BETWEEN 0 AND 100),
    teamwork     numeric(5,2) NOT NULL CHECK (teamwork BETWEEN 0 AND 100),
    score        numeric(5,2) NOT NULL GENERATED ALWAYS AS (revenue * 0.5 + retention * 0.3 + teamwork * 0.2) STORED,
    remark       text,
    updated_at   timestamptz  NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, manager_id, month)
);
CREATE INDEX manager_evaluation_ranking ON manager_evaluation (tenant_id, month, score DESC);
COMMENT ON TABLE manager_evaluation IS 'How each manager of a tenant did in a month, each part from 0 to 100';

-- Models ------------------------------------------------------------------------------------------------------------
CREATE TABLE model_parameters_storage (
    tenant_id    uuid             NOT NULL,
    model        text             NOT NULL,
    version      integer          NOT NULL CHECK (version > 0),
    parameters   jsonb            NOT NULL,
    weights      bytea            NOT NULL,
    error        double precision NOT NULL,
    is_active    boolean          NOT NULL DEFAULT false,
    trained_at   timestamptz      NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, model, version)
);
CREATE UNIQUE INDEX model_parameters_active ON model_parameters_storage (tenant_id, model) WHERE is_active;
COMMENT ON TABLE model_parameters_storage IS 'Forecast models, every version; at most one of each model is active';

-- Monthly summary ---------------------------------------------------------------------------------------------------
-- A table that a job refreshes, not a materialized view: a materialized view has no primary key, can't be written for
-- one tenant (REFRESH computes all of them), isn't replicated logically, and its rows can't move with their tenant.
CREATE TABLE mv_monthly_summary (
    tenant_id      uuid          NOT NULL,
    month          date          NOT NULL CHECK (month = date_trunc('month', month)),
    order_count    bigint        NOT NULL,
    customer_count bigint        NOT NULL,
    quantity       bigint        NOT NULL,
    amount         numeric(18,2) NOT NULL,
    cost           numeric(18,2) NOT NULL,
    margin         numeric(18,2) NOT NULL GENERATED ALWAYS AS (amount - cost) STORED,
    refreshed_at   timestamptz   NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, month)
);
CREATE INDEX mv_monthly_summary_by_month ON mv_monthly_summary (tenant_id, month DESC) INCLUDE (amount, margin);
COMMENT ON TABLE mv_monthly_summary IS 'Orders that were not cancelled, summed up by tenant and month';

CREATE FUNCTION refresh_monthly_summary(since date DEFAULT '-infinity', only_tenant uuid DEFAULT NULL) RETURNS bigint
    LANGUAGE sql
AS $$
    WITH fresh AS (
        SELECT tenant_id, date_trunc('month', order_date)::date AS month, count(*) AS order_count,
               count(DISTINCT customer_id) AS customer_count, sum(quantity) AS quantity,
               sum(amount) AS amount, sum(cost) AS cost
        FROM fact_order
        WHERE status <> 'cancelled'
          AND order_date >= date_trunc('month', since)
          AND (only_tenant IS NULL OR tenant_id = only_tenant)
        GROUP BY 1, 2
    ), gone AS (
        DELETE FROM mv_monthly_summary AS old
        WHERE old.month >= date_trunc('month', since)
          AND (only_tenant IS NULL OR old.tenant_id = only_tenant)
          AND NOT EXISTS (SELECT FROM fresh WHERE (fresh.tenant_id, fresh.month) = (old.tenant_id, old.month))
    ), written AS (
        INSERT INTO mv_monthly_summary AS old (tenant_id, month, order_count, customer_count, quantity, amount, cost)
        SELECT * FROM fresh
        ON CONFLICT (tenant_id, month) DO UPDATE
        SET order_count = excluded.order_count, customer_count = excluded.customer_count,
            quantity = excluded.quantity, amount = excluded.amount, cost = excluded.cost, refreshed_at = now()
        RETURNING 1
    )
    SELECT count(*) FROM written
$$;
COMMENT ON FUNCTION refresh_monthly_summary IS
    'Brings mv_monthly_summary up to date from the month of since on, for one tenant or all; says how many rows it wrote';

-- Rights ------------------------------------------------------------------------------------------------------------
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO bmos_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO bmos_app;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO bmos_report;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO bmos_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO bmos_app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO bmos_report;
