//! A node dies. Keys whose primary lives are read as if nothing had happened: long before the lease of the dead node is over, while
//! their homes change views, and while what was lost is copied. Keys of the dead one are read again behind its lease.

mod common;

use common::deployed::{connect, deploy};
use farrow_chaos::now_ns;
use farrow_client::LocalClient;
use farrow_layout::KeyHash;
use std::time::Duration;

/// So long that a read which waited for it is told from one that a busy machine made late.
const LEASE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);
const KEYS: usize = 120;

fn key(i: usize) -> Vec<u8> {
    format!("key-{i}").into_bytes()
}

fn value(i: usize) -> Vec<u8> {
    vec![i as u8; 1000 + i]
}

/// Reads each of the keys once, and says how long the slowest took.
fn read(client: &LocalClient, keys: &[usize]) -> Duration {
    let took = |&i: &usize| {
        let begin = now_ns();
        let held = client.block_on(client.get(&key(i))).unwrap();
        let took = now_ns() - begin;
        assert_eq!(held.expect("it is there").to_vec(), value(i), "key {i}");
        took
    };
    Duration::from_nanos(keys.iter().map(took).max().unwrap())
}

#[test]
fn reads_of_keys_whose_primary_lives_never_stop() {
    let dir = tempfile::tempdir().unwrap();
    let mut deployment = deploy(dir.path(), 4, 3, LEASE);
    let client = connect(&deployment, PATIENCE);
    for i in 0..KEYS {
        client.block_on(client.put(&key(i), &value(i))).unwrap();
    }
    let map = client.map();
    let dies = deployment.identity(1).expect("it is there");
    let members = |i: &usize| &map.homes[usize::from(map.route(KeyHash::of(&key(*i))).0.0)].members;
    let (orphaned, others): (Vec<_>, Vec<_>) = (0..KEYS).partition(|i| members(i)[0].node == dies);
    let is_backup = |i: &&usize| members(i)[1..].iter().any(|member| member.node == dies);
    assert!(!orphaned.is_empty() && others.iter().filter(is_backup).count() > 0);
    read(&client, &others);

    let killed_ns = now_ns();
    deployment.kill_node(1);
    let (mut slowest, mut reads) = (Duration::ZERO, 0);
    while deployment.missing_since(killed_ns).is_some() {
        slowest = slowest.max(read(&client, &others));
        reads += others.len();
        let waited = Duration::from_nanos(now_ns() - killed_ns);
        assert!(waited < PATIENCE, "after {waited:?} copies are missing:\n{}", deployment.explain());
    }
    let restored = Duration::from_nanos(now_ns() - killed_ns);
    read(&client, &orphaned);
    println!(
        "{reads} reads in {restored:?}, until all copies were there again; the slowest took {slowest:?}"
    );
    assert!(restored > LEASE * 3 / 4, "the node was passed over before its lease can have ended");
    assert!(slowest < LEASE / 4, "a read waited for {slowest:?}");
}
