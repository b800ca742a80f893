//! tokio-postgres: statements prepared by name, binary throughout, several requests under way at one time. It connects as
//! libpq's environment says; each behaviour prints one line.

use std::env::var;
use std::fmt::Debug;
use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt, TryStreamExt, future::join_all, stream};
use postgres_native_tls::MakeTlsConnector;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::{AsyncMessage, Client, Config, Error, IsolationLevel, SimpleQueryMessage};

type Told = Result<String, Error>;

fn config() -> Config {
    let env = |name: &str| var(name).expect(name);
    let mut config = Config::new();
    config
        .host(env("PGHOST"))
        .port(env("PGPORT").parse().expect("a port"))
        .user(env("PGUSER"))
        .password(env("PGPASSWORD"))
        .dbname(env("PGDATABASE"))
        .ssl_mode(tokio_postgres::config::SslMode::Require);
    config
}

fn tls() -> MakeTlsConnector {
    let mut tls = native_tls::TlsConnector::builder();
    tls.danger_accept_invalid_certs(true);
    MakeTlsConnector::new(tls.build().expect("TLS"))
}

async fn connect() -> Client {
    connect_as(&config()).await.expect("a connection").0
}

/// A connection, and what comes on it unasked.
async fn connect_as(config: &Config) -> Result<(Client, UnboundedReceiver<String>), Error> {
    let (client, mut connection) = config.connect(tls()).await?;
    let (send, receive) = unbounded_channel();
    tokio::spawn(async move {
        let mut messages = pin!(stream::poll_fn(move |cx| connection.poll_message(cx)));
        while let Some(Ok(message)) = messages.next().await {
            let text = match message {
                AsyncMessage::Notice(notice) => format!("{} {}", notice.severity(), notice.message()),
                AsyncMessage::Notification(each) => format!("{} {}", each.channel(), each.payload()),
                _ => continue,
            };
            let _ = send.send(text);
        }
    });
    Ok((client, receive))
}

fn told(error: &Error) -> String {
    match error.as_db_error() {
        Some(answer) => format!("{} {}", answer.code().code(), answer.message()),
        None => error.to_string(),
    }
}

fn failing<T: Debug>(result: Result<T, Error>) -> String {
    match result {
        Ok(seen) => format!("no error but {seen:?}"),
        Err(error) => told(&error),
    }
}

async fn behaviour<F: Future<Output = Told>>(name: &str, does: impl FnOnce(Client) -> F) {
    match does(connect().await).await {
        Ok(seen) => println!("{name}: {}", seen.replace('\n', "/")),
        Err(error) => println!("{name}: error {}", told(&error)),
    }
}

async fn text(c: &Client, sql: &str) -> Told {
    let rows = c.simple_query(sql).await?;
    let rows = rows.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|n| row.get(n).unwrap_or("NULL")).collect::<Vec<_>>().join("|")),
        _ => None,
    });
    Ok(rows.collect::<Vec<_>>().join(","))
}

#[tokio::main]
async fn main() {
    statements().await;
    transactions().await;
    sessions().await;
    streams().await;
}

async fn statements() {
    behaviour("simple", async |c| text(&c, "SELECT 1, 'a', NULL; SELECT 'two'").await).await;
    behaviour("extended", async |c| {
        let row = c.query_one("SELECT $1::int4 + 1, $2::text", &[&41i32, &"é"]).await?;
        Ok(format!("{} {}", row.get::<_, i32>(0), row.get::<_, &str>(1)))
    })
    .await;
    behaviour("types_binary", async |c| {
        let sql = "SELECT true, 1::int2, 3::int8, 1.5::float4, 'x'::text, '\\xff'::bytea, ARRAY[1, NULL], NULL::int4, 'NaN'::float8";
        let row = c.query_one(sql, &[]).await?;
        Ok(format!(
            "{:?}",
            (
                row.get::<_, bool>(0),
                row.get::<_, i16>(1),
                row.get::<_, i64>(2),
                row.get::<_, f32>(3),
                row.get::<_, String>(4),
                row.get::<_, Vec<u8>>(5),
                row.get::<_, Vec<Option<i32>>>(6),
                row.get::<_, Option<i32>>(7),
                row.get::<_, f64>(8),
            )
        ))
    })
    .await;
    behaviour("custom_type", async |c| {
        c.batch_execute("CREATE TYPE mood AS ENUM ('sad', 'happy')").await?;
        let statement = c.prepare("SELECT 'happy'::mood, $1::mood").await?;
        let seen = format!("{:?} {:?}", statement.columns()[0].type_(), statement.params());
        drop(statement);
        c.batch_execute("DROP TYPE mood").await?;
        Ok(seen.split("oid: ").map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit())).collect())
    })
    .await;
    behaviour("prepared_reuse", async |c| {
        let statement = c.prepare("SELECT $1::int4 * 2").await?;
        let mut seen = Vec::new();
        for n in 0..12 {
            seen.push(c.query_one(&statement, &[&n]).await?.get::<_, i32>(0));
        }
        Ok(format!("{seen:?}"))
    })
    .await;
    behaviour("many_statements", async |c| {
        let mut statements = Vec::new();
        for n in 0..250 {
            statements.push(c.prepare(&format!("SELECT $1::int4 + {n}")).await?);
        }
        let mut sum = 0;
        for (n, statement) in statements.iter().enumerate().chain(statements.iter().enumerate()) {
            sum += c.query_one(statement, &[&(n as i32)]).await?.get::<_, i32>(0);
        }
        Ok(sum.to_string())
    })
    .await;
    behaviour("pipelined", async |c| {
        let rows = join_all((0..40i32).map(|n| {
            let c = &c;
            async move { c.query_one("SELECT $1::int4", &[&n]).await.map(|row| row.get::<_, i32>(0)) }
        }));
        Ok(format!("{:?}", rows.await.into_iter().map(Result::unwrap).sum::<i32>()))
    })
    .await;
    behaviour("pipelined_error", async |c| {
        let answers = join_all(["SELECT 1", "SELECT 1 / 0", "SELEC", "SELECT 4"].map(|sql| c.execute(sql, &[])));
        Ok(format!("{:?}", answers.await.into_iter().map(failing).collect::<Vec<_>>()))
    })
    .await;
    behaviour("cached_plan", async |c| {
        c.batch_execute("CREATE TABLE cached (a int); INSERT INTO cached VALUES (1)").await?;
        let statement = c.prepare("SELECT * FROM cached").await?;
        let first = c.query(&statement, &[]).await?.len();
        c.batch_execute("ALTER TABLE cached ADD b text").await?;
        let second = failing(c.query(&statement, &[]).await);
        let third = c.query("SELECT * FROM cached", &[]).await?[0].len();
        c.batch_execute("DROP TABLE cached").await?;
        Ok(format!("{first} {second} {third}"))
    })
    .await;
    behaviour("sql_prepare", async |c| {
        c.batch_execute("PREPARE twice (int) AS SELECT $1 * 2").await?;
        let seen = text(&c, "EXECUTE twice (4)").await?;
        c.batch_execute("DEALLOCATE twice").await?;
        Ok(seen + &failing(text(&c, "EXECUTE twice (4)").await))
    })
    .await;
    behaviour("typed", async |c| {
        let rows = c.query_typed("SELECT $1 + 1", &[(&1i32, tokio_postgres::types::Type::INT4)]).await?;
        Ok(rows[0].get::<_, i32>(0).to_string())
    })
    .await;
    behaviour("errors", async |c| {
        let mut seen = Vec::new();
        for sql in ["SELEC 1", "SELECT * FROM nowhere", "SELECT 1 / 0"] {
            seen.push(failing(c.query(sql, &[]).await));
        }
        Ok(format!("{seen:?} {}", text(&c, "SELECT 'alive'").await?))
    })
    .await;
    behaviour("empty_query", async |c| Ok(format!("{} {}", c.execute("", &[]).await?, text(&c, ";").await?))).await;
}

async fn transactions() {
    behaviour("error_in_transaction", async |mut c| {
        let t = c.transaction().await?;
        let mut seen = failing(t.execute("SELECT 1 / 0", &[]).await) + &failing(t.execute("SELECT 1", &[]).await);
        seen += &failing(t.commit().await);
        Ok(seen + &text(&c, "SELECT 2").await?)
    })
    .await;
    behaviour("savepoints", async |mut c| {
        let mut t = c.transaction().await?;
        t.batch_execute("CREATE TEMP TABLE saved (a int)").await?;
        let inner = t.savepoint("s").await?;
        inner.batch_execute("INSERT INTO saved VALUES (1); SET work_mem = '6MB'").await?;
        inner.rollback().await?;
        let inner = t.transaction().await?;
        inner.execute("INSERT INTO saved VALUES ($1)", &[&2i32]).await?;
        inner.commit().await?;
        t.commit().await?;
        Ok(text(&c, "SELECT * FROM saved").await? + &text(&c, "SHOW work_mem").await?)
    })
    .await;
    behaviour("dropped_transaction", async |mut c| {
        c.batch_execute("CREATE TEMP TABLE dropped (a int)").await?;
        let t = c.transaction().await?;
        t.execute("INSERT INTO dropped VALUES (1)", &[]).await?;
        drop(t);
        text(&c, "SELECT count(*) FROM dropped").await
    })
    .await;
    for level in [IsolationLevel::Serializable, IsolationLevel::RepeatableRead, IsolationLevel::ReadCommitted] {
        behaviour("isolation", async |mut c| {
            let t = c.build_transaction().isolation_level(level).read_only(true).start().await?;
            let seen: String = t.query_one("SHOW transaction_isolation", &[]).await?.get(0);
            Ok(seen + &failing(t.batch_execute("CREATE TABLE never (a int)").await))
        })
        .await;
    }
    behaviour("portals", async |mut c| {
        let t = c.transaction().await?;
        let portal = t.bind("SELECT generate_series(1, 10)", &[]).await?;
        let first = t.query_portal(&portal, 4).await?.len();
        let rest = t.query_portal(&portal, 0).await?.len();
        Ok(format!("{first} {rest}"))
    })
    .await;
    behaviour("close_in_transaction", async |c| {
        c.batch_execute("CREATE TABLE unfinished (a int)").await?;
        let other = connect().await;
        other.batch_execute("BEGIN; INSERT INTO unfinished VALUES (1)").await?;
        drop(other);
        let seen = text(&c, "SELECT count(*) FROM unfinished").await?;
        c.batch_execute("DROP TABLE unfinished").await?;
        Ok(seen)
    })
    .await;
}

async fn sessions() {
    behaviour("cancel", async |c| {
        let token = c.cancel_token();
        let running = tokio::spawn(async move { (failing(c.batch_execute("SELECT pg_sleep(70)").await), c) });
        let watcher = connect().await;
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' \
                   AND pid <> pg_backend_pid() AND strpos(query, 'pg_sleep(70)') > 0";
        for _ in 0..1000 {
            if text(&watcher, sql).await? != "0" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        token.cancel_query(tls()).await?;
        let (seen, c) = running.await.expect("no panic");
        Ok(seen + &text(&c, "SELECT ' alive'").await?)
    })
    .await;
    behaviour("statement_timeout", async |c| {
        c.batch_execute("SET statement_timeout = 50").await?;
        Ok(failing(c.batch_execute("SELECT pg_sleep(10)").await) + &text(&c, "SHOW statement_timeout").await?)
    })
    .await;
    behaviour("listen_notify", async |c| {
        let (listener, mut seen) = connect_as(&config()).await?;
        listener.batch_execute("LISTEN here").await?;
        c.batch_execute("NOTIFY here, 'first'").await?;
        c.execute("SELECT pg_notify('here', $1)", &[&"second"]).await?;
        let mut both = Vec::new();
        for _ in 0..2 {
            both.push(tokio::time::timeout(Duration::from_secs(20), seen.recv()).await.ok().flatten());
        }
        Ok(format!("{both:?}"))
    })
    .await;
    behaviour("notices", async |_| {
        let (c, mut seen) = connect_as(&config()).await?;
        c.batch_execute("DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END$$").await?;
        Ok(format!("{:?} {:?}", seen.recv().await, seen.recv().await))
    })
    .await;
    behaviour("settings", async |c| {
        c.batch_execute("SET search_path = pg_catalog; SET app.tenant = 't1'").await?;
        let seen = text(&c, "SHOW search_path").await? + &text(&c, "SHOW app.tenant").await?;
        c.batch_execute("RESET ALL").await?;
        Ok(seen + &text(&c, "SHOW search_path").await? + &failing(c.batch_execute("SET work_mem = 'nonsense'").await))
    })
    .await;
    behaviour("startup_options", async |_| {
        let (c, _) = connect_as(config().options("-c work_mem=9MB").application_name("behaviours")).await?;
        Ok(text(&c, "SHOW work_mem").await? + &text(&c, "SHOW application_name").await?)
    })
    .await;
    behaviour("temp_table", async |c| {
        c.batch_execute("CREATE TEMP TABLE mine AS SELECT 1 AS a").await?;
        let other = connect().await;
        Ok(text(&c, "SELECT * FROM mine").await? + &failing(text(&other, "SELECT * FROM mine").await))
    })
    .await;
    behaviour("advisory_lock", async |c| {
        c.batch_execute("SELECT pg_advisory_lock(4721)").await?;
        let other = connect().await;
        let mut seen = text(&other, "SELECT pg_try_advisory_lock(4721)").await?;
        seen += &text(&c, "SELECT pg_advisory_unlock(4721)").await?;
        Ok(seen + &text(&other, "SELECT pg_try_advisory_lock(4721)").await?)
    })
    .await;
    behaviour("generated_ids", async |c| {
        c.batch_execute("CREATE TEMP TABLE numbered (id serial, a text)").await?;
        let row = c.query_one("INSERT INTO numbered (a) VALUES ($1) RETURNING id", &[&"x"]).await?;
        Ok(format!("{} {}", row.get::<_, i32>(0), text(&c, "SELECT lastval()").await?))
    })
    .await;
    behaviour("wrong_password", async |_| Ok(failing(connect_as(config().password("wrong")).await.map(|_| ())))).await;
    behaviour("reconnect", async |_| {
        let mut seen = String::new();
        for n in 0..10i32 {
            seen += &connect().await.query_one("SELECT $1::int4::text", &[&n]).await?.get::<_, String>(0);
        }
        Ok(seen)
    })
    .await;
}

async fn streams() {
    behaviour("copy_in", async |c| {
        c.batch_execute("CREATE TEMP TABLE copied (a int, b text)").await?;
        let mut sink = pin!(c.copy_in("COPY copied FROM STDIN").await?);
        for n in 0..2000 {
            sink.send(std::io::Cursor::new(format!("{n}\trow\n").into_bytes())).await?;
        }
        let count = sink.finish().await?;
        let mut wrong = pin!(c.copy_in("COPY copied FROM STDIN").await?);
        wrong.send(std::io::Cursor::new(b"x\ty\n".to_vec())).await?;
        let wrong = failing(wrong.finish().await);
        // Dropped half way: a CopyFail.
        let mut dropped = Box::pin(c.copy_in("COPY copied FROM STDIN").await?);
        dropped.send(std::io::Cursor::new(b"1\ty\n".to_vec())).await?;
        drop(dropped);
        Ok(format!("{count} {wrong} {}", text(&c, "SELECT sum(a) FROM copied").await?))
    })
    .await;
    behaviour("copy_out", async |c| {
        let rows = c.copy_out("COPY (SELECT generate_series(1, 1000)) TO STDOUT").await?;
        Ok(format!("{:?}", rows.try_fold(0, async |sum, row| Ok(sum + row.len())).await?))
    })
    .await;
    behaviour("large_value", async |c| {
        let row = c.query_one("SELECT length($1::text), $2::bytea", &[&"x".repeat(4_000_000), &vec![0u8; 2_000_000]]).await?;
        Ok(format!("{} {}", row.get::<_, i32>(0), row.get::<_, &[u8]>(1).len()))
    })
    .await;
    behaviour("large_result", async |c| {
        let rows = c.query("SELECT n, repeat('y', 100) FROM generate_series(1, 50000) n", &[]).await?;
        Ok(rows.iter().map(|row| i64::from(row.get::<_, i32>(0))).sum::<i64>().to_string())
    })
    .await;
    behaviour("with_hold", async |c| {
        c.batch_execute("DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 10)").await?;
        let seen = text(&c, "FETCH 2 FROM held").await? + " " + &text(&c, "FETCH 2 FROM held").await?;
        c.batch_execute("CLOSE held").await?;
        Ok(seen)
    })
    .await;
}
