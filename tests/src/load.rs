//! pgbench that goes on for as long as a test looks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{ScopedJoinHandle, scope};

use crate::Door;

/// Programs that run again and again.
pub struct Load<'a>(Vec<ScopedJoinHandle<'a, ()>>);

impl Load<'_> {
    /// Has none of them failed?
    pub fn goes_on(&self) -> bool {
        self.0.iter().all(|program| !program.is_finished())
    }
}

/// Does something while pgbench runs with each of these arguments, over and over. A transaction that fails fails the test.
pub fn under_load(door: &Door, arguments: &[&str], body: impl FnOnce(&Load<'_>)) {
    let done = AtomicBool::new(false);
    scope(|scope| {
        let _done = Done(&done);
        let run = |arguments: &&str| {
            let (arguments, done) = (arguments.to_string(), &done);
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    door.pgbench(&arguments);
                }
            })
        };
        let load = Load(arguments.iter().map(run).collect());
        body(&load);
    });
}

/// Says that it is done when it is dropped: so others' work ends, however the test ends.
pub struct Done<'a>(pub &'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
