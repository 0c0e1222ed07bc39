//! The page: one HTML file with everything in it, no script and nothing from a network.

use super::curve::{CURVES, Curve, Load};
use super::lines::{Line, lines};
use super::record::{Figure, Growth, Row, rows};
use super::{table, words};
use crate::page::{STYLE, table_html};
use crate::plot::escape;

pub(crate) fn html(growth: &Growth) -> String {
    let rows = rows(growth);
    let skipped = growth.skipped.iter().map(|why| format!("<p>SKIPPED {}</p>", escape(why)));
    let mut body = format!(
        "<h1>Costs that grow</h1><p>{}</p><p>Thin upright lines reach from the smallest to the largest \
         repeat.</p>{}",
        escape(&table::head(growth).replace('`', "")),
        skipped.collect::<String>()
    );
    for curve in CURVES {
        let tables = table::tables(&rows, curve);
        if tables.is_empty() {
            continue;
        }
        body += &format!("<h2>{}</h2>", escape(words::heading(curve)));
        body += &format!("<p>{}</p>", escape(words::explanation(curve)));
        for figure in plotted(curve) {
            body += &plot(&rows, curve, *figure);
        }
        for table in tables {
            body += &format!("<h3>{}</h3>{}", escape(&table.title), table_html(&table));
        }
        body += &commands(growth, curve);
    }
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Posthaste: costs that grow</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
}

/// What is drawn of a curve; the rest is in its tables.
fn plotted(curve: Curve) -> &'static [Figure] {
    match curve {
        Curve::Connections => &[Figure::MessagesPerSecond, Figure::ResidentMb],
        Curve::Queues => &[Figure::MessagesPerSecond, Figure::ResidentMb, Figure::RestartSeconds],
        Curve::Groups => &[Figure::MessagesPerSecond, Figure::PeakMb],
        Curve::Size => &[Figure::MessagesPerSecond, Figure::MegabytesPerSecond],
        Curve::Backlog => &[Figure::MessagesPerSecond, Figure::ResidentMb, Figure::RestartSeconds],
    }
}

#[expect(clippy::cast_precision_loss, reason = "points are below 2^53")]
fn plot(rows: &[Row], curve: Curve, figure: Figure) -> String {
    let mut all: Vec<(Load, Line)> = Vec::new();
    for row in rows.iter().filter(|row| row.curve == curve) {
        let at = all.iter().position(|(load, _)| *load == row.load).unwrap_or_else(|| {
            let label = row.load.name().to_owned();
            all.push((row.load, Line { label, points: Vec::new(), failed: Vec::new() }));
            all.len() - 1
        });
        let line = &mut all[at].1;
        match row.figures.get(&figure) {
            Some(spread) => line.points.push((row.x as f64, *spread)),
            None if row.count == 0 => line.failed.push(row.x as f64),
            None => {}
        }
    }
    // A load without this figure fails in the plot of another.
    let all: Vec<Line> =
        all.into_iter().map(|(_, line)| line).filter(|line| !line.points.is_empty()).collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was a point")]
    let drawn = lines(&all, |x| words::point(curve, x as u64));
    if drawn.is_empty() {
        return String::new();
    }
    let title = format!("{}, by {}", figure.title(), words::axis(curve));
    format!("<h3>{}</h3>{drawn}", escape(&title))
}

/// The loads of the largest points, as they were run.
fn commands(growth: &Growth, curve: Curve) -> String {
    let mut last: Vec<(Load, &str)> = Vec::new();
    for sample in growth.samples.iter().filter(|sample| sample.curve == curve) {
        let Some(command) = &sample.command else { continue };
        last.retain(|(load, _)| *load != sample.load);
        last.push((sample.load, command));
    }
    let line = |(load, command): &(Load, &str)| {
        format!("<li>{}: <code>{}</code></li>", escape(load.name()), escape(command))
    };
    format!("<ul>{}</ul>", last.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::record::tests::growth;

    #[test]
    fn the_page_stands_alone_and_escapes_what_it_shows() {
        let page = html(&growth());
        for foreign in ["<script", "http://", "https://", "src=", "@import", "<broke>"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        for part in ["<svg", "&lt;broke&gt;", "SKIPPED backlog", "<polyline", "bench pub"] {
            assert!(page.contains(part), "{part}");
        }
        for tag in ["table", "svg", "ul", "div", "p"] {
            let open = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(open, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn a_plot_has_a_line_for_each_load_that_has_the_figure() {
        let rows = rows(&growth());
        let count = |figure| plot(&rows, Curve::Size, figure).matches("<polyline").count();
        assert_eq!(count(Figure::MessagesPerSecond), 2);
        assert_eq!(count(Figure::RestartSeconds), 0);
    }
}
