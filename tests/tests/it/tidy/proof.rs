//! The table of results in `docs/reliability.md` is what the lines of `docs/proof.tsv` add up to. `tests/proof/run` adds
//! lines, and has this test write the table (`POSTHASTE_PROOF=write`).

use super::tree;
use std::collections::BTreeMap;

const RESULTS: &str = "docs/proof.tsv";
const PAGE: &str = "docs/reliability.md";
const BEGIN: &str = "<!-- results: written by tests/proof/run -->\n";
const END: &str = "<!-- end of results -->";

/// What the runs of one rig came to.
#[derive(Debug, Default)]
struct Sum {
    runs: u64,
    /// In the order in which they were first said.
    counts: Vec<(String, u64)>,
    last: String,
}

impl Sum {
    fn add(&mut self, counts: &str) {
        self.runs += 1;
        for count in counts.split(',').map(str::trim) {
            // Seconds and what is not a count are of one run only.
            let Some((number, kind)) = count.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match self.counts.iter_mut().find(|(known, _)| known == kind) {
                Some((_, sum)) => *sum += number,
                None => self.counts.push((kind.to_owned(), number)),
            }
        }
    }

    fn said(&self) -> String {
        let counts = self.counts.iter().map(|(kind, count)| format!("{} {kind}", spaced(*count)));
        counts.collect::<Vec<_>>().join(", ")
    }
}

/// `20 000 000`.
fn spaced(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn table(results: &str) -> String {
    let mut rigs: BTreeMap<&str, Sum> = BTreeMap::new();
    for line in results.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [date, commit, rig, counts] = fields[..] else { panic!("{RESULTS}: {line}") };
        let sum = rigs.entry(rig).or_default();
        sum.add(counts);
        sum.last = format!("{date}, {commit}");
    }
    let mut table =
        "| rig | runs | tried in all | last run |\n| --- | --- | --- | --- |\n".to_owned();
    for (rig, sum) in rigs {
        table += &format!("| {rig} | {} | {} | {} |\n", sum.runs, sum.said(), sum.last);
    }
    table
}

#[test]
fn results_of_the_proof_are_what_its_runs_add_up_to() {
    let root = tree::root();
    let results = std::fs::read_to_string(root.join(RESULTS)).unwrap();
    let page = std::fs::read_to_string(root.join(PAGE)).unwrap();
    let (head, rest) = page.split_once(BEGIN).expect("the page has a place for the results");
    let (shown, tail) = rest.split_once(END).expect("the place for the results has an end");
    let wanted = table(&results);
    if std::env::var("POSTHASTE_PROOF").is_ok_and(|what| what == "write") {
        std::fs::write(root.join(PAGE), format!("{head}{BEGIN}{wanted}{END}{tail}")).unwrap();
        return;
    }
    assert_eq!(shown, wanted, "run tests/proof/run, or POSTHASTE_PROOF=write with this test");
}

#[test]
fn results_are_added_up_by_kind() {
    let results = "2026-11-23\tabc\tkills\t125 cycles, 0 lost, 3.5 s\n2026-11-24\tdef\tkills\t1000 cycles, 0 lost, 9.0 s\n";
    let shown = table(results);
    assert!(shown.ends_with("| kills | 2 | 1 125 cycles, 0 lost | 2026-11-24, def |\n"), "{shown}");
}
