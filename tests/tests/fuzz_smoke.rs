//! Every fuzz subject meets some thousand random inputs. A failure prints the seed; `PGSHUNT_SEED` repeats it.

use pgshunt_tests::differential::chance::seed;
use pgshunt_tests::fuzzing::SUBJECTS;

/// Inputs for each subject.
const EXECUTIONS: u64 = 20_000;

#[test]
fn no_bytes_break_a_promise() {
    let now = std::time::UNIX_EPOCH.elapsed();
    let base = seed(now.map_or(1, |since| since.as_nanos() as u64));
    std::thread::scope(|scope| {
        for (name, subject) in SUBJECTS {
            scope.spawn(move || {
                for n in 0..EXECUTIONS {
                    let input = random_bytes(base.wrapping_add(n));
                    if let Err(panic) = std::panic::catch_unwind(|| subject(&input)) {
                        eprintln!("{name}: PGSHUNT_SEED={} breaks it", base.wrapping_add(n));
                        std::panic::resume_unwind(panic);
                    }
                }
            });
        }
    });
}

/// Up to 250 bytes out of a seed (xorshift64*): some of few values, some of all.
fn random_bytes(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    };
    let length = next() % 250;
    let narrow = next() % 4 == 0;
    let texts = b"-c=\\ '\"$;*/\0begin-select.set";
    (0..length)
        .map(|_| match narrow {
            true => texts[next() as usize % texts.len()],
            false => next() as u8,
        })
        .collect()
}
