//! The differential tester: the same messages go to PostgreSQL and to pgshunt, and the same bytes must come back.
//!
//! A [`Play`] is what one client sends, turn by turn. [`author`] writes plays by chance, the same for the same seed.
//! A [`Stage`] performs one twice: straight at PostgreSQL, then through pgshunt with a pool of two while two more
//! sessions take turns in holding one of the servers. What may differ by right (process ids, OIDs) is masked.

pub mod author;
pub mod chance;
pub mod masks;
pub mod play;
pub mod script;
pub mod sql;
pub mod stage;

pub use chance::Chance;
pub use play::{Message, Play, Turn, Values};
pub use stage::Stage;

/// Performs the plays of these seeds; the first that differs is made smaller and fails the test.
#[track_caller]
pub fn rehearse(stage: &mut Stage, seeds: impl Iterator<Item = u64>) -> usize {
    let mut performed = 0;
    for seed in seeds {
        let play = author::play(seed);
        if let Some(difference) = stage.perform(&play) {
            let (smaller, difference) = shrink(stage, play, difference);
            panic!("seed {seed}, made smaller:\n{smaller}\n{difference}");
        }
        performed += 1;
    }
    performed
}

/// Leaves out turns and messages as long as a difference remains.
pub fn shrink(stage: &mut Stage, mut play: Play, mut difference: String) -> (Play, String) {
    let mut found = true;
    while std::mem::take(&mut found) {
        for smaller in play.smaller() {
            // What depends on the moment shows in one of a few tries, or is left in.
            if let Some(remaining) = (0..2).find_map(|_| stage.perform(&smaller)) {
                (play, difference, found) = (smaller, remaining, true);
                break;
            }
        }
    }
    (play, difference)
}
