//! What can be set or watched is documented: options, limits, flags and metrics.

use super::{check, tree};

const PAGE: &str = "docs/configuration.md";

fn read(path: &str) -> String {
    std::fs::read_to_string(tree::root().join(path)).unwrap()
}

/// Names of the public fields in a struct of this name.
fn fields<'a>(text: &'a str, of: &str) -> Vec<&'a str> {
    let start = text.find(&format!("pub struct {of} {{")).unwrap();
    let end = start + text[start..].find("\n}").unwrap();
    text[start..end]
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next())
        .filter(|field| !field.starts_with("struct"))
        .collect()
}

#[test]
fn every_option_is_documented() {
    let page = read(PAGE);
    let config = read("broker/src/config.rs");
    let storage = read("storage/src/options.rs");
    // For tests and for code that embeds the log, not for operators.
    let internal = ["create", "quarantine", "background", "prewrite", "give_back_bytes", "seed"];
    let options = fields(&config, "Config").into_iter().chain(fields(&config, "Limits"));
    let options = options.chain(fields(&storage, "Options"));
    let offences: Vec<String> = options
        .filter(|option| !internal.contains(option))
        .filter(|option| !page.contains(&format!("`{option}`")))
        .map(|option| format!("{option} is missing in {PAGE}"))
        .collect();
    check("every option is documented", &offences);
}

#[test]
fn every_flag_of_serve_is_documented() {
    let page = read(PAGE);
    let serve = read("broker/cli/src/serve.rs");
    let start = serve.find("pub(crate) struct Serve {").unwrap();
    let end = start + serve[start..].find("\n}").unwrap();
    let flags = serve[start..end].lines().filter_map(|line| line.trim().split_once(": "));
    let offences: Vec<String> = flags
        .filter(|(name, _)| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .map(|(name, _)| format!("--{}", name.replace('_', "-")))
        .filter(|flag| !page.contains(&format!("`{flag}")))
        .map(|flag| format!("{flag} is missing in {PAGE}"))
        .collect();
    check("every flag is documented", &offences);
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let page = read(PAGE);
    let code = read("broker/src/engine/metrics.rs");
    let named = |text: &str| -> Vec<String> {
        text.split(['"', '`'])
            .filter(|word| word.starts_with("posthaste_") && !word.contains([' ', ':', '\n']))
            .map(str::to_owned)
            .collect()
    };
    let (documented, registered) = (named(&page), named(&code));
    let missing = registered.iter().filter(|name| !documented.contains(name));
    let invented = documented.iter().filter(|name| !registered.contains(name));
    let offences: Vec<String> = missing
        .map(|name| format!("{name} is missing in {PAGE}"))
        .chain(invented.map(|name| format!("{name} does not exist")))
        .collect();
    check("metrics and their page", &offences);
}
