//! What the kernel knows of processes and disks: CPU time, memory and bytes written of a process and
//! all its descendants, flushes of the disks.

use std::collections::HashMap;
use std::fs;

/// The clock ticks in which the kernel counts CPU time (USER_HZ, a constant of its interface).
const TICKS_PER_SECOND: f64 = 100.0;

/// Processes: roots and all that descend from them.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    pids: Vec<u32>,
}

/// What processes have used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) written_bytes: u64,
    pub(crate) resident_bytes: u64,
}

impl Tree {
    pub(crate) fn of(roots: &[u32]) -> Self {
        let stats: Vec<Stat> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter_map(|pid| Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?))
            .collect();
        Self { pids: descendants(&stats, roots) }
    }

    pub(crate) fn usage(&self) -> Usage {
        let mut all = Usage::default();
        for pid in &self.pids {
            let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
            let stat = read("stat").ok().and_then(|text| Stat::parse(&text));
            all.cpu_seconds += stat.map_or(0.0, |stat| stat.cpu_seconds);
            all.written_bytes += read("io").map_or(0, |text| field(&text, "write_bytes:"));
            all.resident_bytes += read("status").map_or(0, |text| field(&text, "VmRSS:") * 1_024);
        }
        all
    }
}

/// CPU seconds of this process.
pub(crate) fn own_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text));
    stat.map_or(0.0, |stat| stat.cpu_seconds)
}

/// CPU seconds that anything on this machine has used, the host's share of it included.
pub(crate) fn machine_cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    busy_seconds(stat.lines().next().unwrap_or_default())
}

/// `cpu user nice system idle iowait irq softirq steal ...`: all but the idle ones.
fn busy_seconds(line: &str) -> f64 {
    let ticks: Vec<f64> =
        line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    (ticks.iter().sum::<f64>() - idle) / TICKS_PER_SECOND
}

/// Flush requests that the disks have completed.
pub(crate) fn flushes() -> u64 {
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let stats = disks.filter_map(|disk| fs::read_to_string(disk.path().join("stat")).ok());
    stats.map(|stat| flushes_of(&stat)).sum()
}

/// The sixteenth number of a disk's statistics.
fn flushes_of(stat: &str) -> u64 {
    stat.split_whitespace().nth(15).and_then(|number| number.parse().ok()).unwrap_or(0)
}

struct Stat {
    pid: u32,
    parent: u32,
    cpu_seconds: f64,
}

impl Stat {
    /// `pid (name) state parent ...`; the name may contain anything.
    fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.rsplit_once(')')?;
        let (pid, _name) = head.split_once(" (")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        Some(Self {
            pid: pid.trim().parse().ok()?,
            parent: fields.get(1)?.parse().ok()?,
            // Children that have ended are in the third and fourth, so that nothing is ever lost.
            cpu_seconds: (11..=14).map_while(ticks).sum::<f64>() / TICKS_PER_SECOND,
        })
    }
}

fn descendants(stats: &[Stat], roots: &[u32]) -> Vec<u32> {
    let parents: HashMap<u32, u32> = stats.iter().map(|stat| (stat.pid, stat.parent)).collect();
    let of_ours = |mut pid: u32| {
        for _ in 0..64 {
            if roots.contains(&pid) {
                return true;
            }
            let Some(&parent) = parents.get(&pid) else { return false };
            pid = parent;
        }
        false
    };
    stats.iter().map(|stat| stat.pid).filter(|pid| of_ours(*pid)).collect()
}

/// The number behind a name in `name: number unit` lines.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (be am) (x) S 7 42 42 0 -1 4194304 1 2 3 4 150 50 30 20 20 0 1 0 9 1 1";

    #[test]
    fn cpu_time_and_parent_are_read_behind_any_name() {
        let stat = Stat::parse(STAT).expect("a line of the kernel");
        assert_eq!((stat.pid, stat.parent), (42, 7));
        assert!((stat.cpu_seconds - 2.5).abs() < 1e-9);
    }

    #[test]
    fn grandchildren_count_and_strangers_do_not() {
        let stat = |pid, parent| Stat { pid, parent, cpu_seconds: 0.0 };
        let found = descendants(&[stat(5, 1), stat(6, 5), stat(7, 6), stat(8, 1)], &[5]);
        assert_eq!(found, [5, 6, 7]);
    }

    #[test]
    fn fields_and_flushes_are_found() {
        assert_eq!(field("read_bytes: 5\nwrite_bytes: 77\n", "write_bytes:"), 77);
        assert_eq!(field("VmRSS:\t  120 kB\n", "VmRSS:"), 120);
        assert_eq!(flushes_of("1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17"), 16);
        assert_eq!(flushes_of("1 2 3"), 0);
    }

    #[test]
    fn a_machine_is_busy_when_it_neither_idles_nor_waits() {
        assert!((busy_seconds("cpu  100 0 50 900 70 0 25 25 9 9") - 2.0).abs() < 1e-9);
    }

    #[test]
    fn this_process_has_used_memory() {
        assert!(Tree::of(&[std::process::id()]).usage().resident_bytes > 0);
    }
}
