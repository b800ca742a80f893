//! What a pgshunt that begins, or a Redis that forgets, does to answers that are shared.

use pgshunt::cache::redis::resp::Reply;
use pgshunt_tests::cached::column::{HITS, MISSES};
use pgshunt_tests::cached::{READ, said, shard_with_rows};
use pgshunt_tests::sharing::{config, is_ready, number, ready, stored, two};
use pgshunt_tests::{Proxy, Redis, until};

const BELIEVED: &str = "what others share is believed";

/// Waits until it shares and knows the tables, asking nothing that others have asked.
#[track_caller]
fn begun(proxy: &Proxy, shard: &pgshunt_tests::shard::Shard) {
    let mut wire = proxy.door(&shard.database).wire();
    until("it to share", || {
        wire.rows("SELECT count(*) FROM t WHERE id > 3");
        is_ready(proxy) && ["hit", "miss"].contains(&said(&mut wire).as_str())
    });
}

#[test]
fn one_of_two_that_is_started_again_finds_what_was_shared() {
    let (shard, redis) = (shard_with_rows(), Redis::start());
    let ([one, other], [mut asks, listens]) = two(&shard, &redis.section());
    drop((listens, other));
    // Some of what was heard late made answers old: the last one stays.
    let mut round = 0;
    until("one that begins to find an answer", || {
        round += 1;
        stored(&mut asks, &one, READ);
        let again = config(&shard, &redis.section()).start();
        begun(&again, &shard);
        assert!(again.log().contains(BELIEVED), "{}", again.log());
        let misses = number(&again, MISSES);
        let mut wire = again.door(&shard.database).wire();
        assert_eq!(wire.rows(READ), ["v3"]);
        let is_found = said(&mut wire) == "hit" && number(&again, HITS) == 1;
        is_found && number(&again, MISSES) == misses
    });
    println!("found in round {round}");
}

#[test]
fn what_was_written_while_one_was_away_is_seen() {
    let (shard, redis) = (shard_with_rows(), Redis::start());
    let mut direct = shard.database.door().wire();
    direct.run("CREATE VIEW w AS SELECT v FROM t WHERE id = 4");
    let one = config(&shard, &redis.section()).start();
    let mut asks = one.door(&shard.database).wire();
    ready(&mut asks, &one);
    for round in 0..6 {
        for read in [READ, "SELECT v FROM w"] {
            stored(&mut asks, &one, read);
        }
        // By a writer that passes neither, and a definition that changes with nothing written.
        let id = 5 + round % 2;
        direct.run(&format!("UPDATE t SET v = 'r{round}' WHERE id = 3"));
        direct.run(&format!(
            "CREATE OR REPLACE VIEW w AS SELECT v FROM t WHERE id = {id}"
        ));
        let again = config(&shard, &redis.section()).start();
        begun(&again, &shard);
        let mut wire = again.door(&shard.database).wire();
        assert_eq!(wire.rows(READ), [format!("r{round}")]);
        assert_eq!(wire.rows("SELECT v FROM w"), [format!("v{id}")]);
        until("the first to see it", || {
            asks.rows(READ) == [format!("r{round}")] && asks.rows("SELECT v FROM w") == [format!("v{id}")]
        });
    }
}

#[test]
fn one_alone_that_is_started_again_forgets_and_sees_what_was_written() {
    let (shard, redis) = (shard_with_rows(), Redis::start());
    let one = config(&shard, &redis.section()).start();
    let mut asks = one.door(&shard.database).wire();
    ready(&mut asks, &one);
    stored(&mut asks, &one, READ);
    drop((asks, one));
    assert!(!redis.answers().is_empty());
    shard
        .database
        .door()
        .wire()
        .run("UPDATE t SET v = 'new' WHERE id = 3");
    let again = config(&shard, &redis.section()).start();
    begun(&again, &shard);
    assert!(!again.log().contains(BELIEVED), "{}", again.log());
    let mut wire = again.door(&shard.database).wire();
    assert_eq!(wire.rows(READ), ["new"]);
    assert_eq!((said(&mut wire).as_str(), number(&again, HITS)), ("miss", 0));
}

/// A mark that lies there from before, and one that tells of another history.
#[test]
fn a_mark_of_one_that_is_gone_is_not_believed() {
    let (shard, redis) = (shard_with_rows(), Redis::start());
    let ([one, other], [mut asks, listens]) = two(&shard, &redis.section());
    drop((listens, other));
    stored(&mut asks, &one, READ);
    let changes = only_changes(&redis);
    until("a mark", || {
        matches!(redis.say(&[b"HGET", &changes, b"mark"]), Reply::Bulk(Some(_)))
    });
    drop((asks, one));
    let Reply::Bulk(Some(mark)) = redis.say(&[b"HGET", &changes, b"mark"]) else {
        panic!("no mark")
    };
    let mut direct = shard.database.door().wire();
    let bent = [&mark[..mark.len() - 1], b"x"].concat();
    for (round, written) in [
        &mark[..],
        &bent,
        b"",
        b"1 F/FFFFFFFF 0 link:a b c",
        &[b'x'; 100_000],
    ]
    .into_iter()
    .enumerate()
    {
        redis.say(&[b"HSET", &changes, b"mark", written]);
        direct.run(&format!("UPDATE t SET v = 'm{round}' WHERE id = 3"));
        let again = config(&shard, &redis.section()).start();
        begun(&again, &shard);
        assert!(!again.log().contains(BELIEVED), "{}", again.log());
        assert_eq!(
            again.door(&shard.database).wire().rows(READ),
            [format!("m{round}")]
        );
    }
}

/// As a master does that was replaced and comes back: it knows again what it knew before, and nobody hung up.
#[test]
fn a_redis_that_went_back_to_what_it_knew_before_is_found_out() {
    let (shard, redis) = (shard_with_rows(), Redis::start());
    let ([one, other], [mut writes, mut reads]) = two(&shard, &redis.section());
    let mut found = 0;
    for round in 0..5 {
        let shown = |value: &str, wire: &mut pgshunt_tests::Wire| {
            until("it to be seen", || wire.rows(READ) == [value]);
        };
        let before = format!("b{round}");
        writes.run(&format!("UPDATE t SET v = '{before}' WHERE id = 3"));
        shown(&before, &mut reads);
        all_told(&redis);
        // A text that nobody asks again before Redis has gone back.
        let text = format!("{READ} AND {round} = {round}");
        stored(&mut writes, &one, &text);
        let mut names = redis.answers();
        names.push(only_changes(&redis));
        let dumps: Vec<_> = names.iter().map(|name| redis.say(&[b"DUMP", name])).collect();
        let after = format!("a{round}");
        writes.run(&format!("UPDATE t SET v = '{after}' WHERE id = 3"));
        shown(&after, &mut reads);
        all_told(&redis);
        for (name, dump) in names.iter().zip(&dumps) {
            let Reply::Bulk(Some(dump)) = dump else {
                panic!("{dump:?}")
            };
            redis.say(&[b"RESTORE", name, b"60000", dump, b"REPLACE"]);
        }
        let was_found = number(&other, HITS);
        assert_eq!(reads.rows(&text), [after.as_str()]);
        assert_eq!(writes.rows(&text), [after.as_str()]);
        found += number(&other, HITS) - was_found;
        for (proxy, wire) in [(&one, &mut writes), (&other, &mut reads)] {
            ready(wire, proxy);
        }
    }
    assert_eq!(found, 0);
    assert!(
        other.log().contains("Redis has forgotten what it was told"),
        "{}",
        other.log()
    );
}

/// Waits until nothing more is told of the table for a while.
#[track_caller]
fn all_told(redis: &Redis) {
    let changes = only_changes(redis);
    let count = || redis.say(&[b"HGET", &changes, b"any:t"]);
    until("all to be told", || {
        let before = count();
        std::thread::sleep(std::time::Duration::from_millis(500));
        before == count()
    });
}

/// The name of what says what has changed.
#[track_caller]
fn only_changes(redis: &Redis) -> Vec<u8> {
    match redis.say(&[b"KEYS", b"pgshunt:changes:*"]) {
        Reply::Array(Some(mut names)) => match names.remove(0) {
            Reply::Bulk(Some(name)) => name,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}
