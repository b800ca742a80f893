//! Ctrl-C, SIGTERM and SIGHUP as a flag that anybody may look at or wait for. What to do about it is the caller's.

use std::io;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Has somebody asked for the end?
#[derive(Clone, Default)]
pub struct Interrupt {
    shared: Arc<(Mutex<bool>, Condvar)>,
}

impl Interrupt {
    /// Listens from now on, on a thread of its own. The second signal ends the process at once; the system then ends
    /// its servers.
    pub fn listen() -> io::Result<Interrupt> {
        let interrupt = Interrupt::default();
        let raised = interrupt.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let signals = {
            let _entered = runtime.enter();
            let kinds = [
                SignalKind::interrupt(),
                SignalKind::terminate(),
                SignalKind::hangup(),
            ];
            kinds.map(signal)
        };
        let [interrupted, terminated, hung_up] = signals;
        let mut signals = [interrupted?, terminated?, hung_up?];
        let wait = move || {
            runtime.block_on(next(&mut signals));
            raised.raise();
            runtime.block_on(next(&mut signals));
            std::process::exit(INTERRUPTED);
        };
        std::thread::Builder::new().name("signals".into()).spawn(wait)?;
        Ok(interrupt)
    }

    fn raise(&self) {
        let (flag, changed) = &*self.shared;
        *flag.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = true;
        changed.notify_all();
    }

    /// Has it been raised?
    pub fn is_raised(&self) -> bool {
        let (flag, _) = &*self.shared;
        *flag.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until it is raised, at most this long; says whether it is.
    pub fn wait(&self, patience: Duration) -> bool {
        let (flag, changed) = &*self.shared;
        let deadline = Instant::now() + patience;
        let mut raised = flag.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while !*raised {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = changed.wait_timeout(raised, left);
            raised = woken.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        *raised
    }
}

async fn next([a, b, c]: &mut [Signal; 3]) {
    tokio::select! { _ = a.recv() => {} _ = b.recv() => {} _ = c.recv() => {} }
}

/// The exit code of a process that a signal ended early, as shells have it.
pub const INTERRUPTED: i32 = 130;
