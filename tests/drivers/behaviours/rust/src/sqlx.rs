//! sqlx: its pool, statements prepared and cached, transactions that roll back when dropped. It connects as libpq's
//! environment says; each behaviour prints one line.

use std::env::var;
use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use futures_util::{TryStreamExt, future::join_all};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolCopyExt, PgPoolOptions, PgSslMode};
use sqlx::types::{Json, Uuid, chrono};
use sqlx::{Connection, Error, Executor, PgConnection, Row};

type Told = Result<String, Error>;

fn options() -> PgConnectOptions {
    let env = |name: &str| var(name).expect(name);
    PgConnectOptions::new_without_pgpass()
        .host(&env("PGHOST"))
        .port(env("PGPORT").parse().expect("a port"))
        .username(&env("PGUSER"))
        .password(&env("PGPASSWORD"))
        .database(&env("PGDATABASE"))
        .ssl_mode(PgSslMode::Require)
}

async fn pool(size: u32) -> PgPool {
    PgPoolOptions::new().max_connections(size).connect_with(options()).await.expect("a pool")
}

fn told(error: &Error) -> String {
    match error.as_database_error() {
        Some(answer) => format!("{} {}", answer.code().unwrap_or_default(), answer.message()),
        None => error.to_string(),
    }
}

fn failing<T: Debug>(result: Result<T, Error>) -> String {
    match result {
        Ok(seen) => format!("no error but {seen:?}"),
        Err(error) => told(&error),
    }
}

async fn behaviour<F: Future<Output = Told>>(name: &str, does: impl FnOnce(PgConnection) -> F) {
    let connection = PgConnection::connect_with(&options()).await.expect("a connection");
    match does(connection).await {
        Ok(seen) => println!("{name}: {}", seen.replace('\n', "/")),
        Err(error) => println!("{name}: error {}", told(&error)),
    }
}

async fn text(c: &mut PgConnection, sql: &str) -> Told {
    let rows = sqlx::query_scalar::<_, String>(sql).fetch_all(c).await?;
    Ok(rows.join(","))
}

async fn run(c: &mut PgConnection, sql: &str) -> Result<u64, Error> {
    Ok(sqlx::raw_sql(sql).execute(c).await?.rows_affected())
}

#[tokio::main]
async fn main() {
    statements().await;
    transactions().await;
    sessions().await;
    streams().await;
}

async fn statements() {
    behaviour("raw", async |mut c| Ok(run(&mut c, "SELECT 1; SELECT 2").await?.to_string())).await;
    behaviour("extended", async |mut c| {
        let row = sqlx::query("SELECT $1 + 1, $2").bind(41i32).bind("é").fetch_one(&mut c).await?;
        Ok(format!("{} {}", row.get::<i32, _>(0), row.get::<&str, _>(1)))
    })
    .await;
    behaviour("types", async |mut c| {
        let row = sqlx::query("SELECT $1, $2, $3, $4, $5, $6, NULL::int4, 'NaN'::float8")
            .bind(Uuid::from_u128(5))
            .bind(Json(vec![1, 2]))
            .bind(chrono::DateTime::from_timestamp(1_700_000_000, 0))
            .bind(vec![Some(1i64), None])
            .bind(vec![0u8, 255])
            .bind(1.5f32)
            .fetch_one(&mut c)
            .await?;
        Ok(format!(
            "{:?}",
            (
                row.get::<Uuid, _>(0),
                row.get::<Json<Vec<i32>>, _>(1).0,
                row.get::<chrono::DateTime<chrono::Utc>, _>(2),
                row.get::<Vec<Option<i64>>, _>(3),
                row.get::<Vec<u8>, _>(4),
                row.get::<f32, _>(5),
                row.get::<Option<i32>, _>(6),
                row.get::<f64, _>(7),
            )
        ))
    })
    .await;
    behaviour("describe", async |mut c| {
        let seen = c.describe("SELECT $1::int4 AS a, 'x'::varchar AS b").await?;
        Ok(format!("{:?} {:?}", seen.columns().iter().map(sqlx::Column::name).collect::<Vec<_>>(), seen.nullable))
    })
    .await;
    behaviour("statement_cache", async |mut c| {
        let mut sum = 0;
        for n in 0..300i32 {
            sum += sqlx::query_scalar::<_, i32>(&format!("SELECT $1 + {}", n % 130)).bind(n).fetch_one(&mut c).await?;
        }
        let cached = c.cached_statements_size();
        c.clear_cached_statements().await?;
        Ok(format!("{sum} {cached} {}", c.cached_statements_size()))
    })
    .await;
    behaviour("unprepared", async |mut c| {
        let seen = sqlx::query_scalar::<_, i32>("SELECT $1").bind(7).persistent(false).fetch_one(&mut c).await?;
        Ok(seen.to_string())
    })
    .await;
    behaviour("cached_plan", async |mut c| {
        run(&mut c, "CREATE TABLE cached (a int); INSERT INTO cached VALUES (1)").await?;
        let first = sqlx::query("SELECT * FROM cached").fetch_one(&mut c).await?.len();
        run(&mut c, "ALTER TABLE cached ADD b text").await?;
        let second = sqlx::query("SELECT * FROM cached").fetch_one(&mut c).await.map(|row| row.len());
        run(&mut c, "DROP TABLE cached").await?;
        Ok(format!("{first} {}", failing(second)))
    })
    .await;
    behaviour("sql_prepare", async |mut c| {
        run(&mut c, "PREPARE twice (int) AS SELECT ($1 * 2)::text").await?;
        let seen = text(&mut c, "EXECUTE twice (4)").await?;
        run(&mut c, "DEALLOCATE twice").await?;
        Ok(seen + &failing(run(&mut c, "EXECUTE twice (4)").await))
    })
    .await;
    behaviour("errors", async |mut c| {
        let mut seen = Vec::new();
        for sql in ["SELEC 1", "SELECT * FROM nowhere", "SELECT 1 / 0"] {
            seen.push(failing(sqlx::query(sql).execute(&mut c).await));
        }
        Ok(format!("{seen:?} {}", text(&mut c, "SELECT 'alive'").await?))
    })
    .await;
    behaviour("constraint", async |mut c| {
        run(&mut c, "CREATE TEMP TABLE kept (a int CONSTRAINT positive CHECK (a > 0))").await?;
        let error = sqlx::query("INSERT INTO kept VALUES (-1)").execute(&mut c).await.expect_err("a violation");
        let answer = error.as_database_error().expect("an answer");
        Ok(format!("{:?} {:?} {:?}", answer.constraint(), answer.table(), answer.kind()))
    })
    .await;
    behaviour("empty_query", async |mut c| {
        Ok(format!("{} {}", sqlx::query("").execute(&mut c).await?.rows_affected(), run(&mut c, ";").await?))
    })
    .await;
    behaviour("nulls", async |mut c| {
        let seen = sqlx::query_scalar::<_, Option<String>>("SELECT $1").bind(None::<String>).fetch_one(&mut c).await?;
        Ok(format!("{seen:?}"))
    })
    .await;
}

async fn transactions() {
    behaviour("commit_and_rollback", async |mut c| {
        run(&mut c, "CREATE TEMP TABLE kept (a int)").await?;
        let mut t = c.begin().await?;
        run(&mut t, "INSERT INTO kept VALUES (1)").await?;
        t.commit().await?;
        let mut t = c.begin().await?;
        run(&mut t, "INSERT INTO kept VALUES (2)").await?;
        // Rolled back before the next statement.
        drop(t);
        text(&mut c, "SELECT a::text FROM kept").await
    })
    .await;
    behaviour("error_in_transaction", async |mut c| {
        let mut t = c.begin().await?;
        let mut seen = failing(run(&mut t, "SELECT 1 / 0").await) + &failing(run(&mut t, "SELECT 1").await);
        seen += &failing(t.commit().await);
        Ok(seen + &text(&mut c, "SELECT 'after'").await?)
    })
    .await;
    behaviour("savepoints", async |mut c| {
        let mut t = c.begin().await?;
        run(&mut t, "CREATE TEMP TABLE saved (a int)").await?;
        let mut inner = t.begin().await?;
        run(&mut inner, "INSERT INTO saved VALUES (1); SET work_mem = '6MB'").await?;
        inner.rollback().await?;
        let mut inner = t.begin().await?;
        run(&mut inner, "INSERT INTO saved VALUES (2)").await?;
        inner.commit().await?;
        t.commit().await?;
        Ok(text(&mut c, "SELECT a::text FROM saved").await? + &text(&mut c, "SHOW work_mem").await?)
    })
    .await;
    for level in ["SERIALIZABLE", "REPEATABLE READ", "READ COMMITTED"] {
        behaviour("isolation", async |mut c| {
            let mut t = c.begin_with(format!("BEGIN ISOLATION LEVEL {level} READ ONLY")).await?;
            let seen = text(&mut t, "SHOW transaction_isolation").await?;
            Ok(seen + &failing(run(&mut t, "CREATE TABLE never (a int)").await))
        })
        .await;
    }
    behaviour("close_in_transaction", async |mut c| {
        run(&mut c, "CREATE TABLE unfinished (a int)").await?;
        let mut other = PgConnection::connect_with(&options()).await?;
        run(&mut other, "BEGIN; INSERT INTO unfinished VALUES (1)").await?;
        other.close().await?;
        let seen = text(&mut c, "SELECT count(*)::text FROM unfinished").await?;
        run(&mut c, "DROP TABLE unfinished").await?;
        Ok(seen)
    })
    .await;
}

async fn sessions() {
    behaviour("statement_timeout", async |mut c| {
        run(&mut c, "SET statement_timeout = 50").await?;
        Ok(failing(run(&mut c, "SELECT pg_sleep(10)").await) + &text(&mut c, "SHOW statement_timeout").await?)
    })
    .await;
    behaviour("listen_notify", async |mut c| {
        let pool = pool(2).await;
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.listen("here").await?;
        run(&mut c, "NOTIFY here, 'first'").await?;
        sqlx::query("SELECT pg_notify('here', $1)").bind("second").execute(&mut c).await?;
        let mut seen = Vec::new();
        for _ in 0..2 {
            let each = tokio::time::timeout(Duration::from_secs(20), listener.recv()).await;
            seen.push(each.ok().transpose()?.map(|each| each.payload().to_owned()));
        }
        Ok(format!("{seen:?}"))
    })
    .await;
    behaviour("settings", async |mut c| {
        run(&mut c, "SET search_path = pg_catalog; SET app.tenant = 't1'").await?;
        let seen = text(&mut c, "SHOW search_path").await? + &text(&mut c, "SHOW app.tenant").await?;
        run(&mut c, "RESET ALL").await?;
        Ok(seen + &text(&mut c, "SHOW search_path").await? + &failing(run(&mut c, "SET work_mem = 'nonsense'").await))
    })
    .await;
    behaviour("startup_options", async |_| {
        let options = options().options([("work_mem", "9MB")]).application_name("behaviours");
        let mut c = PgConnection::connect_with(&options).await?;
        Ok(text(&mut c, "SHOW work_mem").await? + &text(&mut c, "SHOW application_name").await?)
    })
    .await;
    behaviour("temp_table", async |mut c| {
        run(&mut c, "CREATE TEMP TABLE mine AS SELECT 'x'::text AS a").await?;
        let mut other = PgConnection::connect_with(&options()).await?;
        Ok(text(&mut c, "SELECT * FROM mine").await? + &failing(run(&mut other, "SELECT * FROM mine").await))
    })
    .await;
    behaviour("advisory_lock", async |mut c| {
        let lock = sqlx::postgres::PgAdvisoryLock::with_key(sqlx::postgres::PgAdvisoryLockKey::BigInt(4722));
        let mut other = PgConnection::connect_with(&options()).await?;
        let guard = lock.acquire(&mut c).await?;
        let seen = text(&mut other, "SELECT pg_try_advisory_lock(4722)::text").await?;
        guard.release_now().await?;
        Ok(seen + &text(&mut other, "SELECT pg_try_advisory_lock(4722)::text").await?)
    })
    .await;
    behaviour("generated_ids", async |mut c| {
        run(&mut c, "CREATE TEMP TABLE numbered (id serial, a text)").await?;
        let id: i32 = sqlx::query_scalar("INSERT INTO numbered (a) VALUES ($1) RETURNING id").bind("x").fetch_one(&mut c).await?;
        Ok(format!("{id} {}", text(&mut c, "SELECT lastval()::text").await?))
    })
    .await;
    behaviour("pool", async |_| {
        let pool = pool(8).await;
        let all = join_all((0..60i32).map(|n| sqlx::query_scalar::<_, i32>("SELECT $1 FROM pg_sleep(0.01)").bind(n).fetch_one(&pool)));
        let sum: i32 = all.await.into_iter().map(Result::unwrap).sum();
        pool.close().await;
        Ok(sum.to_string())
    })
    .await;
    behaviour("abandoned_query", async |mut c| {
        let slow = run(&mut c, "SELECT pg_sleep(0.2)");
        let is_late = tokio::time::timeout(Duration::from_millis(20), slow).await.is_err();
        Ok(format!("{is_late} {}", text(&mut c, "SELECT 'next'").await?))
    })
    .await;
    behaviour("wrong_password", async |_| Ok(failing(PgConnection::connect_with(&options().password("wrong")).await))).await;
    behaviour("ping", async |mut c| c.ping().await.map(|()| "answered".to_owned())).await;
    behaviour("reconnect", async |_| {
        let mut seen = String::new();
        for _ in 0..10 {
            let mut c = PgConnection::connect_with(&options()).await?;
            seen += &text(&mut c, "SELECT 'x'").await?;
            c.close().await?;
        }
        Ok(seen)
    })
    .await;
}

async fn streams() {
    behaviour("copy", async |mut c| {
        run(&mut c, "CREATE TABLE copied (a int, b text)").await?;
        let pool = pool(1).await;
        let mut copy = pool.copy_in_raw("COPY copied FROM STDIN").await?;
        for n in 0..2000 {
            copy.send(format!("{n}\trow\n").into_bytes()).await?;
        }
        let count = copy.finish().await?;
        let mut wrong = pool.copy_in_raw("COPY copied FROM STDIN").await?;
        wrong.send(b"x\ty\n".to_vec()).await?;
        let wrong = failing(wrong.finish().await);
        let rows = pool.copy_out_raw("COPY copied TO STDOUT").await?;
        let bytes = rows.try_fold(0, async |sum, row| Ok(sum + row.len())).await?;
        pool.close().await;
        run(&mut c, "DROP TABLE copied").await?;
        Ok(format!("{count} {wrong} {bytes}"))
    })
    .await;
    behaviour("stream_dropped", async |mut c| {
        let mut rows = sqlx::query("SELECT generate_series(1, 100000)").fetch(&mut c);
        let first: i32 = rows.try_next().await?.expect("a row").get(0);
        drop(rows);
        Ok(format!("{first} {}", text(&mut c, "SELECT 'next'").await?))
    })
    .await;
    behaviour("large_value", async |mut c| {
        let row = sqlx::query("SELECT length($1), $2").bind("x".repeat(4_000_000)).bind(vec![0u8; 2_000_000]).fetch_one(&mut c).await?;
        Ok(format!("{} {}", row.get::<i32, _>(0), row.get::<Vec<u8>, _>(1).len()))
    })
    .await;
    behaviour("large_result", async |mut c| {
        let rows = sqlx::query("SELECT n, repeat('y', 100) FROM generate_series(1, 50000) n").fetch_all(&mut c).await?;
        Ok(rows.iter().map(|row| i64::from(row.get::<i32, _>(0))).sum::<i64>().to_string())
    })
    .await;
    behaviour("with_hold", async |mut c| {
        run(&mut c, "DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 10)::text").await?;
        let seen = text(&mut c, "FETCH 2 FROM held").await? + " " + &text(&mut c, "FETCH 2 FROM held").await?;
        run(&mut c, "CLOSE held").await?;
        Ok(seen)
    })
    .await;
}
