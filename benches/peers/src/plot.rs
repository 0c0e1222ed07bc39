//! Plots as inline SVG: bars with their spread, and latency curves. Colours come from the page's
//! style, so that both light and dark work.

use crate::stats::Spread;
use crate::table::figure;

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) spread: Spread,
    /// Whether what is confirmed is on disk.
    pub(crate) synced: bool,
    /// Drawn in the colour of Posthaste.
    pub(crate) ours: bool,
}

const WIDTH: f64 = 860.0;
const LABEL: f64 = 150.0;
const NUMBER: f64 = 90.0;
const ROW: f64 = 22.0;

/// Horizontal bars on a linear scale from zero, with a line from the smallest to the largest repeat.
pub(crate) fn bars(bars: &[Bar]) -> String {
    let height = height(bars);
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">{}</svg>", rows(bars))
}

#[expect(clippy::cast_precision_loss, reason = "few bars")]
fn height(bars: &[Bar]) -> f64 {
    bars.len() as f64 * ROW + 4.0
}

fn rows(bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.spread.max).fold(0.0, f64::max).max(1e-9);
    let scale = (WIDTH - LABEL - NUMBER) / most;
    let mut rows = String::new();
    for (at, bar) in bars.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "few bars")]
        let y = at as f64 * ROW;
        let class = match (bar.ours, bar.synced) {
            (true, _) => "ours",
            (false, true) => "synced",
            (false, false) => "loose",
        };
        let width = (bar.spread.median * scale).max(0.5);
        let (from, to) = (LABEL + bar.spread.min * scale, LABEL + bar.spread.max * scale);
        let (top, middle) = (y + 4.0, y + ROW / 2.0);
        rows += &format!(
            "<text x=\"{:.0}\" y=\"{:.0}\" class=\"label\">{}</text>\
             <rect x=\"{LABEL}\" y=\"{top:.0}\" width=\"{width:.1}\" height=\"14\" class=\"{class}\"/>\
             <path d=\"M{from:.1} {middle:.0}H{to:.1}\" class=\"spread\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\">{}</text>",
            LABEL - 8.0,
            y + 15.0,
            escape(&bar.label),
            to.max(LABEL + width) + 6.0,
            y + 15.0,
            figure(bar.spread.median),
        );
    }
    rows
}

/// Room for the title of a panel.
const TITLE: f64 = 34.0;

/// Panels of bars below each other, as an image that stands alone, on light and on dark.
pub(crate) fn image(panels: &[(String, Vec<Bar>)]) -> String {
    let (mut drawn, mut y) = (String::new(), 0.0);
    for (title, bars) in panels {
        drawn +=
            &format!("<text x=\"0\" y=\"{}\" class=\"title\">{}</text>", y + 22.0, escape(title));
        drawn += &format!("<g transform=\"translate(0 {})\">{}</g>", y + TITLE, rows(bars));
        y += TITLE + height(bars);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\"><style>\
         text{{font:12px sans-serif;fill:#808890}}.title{{font:bold 14px sans-serif}}\
         .label{{text-anchor:end}}.ours{{fill:#ea580c}}.synced{{fill:#4f74ad}}.loose{{fill:#a9b4c6}}\
         .spread{{stroke:#808890;stroke-width:1.5}}</style>{drawn}</svg>\n"
    )
}

/// A latency curve: (quantile, microseconds).
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pub(crate) label: String,
    pub(crate) ours: bool,
    /// The same for a peer in every plot.
    pub(crate) colour: usize,
    pub(crate) points: Vec<(f64, f64)>,
}

const HEIGHT: f64 = 320.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 150.0;
const BOTTOM: f64 = 28.0;
/// Where the axis of quantiles ends: 99.99 %.
const NINES: f64 = 4.0;
/// LIMIT: more curves than that share colours.
const COLOURS: usize = 8;

/// How many nines a quantile has; the largest value stands at the end of the axis.
fn nines(quantile: f64) -> f64 {
    (-(1.0 - quantile.min(0.999_999)).log10()).min(NINES)
}

/// Latency over quantile; both axes are logarithmic, so that the tail is seen.
pub(crate) fn curves(curves: &[Curve]) -> String {
    let all = || curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1.max(1.0)));
    let (low, high) = (all().fold(f64::MAX, f64::min), all().fold(1.0, f64::max));
    if low > high {
        return String::new();
    }
    let (bottom, top) = (low.log10().floor(), high.log10().ceil().max(low.log10().floor() + 1.0));
    let x = |quantile: f64| LEFT + nines(quantile) / NINES * (WIDTH - LEFT - RIGHT);
    let y = |micros: f64| {
        let part = (micros.max(1.0).log10() - bottom) / (top - bottom);
        (HEIGHT - BOTTOM) - part * (HEIGHT - BOTTOM - 10.0)
    };
    let mut drawn = String::new();
    #[expect(clippy::cast_possible_truncation, reason = "powers of ten of microseconds")]
    for power in (bottom as i32)..=(top as i32) {
        let (micros, end) = (10_f64.powi(power), WIDTH - RIGHT);
        let at = y(micros);
        let name = if power >= 3 { format!("{} ms", micros / 1e3) } else { format!("{micros} us") };
        drawn += &format!("<path d=\"M{LEFT} {at:.1}H{end}\" class=\"grid\"/>");
        drawn += &format!(
            "<text x=\"{}\" y=\"{:.1}\" class=\"label\">{name}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    let ticks = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];
    for (quantile, name) in ticks {
        let (at, end) = (x(quantile), HEIGHT - BOTTOM);
        drawn += &format!("<path d=\"M{at:.1} 10V{end}\" class=\"grid\"/>");
        drawn += &format!("<text x=\"{:.1}\" y=\"{:.0}\">{name}</text>", at - 12.0, HEIGHT - 8.0);
    }
    for (at, curve) in curves.iter().enumerate() {
        drawn += &line(curve, at, x, y);
    }
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">{drawn}</svg>")
}

fn line(curve: &Curve, at: usize, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
    let shown = curve.points.iter().filter(|(quantile, _)| *quantile < 1.0);
    let points: Vec<String> =
        shown.map(|(quantile, micros)| format!("{:.1},{:.1}", x(*quantile), y(*micros))).collect();
    let class = if curve.ours {
        "curve ours".to_owned()
    } else {
        format!("curve c{}", curve.colour % COLOURS)
    };
    // Names stand in a column, in the order of the peers, so that they never overlap.
    #[expect(clippy::cast_precision_loss, reason = "few curves")]
    let name_y = 22.0 + at as f64 * 18.0;
    let name_x = WIDTH - RIGHT + 14.0;
    format!(
        "<polyline points=\"{}\" class=\"{class}\"/>\
         <path d=\"M{name_x} {:.0}h18\" class=\"{class}\"/>\
         <text x=\"{}\" y=\"{name_y:.0}\">{}</text>",
        points.join(" "),
        name_y - 4.0,
        name_x + 24.0,
        escape(&curve.label),
    )
}

/// Text that is safe inside HTML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(label: &str, median: f64) -> Bar {
        let spread = Spread { median, min: median / 2.0, max: median * 2.0 };
        Bar { label: label.into(), spread, synced: true, ours: false }
    }

    #[test]
    fn the_longest_bar_and_its_spread_fit_the_plot() {
        let svg = bars(&[bar("a", 100.0), bar("b<", 50.0)]);
        let end = svg.split('H').skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok());
        let furthest = end.fold(0.0, f64::max);
        assert!(furthest <= WIDTH - NUMBER + 0.1, "{furthest}");
        assert!(svg.contains("b&lt;") && svg.starts_with("<svg") && svg.ends_with("</svg>"));
    }

    #[test]
    fn an_image_has_all_its_panels_one_below_the_other() {
        let panels =
            [("one".to_owned(), vec![bar("a", 1.0)]), ("two".to_owned(), vec![bar("b", 2.0)])];
        let svg = image(&panels);
        assert!(svg.contains("translate(0 34)") && svg.contains("translate(0 94)"), "{svg}");
        assert!(svg.contains(">one<") && svg.contains(">two<") && !svg.contains("var("));
    }

    #[test]
    fn each_nine_of_a_quantile_has_the_same_room() {
        assert!((nines(0.9) - 1.0).abs() < 1e-9);
        assert!((nines(0.999) - 3.0).abs() < 1e-9);
        assert!((nines(1.0) - NINES).abs() < 1e-9);
    }

    #[test]
    fn no_curves_draw_nothing_and_one_curve_is_drawn() {
        assert_eq!(curves(&[]), "");
        let points = vec![(0.0, 50.0), (0.5, 100.0), (1.0, 900.0)];
        let svg = curves(&[Curve { label: "a".into(), ours: true, colour: 0, points }]);
        assert_eq!(svg.matches("<polyline").count(), 1);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
