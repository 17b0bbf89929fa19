//! The command line against a cluster of real processes: results, exit codes, odd input.

mod common;

use common::{Nodes, code, farrow, text};
use std::time::{Duration, Instant};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/data/sample.jsonl.gz");

#[test]
fn values_come_and_go() {
    let nodes = Nodes::start(3);
    assert_eq!(code(&nodes.run(&["put", "greeting", "hello"])), 0);
    let got = nodes.run(&["get", "greeting"]);
    assert_eq!((code(&got), got.stdout), (0, b"hello".to_vec()));
    let again = nodes.run(&["put", "greeting", "again", "--if-absent"]);
    assert_eq!(code(&again), 1, "{}", text(&again.stderr));
    assert_eq!(code(&nodes.run(&["exists", "greeting"])), 0);
    assert_eq!(code(&nodes.run(&["stat", "greeting"])), 0);
    assert_eq!(code(&nodes.run(&["del", "greeting"])), 0);
    let gone = nodes.run(&["get", "greeting"]);
    assert_eq!((code(&gone), gone.stdout.len()), (1, 0));
    assert_eq!(code(&nodes.run(&["exists", "greeting"])), 1);

    let bytes: Vec<u8> = (0..=255).collect();
    assert_eq!(code(&nodes.run_with(&["put", "bytes", "-"], &bytes)), 0);
    assert_eq!(nodes.run(&["get", "bytes"]).stdout, bytes);
    assert_eq!(code(&nodes.run_with(&["put", "empty", "-"], b"")), 0);
    let empty = nodes.run(&["get", "empty"]);
    assert_eq!((code(&empty), empty.stdout.len()), (0, 0), "an empty value is a value");
}

#[test]
fn records_are_loaded_and_dumped() {
    let nodes = Nodes::start(3);
    let loaded = nodes.run(&["load", SAMPLE, "--verify"]);
    assert_eq!(code(&loaded), 0, "{}", text(&loaded.stderr));
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("dump.jsonl");
    let dumped = nodes.run(&["dump", "--output", dump.to_str().unwrap()]);
    assert_eq!(code(&dumped), 0, "{}", text(&dumped.stderr));
    let read = |path: &str| {
        let mut all: Vec<_> = farrow_bench::record::Records::open(std::path::Path::new(path))
            .unwrap()
            .map(|r| r.unwrap())
            .map(|r| (r.key, r.value))
            .collect();
        all.sort();
        all
    };
    assert_eq!(read(dump.to_str().unwrap()), read(SAMPLE));

    let bad = dir.path().join("bad.jsonl");
    std::fs::write(
        &bad,
        "{\"key\": \"a\", \"value\": \"1\"}\nnot json\n{\"key\": \"b\", \"value\": \"2\"}\n",
    )
    .unwrap();
    let refused = nodes.run(&["load", bad.to_str().unwrap(), "--bad-lines", "fail"]);
    assert!(code(&refused) != 0 && text(&refused.stderr).contains('2'), "{}", text(&refused.stderr));
    assert_eq!(code(&nodes.run(&["load", bad.to_str().unwrap(), "--bad-lines", "skip"])), 0);
    assert_eq!(nodes.run(&["get", "b"]).stdout, b"2");
}

#[test]
fn the_state_can_be_looked_at() {
    let nodes = Nodes::start(3);
    nodes.run(&["put", "k", "v"]);
    for args in [
        &["status", "--json"][..],
        &["doctor", "--json"],
        &["stat", "k", "--json"],
        &["inspect", "superblock", "--json"],
        &["inspect", "bucket", "k", "--json"],
        &["inspect", "entry", "k", "--json"],
        &["inspect", "blocks", "--json"],
    ] {
        let output = nodes.run(args);
        let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&output.stdout);
        assert!(parsed.is_ok(), "{args:?}: {} {}", text(&output.stdout), text(&output.stderr));
    }
}

#[test]
fn dead_bytes_are_those_of_what_was_replaced_or_deleted() {
    let nodes = Nodes::start(3);
    let dead = || {
        let json = |args: &[&str]| -> serde_json::Value {
            serde_json::from_slice(&nodes.run(args).stdout).expect("an object")
        };
        let status = json(&["status", "--json"]);
        let homes = status["homes"].as_array().unwrap().iter();
        let of_homes: u64 = homes.map(|home| home["dead_bytes"].as_u64().unwrap()).sum();
        let in_tables: u64 = (0..3)
            .map(|node| json(&["inspect", "blocks", "--node", &node.to_string(), "--json"]))
            .flat_map(|blocks| blocks["segments"].as_array().unwrap().clone())
            .map(|segment| segment["dead_bytes"].as_u64().unwrap())
            .sum();
        (of_homes, in_tables)
    };
    // Nodes tell for a moment what they have counted last.
    let until = |is_right: &dyn Fn(u64) -> bool, what: &str| {
        let begun = Instant::now();
        loop {
            let (of_homes, in_tables) = dead();
            if of_homes == in_tables && is_right(of_homes) {
                return;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "{what}: {of_homes}, and {in_tables} in tables"
            );
        }
    };
    until(&|dead| dead == 0, "nothing was put");
    // Header, key and value: 48 + 1 + 100 bytes, in units of 64.
    let (entry, value) = (192, "v".repeat(100));
    assert_eq!(code(&nodes.run(&["put", "k", &value])), 0);
    until(&|dead| dead == 0, "it is there");
    assert_eq!(code(&nodes.run(&["put", "k", &value])), 0);
    until(&|dead| dead == entry, "the first one");
    assert_eq!(code(&nodes.run(&["put", "k", &value, "--if-absent"])), 1);
    until(&|dead| dead == entry, "what was not put is not dead either");
    assert_eq!(code(&nodes.run(&["del", "k"])), 0);
    assert_eq!(code(&nodes.run(&["del", "k"])), 1);
    until(&|dead| dead == 2 * entry, "and the second, once");
    let large = "w".repeat(100_000);
    assert_eq!(code(&nodes.run_with(&["put", "large", "-"], large.as_bytes())), 0);
    assert_eq!(code(&nodes.run(&["del", "large"])), 0);
    let known = 2 * entry + (48 + 5 + 100_000);
    until(&|dead| (known..known + known / 16).contains(&dead), "a long one, by its class");
}

#[test]
fn a_benchmark_counts_every_entry_that_it_puts_out_of_use_and_says_so_seldom() {
    let output = farrow()
        .args([
            "bench",
            "--workload",
            "put=1",
            "--keys",
            "200",
            "--distribution",
            "uniform",
            "--warm-up",
            "0",
        ])
        .args(["--value-size", "64", "--ops", "3000", "--quiet", "--json"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let bench: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(bench["ops"]["put"]["count"], 3000);
    assert_eq!(bench["memory"]["dead_bytes"], 3 * 3000 * 128, "48 + 16 + 64 bytes on each of three nodes");
    let faa = bench["fabric"]["faa"].as_u64().unwrap();
    assert!(faa > 0 && faa <= 3000 / 64, "{faa} FAAs");
    assert_eq!(bench["ops"]["put"]["background_verbs"], 1.0, "none of them is an operation's");
}

#[test]
fn a_cluster_of_another_name_is_not_touched() {
    let nodes = Nodes::start(1);
    let other = nodes.run(&["put", "k", "v", "--cluster-name", "other"]);
    assert_eq!(code(&other), 2, "{}", text(&other.stderr));
    assert!(text(&other.stderr).contains("`other`"), "{}", text(&other.stderr));
    assert_eq!(code(&nodes.run(&["exists", "k"])), 1);
    let policy = nodes.run(&["put", "k", "v", "--cluster-policy", "replicate:2"]);
    assert!(code(&policy) == 0 && text(&policy.stderr).contains("replicate:1"), "{}", text(&policy.stderr));
}

#[test]
fn wrong_input_is_answered_in_words() {
    let nobody = farrow().args(["get", "k"]).output().unwrap();
    assert!(code(&nobody) != 0 && text(&nobody.stderr).contains("cluster.nodes"), "{}", text(&nobody.stderr));

    let nodes = Nodes::start(1);
    let secret = nodes
        .command(&["get", "k"])
        .env("FARROW_CLUSTER_SECRET", "another secret of tests")
        .output()
        .unwrap();
    assert!(code(&secret) != 0 && text(&secret.stderr).contains("secret"), "{}", text(&secret.stderr));

    let away = farrow()
        .args(["get", "k", "--cluster-nodes", "127.0.0.1:1"])
        .env("FARROW_CLUSTER_SECRET", common::SECRET)
        .output()
        .unwrap();
    assert!(code(&away) != 0 && text(&away.stderr).contains("127.0.0.1:1"), "{}", text(&away.stderr));

    let key = "x".repeat(2000);
    let long = nodes.run(&["put", &key, "v"]);
    assert!(code(&long) != 0 && text(&long.stderr).contains("1024"), "{}", text(&long.stderr));

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("farrow.toml");
    std::fs::write(&file, "[node]\nmemroy = \"1GiB\"\n").unwrap();
    let typo = farrow().args(["config", "show", "--config", file.to_str().unwrap()]).output().unwrap();
    assert!(code(&typo) != 0 && text(&typo.stderr).contains("memory"), "{}", text(&typo.stderr));

    let twice = nodes.run(&["node", "--node-listen", &nodes.addresses[0]]);
    assert!(code(&twice) != 0 && text(&twice.stderr).contains("listen"), "{}", text(&twice.stderr));
    for output in [nobody, secret, away, long, typo, twice] {
        assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
    }
}

#[test]
fn the_demo_reads_back_what_it_loaded_and_leaves_nothing() {
    let output = farrow().args(["demo", "--nodes", "3", "--seconds", "0.5"]).output().unwrap();
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("byte for byte"), "{}", text(&output.stdout));
}

#[test]
fn the_demo_can_be_kept_and_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| farrow().args(args).env("XDG_RUNTIME_DIR", dir.path()).output().unwrap();
    let kept = run(&["demo", "--nodes", "3", "--seconds", "0", "--keep"]);
    assert_eq!(code(&kept), 0, "{}", text(&kept.stderr));
    let stdout = text(&kept.stdout);
    let config = stdout.split("FARROW_CONFIG=").nth(1).and_then(|s| s.split_whitespace().next());
    let config = config
        .unwrap_or_else(|| panic!("it does not say how to talk to it: {stdout}"))
        .trim_matches(['\'', '"']);
    let put = farrow().args(["put", "k", "v"]).env("FARROW_CONFIG", config).output().unwrap();
    let got = farrow().args(["get", "k"]).env("FARROW_CONFIG", config).output().unwrap();
    assert_eq!(code(&run(&["demo", "--stop"])), 0);
    assert_eq!((code(&put), text(&got.stdout).as_str()), (0, "v"), "{}", text(&put.stderr));
    let after = farrow().args(["get", "k"]).env("FARROW_CONFIG", config).output().unwrap();
    assert!(code(&after) != 0);
}

#[test]
fn a_small_benchmark_shows_the_designed_cost() {
    let output = farrow()
        .args([
            "bench",
            "--workload",
            "get=1,put=1",
            "--keys",
            "200",
            "--distribution",
            "uniform",
            "--warm-up",
            "2000",
        ])
        .args(["--ops", "2000", "--quiet", "--json"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let bench: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let op = |kind: &str, field: &str| bench["ops"][kind][field].clone();
    assert_eq!(op("get", "round_trips"), 1.0);
    assert_eq!(op("get", "verbs"), serde_json::json!({"read": 2.0, "write": 0.0, "cas": 0.0, "faa": 0.0}));
    assert_eq!(op("put", "round_trips"), 1.0);
    assert_eq!(op("put", "verbs"), serde_json::json!({"read": 0.0, "write": 3.0, "cas": 3.0, "faa": 0.0}));
    assert_eq!(op("put", "background_verbs"), 1.0);
    assert_eq!(bench["transport"], "shm");
    for field in ["config", "elapsed_s", "ops_per_s", "errors", "cache", "memory"] {
        assert!(!bench[field].is_null(), "{field}");
    }
    let scan = farrow().args(["bench", "--workload", "ycsb-e"]).output().unwrap();
    assert!(code(&scan) != 0 && text(&scan.stderr).contains("not supported"), "{}", text(&scan.stderr));
}
