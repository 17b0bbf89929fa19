//! Many writers on one key, insert races on one key and on one slot, deletes against puts: linearizable, over shared
//! memory, with real threads and with real processes.

use farrow_client::{Cluster, DialOptions, Options, Preference, Require};
use farrow_config::{Commit, Config};
use farrow_control::Secret;
use farrow_node::Embedded;
use farrow_storm::{Storm, Tally, judge, rage};
use std::fs::File;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

fn cluster(commit: Commit, copies: u8, nodes: usize) -> (Embedded, Secret) {
    let mut config = Config::default();
    config.cluster.commit = commit;
    config.cluster.policy = farrow_config::Policy::Replicate { copies };
    config.cluster.homes_per_node = 1;
    // As small as an index gets: keys share buckets, and slots are soon recycled.
    config.cluster.max_keys = 1;
    config.node.memory = 64 << 20;
    let secret = Secret::generate().unwrap();
    (Embedded::start(&config, nodes, &secret).unwrap(), secret)
}

fn options(secret: &Secret) -> DialOptions {
    DialOptions {
        rdma: Default::default(),
        secret: secret.clone(),
        preference: Preference::Auto,
        // The same races over real verbs, where there is a device: FARROW_STORM_REQUIRE=rdma.
        require: match std::env::var("FARROW_STORM_REQUIRE").as_deref() {
            Ok("rdma") => Require::Rdma,
            _ => Require::Shm,
        },
        who: "test".into(),
        timeout: Duration::from_secs(5),
    }
}

fn storm_of_threads(commit: Commit, copies: u8, storm: &Storm, threads: u32) -> Vec<Tally> {
    let (nodes, secret) = cluster(commit, copies, usize::from(copies));
    let cluster = Cluster::connect(&nodes.config().cluster.nodes, &options(&secret)).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let record = |n: u32| dir.path().join(format!("{n}.jsonl"));
    let tallies = std::thread::scope(|scope| {
        let run = |n: u32| {
            let (cluster, path) = (cluster.clone(), record(n));
            scope.spawn(move || {
                let client = cluster.local_client(&Options::default()).unwrap();
                rage(&client, storm, n, File::create(path).unwrap()).unwrap()
            })
        };
        let running: Vec<_> = (1..=threads).map(run).collect();
        running.into_iter().map(|r| r.join().unwrap()).collect::<Vec<_>>()
    });
    let records: Vec<PathBuf> = (1..=threads).map(record).collect();
    let verdict = judge(&records).unwrap();
    println!("{commit} with {copies} copies: {verdict:?}");
    for tally in &tallies {
        println!("  {tally}");
        assert!(tally.failed.is_empty() && tally.unknown == 0, "{tally}");
    }
    tallies
}

#[test]
fn colocated_with_threads() {
    for copies in [1, 2, 3] {
        let storm = Storm { keys: 3, operations: 3_000, seed: 7 + u64::from(copies), value_len: 40 };
        let tallies = storm_of_threads(Commit::Colocated, copies, &storm, 4);
        assert!(tallies.iter().map(|t| t.conflicts).sum::<u64>() > 0, "the clients never met");
    }
}

#[test]
fn snapshot_with_threads() {
    for copies in [2, 3] {
        let storm = Storm { keys: 3, operations: 2_000, seed: 70 + u64::from(copies), value_len: 40 };
        storm_of_threads(Commit::Snapshot, copies, &storm, 4);
    }
}

#[test]
fn one_key_and_large_values() {
    let storm = Storm { keys: 1, operations: 1_000, seed: 3, value_len: 3_000 };
    storm_of_threads(Commit::Colocated, 3, &storm, 3);
}

#[test]
fn colocated_with_processes() {
    let (nodes, secret) = cluster(Commit::Colocated, 3, 3);
    let dir = tempfile::tempdir().unwrap();
    let record = |n: u32| dir.path().join(format!("{n}.jsonl"));
    let children: Vec<_> = (1..=3)
        .map(|n| {
            Command::new(env!("CARGO_BIN_EXE_farrow-storm"))
                .args(["rage", "--client", &n.to_string(), "--keys", "3", "--operations", "2000"])
                .arg("--record")
                .arg(record(n))
                .args(["--cluster-nodes", &nodes.config().cluster.nodes.join(",")])
                .args(["--fabric-require", &std::env::var("FARROW_STORM_REQUIRE").unwrap_or("shm".into())])
                .env("FARROW_CLUSTER_SECRET", std::str::from_utf8(secret.expose()).unwrap())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let verdict = judge(&(1..=3).map(record).collect::<Vec<_>>()).unwrap();
    assert_eq!(verdict.operations, 6_000);
}
