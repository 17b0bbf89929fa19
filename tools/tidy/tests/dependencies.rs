//! Dependencies point down: the list in docs/ARCHITECTURE.md is what Cargo sees.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(farrow_tidy::root().join("docs/ARCHITECTURE.md")).unwrap();
    let list = text
        .split("<!-- dependencies:begin -->")
        .nth(1)
        .unwrap()
        .split("<!-- dependencies:end -->")
        .next()
        .unwrap();
    let mut all = BTreeMap::new();
    for line in list.lines().filter(|l| l.starts_with("- ")) {
        let (name, rest) = line[2..].split_once(": ").unwrap();
        let on = rest.split(", ").filter(|d| *d != "nothing").map(|d| format!("farrow-{d}")).collect();
        all.insert(name.trim_matches('`').to_owned(), on);
    }
    all
}

#[test]
fn crates_depend_on_what_the_architecture_says() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(farrow_tidy::root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let allowed = allowed();
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some(allowed) = allowed.get(name) else {
            wrong.push(format!("{name} is not in docs/ARCHITECTURE.md"));
            continue;
        };
        let dependencies = package["dependencies"].as_array().unwrap();
        let ours: BTreeSet<String> = dependencies
            .iter()
            .filter(|d| d["kind"].is_null())
            .map(|d| d["name"].as_str().unwrap().to_owned())
            .filter(|d| d.starts_with("farrow"))
            .collect();
        for extra in ours.difference(allowed) {
            wrong.push(format!("{name} depends on {extra}, which docs/ARCHITECTURE.md does not allow"));
        }
        for unused in allowed.difference(&ours) {
            wrong.push(format!("{name} does not depend on {unused}, though docs/ARCHITECTURE.md says so"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
