//! The second level of the result cache: answers several pgshunts share, and what Redis may do to them.

use std::time::{Duration, Instant};

use pgshunt_tests::cached::column::{FOREIGN, HITS, REDIS, STORED};
use pgshunt_tests::cached::{READ, said, shard_with_rows, shown};
use pgshunt_tests::redis::{REDIS_PASSWORD, REDIS_SECRET};
use pgshunt_tests::sharing::{config, number, ready, stored, two};
use pgshunt_tests::{Redis, until};

#[test]
fn what_one_asked_another_is_answered_by() {
    let (shard, redis) = (shard_with_rows(), Redis::start());
    let ([one, other], [mut asks, mut listens]) = two(&shard, &redis.section());
    let mut tries = 0;
    // What was heard of late makes an answer old: then it is stored again.
    until("an answer of the other one's", || {
        // Another text each time: what the other keeps itself it does not look for.
        tries += 1;
        let sql = &format!("SELECT id, v FROM t WHERE id < 4 AND {tries} > 0 ORDER BY id");
        stored(&mut asks, &one, sql);
        let before = number(&other, HITS);
        let direct = shard.database.door().wire().extended(sql, &[]);
        assert_eq!(listens.extended(sql, &[]), direct);
        number(&other, HITS) > before && said(&mut listens) == "hit"
    });
    // Nothing of the question or its answer is in a name; nothing secret is in a log.
    for proxy in [&one, &other] {
        let log = proxy.log();
        assert!(
            !log.contains(REDIS_PASSWORD) && !log.contains(REDIS_SECRET),
            "{log}"
        );
    }
}

#[test]
fn a_write_through_one_makes_the_others_answers_old() {
    let (shard, redis) = (shard_with_rows(), Redis::start());
    let ([one, other], [mut writes, mut reads]) = two(&shard, &redis.section());
    for round in 0..5 {
        stored(&mut writes, &one, READ);
        reads.rows(READ);
        writes.run(&format!("UPDATE t SET v = 'r{round}' WHERE id = 3"));
        assert_eq!(writes.rows(READ), [format!("r{round}")], "its own write");
        let written = Instant::now();
        until("the write to be seen", || {
            reads.rows(READ) == [format!("r{round}")]
        });
        assert!(
            written.elapsed() < Duration::from_secs(2),
            "{:?}",
            written.elapsed()
        );
        // A third hears of nothing but what Redis says, and is not told what was before.
        redis.say(&[b"FLUSHALL"]);
    }
    drop((one, other));
}

#[test]
fn what_lies_there_and_is_not_ours_is_a_miss() {
    let (shard, redis) = (shard_with_rows(), Redis::start());
    let proxy = config(&shard, &redis.section()).start();
    let mut wire = proxy.door(&shard.database).wire();
    ready(&mut wire, &proxy);
    stored(&mut wire, &proxy, READ);
    let name = redis.answers().remove(0);
    let sealed = match redis.say(&[b"GET", &name]) {
        pgshunt::cache::redis::resp::Reply::Bulk(Some(sealed)) => sealed,
        other => panic!("{other:?}"),
    };
    let end = sealed.len() - 1;
    let bent = [&sealed[..end], &[sealed[end] ^ 1]].concat();
    let long = vec![b'x'; 4 << 20];
    // A Redis that is slow is not waited for, so each of them may come more than once.
    until("the poisons to be seen", || {
        for poison in [&b""[..], b"x", &bent, &sealed[..end], &long] {
            redis.say(&[b"SET", &name, poison, b"PX", b"50000"]);
            // A change nobody wrote: the first level forgets, the second is asked.
            proxy.console().wire().run("CLEAR_CACHE");
            assert_eq!(wire.rows(READ), ["v3"]);
        }
        number(&proxy, FOREIGN) >= 3
    });
    // An answer that has no end of its life, and things that are no strings.
    for words in [
        [&b"SET"[..], &name, &sealed, b"KEEPTTL"],
        [b"HSET", &name, b"a", b"b"],
        [b"RPUSH", &name, b"a", b"b"],
    ] {
        redis.say(&[b"DEL", &name]);
        redis.say(&words);
        proxy.console().wire().run("CLEAR_CACHE");
        assert_eq!(wire.rows(READ), ["v3"]);
    }
    // What says what has changed is no list of numbers: Redis is left alone, and nothing is wrong.
    let changes = match redis.say(&[b"KEYS", b"pgshunt:changes:*"]) {
        pgshunt::cache::redis::resp::Reply::Array(Some(mut names)) => names.remove(0),
        other => panic!("{other:?}"),
    };
    let pgshunt::cache::redis::resp::Reply::Bulk(Some(changes)) = changes else {
        panic!("no name");
    };
    redis.say(&[b"SET", &changes, b"x"]);
    until("Redis to be left alone", || {
        wire.run("UPDATE t SET v = 'w' WHERE id = 3");
        assert_eq!(wire.rows(READ), ["w"]);
        shown(&proxy, REDIS) == "off"
    });
    redis.say(&[b"DEL", &changes]);
    ready(&mut wire, &proxy);
}

#[test]
fn a_redis_that_is_slow_or_gone_is_a_miss() {
    let (shard, mut redis) = (shard_with_rows(), Redis::start());
    let proxy = config(&shard, &redis.section()).start();
    let mut wire = proxy.door(&shard.database).wire();
    ready(&mut wire, &proxy);
    redis.say(&[b"CLIENT", b"PAUSE", b"5000", b"ALL"]);
    let paused = Instant::now();
    for id in 1..=10 {
        assert_eq!(
            wire.rows(&format!("SELECT v FROM t WHERE id = {id}")),
            [format!("v{id}")]
        );
    }
    assert!(
        paused.elapsed() < Duration::from_secs(4),
        "{:?}",
        paused.elapsed()
    );
    redis.kill();
    wire.run("UPDATE t SET v = 'gone' WHERE id = 3");
    assert_eq!(wire.rows(READ), ["gone"]);
    until("Redis to be missed", || shown(&proxy, REDIS) == "off");
    assert_eq!(wire.rows(READ), ["gone"]);
    redis.again();
    ready(&mut wire, &proxy);
    stored(&mut wire, &proxy, READ);
    assert!(proxy.log().contains("answers are not shared"));
}

/// Which rounds of five hundred the two pgshunts and a client of the server itself write in.
const WRITERS: [usize; 3] = [0, 167, 334];

/// Rounds that ask by the same text.
const BLOCK: usize = 20;

/// One row, raised by three writers in turn; both readers look all the time. Redis dies and comes back in between.
#[test]
fn nobody_reads_what_was_before_a_write_it_may_know_of() {
    let (shard, mut redis) = (shard_with_rows(), Redis::start());
    shard
        .database
        .door()
        .wire()
        .run("CREATE TABLE n (id int PRIMARY KEY, n int); INSERT INTO n VALUES (1, 0)");
    let (proxies, mut wires) = two(&shard, &redis.section());
    let mut direct = shard.database.door().wire();
    // When each number was acknowledged.
    let mut written = vec![Instant::now()];
    let mut own = [0, 0];
    let sum = |column| proxies.iter().map(|proxy| number(proxy, column)).sum::<u64>();
    until("an answer that the other finds in Redis", || {
        let sql = format!(
            "SELECT n FROM n WHERE id = 1 AND {0} = {0}",
            number(&proxies[0], STORED)
        );
        wires.iter_mut().for_each(|wire| drop(wire.value(&sql)));
        sum(HITS) > 0
    });
    // On a busy machine more of them are needed until the answers in Redis have had their say.
    let mut round = 0;
    while round < 12_000 || round < 100_000 && !(round % 1000 == 0 && sum(HITS) > 10) {
        round += 1;
        match round {
            4000 => redis.kill(),
            6500 => redis.again(),
            9000 => drop(redis.say(&[b"FLUSHALL"])),
            _ => {}
        }
        let writer = WRITERS
            .iter()
            .position(|turn| round % 500 == *turn)
            .unwrap_or(WRITERS.len());
        let sql = format!("UPDATE n SET n = {round} WHERE id = 1");
        match writer {
            0 | 1 => wires[writer].run(&sql),
            2 => direct.run(&sql),
            // Few rounds write: the answers in between are shared.
            _ => {}
        }
        let number = if writer < 3 { round } else { written.len() - 1 };
        written.resize(number + 1, Instant::now());
        if let Some(last) = own.get_mut(writer) {
            *last = round;
        }
        // The second asks what it has not asked before, after the first: only Redis may know.
        let block = round / BLOCK;
        let read = &format!("SELECT n FROM n WHERE id = 1 AND {block} = {block}");
        let is_last = round % BLOCK == BLOCK - 1;
        let readers = if is_last || writer < 3 { &[0, 1][..] } else { &[0] };
        for &one in readers {
            let asked = Instant::now();
            let seen: usize = wires[one].value(read).parse().expect("a number");
            assert!(
                seen >= own[one],
                "round {round}: {seen} after its own {}",
                own[one]
            );
            if let Some(next) = written.get(seen + 1) {
                let late = asked.saturating_duration_since(*next);
                assert!(
                    late < Duration::from_secs(2),
                    "round {round}: {seen} is {late:?} old"
                );
            }
        }
    }
    let (stored, hits) = (sum(STORED), sum(HITS));
    println!("{stored} answers were stored in Redis, {hits} found there");
    assert!(
        stored > 10 && hits > 10,
        "{stored} answers were stored, {hits} found"
    );
    for proxy in &proxies {
        until("Redis to be there again", || shown(proxy, REDIS) == "shared");
    }
}
