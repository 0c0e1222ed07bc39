//! The page: one HTML file with everything in it, no script and nothing from a network.

use crate::cell::Workload;
use crate::peer::Facts;
use crate::plot::{self, Bar, Curve, escape};
use crate::record::Run;
use crate::stats::{Row, Spread, rows};
use crate::table::{self, ORDER, Table};

pub(crate) const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1c1e21;--soft:#5b616b;--ground:#fff;--line:#dcdfe4;
--ours:#c2410c;--synced:#3b5b8c;--loose:#a9b4c6}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa2ad;--ground:#15171a;--line:#33383f;
--ours:#fb923c;--synced:#7aa2dc;--loose:#4a5568}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);
max-width:1080px;margin:2em auto;padding:0 1em}
h1{font-size:1.7em}h2{margin-top:2.2em;border-bottom:1px solid var(--line)}h3{margin-top:1.4em}
p,li{max-width:75ch}.soft{color:var(--soft)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:.25em .7em;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal;min-width:13em}th{font-weight:600;color:var(--soft)}
code{font-size:.92em;overflow-wrap:anywhere}
svg{width:100%;height:auto;display:block}svg text{font:12px system-ui,sans-serif;fill:var(--ink)}
svg .label{text-anchor:end;fill:var(--soft)}.ours{fill:var(--ours)}.synced{fill:var(--synced)}
.loose{fill:var(--loose)}.spread{stroke:var(--ink);stroke-width:1.5;opacity:.55}
.grid{stroke:var(--line)}.curve{fill:none;stroke-width:1.8;stroke:var(--soft)}
.curve.ours{fill:none;stroke:var(--ours);stroke-width:2.8}
.c0{stroke:#3b82f6}.c1{stroke:#10b981}.c2{stroke:#a855f7}.c3{stroke:#ca8a04}.c4{stroke:#06b6d4}
.c5{stroke:#ec4899}.c6{stroke:#64748b}.c7{stroke:#84cc16}
.key span{display:inline-block;width:1em;height:.8em;margin:0 .4em 0 1.2em}
";

pub(crate) fn html(run: &Run) -> String {
    let all = rows(run);
    let mut body = head(run);
    body += &section("Summary", &table_html(&table::summary(run)));
    let alone = table::limits(run);
    body += &section(&alone.title, &table_html(&alone));
    for table in table::details(run) {
        let workload = ORDER.iter().find(|workload| workload.title() == table.title);
        let plots = workload.map(|workload| plots(run, &all, *workload)).unwrap_or_default();
        body += &section(&table.title, &format!("{plots}{}", table_html(&table)));
    }
    let settings: String = run.peers.iter().map(facts_html).collect();
    body += &section("Settings, line by line", &settings);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Posthaste and its peers</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
}

fn head(run: &Run) -> String {
    let machine = &run.machine;
    let skipped: String =
        run.skipped.iter().map(|why| format!("<p>SKIPPED {}</p>", escape(why))).collect();
    format!(
        "<h1>Posthaste and its peers</h1>\
         <p>{}, commit <code>{}</code>. {} cores ({}), {} MB, Linux {}, {}; the load shares them with \
         the broker. Command: <code>{}</code></p>\
         <p>Each figure is the median of up to {} repeats of {:.2} s after {:.2} s of warm-up; peers \
         took turns. Thin lines reach from the smallest to the largest repeat. Latencies are from \
         the intended time of sending, percentiles from merged histograms. A backlog was filled for \
         {:.1} s at most, so slow peers hold less; the table says how much.</p>\
         <p class=\"key\"><span style=\"background:var(--ours)\"></span>Posthaste, synced before confirm\
         <span style=\"background:var(--synced)\"></span>synced before confirm\
         <span style=\"background:var(--loose)\"></span>confirmed before it is synced</p>{skipped}",
        escape(&run.begun),
        escape(&run.commit),
        machine.cores,
        escape(&machine.processor),
        machine.memory_mb,
        escape(&machine.kernel),
        escape(&machine.file_system),
        escape(&run.command),
        run.repeat,
        run.window_seconds,
        run.warm_up_seconds,
        run.fill_seconds,
    )
}

fn section(title: &str, content: &str) -> String {
    format!("<h2>{}</h2>{content}", escape(title))
}

/// The plots of one workload: a latency curve, or bars for each of its cells.
fn plots(run: &Run, all: &[Row], workload: Workload) -> String {
    let of_workload = || all.iter().filter(|row| row.workload == workload && row.count > 0);
    match workload {
        Workload::Start => bars(run, of_workload(), "RSS idle, MB", |row| {
            Spread::of(std::iter::once(row.resident_mb))
        }),
        Workload::Backlog => {
            let killed =
                bars(run, of_workload(), "Killed: seconds to first delivery", |r| r.after_kill);
            let drained = bars(run, of_workload(), "Drained, msg/s", |row| Some(row.per_second));
            killed + &drained
        }
        Workload::Latency | Workload::LatencyHalf => {
            let merged = run.latencies.iter().filter(|merged| merged.workload == workload);
            let curves: Vec<Curve> = merged
                .map(|merged| Curve {
                    label: merged.peer.clone(),
                    ours: merged.peer == OURS,
                    colour: run.peers.iter().position(|f| f.name == merged.peer).unwrap_or(0),
                    points: merged.curve.clone(),
                })
                .collect();
            plot::curves(&curves)
        }
        _ => {
            let mut titles: Vec<String> = of_workload().map(table::cell_title).collect();
            titles.dedup();
            let each = titles.iter().map(|title| {
                let rows = of_workload().filter(|row| table::cell_title(row) == *title);
                bars(run, rows, title, |row| Some(row.per_second))
            });
            let costs = of_workload().filter(|row| row.size == 100 && is_faster_mode(row, all));
            let title = "Broker CPU seconds per million messages, 100 B";
            let costs = bars(run, costs, title, |row| Spread::of(std::iter::once(row.broker_cpu)));
            each.collect::<String>() + &costs
        }
    }
}

/// What the image shows: the cells that most people ask for.
const SHOWN: [(Workload, usize); 5] = [
    (Workload::Publish, 100),
    (Workload::Publish, 1_024),
    (Workload::EndToEnd, 100),
    (Workload::WorkQueue, 1_024),
    (Workload::FanOut, 1_024),
];

/// The image for other documents: messages a second, each peer in the mode that is faster for it.
pub(crate) fn image(run: &Run) -> String {
    let all = rows(run);
    let panels = SHOWN.iter().filter_map(|(workload, size)| {
        let of_peer = |facts: &Facts| {
            let of_cell = all.iter().filter(|row| {
                row.peer == facts.name && row.workload == *workload && row.size == *size
            });
            let best = of_cell
                .filter(|row| row.count > 0)
                .max_by(|a, b| f64::total_cmp(&a.per_second.median, &b.per_second.median))?;
            Some(bar(run, best, best.per_second))
        };
        let bars: Vec<Bar> = run.peers.iter().filter_map(of_peer).collect();
        let size =
            if *size >= 1_024 { format!("{} KiB", size / 1_024) } else { format!("{size} B") };
        let title = format!("{}, {size}, messages a second", workload.title());
        (!bars.is_empty()).then_some((title, bars))
    });
    plot::image(&panels.collect::<Vec<_>>())
}

fn bar(run: &Run, row: &Row, spread: Spread) -> Bar {
    let synced = run.peers.iter().any(|facts| facts.name == row.peer && facts.synced);
    Bar { label: row.peer.clone(), spread, synced, ours: row.peer == OURS }
}

/// Whether no other mode of the same cell is faster.
fn is_faster_mode(row: &Row, all: &[Row]) -> bool {
    let mut same = all.iter().filter(|other| {
        other.peer == row.peer && other.workload == row.workload && other.size == row.size
    });
    same.all(|other| other.per_second.median <= row.per_second.median)
}

/// The peer in whose repository this is.
const OURS: &str = "posthaste";

fn bars<'a>(
    run: &Run,
    rows: impl Iterator<Item = &'a Row>,
    title: &str,
    of: fn(&Row) -> Option<Spread>,
) -> String {
    let bars: Vec<Bar> = rows.filter_map(|row| Some(bar(run, row, of(row)?))).collect();
    if bars.is_empty() {
        return String::new();
    }
    format!("<h3>{}</h3>{}", escape(title), plot::bars(&bars))
}

pub(crate) fn table_html(table: &Table) -> String {
    let cells = |cells: &[String], tag: &str| -> String {
        cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect()
    };
    let rows: String =
        table.rows.iter().map(|row| format!("<tr>{}</tr>", cells(row, "td"))).collect();
    let header = cells(&table.header, "th");
    format!("<div class=\"wide\"><table><tr>{header}</tr>{rows}</table></div>")
}

fn facts_html(facts: &Facts) -> String {
    let settings = facts.settings.iter().map(|setting| {
        format!(
            "<li><code>{}</code>: {} <span class=\"soft\">({})</span></li>",
            escape(&setting.what),
            escape(&setting.why),
            escape(&setting.doc)
        )
    });
    let commands = facts
        .commands
        .iter()
        .map(|command| format!("<li>started by <code>{}</code></li>", escape(command)));
    let lines: String = settings.chain(commands).collect();
    format!(
        "<h3>{}</h3><p>{}; {}. A confirm means: {}.</p><ul>{lines}</ul>",
        escape(&facts.name),
        escape(&facts.version),
        escape(&facts.client),
        escape(&facts.confirm_means),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_stands_alone_and_escapes_what_it_shows() {
        let page = html(&crate::stats::tests::run());
        for foreign in ["<script", "http://", "https://", "src=", "@import", "<broke>"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        for part in ["<svg", "&lt;broke&gt;", "SKIPPED kafka", "x yes", "<polyline"] {
            assert!(page.contains(part), "{part}");
        }
        for tag in ["table", "svg", "ul", "div"] {
            let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
            assert_eq!(page.matches(&open).count(), page.matches(&close).count(), "{tag}");
        }
    }
}
