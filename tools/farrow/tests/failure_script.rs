//! What a newcomer tries on a replicated store in the first five minutes: kill a node, kill the coordinator, and look what is
//! left. Three nodes, two copies, 200 keys of 64 KiB. Prints a table.

mod common;

use common::deployed::{connect, deploy};
use farrow_chaos::now_ns;
use farrow_client::LocalClient;
use std::time::Duration;

const KEYS: usize = 200;
const LEN: usize = 64 << 10;
/// A read of a key whose primary is gone waits for as long: short enough that nobody waits 200 ms, long enough for a quiet machine.
const LEASE: Duration = Duration::from_millis(150);
/// No measure of the store: a machine on which even this is not held shows nothing.
const GENEROUS: Duration = Duration::from_secs(5);

fn key(i: usize) -> Vec<u8> {
    format!("object-{i}").into_bytes()
}

fn value(i: usize) -> Vec<u8> {
    (0..LEN).map(|at| (at * 31 + i * 17) as u8).collect()
}

/// Reads every key once, compares it, and says how long the slowest took.
fn read_all(client: &LocalClient) -> Duration {
    let mut worst = 0;
    for i in 0..KEYS {
        let begin = now_ns();
        let read = client.block_on(client.get(&key(i))).unwrap();
        worst = worst.max(now_ns() - begin);
        assert!(read.is_some_and(|v| v.to_vec() == value(i)), "{i}: another value, or none");
    }
    Duration::from_nanos(worst)
}

#[test]
fn a_node_dies_and_the_coordinator_dies_and_nothing_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let mut deployment = deploy(dir.path(), 3, 2, LEASE);
    let client = connect(&deployment, GENEROUS);
    for i in 0..KEYS {
        client.block_on(client.put(&key(i), &value(i))).unwrap();
    }
    let quiet = read_all(&client);

    let killed_ns = now_ns();
    deployment.kill_node(0);
    let mut worst = Duration::ZERO;
    let mut rounds = 0;
    let restored = loop {
        worst = worst.max(read_all(&client));
        rounds += 1;
        if deployment.missing_since(killed_ns).is_none() {
            break Duration::from_nanos(now_ns() - killed_ns);
        }
        let waited = Duration::from_nanos(now_ns() - killed_ns);
        assert!(waited < 6 * GENEROUS, "after {waited:?} copies are missing:\n{}", deployment.explain());
    };
    client.block_on(client.put(b"since", b"the kill")).unwrap();

    deployment.kill_coordinator(0);
    let without = read_all(&client);
    client.block_on(client.put(b"meanwhile", b"too")).unwrap();
    deployment.start_coordinator(0).unwrap();
    deployment.wait_whole(6 * GENEROUS).unwrap();
    let after = read_all(&client);
    // A client that has nothing in mind sees the same.
    let fresh = connect(&deployment, GENEROUS);
    read_all(&fresh);
    for (key, value) in [("since", "the kill"), ("meanwhile", "too")] {
        let read = fresh.block_on(fresh.get(key.as_bytes())).unwrap().unwrap();
        assert_eq!(read.to_vec(), value.as_bytes());
    }

    let reads = rounds * KEYS;
    println!("| what | seen |\n| --- | --- |");
    println!("| slowest of {KEYS} reads, all is well | {quiet:?} |");
    println!("| reads from the kill of a node until two copies are there again | {reads} of {reads} right |");
    println!("| slowest of those | {worst:?} |");
    println!("| two copies of everything again, by itself | after {restored:?} |");
    println!("| reads without a coordinator | {KEYS} of {KEYS} right, slowest {without:?} |");
    println!("| reads after its restart | {KEYS} of {KEYS} right, slowest {after:?} |");
    assert!(worst.max(without).max(after) < GENEROUS);
}
