//! Answers shared in a cluster of Redis: where they lie, and what a slot that moves or a master that dies does to them.

use pgshunt::cache::redis::resp::Reply;
use pgshunt_tests::cached::{READ, shard_with_rows};
use pgshunt_tests::certificates::Certificates;
use pgshunt_tests::redis::REDIS_PASSWORD;
use pgshunt_tests::sharing::{config, is_ready, share, two};
use pgshunt_tests::{Proxy, RedisCluster, Wire, until};

/// Everything of pgshunt's that lies at this node.
fn names(cluster: &RedisCluster, at: usize) -> Vec<Vec<u8>> {
    let Reply::Array(Some(names)) = cluster.nodes[at].say(&[b"KEYS", b"pgshunt:*"]) else {
        panic!("no list of names");
    };
    let name = |reply| match reply {
        Reply::Bulk(Some(name)) => name,
        other => panic!("{other:?}"),
    };
    names.into_iter().map(name).collect()
}

/// Writes and reads by both until both share again; each answer must be right at once or, of the other's write, in time.
#[track_caller]
fn goes_on(proxies: &[Proxy; 2], wires: &mut [Wire; 2], what: &str) {
    let mut round = 0;
    until("both to share again", || {
        round += 1;
        let value = format!("{what}{round}");
        wires[0].run(&format!("UPDATE t SET v = '{value}' WHERE id = 3"));
        assert_eq!(wires[0].rows(READ), [value.as_str()]);
        until("the other one to see it", || {
            wires[1].rows(READ) == [value.as_str()]
        });
        round > 5 && proxies.iter().all(is_ready)
    });
    let [one, other] = wires;
    share(
        (&proxies[0], one),
        (&proxies[1], other),
        &format!("{what}{round}"),
    );
}

#[test]
fn a_cluster_shares_and_a_slot_that_moves_or_a_master_that_dies_is_a_miss() {
    let (shard, mut cluster) = (shard_with_rows(), RedisCluster::start());
    let (proxies, mut wires) = two(&shard, &cluster.section());
    let [one, other] = &mut wires;
    share((&proxies[0], one), (&proxies[1], other), "v3");
    // All of it lies at one node, in one slot.
    let holder = cluster.holder().expect("a node with answers");
    let all = names(&cluster, holder);
    assert!(all.len() >= 2, "{all:?}");
    let slot = cluster.slot(&all[0]);
    assert!(all.iter().all(|name| cluster.slot(name) == slot), "{all:?}");
    let masters = (0..3).filter(|at| *at != holder);
    assert!(masters.clone().all(|at| names(&cluster, at).is_empty()));
    // The slot moves, with all that lies there: what is there is of another run, and nobody's any more.
    let next = masters.clone().next().expect("another master");
    cluster.move_slot(slot, holder, next);
    goes_on(&proxies, &mut wires, "moved");
    assert_eq!(cluster.holder(), Some(next));
    // And comes back.
    cluster.move_slot(slot, next, holder);
    goes_on(&proxies, &mut wires, "back");
    assert_eq!(cluster.holder(), Some(holder));
    // Its replica takes over while both work, by order and without a word to the clients.
    until("the replica to take over", || {
        cluster.nodes[3 + holder].say(&[b"CLUSTER", b"FAILOVER"]);
        std::thread::sleep(std::time::Duration::from_millis(200));
        format!("{:?}", cluster.nodes[3 + holder].say(&[b"ROLE"]))
            .contains(&format!("{:?}", b"master".to_vec()))
    });
    goes_on(&proxies, &mut wires, "ordered");
    assert_eq!(cluster.holder(), Some(3 + holder));
    // That one dies, and the first is its replica by now.
    until("the first to be its replica", || {
        let told = cluster.nodes[3 + holder].say(&[b"INFO", b"replication"]);
        matches!(told, Reply::Bulk(Some(told)) if String::from_utf8_lossy(&told).contains("state=online"))
    });
    cluster.nodes[3 + holder].kill();
    goes_on(&proxies, &mut wires, "died");
    assert_eq!(cluster.holder(), Some(holder));
    for proxy in &proxies {
        assert!(!proxy.log().contains(REDIS_PASSWORD), "{}", proxy.log());
    }
}

#[test]
fn a_cluster_in_tls_shares_and_goes_on_where_a_slot_has_moved() {
    let (shard, files) = (shard_with_rows(), Certificates::new(&["node"]));
    let cluster = RedisCluster::by_tls(&files);
    let section = |ca: &str| format!("{}sslrootcert = \"{}\"\n", cluster.section(), files.path(ca));
    let (proxies, mut wires) = two(&shard, &section("ca.crt"));
    let [one, other] = &mut wires;
    share((&proxies[0], one), (&proxies[1], other), "v3");
    let holder = cluster.holder().expect("a node with answers");
    let next = (0..3).find(|at| *at != holder).expect("another master");
    cluster.move_slot(cluster.slot(&names(&cluster, holder)[0]), holder, next);
    goes_on(&proxies, &mut wires, "moved");
    assert_eq!(cluster.holder(), Some(next));
    // Signed by another: no answer goes there, and every question has one.
    let stranger = config(&shard, &section("other.crt")).start();
    let mut wire = stranger.door(&shard.database).wire();
    let expected = wires[0].rows(READ);
    until("it to be refused", || {
        assert_eq!(wire.rows(READ), expected);
        stranger.log().contains("answers are not shared") && stranger.log().contains("no TLS")
    });
}
