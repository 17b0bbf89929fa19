//! `farrow sim`: searches that find nothing, runs from files, and what a script sees of them.

mod common;

use common::{code, farrow, text};
use std::process::Output;

fn sim(args: &[&str]) -> Output {
    farrow().arg("sim").args(args).output().expect("the binary runs")
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)))
}

#[test]
fn one_seed_is_one_run_and_a_page() {
    let [once, again] = [sim(&["--seed", "7", "--trace"]), sim(&["--seed", "7", "--trace"])];
    assert_eq!(code(&once), 0, "{}", text(&once.stderr));
    assert_eq!(once.stdout, again.stdout);
    let page = text(&once.stdout);
    assert!(
        page.contains("primary n0") && page.contains("CAS slot") && page.contains("No oracle objects"),
        "{page}"
    );
    assert_eq!(code(&sim(&[])), 2, "neither a seed nor a search");
}

#[test]
fn searches_say_how_far_they_came() {
    let swept = sim(&["sweep", "--seeds", "50", "--json"]);
    assert_eq!((code(&swept), &json(&swept)["histories"]), (0, &50.into()), "{}", text(&swept.stderr));
    let args = ["explore", "--scope", "pairs-2", "--delays", "0", "--json"];
    let explored = sim(&args);
    assert_eq!(code(&explored), 0, "{}", text(&explored.stderr));
    let said = json(&explored);
    assert_eq!((&said["ended"], &said["schedules"]), (&"bounded".into(), &said["scenarios"]));
    let listed = text(&sim(&["explore", "--list", "--protocol", "snapshot"]).stdout);
    assert!(listed.contains("pairs-3") && !listed.contains("crash"), "{listed}");
    let unknown = sim(&["explore", "--scope", "crash-2", "--protocol", "snapshot"]);
    assert_eq!(code(&unknown), 2);
    assert!(text(&unknown.stderr).contains("pairs-2"), "{}", text(&unknown.stderr));
}

#[test]
fn a_run_comes_from_a_file_or_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.json");
    let case = farrow_simulate::Case::of_seed(farrow_simulate::home::Protocol::Colocated, 5);
    std::fs::write(&path, case.to_text()).unwrap();
    let path = path.to_str().unwrap();
    let replayed = sim(&["replay", path]);
    assert_eq!(code(&replayed), 0, "{}", text(&replayed.stderr));
    assert_eq!(replayed.stdout, sim(&["--seed", "5", "--trace"]).stdout, "a file holds all of a run");
    let nothing = sim(&["minimise", path]);
    assert_eq!(code(&nothing), 0);
    assert!(text(&nothing.stdout).contains("nothing to make smaller"), "{}", text(&nothing.stdout));
    std::fs::write(path, case.to_text().replace("\"copies\"", "\"copy\"")).unwrap();
    assert_eq!(code(&sim(&["replay", path])), 7, "no run");
    assert_eq!(code(&sim(&["replay", "/nonexistent"])), 7);
}
