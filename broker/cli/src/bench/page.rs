//! A result as one HTML page that needs nothing else: the rate of each run, and latency by percentile.

use crate::bench::series::Series;
use std::fmt::Write as _;

/// Percentiles of the curve, and how they are called.
const STEPS: [(f64, &str); 7] = [
    (0.5, "50%"),
    (0.75, "75%"),
    (0.9, "90%"),
    (0.99, "99%"),
    (0.999, "99.9%"),
    (0.9999, "99.99%"),
    (1.0, "max"),
];
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;

const HEAD: &str = "<!doctype html><meta charset=\"utf-8\"><title>posthaste bench</title>\
<style>body{font:15px system-ui,sans-serif;max-width:44em;margin:2em auto;padding:0 1em}\
table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #8884}\
svg{width:100%;height:auto}text{font-size:12px;fill:currentColor}pre{white-space:pre-wrap}\
:root{color-scheme:light dark}</style>";

/// The page.
pub(crate) fn page(series: &Series) -> String {
    let mut page = HEAD.to_owned();
    let kind = series.0.first().map_or("none", |run| run.kind);
    // Writing to a string cannot fail.
    let mut add = |text: String| page.push_str(&text);
    add(format!(
        "<h1>posthaste bench {kind}</h1><table><tr><th>run<th>msg/s<th>p50 us<th>p99 us<th>p99.9 us<th>missing"
    ));
    for (at, run) in series.0.iter().enumerate() {
        let latency = |quantile| run.latency.micros(quantile);
        let missing = run.missing.map_or_else(|| "not looked for".to_owned(), |n| n.to_string());
        add(format!(
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}<td>{missing}",
            at + 1,
            run.rate(),
            latency(0.5),
            latency(0.99),
            latency(0.999),
        ));
    }
    add("</table><h2>Latency of all runs, by percentile</h2>".into());
    add(curve(series));
    let setup = series.0.first().map(|run| run.setup.to_string()).unwrap_or_default();
    add(format!("<h2>Load</h2><pre>{}</pre>", escaped(&setup)));
    page
}

/// Microseconds on a logarithmic scale over the percentiles.
fn curve(series: &Series) -> String {
    let all = series.latency();
    if all.count() == 0 {
        return "<p>No latencies were measured.</p>".into();
    }
    let values = STEPS.map(|(quantile, _)| all.micros(quantile).max(1.0));
    let top = values.into_iter().fold(10.0, f64::max).log10();
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">");
    let mut points = String::new();
    for (at, (value, (_, name))) in values.into_iter().zip(STEPS).enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "seven steps")]
        let x = 40.0 + at as f64 * (WIDTH - 100.0) / (STEPS.len() - 1) as f64;
        let y = HEIGHT - 30.0 - value.log10() / top * (HEIGHT - 60.0);
        let _written = write!(points, "{x:.1},{y:.1} ");
        let _written = write!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"#36c\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value:.0} us</text>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
            y - 8.0,
            HEIGHT - 8.0,
        );
    }
    let line = "fill=\"none\" stroke=\"#36c\" stroke-width=\"2\"";
    let _written = write!(svg, "<polyline points=\"{points}\" {line}/></svg>");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_load_becomes_markup() {
        assert_eq!(escaped("<b>&"), "&lt;b>&amp;");
    }

    #[test]
    fn a_page_without_latencies_says_so() {
        assert!(page(&Series(Vec::new())).contains("No latencies"));
    }
}
