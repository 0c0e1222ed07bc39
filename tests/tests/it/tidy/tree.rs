//! The repository as the other rules see it: files with their text, and production lines.

use std::fs;
use std::path::{Path, PathBuf};

/// One text file: its path from the root with `/`, and its content.
pub(super) struct File {
    pub(super) path: String,
    pub(super) text: String,
}

impl File {
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Tests, benches and examples are code too, but not what a user runs.
    pub(super) fn is_production(&self) -> bool {
        self.is_rust()
            && !self.path.starts_with("tests/")
            && !self.path.ends_with("/tests.rs")
            && !self.path.split('/').any(|part| matches!(part, "tests" | "benches" | "examples"))
    }

    /// Lines with their number, without the bodies of `#[cfg(test)] mod`.
    pub(super) fn production_lines(&self) -> Vec<(usize, &str)> {
        let mut lines = Vec::new();
        let mut skip_to: Option<String> = None;
        let mut after_cfg_test = false;
        for (index, line) in self.text.lines().enumerate() {
            if let Some(end) = &skip_to {
                if line == end {
                    skip_to = None;
                }
                continue;
            }
            let trimmed = line.trim();
            if after_cfg_test && trimmed.starts_with("mod ") && trimmed.ends_with('{') {
                let indent = &line[..line.len() - line.trim_start().len()];
                skip_to = Some(format!("{indent}}}"));
                after_cfg_test = false;
                continue;
            }
            after_cfg_test =
                trimmed == "#[cfg(test)]" || (after_cfg_test && trimmed.starts_with("#["));
            lines.push((index + 1, line));
        }
        lines
    }
}

/// The root of the repository.
pub(super) fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}

/// All text files that people write, in path order.
pub(super) fn files() -> Vec<File> {
    let root = root();
    let mut files = Vec::new();
    walk(&root, &root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 20, "the tree was not found at {}", root.display());
    files
}

fn walk(root: &Path, dir: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let hidden = name.starts_with('.') && name != ".ci";
            if !hidden && name != "target" && name != "posthaste-data" {
                walk(root, &path, files);
            }
        } else if [".rs", ".md", ".toml"].iter().any(|end| name.ends_with(end)) || name == "run" {
            let from_root = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            files.push(File { path: from_root, text: fs::read_to_string(&path).unwrap() });
        }
    }
}

#[test]
fn test_modules_are_not_production() {
    let text = "a\n#[cfg(test)]\nmod tests {\n    b\n}\nc\n".to_owned();
    let file = File { path: "x/src/y.rs".to_owned(), text };
    let lines: Vec<&str> = file.production_lines().into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, ["a", "#[cfg(test)]", "c"]);
}
