//! What nobody uses is forgotten, by PgBouncer's names: `autodb_idle_timeout` for databases that `*` made,
//! `pool_idle_timeout` for any pool.

use pgshunt_tests::{Config, Database, Door, Wire, cluster, until};

/// Is there a pool of this database?
fn has_pool(console: &mut Wire, database: &str) -> bool {
    let pools = console.rows("SHOW POOLS");
    pools.iter().any(|row| row.starts_with(&format!("{database}|")))
}

/// A way into another database than the one that is named in the configuration.
fn into(door: &Door, database: &Database) -> Door {
    Door {
        database: database.name.clone(),
        ..door.as_user(&database.name)
    }
}

#[test]
fn autodb_idle_timeout() {
    let (named, left, kept) = (cluster::database(), cluster::database(), cluster::database());
    let any = format!(
        "[[database]]\nname = \"*\"\ncontrol = \"postgres://postgres@/postgres\"\npool = {{ min_size = 1 }}\n\
         [[database.shard]]\nservers = [\"127.0.0.1:{}\"]",
        named.cluster.port
    );
    let proxy = Config::new(&named)
        .limit("autodb_idle_timeout = \"300ms\"")
        .section(&any)
        .start();
    let door = proxy.door(&named);
    let mut console = proxy.console().wire();
    door.wire().run("SELECT 1");
    let mut stays = into(&door, &kept).wire();
    stays.run("SELECT 1");
    into(&door, &left).wire().run("SELECT 1");
    assert!(has_pool(&mut console, &left.name));
    until("the database to be forgotten", || {
        !has_pool(&mut console, &left.name)
    });
    assert_eq!(left.servers(), 0, "its servers are closed, min_size or not");
    // Neither one that has a client, nor one that the configuration names.
    assert!(has_pool(&mut console, &kept.name) && has_pool(&mut console, &named.name));
    assert_eq!(stays.value("SELECT 1"), "1");
    // It is there again for who asks.
    assert_eq!(into(&door, &left).wire().value("SELECT 2"), "2");
    assert!(has_pool(&mut console, &left.name));
}

#[test]
fn pool_idle_timeout() {
    let database = cluster::database();
    let role = database.role("visitor");
    let proxy = Config::new(&database)
        .limit("pool_idle_timeout = \"200ms\"")
        .pool("server_idle_timeout = \"300ms\"")
        .start();
    let door = proxy.door(&database);
    let mut console = proxy.console().wire();
    let mut stays = door.wire();
    stays.run("SELECT 1");
    door.as_user(&role).wire().run("SELECT 1");
    let mut pools = || {
        let rows = console.rows("SHOW POOLS");
        rows.iter().filter(|row| row.starts_with(&database.name)).count()
    };
    assert_eq!(pools(), 2);
    until("the visitor's pool to be forgotten", || pools() == 1);
    assert_eq!(stays.value("SELECT 1"), "1");
    assert_eq!(door.as_user(&role).wire().value("SELECT 1"), "1");
    // Never, unless it is asked for.
    proxy.console().wire().run("SET pool_idle_timeout = 0");
    assert_eq!(pools(), 2);
}
