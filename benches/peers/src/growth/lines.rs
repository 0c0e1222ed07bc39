//! Plots of lines as inline SVG: a logarithmic axis from left to right, with a place for zero, and an
//! axis upwards that is logarithmic where values differ much. Colours come from the page's style.

use crate::plot::escape;
use crate::stats::Spread;
use crate::table::figure;

/// One line of a plot.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) label: String,
    /// By x.
    pub(crate) points: Vec<(f64, Spread)>,
    /// Where every repeat failed.
    pub(crate) failed: Vec<f64>,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 28.0;
/// Room for the name of a line above the plot.
const NAME: f64 = 230.0;
/// Values that differ by more are shown on a logarithmic axis.
const LINEAR_MAX: f64 = 20.0;
const TICKS: f64 = 5.0;
/// LIMIT: more lines than that share colours; the page has eight.
const COLOURS: usize = 8;

/// Values to places from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
enum Scale {
    Linear {
        most: f64,
        step: f64,
    },
    /// In powers of ten; zero is one before the first.
    Log {
        from: f64,
        to: f64,
    },
}

impl Scale {
    /// From left to right: as long as the values reach.
    fn across(values: &[f64]) -> Self {
        let logs = || values.iter().filter(|value| **value > 0.0).map(|value| value.log10());
        let (low, high) = (logs().fold(f64::MAX, f64::min), logs().fold(f64::MIN, f64::max));
        if low > high {
            return Self::Log { from: -1.0, to: 1.0 };
        }
        let has_zero = values.iter().any(|value| *value <= 0.0);
        let from = if has_zero { low - 1.0 } else { low };
        Self::Log { from, to: if high > from { high } else { from + 1.0 } }
    }

    /// Upwards: from zero, or in whole powers of ten where values differ much.
    fn upwards(values: &[f64]) -> Self {
        let positive = || values.iter().copied().filter(|value| *value > 0.0);
        let (low, high) = (positive().fold(f64::MAX, f64::min), positive().fold(0.0, f64::max));
        if high <= 0.0 {
            return Self::Linear { most: 1.0, step: 0.5 };
        }
        if high / low > LINEAR_MAX {
            return Self::Log { from: low.log10().floor(), to: high.log10().ceil() };
        }
        let step = round_step(high / TICKS);
        Self::Linear { most: (high / step).ceil() * step, step }
    }

    fn place(&self, value: f64) -> f64 {
        match self {
            Self::Linear { most, .. } => value / most,
            Self::Log { from, to } if value <= 0.0 => 0.0 * (to - from),
            Self::Log { from, to } => ((value.log10() - from) / (to - from)).clamp(0.0, 1.0),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "few powers of ten")]
    fn ticks(&self) -> Vec<f64> {
        match *self {
            Self::Linear { most, step } => {
                (0..=(most / step).round() as i32).map(|at| f64::from(at) * step).collect()
            }
            Self::Log { from, to } => {
                (from.ceil() as i32..=to.floor() as i32).map(|power| 10_f64.powi(power)).collect()
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten: the next one that is not less.
fn round_step(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * power >= value * 0.999_999);
    step.unwrap_or(10.0) * power
}

/// All lines in one plot; `name` says a value on the axis from left to right.
pub(crate) fn lines(lines: &[Line], name: impl Fn(f64) -> String) -> String {
    let mut across: Vec<f64> = lines
        .iter()
        .flat_map(|line| line.points.iter().map(|point| point.0).chain(line.failed.iter().copied()))
        .collect();
    across.sort_by(f64::total_cmp);
    across.dedup();
    if across.is_empty() {
        return String::new();
    }
    let upwards: Vec<f64> = lines
        .iter()
        .flat_map(|line| line.points.iter().flat_map(|(_, spread)| [spread.min, spread.max]))
        .collect();
    let (sideways, upright) = (Scale::across(&across), Scale::upwards(&upwards));
    let x = |value: f64| LEFT + sideways.place(value) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| (HEIGHT - BOTTOM) - upright.place(value) * (HEIGHT - BOTTOM - TOP);
    let (bottom, end) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let mut drawn = String::new();
    for value in upright.ticks() {
        let at = y(value);
        drawn += &format!("<path d=\"M{LEFT} {at:.1}H{end}\" class=\"grid\"/>");
        let (left, at) = (LEFT - 6.0, at + 4.0);
        let value = figure(value);
        drawn += &format!("<text x=\"{left}\" y=\"{at:.1}\" class=\"label\">{value}</text>");
    }
    for value in &across {
        let (at, text) = (x(*value), escape(&name(*value)));
        drawn += &format!("<path d=\"M{at:.1} {TOP}V{bottom}\" class=\"grid\"/>");
        let (left, below) = (at - 4.0 * text.len() as f64 / 1.3, HEIGHT - 8.0);
        drawn += &format!("<text x=\"{left:.1}\" y=\"{below}\">{text}</text>");
    }
    for (at, line) in lines.iter().enumerate() {
        drawn += &one(line, at, &x, &y);
    }
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">{drawn}</svg>")
}

fn one(line: &Line, at: usize, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let class = match at {
        0 => "curve ours".to_owned(),
        _ => format!("curve c{}", (at - 1) % COLOURS),
    };
    let places: Vec<String> = line
        .points
        .iter()
        .map(|(value, spread)| format!("{:.1},{:.1}", x(*value), y(spread.median)))
        .collect();
    let mut drawn = format!("<polyline points=\"{}\" class=\"{class}\"/>", places.join(" "));
    for (value, spread) in &line.points {
        let (left, middle) = (x(*value), y(spread.median));
        let (low, high) = (y(spread.min), y(spread.max));
        drawn +=
            &format!("<circle cx=\"{left:.1}\" cy=\"{middle:.1}\" r=\"3\" class=\"{class}\"/>");
        drawn += &format!("<path d=\"M{left:.1} {low:.1}V{high:.1}\" class=\"spread\"/>");
    }
    for value in &line.failed {
        let (left, bottom) = (x(*value), HEIGHT - BOTTOM);
        drawn += &format!(
            "<path d=\"M{:.1} {:.1}l10 10m0 -10l-10 10\" class=\"{class}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" class=\"label\">failed</text>",
            left - 5.0,
            bottom - 5.0,
            left - 8.0,
            bottom - 8.0,
        );
    }
    #[expect(clippy::cast_precision_loss, reason = "few lines")]
    let left = LEFT + at as f64 * NAME;
    drawn += &format!("<path d=\"M{left} 16h18\" class=\"{class}\"/>");
    drawn + &format!("<text x=\"{}\" y=\"20\">{}</text>", left + 24.0, escape(&line.label))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread { median, min: median / 1.5, max: median * 1.5 }
    }

    fn line(values: &[(f64, f64)]) -> Line {
        let points = values.iter().map(|(x, y)| (*x, spread(*y))).collect();
        Line { label: "a<".into(), points, failed: Vec::new() }
    }

    #[test]
    fn each_tenfold_has_the_same_room_and_zero_stands_before_it() {
        let scale = Scale::across(&[0.0, 100.0, 10_000.0]);
        assert_eq!(scale, Scale::Log { from: 1.0, to: 4.0 });
        let places = [0.0, 100.0, 1_000.0, 10_000.0].map(|value| scale.place(value));
        assert!(places[0].abs() < 1e-9 && (places[3] - 1.0).abs() < 1e-9);
        assert!(((places[2] - places[1]) - (places[3] - places[2])).abs() < 1e-9);
    }

    #[test]
    fn values_that_differ_little_stand_on_zero_and_others_on_powers_of_ten() {
        assert_eq!(Scale::upwards(&[300.0, 900.0]), Scale::Linear { most: 1_000.0, step: 200.0 });
        assert_eq!(Scale::upwards(&[3.0, 900.0]), Scale::Log { from: 0.0, to: 3.0 });
        assert_eq!(Scale::upwards(&[3.0, 900.0]).ticks(), [1.0, 10.0, 100.0, 1_000.0]);
        assert_eq!(Scale::upwards(&[0.0]), Scale::Linear { most: 1.0, step: 0.5 });
    }

    #[test]
    fn steps_are_round() {
        let near = |value: f64, step: f64| (round_step(value) / step - 1.0).abs() < 1e-6;
        assert!(near(180.0, 200.0) && near(0.03, 0.05) && near(700.0, 1_000.0) && near(20.0, 20.0));
    }

    #[test]
    fn one_point_zero_and_failures_are_drawn_within_the_plot() {
        let failed = Line { failed: vec![1_000.0], ..line(&[(0.0, 5.0), (10.0, 7.0)]) };
        for all in [vec![line(&[(1.0, 0.0)])], vec![failed, line(&[(10.0, 4_000.0)])]] {
            let svg = lines(&all, |x| format!("{x}"));
            assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.contains("a&lt;"), "{svg}");
            let at = svg.split("cx=\"").skip(1).filter_map(|rest| rest.split('"').next());
            let at: Vec<f64> = at.filter_map(|at| at.parse().ok()).collect();
            assert!(at.iter().all(|at| (LEFT..=WIDTH - RIGHT).contains(at)), "{at:?}");
        }
        assert_eq!(lines(&[], |x| format!("{x}")), "");
    }

    #[test]
    fn a_point_that_failed_is_marked() {
        let svg = lines(&[Line { failed: vec![9.0], ..line(&[(1.0, 5.0)]) }], |x| format!("{x}"));
        assert_eq!(svg.matches(">failed<").count(), 1);
    }
}
