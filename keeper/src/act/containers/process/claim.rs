//! Whose process an attempt is: a number that the system has given to another one since is never adopted or killed.

use std::{fs, path::Path};

/// Who runs an attempt.
pub(super) struct Claim {
    /// The shell's, and its group's.
    pub(super) pid: i32,
    start_ticks: u64,
    boot: String,
}

impl Claim {
    /// From an attempt's folder; `None` while nobody has claimed it.
    pub(super) fn read(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join("pid")).ok()?;
        let mut lines = text.lines();
        let (stat, boot) = (lines.next()?, lines.next()?);
        let (pid, start_ticks, _) = parse_stat(stat)?;
        (lines.next() == Some("end")).then(|| Self { pid, start_ticks, boot: boot.to_owned() })
    }

    /// Whether that very process still runs.
    pub(super) fn is_alive(&self) -> bool {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        boot.trim_end() == self.boot
            && parse_stat(&stat).is_some_and(|(pid, start_ticks, state)| {
                pid == self.pid && start_ticks == self.start_ticks && !matches!(state, 'Z' | 'X')
            })
    }
}

/// Process id, start time in ticks since boot, and state, from a line of `/proc/<pid>/stat` (proc(5)).
fn parse_stat(line: &str) -> Option<(i32, u64, char)> {
    let pid = line.split(' ').next()?.parse().ok()?;
    // The second field is the program's name, which may hold anything, even brackets.
    let rest = line.rsplit_once(')')?.1.trim_start();
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((pid, fields.nth(18)?.parse().ok()?, state))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_program_is_called() {
        let line = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 9 10";
        assert_eq!(parse_stat(line), Some((42, 123_456, 'S')));
        assert_eq!(parse_stat("42 (sh"), None);
    }

    #[test]
    fn only_the_very_process_is_alive() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned();
        let (pid, start_ticks, _) = parse_stat(&stat).unwrap();
        assert!(Claim { pid, start_ticks, boot: boot.clone() }.is_alive());
        assert!(!Claim { pid, start_ticks: start_ticks + 1, boot: boot.clone() }.is_alive());
        assert!(!Claim { pid, start_ticks, boot: "another".into() }.is_alive());
        assert!(!Claim { pid: i32::MAX, start_ticks, boot }.is_alive());
    }
}
