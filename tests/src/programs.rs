//! PostgreSQL's own programs, and what the operating system says about a process.

use std::process::Command;
use std::sync::OnceLock;

use pgshunt::cli::demo::cluster::Installation;

/// A client program: psql, pgbench, pg_dump.
pub fn client(name: &str) -> Command {
    static FOUND: OnceLock<Installation> = OnceLock::new();
    FOUND
        .get_or_init(|| Installation::find().expect("PostgreSQL"))
        .client(name)
}

/// Sends a signal by name: `TERM`, `KILL`, `STOP`.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(sent.expect("kill").success(), "process {pid} is gone");
}

/// Memory a process holds now, in bytes.
pub fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.expect("VmRSS").trim().parse::<u64>().expect("a number") * 1024
}

/// The most memory a process has held, in bytes.
pub fn resident_bytes_max(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes.expect("VmHWM").trim().parse::<u64>().expect("a number") * 1024
}

/// Processor time a process has used, in seconds, to a hundredth.
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let after = stat.rsplit_once(')').expect("a name in parentheses").1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    // Linux counts in hundredths, whatever its timer does.
    (ticks(11) + ticks(12)) / 100.0
}
