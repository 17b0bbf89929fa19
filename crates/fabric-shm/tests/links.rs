//! Links of one process: grants, fences, leases, and what a client refuses to map.

mod common;

use common::{NODE, Node, add_one, fabric, long_chain, post, read_word};
use farrow_fabric::{Effect, Fabric, Link, Mapping, VerbError, Why, boot_time_ns};
use farrow_fabric_shm::{FenceError, PeerError, Revoked, ShmGrant, ShmPeer};
use farrow_layout::{RemoteAddr, ShmControl, ShmLink as LinkRecord};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};
use std::mem::offset_of;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const LEN: usize = 64 << 20;

#[test]
fn memory_comes_near_in_parts_once_the_node_has_taken_it_and_is_never_taken_for_the_node() {
    let node = Node::new(5 << 20, 1);
    let taken = || fstat(node.memory.fd()).unwrap().st_blocks * 512;
    assert!(!node.peer().bring_near(1).unwrap());
    assert_eq!(taken(), 0);
    node.memory.populate(|_| {}).unwrap();
    let peer = node.peer();
    let parts: Vec<bool> = (0..4).map(|_| peer.bring_near(1).unwrap()).collect();
    assert_eq!(parts, [true, true, false, false], "two parts of 2 MiB, and one of what is left");
}

#[test]
fn a_forged_grant_fails_at_its_first_post_with_nothing_executed() {
    let node = Node::new(1 << 20, 8);
    let (fabric, peer) = (fabric(), node.peer());
    let good = node.host.grant(None).unwrap();
    let forged = [
        (ShmGrant { link: 8, ..good }, Why::WrongKey),
        (ShmGrant { link: u32::MAX, ..good }, Why::WrongKey),
        (ShmGrant { link: good.link + 1, ..good }, Why::Fenced),
        (ShmGrant { link: good.link + 1, epoch: u64::MAX, ..good }, Why::WrongKey),
        (ShmGrant { key: good.key ^ 1, ..good }, Why::WrongKey),
        (ShmGrant { key: good.key.wrapping_add(1), ..good }, Why::WrongKey),
        (ShmGrant { epoch: good.epoch + 1, ..good }, Why::Fenced),
    ];
    for (grant, why) in forged {
        let link = fabric.link(&peer, NODE, grant);
        assert_eq!(post(&fabric, &link, add_one()), Err(VerbError::refused(NODE, why)), "{grant:?}");
        assert_eq!(post(&fabric, &link, add_one()), Err(VerbError::refused(NODE, Why::LinkDown)));
        assert!(!link.is_up());
    }
    assert_eq!(fabric.totals().links_lost, 7);
    let link = fabric.link(&peer, NODE, good);
    assert_eq!(post(&fabric, &link, read_word(0)).unwrap()[0], 0, "forged links executed nothing");
}

#[test]
fn a_link_is_granted_again_and_its_earlier_client_cannot_disturb() {
    let node = Node::new(1 << 20, 1);
    let (fabric, peer) = (fabric(), node.peer());
    let first = node.host.grant(None).unwrap();
    let stale = fabric.link(&peer, NODE, first);
    assert!(post(&fabric, &stale, add_one()).is_ok());
    assert_eq!(node.host.grant(None).unwrap_err().links, 1);
    assert_eq!(node.host.release(&first), Revoked::Quiet);
    assert_eq!(node.host.release(&first), Revoked::NotGranted, "released once");

    let second = node.host.grant(None).unwrap();
    assert_eq!((second.link, second.epoch), (first.link, first.epoch));
    assert_ne!(second.key, first.key);
    let link = fabric.link(&peer, NODE, second);
    assert_eq!(post(&fabric, &stale, add_one()), Err(VerbError::refused(NODE, Why::WrongKey)));
    assert_eq!(post(&fabric, &link, add_one()).unwrap()[0], 1);
    assert_eq!(node.host.release(&first), Revoked::NotGranted);
    assert!(post(&fabric, &link, add_one()).is_ok(), "a late release of the earlier grant breaks nothing");
    assert_eq!(node.host.links_held(), 1);
}

#[test]
fn revoke_breaks_one_link_and_leaves_the_others() {
    let node = Node::new(1 << 20, 4);
    let (fabric, peer) = (fabric(), node.peer());
    let grants = [node.host.grant(None).unwrap(), node.host.grant(None).unwrap()];
    let links = grants.map(|grant| fabric.link(&peer, NODE, grant));
    assert_eq!(node.host.revoke(&grants[0]), Revoked::Quiet);
    assert_eq!(post(&fabric, &links[0], add_one()), Err(VerbError::refused(NODE, Why::Fenced)));
    assert!(post(&fabric, &links[1], add_one()).is_ok());
    assert_eq!(node.host.links_held(), 2, "a broken link is held until it is released");
    assert_eq!(node.host.release(&grants[0]), Revoked::Quiet);
    assert_eq!(node.host.links_held(), 1);
}

#[test]
fn epochs_only_grow() {
    let node = Node::new(1 << 20, 4);
    assert_eq!(node.host.fence(1), Err(FenceError::NotLater { asked: 1, present: 1 }));
    assert_eq!(node.host.fence(u64::MAX), Err(FenceError::NotLater { asked: u64::MAX, present: 1 }));
    node.host.grant(None).unwrap();
    assert_eq!(node.host.fence(7).unwrap().links, 1);
    assert_eq!(node.host.grant(None).unwrap().epoch, 7);
}

#[test]
fn a_fence_waits_for_a_chain_that_is_being_executed() {
    let node = Node::new(LEN as u64, 4);
    // Nobody is to be taken for stuck on a busy machine.
    node.host.set_grace(Duration::from_secs(120));
    let grant = node.host.grant(None).unwrap();
    let peer = node.peer();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let fabric = fabric();
            let link = fabric.link(&peer, NODE, grant);
            let outcome = post(&fabric, &link, long_chain(&fabric, LEN));
            (outcome, post(&fabric, &link, add_one()))
        });
        let word = |at| node.memory.mapping().word(at).load(Ordering::SeqCst);
        while word(0) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(word(8), 0, "the chain has begun and not ended");
        assert_eq!(node.host.fence(2).unwrap().links, 1);
        assert_eq!(word(8), 1, "the fence returned after the end of the chain");
        let (outcome, later) = client.join().unwrap();
        assert_eq!(
            outcome,
            Err(VerbError::maybe(NODE, Why::Fenced)),
            "an answer that the fence overtook is not accepted"
        );
        assert_eq!(later, Err(VerbError::refused(NODE, Why::LinkDown)));
        assert_eq!(word(0), 1);
    });
}

#[test]
fn a_fence_fails_loudly_if_a_client_of_unknown_process_stays_in_its_chain() {
    let node = Node::new(1 << 20, 4);
    node.host.set_grace(Duration::from_millis(20));
    let grant = node.host.grant(None).unwrap();
    let control = Mapping::shared(node.host.fd(), 4096).unwrap();
    let turn = control.word(64 * (1 + grant.link as usize) + offset_of!(LinkRecord, busy));
    let idle = turn.fetch_or(1, Ordering::SeqCst);
    let Err(FenceError::StillBusy { links, why }) = node.host.fence(2) else {
        panic!("the client is still busy");
    };
    assert_eq!(links, [grant.link]);
    assert!(why.contains("not known"), "{why}");
    assert_eq!(node.host.epoch(), 2);
    turn.store(idle, Ordering::SeqCst);
    assert_eq!(node.host.fence(2).unwrap().links, 1, "the same fence can be called again until it succeeds");
}

#[test]
fn a_daemon_that_ends_during_a_chain_makes_its_answer_a_maybe() {
    let node = Node::new(LEN as u64, 4);
    let grant = node.host.grant(None).unwrap();
    let (peer, memory, host) = (node.peer(), node.memory, node.host);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let fabric = fabric();
            let link = fabric.link(&peer, NODE, grant);
            post(&fabric, &link, long_chain(&fabric, LEN))
        });
        while memory.mapping().word(0).load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        drop(host);
        assert_eq!(client.join().unwrap(), Err(VerbError::maybe(NODE, Why::PeerLost)));
    });
    assert!(!peer.is_alive());
}

#[test]
fn a_lease_that_ends_fails_links_before_and_during_chains() {
    let node = Node::new(LEN as u64, 4);
    let (fabric, peer) = (fabric(), node.peer());
    let link = || fabric.link(&peer, NODE, node.host.grant(None).unwrap());
    node.host.set_lease(boot_time_ns() + 60_000_000_000);
    let before = link();
    assert!(post(&fabric, &before, add_one()).is_ok());
    node.host.set_lease(boot_time_ns());
    assert!(!before.is_up());
    assert_eq!(post(&fabric, &before, add_one()), Err(VerbError::refused(NODE, Why::LeaseExpired)));

    let during = link();
    // It copies 384 MiB: longer than the lease, wherever in the chain that ends.
    let chain = long_chain(&fabric, LEN);
    node.host.set_lease(boot_time_ns() + 2_000_000);
    let outcome = post(&fabric, &during, chain).unwrap_err();
    assert_eq!(outcome.why, Why::LeaseExpired);
    assert!(!during.is_up());

    node.host.set_lease(ShmControl::NO_LEASE);
    assert!(post(&fabric, &link(), add_one()).is_ok(), "a lease that is granted again is good for new links");
    assert_eq!(post(&fabric, &before, add_one()).unwrap_err().why, Why::LinkDown);
}

#[test]
fn two_links_of_one_grant_do_not_share_a_busy_flag() {
    let node = Node::new(LEN as u64, 4);
    let grant = node.host.grant(None).unwrap();
    let peer = node.peer();
    std::thread::scope(|scope| {
        let long = scope.spawn(|| {
            let fabric = fabric();
            post(&fabric, &fabric.link(&peer, NODE, grant), long_chain(&fabric, LEN))
        });
        while node.memory.mapping().word(0).load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        let fabric = fabric();
        let link = fabric.link(&peer, NODE, grant);
        assert_eq!(post(&fabric, &link, add_one()), Err(VerbError::refused(NODE, Why::WrongKey)));
        assert!(long.join().unwrap().is_ok());
    });
}

#[test]
fn a_closed_link_refuses() {
    let node = Node::new(1 << 20, 4);
    let fabric = fabric();
    let link = fabric.link(&node.peer(), NODE, node.host.grant(None).unwrap());
    link.close();
    assert_eq!(post(&fabric, &link, add_one()), Err(VerbError::refused(NODE, Why::LinkDown)));
    assert_eq!(fabric.totals().links_lost, 0, "it was closed, not lost");
}

#[test]
fn idle_ends_when_another_thread_wakes_it() {
    let fabric = fabric();
    let waker = fabric.waker();
    let start = Instant::now();
    let waking = std::thread::spawn(move || waker.wake());
    fabric.idle(Duration::from_secs(60));
    assert!(start.elapsed() < Duration::from_secs(30));
    waking.join().unwrap();
    fabric.waker().wake();
    fabric.idle(Duration::from_secs(60));
    assert!(start.elapsed() < Duration::from_secs(30), "a wake-up before the sleep is not lost");
}

/// A control page of our making: `change` spoils it, then it is sealed with `seals`.
fn spoiled(change: impl Fn(&Mapping), len: u64, seals: SealFlags) -> Result<(), PeerError> {
    let node = Node::new(8192, 2);
    let good = Mapping::shared(node.host.fd(), 192).unwrap();
    let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, len.max(192)).unwrap();
    let page = Mapping::shared(&file, 192).unwrap();
    let mut bytes = [0; 192];
    good.copy_out(0, &mut bytes);
    page.copy_in(0, &bytes);
    change(&page);
    ftruncate(&file, len).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    ShmPeer::map(node.memory.fd(), &file).map(drop)
}

#[test]
fn a_client_refuses_what_could_hurt_it() {
    let shrink = SealFlags::SHRINK;
    assert!(spoiled(|_| {}, 192, shrink).is_ok());
    let refused = |change: &dyn Fn(&Mapping)| spoiled(change, 192, shrink).unwrap_err();
    let word = |at: usize, value: u64| move |page: &Mapping| page.word(at).store(value, Ordering::Relaxed);
    let half = |at: usize, value: u32| move |page: &Mapping| page.half(at).store(value, Ordering::Relaxed);
    let (magic, version) = (offset_of!(ShmControl, magic), offset_of!(ShmControl, version));
    let (memory_len, links) = (offset_of!(ShmControl, memory_len), offset_of!(ShmControl, links));
    assert!(matches!(refused(&word(magic, 1)), PeerError::NoControlPage { found: 1 }));
    assert!(matches!(refused(&half(version, 9)), PeerError::Version { found: 9 }));
    for claimed in [3, 1 << 20, u32::MAX] {
        let error = refused(&half(links, claimed));
        assert!(matches!(error, PeerError::Contradiction { actual: 2, .. }), "{error}");
    }
    for claimed in [0, 1, 4096, 8200, 1 << 40, u64::MAX] {
        let error = refused(&word(memory_len, claimed));
        assert!(matches!(error, PeerError::Contradiction { actual: 8192, .. }), "{error}");
    }
    for len in [0, 8, 63, 100] {
        assert!(spoiled(|_| {}, len, shrink).is_err(), "a page of {len} bytes");
    }
    let unsealed = spoiled(|_| {}, 192, SealFlags::GROW);
    assert!(matches!(unsealed, Err(PeerError::Unsealed { what: "control page" })));
}

#[test]
fn memory_that_could_shrink_is_refused() {
    let node = Node::new(8192, 2);
    let file = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, 8192).unwrap();
    assert!(matches!(ShmPeer::map(&file, node.host.fd()), Err(PeerError::Unsealed { what: "memory" })));
    fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
    assert!(ShmPeer::map(&file, node.host.fd()).is_ok());
}

#[test]
fn a_transfer_of_the_whole_memory_is_within_bounds() {
    let node = Node::new(8192, 2);
    let fabric = fabric();
    let link = fabric.link(&node.peer(), NODE, node.host.grant(None).unwrap());
    let all = fabric.buffers().take(8192).unwrap();
    let chain = farrow_fabric::Chain::new().read(RemoteAddr(0), all.whole());
    assert!(post(&fabric, &link, chain).is_ok());
    assert_eq!(post(&fabric, &link, read_word(8192)).unwrap_err().effect, Effect::None);
}
