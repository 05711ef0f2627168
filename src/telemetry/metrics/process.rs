//! The metrics of the process, under the names that every Prometheus client uses.
//!
//! Read from `/proc/self` at each scrape; an unreadable value is omitted. Rejected: `prometheus`'s collector, which
//! pulls in two crates and keeps its own registry.

use std::fs;

/// Linux reports times to user space in hundredths of a second, on every architecture Rust's std supports there.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Process {
    /// Unix seconds.
    pub(super) start_time: Option<f64>,
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<f64>,
    pub(super) open_fds: Option<f64>,
}

impl Process {
    pub(super) fn read() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            start_time: start_time(&stat, &boot),
            cpu_seconds: cpu_seconds(&stat),
            resident_bytes: word_after(&status, "VmRSS:").map(|kib| kib * 1024.0),
            // One of them is the directory being read.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count().saturating_sub(1) as f64),
        }
    }
}

fn start_time(stat: &str, boot: &str) -> Option<f64> {
    Some(word_after(boot, "btime")? + field(stat, 22)? / TICKS_PER_SECOND)
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((field(stat, 14)? + field(stat, 15)?) / TICKS_PER_SECOND)
}

/// Returns a field of `/proc/PID/stat` by its number in proc(5). The second, the program's name, may contain spaces and
/// parentheses, so fields are counted from its end.
fn field(stat: &str, number: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(number - 3)?.parse().ok()
}

fn word_after(text: &str, key: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Process, cpu_seconds, start_time};

    const STAT: &str =
        "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 4 0 1250 1000 200 18446744073709551615";

    #[test]
    fn a_program_name_with_parentheses_is_skipped() {
        assert_eq!(start_time(STAT, "cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_012.5));
        assert_eq!(cpu_seconds(STAT), Some(2.0));
        assert_eq!(cpu_seconds(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_can_be_read() {
        let process = Process::read();
        assert!(process.resident_bytes.unwrap() > 0.0);
        assert!(process.open_fds.unwrap() >= 3.0);
        assert!(process.start_time.unwrap() > 1_600_000_000.0);
    }
}
