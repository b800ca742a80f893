//! What pgshunt says of itself: HELP, VERSION, STATE, MEM.

use super::Show;
use crate::admin::command::{COMMANDS, NOT_YET, Role};
use crate::admin::lookout::Seen;
use crate::admin::process;
use crate::admin::table::{Column, Row, big, int, text};

pub(super) const VERSION: [Column; 1] = [text("version")];
pub(super) const HELP: [Column; 3] = [text("command"), text("needs"), text("about")];
pub(super) const STATE: [Column; 2] = [text("key"), text("value")];
pub(super) const MEM: [Column; 5] = [
    text("name"),
    int("size"),
    big("used"),
    big("free"),
    big("memtotal"),
];

pub(super) fn version(_: &Seen) -> Vec<Row> {
    vec![vec![concat!("pgshunt ", env!("CARGO_PKG_VERSION")).into()]]
}

/// The commands, then each word behind SHOW.
pub(super) fn help(_: &Seen) -> Vec<Row> {
    let needs = |role| match role {
        Role::Watcher => "watcher",
        Role::Admin => "admin",
    };
    let shows = Show::ALL.iter().map(|show| {
        vec![
            format!("SHOW {}", show.word()).into(),
            needs(Role::Watcher).into(),
            show.about().into(),
        ]
    });
    let works = COMMANDS.iter().filter(|entry| entry.about != NOT_YET);
    let commands =
        works.map(|entry| vec![entry.syntax.into(), needs(entry.needs).into(), entry.about.into()]);
    commands.chain(shows).collect()
}

pub(super) fn state(seen: &Seen) -> Vec<Row> {
    let yes = |is| if is { "yes" } else { "no" };
    vec![
        vec![
            "active".into(),
            yes(!seen.stopping && !seen.switches.pauses()).into(),
        ],
        vec!["paused".into(), yes(seen.switches.pauses()).into()],
        vec!["suspended".into(), yes(false).into()],
        vec!["stopping".into(), yes(seen.stopping).into()],
    ]
}

/// What Linux says of the process, in KiB and bytes; pgshunt keeps no count of its own allocations.
pub(super) fn mem(_: &Seen) -> Vec<Row> {
    let memory = process::memory();
    let row = |name: &'static str, bytes: u64| {
        vec![
            name.into(),
            1024u64.into(),
            (bytes / 1024).into(),
            0u64.into(),
            bytes.into(),
        ]
    };
    vec![
        row("resident", memory.resident_bytes),
        row("resident_max", memory.resident_bytes_max),
    ]
}
