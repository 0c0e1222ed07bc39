//! `posthaste explain`: an error code with what it means and what to do; without one, all of them.

use crate::codes::{Explanation, all};
use crate::errors::{Exit, Failure, Outcome};
use crate::output::{Cell, Output};
use clap::Args;
use serde_json::json;

/// Explains an error code, or lists all of them.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste explain PH-0201\n  posthaste explain")]
pub(crate) struct Explain {
    /// The code, as PH-0201 or 201; without it, all codes are listed.
    code: Option<String>,
}

/// `PH-0201`.
pub(crate) fn code(number: u16) -> String {
    format!("PH-{number:04}")
}

fn find(text: &str) -> Option<Explanation> {
    let digits = text.trim_start_matches(['P', 'p']).trim_start_matches(['H', 'h']);
    let number: u16 = digits.trim_start_matches('-').parse().ok()?;
    all().find(|explanation| explanation.number == number)
}

pub(crate) fn run(args: &Explain, output: Output) -> Outcome {
    let Some(wanted) = &args.code else {
        let rows = all().map(|x| vec![Cell::text(&code(x.number)), Cell::text(x.title)]);
        output.rows(
            "codes",
            &["CODE", "MEANING"],
            rows.collect(),
            all().map(|x| object(&x)).collect(),
        )?;
        return Ok(Exit::Done);
    };
    let Some(found) = find(wanted) else {
        return Err(Failure::new(Exit::NotFound, None, format!("there is no code {wanted}"))
            .step("all", "posthaste explain"));
    };
    if output.is_text() {
        output.text(&format!(
            "{}  {}\n\n  {}\n\n  What to do: {}",
            code(found.number),
            found.title,
            found.meaning,
            found.remedy
        ))?;
    } else {
        output.value(object(&found))?;
    }
    Ok(Exit::Done)
}

fn object(explanation: &Explanation) -> serde_json::Value {
    json!({
        "code": code(explanation.number),
        "title": explanation.title,
        "meaning": explanation.meaning,
        "remedy": explanation.remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_found_however_it_is_written() {
        for text in ["PH-0201", "ph-0201", "0201", "201", "PH0201"] {
            assert_eq!(find(text).map(|x| x.number), Some(201), "{text}");
        }
        assert!(find("PH-9999").is_none());
        assert!(find("orders").is_none());
    }
}
