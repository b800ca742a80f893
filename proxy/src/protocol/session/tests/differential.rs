//! Several clients on few servers, bytes cut anywhere, answers late by chance: each client must hear what it would hear
//! from a PostgreSQL of its own.

use super::notation::{asked, messages, told, told_in_essence};
use super::postgres::Postgres;
use super::world::World;

/// xorshift64*.
struct Chance(u64);

impl Chance {
    fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % count
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const QUERIES: [&str; 22] = [
    "Q{select 1}",
    "Q{select 2}",
    "Q{select broken}",
    "Q{begin}",
    "Q{begin}",
    "Q{commit}",
    "Q{commit}",
    "Q{rollback}",
    "Q{begin;select 3;commit}",
    "Q{select 4;select broken;select 5}",
    "Q{}",
    "Q{set timezone = 'west'}",
    "Q{set timezone = 'east'}",
    "Q{reset timezone}",
    "Q{show timezone}",
    "Q{deallocate all}",
    "Q{deallocate a}",
    "Q{discard all}",
    "Q{copy t to stdout}",
    "Q{copy t from stdin} d{row} c",
    "Q{copy t from stdin} d{bad} d{row} c",
    "F",
];

const PARTS: [&str; 23] = [
    "P{|select 1} B{} D{P|} E",
    "P{|show timezone} B{} E",
    "P{|begin} B{} E",
    "P{|commit} B{} E",
    "P{|rollback} B{} E",
    "P{|set timezone = 'north'} B{} E",
    "P{|select broken} B{} E",
    "P{|unparsable}",
    "P{|} B{} E",
    "P{a|select 1}",
    "P{a|select 2}",
    "P{b|show timezone}",
    "P{b|begin}",
    "D{S|a}",
    "D{S|}",
    "B{a} E",
    "B{b} D{P|} E",
    "B{} E",
    "C{S|a}",
    "C{S|b}",
    "C{P|}",
    "H",
    "E{nobody}",
];

/// Each ends with a Query, lest a later Bind repeats the COPY and its data never comes.
const COPIES: [&str; 4] = [
    "P{|copy t from stdin} B{} E S d{row} c S Q{}",
    "P{|copy t from stdin} B{} E d{row} c S Q{}",
    "P{|copy t from stdin} B{} E S d{bad} c S Q{}",
    "P{|copy t from stdin} B{} E S d{row} f{why} S Q{}",
];

fn unit(chance: &mut Chance) -> String {
    match chance.below(10) {
        0..=4 => chance.pick(&QUERIES).to_owned(),
        5 => chance.pick(&COPIES).to_owned(),
        _ => {
            let mut parts: Vec<&str> = (0..=chance.below(4)).map(|_| chance.pick(&PARTS)).collect();
            parts.push("S");
            parts.join(" ")
        }
    }
}

/// What a client sends and what it hears from a PostgreSQL of its own.
fn scripts(chance: &mut Chance, clients: usize) -> Vec<(String, String)> {
    let script = |_| {
        let units: Vec<String> = (0..=chance.below(8)).map(|_| unit(chance)).collect();
        let text = units.join(" ");
        let alone = Postgres::default().hear(&messages(&text));
        (text, told_in_essence(&alone))
    };
    (0..clients).map(script).collect()
}

fn run(seed: u64) {
    let mut chance = Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let clients = 1 + chance.below(3);
    let mut world = World::new(clients, clients);
    world.held_max = 1 + chance.below(3);
    let scripts = scripts(&mut chance, clients);
    let all: Vec<Vec<u8>> = scripts.iter().map(|(text, _)| messages(text)).collect();
    let mut sent = vec![0; clients];
    let longest = [3, 30, 3000][chance.below(3)];
    let patience = 1 + chance.below(4);
    while (0..clients).any(|who| sent[who] < all[who].len()) {
        let who = chance.below(clients);
        let until = (sent[who] + 1 + chance.below(longest)).min(all[who].len());
        // Nothing left to send is sent as nothing.
        world.send(who, &all[who][sent[who]..until]);
        sent[who] = until;
        for other in 0..clients {
            if chance.below(patience) == 0 && world.can_move(other) {
                world.hear(other, 1 + chance.below(longest));
            }
        }
    }
    world.settle();
    for (who, (text, alone)) in scripts.iter().enumerate() {
        let heard = &world.clients[who].heard;
        assert_eq!(
            &told_in_essence(heard),
            alone,
            "seed {seed}: client {who} said {text}\nand heard {}\nits server {:?}",
            told(heard),
            world
                .idle
                .iter()
                .chain(&world.clients[who].server)
                .map(|server| asked(&server.postgres.heard).replace(
                    std::str::from_utf8(super::super::probe::QUESTION).expect("text"),
                    "PROBE"
                ))
                .collect::<Vec<_>>()
        );
        assert!(
            world.clients[who].inbox.is_empty(),
            "seed {seed}: client {who} waits"
        );
    }
}

#[test]
fn every_client_hears_what_it_would_hear_from_a_postgresql_of_its_own() {
    let base = match std::env::var("PGSHUNT_SEED") {
        Ok(seed) => seed.parse().expect("PGSHUNT_SEED is a number"),
        Err(_) => std::time::UNIX_EPOCH
            .elapsed()
            .map_or(1, |since| since.as_nanos() as u64),
    };
    println!("PGSHUNT_SEED={base}");
    for n in 0..4000 {
        run(base.wrapping_add(n));
    }
}
