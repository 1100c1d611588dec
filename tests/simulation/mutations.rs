//! The defects of `mutations/` still fit the code: that the simulator finds each takes
//! `make mutations` a while, that it could still try is seen here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fewer would show little.
const DEFECTS_MIN: usize = 25;

/// What finds a defect that names no test.
const SEEDS_TEST: &str = "every_seed_keeps_the_promises";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn defects() -> Vec<PathBuf> {
    let listed = fs::read_dir(folder().join("mutations")).expect("there are defects");
    let paths = listed.map(|entry| entry.expect("a folder can be read").path());
    let mut defects: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "patch"))
        .collect();
    defects.sort();
    defects
}

/// The lines `Name: text` before a patch begins.
fn header(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .take_while(|line| !line.starts_with("diff "))
        .filter_map(|line| line.split_once(": "))
        .collect()
}

#[test]
fn every_defect_can_still_be_planted() {
    let defects = defects();
    assert!(defects.len() >= DEFECTS_MIN, "only {}", defects.len());
    for defect in defects {
        let checked = Command::new("git")
            .args(["apply", "--check"])
            .arg(&defect)
            .current_dir(folder().join("../.."))
            .output()
            .expect("git runs");
        assert!(
            checked.status.success(),
            "{} does not fit the code any more: write it anew\n{}",
            defect.display(),
            String::from_utf8_lossy(&checked.stderr)
        );
    }
}

#[test]
fn every_defect_says_what_it_breaks_and_what_finds_it() {
    for defect in defects() {
        let name = defect.display();
        let text = fs::read_to_string(&defect).expect("a patch is text");
        let header = header(&text);
        for line in ["Breaks", "Defect"] {
            assert!(header.contains_key(line), "{name} has no line {line}:");
        }
        let target = match header.get("Target") {
            Some(target) => format!("{target}.rs"),
            None => "main.rs".to_owned(),
        };
        let tests = fs::read_to_string(folder().join(&target));
        let tests = tests.unwrap_or_else(|error| panic!("{name}: {target}: {error}"));
        let test = header.get("Test").unwrap_or(&SEEDS_TEST);
        let found = tests.contains(&format!("\nfn {test}() {{"));
        assert!(found, "{name} names {test}, and there is no such test");
    }
}
