//! Tables: a summary of all peers, and one table per workload. The same cells become markdown and
//! HTML.

use crate::cell::Workload;
use crate::limits::Limits;
use crate::peer::Mode;
use crate::record::Run;
use crate::stats::{Row, Spread, rows};

/// A table of text.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) header: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// The workloads in the order in which they are shown.
pub(crate) const ORDER: [Workload; 10] = [
    Workload::Publish,
    Workload::Alone,
    Workload::EndToEnd,
    Workload::FanOut,
    Workload::WorkQueue,
    Workload::Latency,
    Workload::LatencyHalf,
    Workload::Queues,
    Workload::Backlog,
    Workload::Start,
];

/// One line per workload, one column per peer: medians.
pub(crate) fn summary(run: &Run) -> Table {
    let rows = rows(run);
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut titles: Vec<String> = Vec::new();
    let mut header = vec!["median of the repeats".to_owned()];
    header.extend(run.peers.iter().map(|facts| facts.name.clone()));
    for workload in ORDER {
        for row in rows.iter().filter(|row| row.workload == workload) {
            let title = cell_title(row);
            let Some(at) = run.peers.iter().position(|facts| facts.name == row.peer) else {
                continue;
            };
            let line = titles.iter().position(|known| *known == title).unwrap_or_else(|| {
                titles.push(title.clone());
                let mut line = vec!["-".to_owned(); run.peers.len() + 1];
                line[0].clone_from(&title);
                lines.push(line);
                lines.len() - 1
            });
            lines[line][at + 1] = headline(row);
        }
    }
    Table { title: "Summary".into(), header, rows: lines }
}

/// The name of a cell without its peer. A mode is said where both are measured.
pub(crate) fn cell_title(row: &Row) -> String {
    let size = match row.size {
        0 => String::new(),
        size if size >= 1_024 => format!(", {} KiB", size / 1_024),
        size => format!(", {size} B"),
    };
    let mode = match (row.workload, row.mode) {
        (Workload::Publish, Some(Mode::Single)) => ", one per call",
        (Workload::Publish, Some(Mode::Batched)) => ", batched",
        _ => "",
    };
    let unit = match row.workload {
        Workload::Start => " (s; MB)",
        Workload::Latency | Workload::LatencyHalf => " (p50 / p99 / p99.9 ms)",
        Workload::Alone => " (mean microseconds)",
        Workload::Backlog => " (after kill s / after stop s / drained msg/s)",
        _ => " (msg/s)",
    };
    format!("{}{size}{mode}{unit}", row.workload.title())
}

fn headline(row: &Row) -> String {
    if row.count == 0 {
        return "failed".into();
    }
    match row.workload {
        Workload::Start => {
            format!("{}; {}", seconds(row.start), figure(row.resident_mb))
        }
        Workload::Latency | Workload::LatencyHalf => latency(row),
        Workload::Alone => figure(1e6 / row.per_second.median),
        Workload::Backlog => format!(
            "{} / {} / {}",
            seconds(row.after_kill),
            seconds(row.after_stop),
            figure(row.per_second.median)
        ),
        _ => figure(row.per_second.median),
    }
}

fn latency(row: &Row) -> String {
    row.latency.map_or_else(
        || "-".into(),
        |l| format!("{} / {} / {}", millis(l.p50), millis(l.p99), millis(l.p999)),
    )
}

/// What the machine could do in the same minutes.
pub(crate) fn limits(run: &Run) -> Table {
    let line = |what: &str, of: fn(&Limits) -> f64| {
        let spread = Spread::of(run.limits.iter().map(of)).unwrap_or_default();
        vec![what.to_owned(), figure(spread.median), range(spread)]
    };
    let rows = vec![
        line("4 KiB and fdatasync, one after the other (microseconds)", |l| l.sync_micros),
        line("1 MiB and fdatasync, one after the other (MB/s)", |l| l.synced_mb_per_second),
        line("One TCP stream over loopback (MB/s)", |l| l.stream_mb_per_second),
        line("Waking a thread (microseconds)", |l| l.wake_up_micros),
    ];
    Table { title: "The machine alone".into(), header: words("|median|min..max"), rows }
}

/// All tables: one per workload, every peer, every repeat's spread.
pub(crate) fn details(run: &Run) -> Vec<Table> {
    let rows = rows(run);
    let of = |workload: &Workload| -> Vec<&Row> {
        rows.iter().filter(|row| row.workload == *workload).collect()
    };
    let with_rows = ORDER.iter().map(|workload| (*workload, of(workload)));
    with_rows
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(workload, rows)| match workload {
            Workload::Start => start_table(workload, &rows),
            Workload::Backlog => backlog_table(workload, &rows),
            _ => rate_table(workload, &rows),
        })
        .collect()
}

fn rate_table(workload: Workload, rows: &[&Row]) -> Table {
    let mut header = words("peer|bytes|mode|n|msg/s|min..max|MB/s|broker CPU s/M|client CPU s/M");
    header.extend(words("written per body byte|flushes/s|RSS MB|cores of others"));
    if workload.is_open_loop() {
        header.extend(words("asked msg/s|p50 / p99 / p99.9 ms|samples"));
    }
    let line = |row: &&Row| {
        #[expect(clippy::cast_precision_loss, reason = "small sizes")]
        let megabytes = row.per_second.median * row.size as f64 / 1e6;
        let mode = row.mode.map(|mode| format!("{mode:?}").to_lowercase()).unwrap_or_default();
        let mut line = vec![row.peer.clone(), row.size.to_string(), mode, row.count.to_string()];
        line.extend([figure(row.per_second.median), range(row.per_second), figure(megabytes)]);
        line.extend([row.broker_cpu, row.client_cpu, row.written, row.flushes].map(figure));
        line.extend([row.resident_mb, row.other_cores].map(figure));
        if workload.is_open_loop() {
            let samples = row.latency.map_or(0, |latency| latency.count);
            let asked = row.asked.map_or_else(|| "-".into(), figure);
            line.extend([asked, latency(row), samples.to_string()]);
        }
        with_failures(line, row)
    };
    Table { title: workload.title().into(), header, rows: rows.iter().map(line).collect() }
}

fn start_table(workload: Workload, rows: &[&Row]) -> Table {
    let header = words("peer|n|start to accepting s|min..max|RSS idle MB");
    let line = |row: &&Row| {
        let spread = row.start.map_or_else(|| "-".into(), range);
        let line = vec![row.peer.clone(), row.count.to_string(), seconds(row.start), spread];
        let line = [line, vec![figure(row.resident_mb)]].concat();
        with_failures(line, row)
    };
    Table { title: workload.title().into(), header, rows: rows.iter().map(line).collect() }
}

fn backlog_table(workload: Workload, rows: &[&Row]) -> Table {
    let mut header = words("peer|n|stored|RSS with it MB|killed: restart to first delivery s");
    header.extend(words("stopped: restart to first delivery s|drained msg/s|min..max"));
    header.extend(words("broker CPU s/M|client CPU s/M"));
    let line = |row: &&Row| {
        let stored = row.stored.map_or_else(|| "-".into(), figure);
        let mut line = vec![row.peer.clone(), row.count.to_string(), stored];
        line.extend([figure(row.resident_mb), seconds(row.after_kill), seconds(row.after_stop)]);
        line.extend([figure(row.per_second.median), range(row.per_second)]);
        line.extend([row.broker_cpu, row.client_cpu].map(figure));
        with_failures(line, row)
    };
    Table { title: workload.title().into(), header, rows: rows.iter().map(line).collect() }
}

fn with_failures(mut line: Vec<String>, row: &Row) -> Vec<String> {
    if let (Some(name), Some(failure)) = (line.first_mut(), row.failures.first()) {
        let failure = failure.lines().next().unwrap_or_default();
        *name = format!("{name} ({} failed: {failure})", row.failures.len());
    }
    line
}

fn words(text: &str) -> Vec<String> {
    text.split('|').map(str::to_owned).collect()
}

fn range(spread: Spread) -> String {
    format!("{}..{}", figure(spread.min), figure(spread.max))
}

fn seconds(spread: Option<Spread>) -> String {
    spread.map_or_else(|| "-".into(), |spread| figure(spread.median))
}

fn millis(micros: f64) -> String {
    figure(micros / 1e3)
}

/// Three significant digits, with k and M for what is large.
pub(crate) fn figure(value: f64) -> String {
    let (value, unit) = match value.abs() {
        v if v >= 1e6 => (value / 1e6, " M"),
        v if v >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 => 2,
        _ => 3,
    };
    format!("{value:.digits$}{unit}")
}

pub(crate) fn markdown(table: &Table) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "/")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = format!("|{}\n", " --- |".repeat(table.header.len()));
    let rows: String = table.rows.iter().map(|row| line(row)).collect();
    format!("## {}\n\n{}{rule}{rows}", table.title, line(&table.header))
}

/// The whole page in markdown.
pub(crate) fn document(run: &Run) -> String {
    let mut text = format!(
        "# Posthaste and its peers\n\n{} at commit {}; {} cores, {}, {} MB, Linux {}, {}; \
         load and broker share them. `{}`\n\n\
         Each figure is the median of up to {} repeats of {:.2} s after {:.2} s of warm-up, peers in \
         turn. Backlogs were filled for {:.1} s at most.\n\n",
        run.begun,
        run.commit,
        run.machine.cores,
        run.machine.processor,
        run.machine.memory_mb,
        run.machine.kernel,
        run.machine.file_system,
        run.command,
        run.repeat,
        run.window_seconds,
        run.warm_up_seconds,
        run.fill_seconds,
    );
    for skipped in &run.skipped {
        text += &format!("SKIPPED {skipped}\n\n");
    }
    let tables: Vec<String> = [summary(run), limits(run)]
        .into_iter()
        .chain(details(run))
        .map(|table| markdown(&table))
        .collect();
    text += &tables.join("\n");
    text += "\n## Settings\n";
    for facts in &run.peers {
        text += &format!("\n### {}\n\n{}; ", facts.name, facts.version);
        text += &format!("{}; a confirm means: {}.\n\n", facts.client, facts.confirm_means);
        for setting in &facts.settings {
            text += &format!("- {}: {} ({})\n", setting.what, setting.why, setting.doc);
        }
        for command in &facts.commands {
            text += &format!("- started by `{command}`\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::tests::run;

    #[test]
    fn figures_have_three_digits() {
        let shown = [1_234_567.0, 181_800.0, 5_707.0, 99.44, 0.719, 0.052, 0.0].map(figure);
        assert_eq!(shown, ["1.23 M", "182 k", "5707", "99.4", "0.72", "0.052", "0"]);
    }

    #[test]
    fn a_summary_has_a_line_per_cell_and_a_column_per_peer() {
        let table = summary(&run());
        assert_eq!(table.header.len(), 3);
        assert_eq!(table.rows.len(), 2);
        assert_eq!(table.rows[0][1..], ["2.50", "20.0"]);
        assert_eq!(table.rows[1][1..], ["-", "0.10 / 0.90 / 1.50"]);
    }

    #[test]
    fn the_document_says_failures_skips_and_settings() {
        let text = document(&run());
        for part in ["1 failed: it <broke>", "SKIPPED kafka", "x yes: because (its page)", "b --x"]
        {
            assert!(text.contains(part), "{part}");
        }
    }
}
