//! Tables of the curves, one for each load, and the whole as markdown.

use super::curve::{CURVES, Curve};
use super::record::{Figure, Growth, Row, rows};
use super::words;
use crate::stats::Spread;
use crate::table::{Table, figure, markdown};
use std::collections::BTreeSet;

/// The tables of a curve.
pub(crate) fn tables(rows: &[Row], curve: Curve) -> Vec<Table> {
    let of_curve = || rows.iter().filter(|row| row.curve == curve);
    let loads: BTreeSet<_> = of_curve().map(|row| row.load).collect();
    let table = |load| {
        let rows: Vec<&Row> = of_curve().filter(|row| row.load == load).collect();
        let figures: BTreeSet<Figure> =
            rows.iter().flat_map(|row| row.figures.keys().copied()).collect();
        let mut header = vec![words::axis(curve).to_owned(), "n".to_owned()];
        for figure in &figures {
            header.push(figure.title().to_owned());
            header.extend(figure.has_range().then(|| "min..max".to_owned()));
        }
        let rows = rows.iter().map(|row| line(row, &figures)).collect();
        Table { title: format!("{}: {}", words::title(curve), load.name()), header, rows }
    };
    loads.into_iter().map(table).collect()
}

impl Figure {
    /// Whether the table says its smallest and largest repeat.
    fn has_range(self) -> bool {
        matches!(self, Self::MessagesPerSecond | Self::RestartSeconds)
    }
}

fn line(row: &Row, figures: &BTreeSet<Figure>) -> Vec<String> {
    let mut line = vec![words::point(row.curve, row.x), row.count.to_string()];
    if let Some(failure) = row.failures.first() {
        let failure = failure.lines().next().unwrap_or_default();
        line[0] = format!("{} ({} FAILED: {failure})", line[0], row.failures.len());
    }
    if let Some(note) = row.notes.first() {
        line[0] = format!("{} ({note})", line[0]);
    }
    for name in figures {
        let spread = row.figures.get(name);
        let say = |text: fn(&Spread) -> String| spread.map_or_else(|| "-".to_owned(), text);
        line.push(say(|spread| figure(spread.median)));
        if name.has_range() {
            line.push(say(|spread| format!("{}..{}", figure(spread.min), figure(spread.max))));
        }
    }
    line
}

/// Where and how it was measured, in one paragraph.
pub(crate) fn head(growth: &Growth) -> String {
    let machine = &growth.machine;
    format!(
        "{} at commit {}; {} cores ({}), {} MB, Linux {}, {}; the load shares them with the broker. \
         `{}`: each figure is the median of up to {} repeats, each on a fresh broker, of {:.2} s after \
         {:.2} s of warm-up; all points were gone through, then all again. Messages are published in \
         batches of 1,000 or 1 MiB, whichever is less, and count when they are on disk. {}, started \
         by `{}`.",
        growth.begun,
        growth.commit,
        machine.cores,
        machine.processor,
        machine.memory_mb,
        machine.kernel,
        machine.file_system,
        growth.command,
        growth.repeat,
        growth.seconds,
        growth.warm_up_seconds,
        growth.version,
        growth.broker,
    )
}

/// Everything in markdown.
pub(crate) fn document(growth: &Growth) -> String {
    let rows = rows(growth);
    let mut text = format!("# Costs that grow\n\n{}\n\n", head(growth));
    for skipped in &growth.skipped {
        text += &format!("SKIPPED {skipped}\n\n");
    }
    for curve in CURVES {
        let tables = tables(&rows, curve);
        if tables.is_empty() {
            continue;
        }
        text += &format!("## {}\n\n{}\n\n", words::heading(curve), words::explanation(curve));
        for table in tables {
            // A table brings its own heading, which stands below that of its curve.
            text += &format!("#{}\n", markdown(&table));
        }
    }
    let end = text.trim_end().len();
    text.truncate(end);
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::record::tests::growth;

    #[test]
    fn every_load_has_a_table_and_every_failure_is_said() {
        let tables = tables(&rows(&growth()), Curve::Size);
        let titles: Vec<&str> = tables.iter().map(|table| table.title.as_str()).collect();
        assert_eq!(titles, ["Size: publish", "Size: publish and consume"]);
        assert_eq!(tables[0].rows[0], ["10 B", "2", "200", "100..300"]);
        assert_eq!(tables[0].rows[1][0], "1 MiB (1 FAILED: it <broke>)");
        assert!(tables.iter().all(|t| t.rows.iter().all(|row| row.len() == t.header.len())));
    }

    #[test]
    fn the_document_has_only_curves_that_were_measured_and_their_explanations() {
        let text = document(&growth());
        for part in [words::explanation(Curve::Size), "SKIPPED backlog 50 M", "### Size: publish"] {
            assert!(text.contains(part), "{part}");
        }
        assert!(!text.contains(words::heading(Curve::Groups)));
    }
}
