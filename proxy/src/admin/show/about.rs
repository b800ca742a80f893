//! What pgshunt says of itself: HELP, VERSION, STATE, MEM.

use super::Show;
use crate::admin::command::{COMMANDS, NOT_YET, Role};
use crate::admin::lookout::Seen;
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
        vec!["active".into(), yes(!seen.stopping).into()],
        vec!["paused".into(), yes(false).into()],
        vec!["suspended".into(), yes(false).into()],
        vec!["stopping".into(), yes(seen.stopping).into()],
    ]
}

/// What Linux says of the process, in KiB and bytes; pgshunt keeps no count of its own allocations.
pub(super) fn mem(_: &Seen) -> Vec<Row> {
    mem_of(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn mem_of(status: &str) -> Vec<Row> {
    let named = [("VmRSS", "resident"), ("VmHWM", "resident_max")];
    let rows = named.into_iter().filter_map(|(theirs, ours)| {
        let kib = kib(status, theirs)?;
        Some(vec![
            ours.into(),
            1024u64.into(),
            kib.into(),
            0u64.into(),
            (kib * 1024).into(),
        ])
    });
    rows.collect()
}

/// One number of `/proc/self/status`.
fn kib(status: &str, name: &str) -> Option<u64> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_from_the_kernel() {
        let rows = mem_of("Name:\tpgshunt\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n");
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0][0], "resident".into());
        assert_eq!(rows[0][4], (1024u64 * 1024).into());
        assert!(mem_of("").is_empty());
    }
}
