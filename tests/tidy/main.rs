//! The house rules that a compiler does not know, checked over the checkout.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Who may depend on whom: ours, then the few outside crates that make a
/// crate impure. What is not named here is not imported.
const MAY_DEPEND: &[(&str, &[&str], &[&str])] = &[
    ("proto", &[], &["prost", "tonic", "tonic-prost"]),
    ("quorum", &[], &[]),
    ("log", &["quorum"], &["rustix"]),
    (
        "store",
        &["log", "quorum", "proto"],
        &["prost", "rocksdb", "rustix"],
    ),
    (
        "cluster",
        &["quorum", "proto"],
        &[
            "prost",
            "rand",
            "tokio",
            "tonic",
            "zookeeper-client",
            "tracing",
        ],
    ),
    ("core", &["proto"], &["prost"]),
    ("protocols", &["core", "proto"], &[]),
    ("node", &["core", "quorum", "proto"], &["prost"]),
    (
        "simulation",
        &["core", "log", "node", "proto", "quorum"],
        &["prost"],
    ),
];

/// Crates that touch the world: a crate above has none that it does not name.
const WORLDLY: &[&str] = &[
    "prost",
    "rocksdb",
    "rustix",
    "tokio",
    "tonic",
    "tonic-prost",
    "tracing",
    "zookeeper-client",
    "rand",
    "socket2",
];

/// Past this a file has a second idea.
const LINES_MAX: usize = 650;

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ has a parent").to_owned()
}

fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {output:?}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let text = |value: &Value| value.as_str().expect("a name is text").to_owned();
    let packages = metadata["packages"].as_array().expect("there are packages");
    let of = |package: &Value| {
        let all = package["dependencies"].as_array().expect("a list");
        // What only fuzzers are built with does not ship.
        let ships = |dependency: &&Value| {
            dependency["kind"].is_null() && dependency["target"] != "cfg(fuzzing)"
        };
        let normal = all.iter().filter(ships);
        normal.map(|dependency| text(&dependency["name"])).collect()
    };
    packages
        .iter()
        .map(|package| (text(&package["name"]), of(package)))
        .collect()
}

#[test]
fn crates_depend_only_on_what_the_table_allows() {
    let dependencies = dependencies();
    for (name, ours, outside) in MAY_DEPEND {
        let all = &dependencies[&format!("replicamq-{name}")];
        for dependency in all {
            if let Some(own) = dependency.strip_prefix("replicamq-") {
                assert!(ours.contains(&own), "{name} must not depend on {own}");
            } else if WORLDLY.contains(&dependency.as_str()) {
                assert!(
                    outside.contains(&dependency.as_str()),
                    "{name} must not touch {dependency}"
                );
            }
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let output = Command::new("git")
        .args(["ls-files", "*.rs"])
        .current_dir(root())
        .output()
        .expect("git runs");
    let listed = String::from_utf8(output.stdout).expect("paths are text");
    let files: Vec<PathBuf> = listed.lines().map(|line| root().join(line)).collect();
    assert!(files.len() > 50, "the checkout has its sources");
    files
}

#[test]
fn every_file_says_what_it_is_and_holds_one_idea() {
    for file in sources().iter().filter(|file| file.exists()) {
        let text = fs::read_to_string(file).expect("a source is text");
        let opens = text.starts_with("//!") || text.starts_with("#!");
        assert!(opens, "{} does not open with //!", file.display());
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", file.display());
    }
}

#[test]
fn nothing_is_left_unfinished_or_switched_off() {
    let words = [
        concat!("#[", "ignore"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("FIX", "ME"),
    ];
    for file in sources().iter().filter(|file| file.exists()) {
        let text = fs::read_to_string(file).expect("a source is text");
        for word in words {
            assert!(!text.contains(word), "{} has {word}", file.display());
        }
    }
}
