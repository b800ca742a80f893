//! What Linux knows of this process. Where `/proc` is missing everything is 0.

use crate::metrics::Process;

/// Clock ticks in a second as `/proc` counts them (`USER_HZ`), the same on every architecture we run on.
const TICKS: f64 = 100.0;

/// Memory, processor time and open files; the rest is left at its default.
pub fn memory() -> Process {
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    let (status, stat) = (read("/proc/self/status"), read("/proc/self/stat"));
    Process {
        resident_bytes: bytes(&status, "VmRSS"),
        resident_bytes_max: bytes(&status, "VmHWM"),
        cpu_s: cpu(&stat),
        open_fds: std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
        ..Process::default()
    }
}

/// One number of `/proc/self/status`, which has them in KiB.
fn bytes(status: &str, name: &str) -> u64 {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0u64) * 1024
}

/// `utime` and `stime` of `/proc/self/stat`; the process' name before them is in brackets and may hold anything.
fn cpu(stat: &str) -> f64 {
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_from_the_kernel() {
        let status = "Name:\tpgshunt\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        assert_eq!(bytes(status, "VmRSS"), 1024 * 1024);
        assert_eq!(bytes(status, "VmData"), 0);
        let stat = "7 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(cpu(stat), 2.0);
        assert_eq!(cpu(""), 0.0);
    }
}
