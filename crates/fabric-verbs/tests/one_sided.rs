//! One-sided verbs on a real device, through the safe types and the two unsafe calls.
//!
//! Where there is no RDMA device these tests say SKIP and pass. `FARROW_REQUIRE_RDMA=1` makes that a failure:
//! the Soft-RoCE guest sets it (`scripts/rxe/guest-run`), so that a broken device cannot pass for a missing
//! one. `FARROW_EXPENDABLE=<device>:<netdev>` names a device whose network may be taken down.

use std::net::IpAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use farrow_fabric_verbs::device::{Candidate, Overrides, Toward, candidates, choose};
use farrow_fabric_verbs::memlock;
use farrow_fabric_verbs::sys::{
    Access, AsyncEvent, CompletionChannel, CompletionQueue, Context, InitAttr, MemoryRegion, PathAddress,
    ProtectionDomain, QpCaps, QpState, QueuePair, RtrAttr, RtsAttr, SendWr, Sge, Status, Subject, Wc,
    WrFlags,
};

const WORDS: usize = 1024;
const CHANNEL_TAG: usize = 0x7a67;

/// The best device of this machine toward itself, or nothing after having said so.
fn device() -> Option<Candidate> {
    let found = candidates().expect("sysfs is readable");
    let ranking = choose(found, &Toward::observe(IpAddr::from([10, 9, 0, 1])), &Overrides::default());
    match ranking.best() {
        Ok(best) => Some(best.clone()),
        Err(none) if std::env::var_os("FARROW_REQUIRE_RDMA").is_some() => panic!("no device: {none}"),
        Err(none) => {
            eprintln!("\n*** SKIP: this test needs an RDMA device, real or Soft-RoCE: {none}\n");
            None
        }
    }
}

/// Words that a device may change: atomics, so that looking at them is no data race in Rust's eyes.
struct Memory {
    region: MemoryRegion,
    // After the region: unregistered before it is freed.
    words: Box<[AtomicU64]>,
}

impl Memory {
    fn new(domain: &Arc<ProtectionDomain>, access: Access) -> Memory {
        let words: Box<[AtomicU64]> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        // SAFETY: the box lives as long as the region and is dropped after it; it is only seen as atomics.
        let region = unsafe {
            MemoryRegion::register(domain, words.as_ptr().cast_mut().cast(), size_of_val(&*words), access)
        };
        Memory { region: region.expect("registered"), words }
    }

    fn set(&self, at: usize, word: u64) {
        self.words[at].store(word, Ordering::SeqCst);
    }

    fn word(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::SeqCst)
    }

    fn address(&self, at: usize) -> u64 {
        self.region.start().addr() as u64 + 8 * at as u64
    }

    /// `count` words from `at`, as a scatter entry.
    fn piece(&self, at: usize, count: usize) -> Sge {
        assert!(at + count <= WORDS);
        Sge { addr: self.address(at), length: 8 * count as u32, lkey: self.region.lkey() }
    }
}

/// Two queue pairs of this process, connected to each other, and memory for either side.
struct Pair {
    client: QueuePair,
    server: QueuePair,
    queue: Arc<CompletionQueue>,
    channel: Arc<CompletionChannel>,
    local: Memory,
    remote: Memory,
}

impl Pair {
    fn connect(device: &Candidate) -> Pair {
        memlock::check(2 * 8 * WORDS as u64).expect("lockable");
        let context = Context::open(&device.device).expect("opens");
        let domain = ProtectionDomain::allocate(&context).expect("domain");
        let channel = CompletionChannel::create(&context).expect("channel");
        let queue = CompletionQueue::create(&context, 512, Some(&channel), CHANNEL_TAG).expect("queue");
        let server_queue = CompletionQueue::create(&context, 1, None, 0).expect("queue");
        assert!(queue.capacity() >= 512);
        let caps = QpCaps { max_send_wr: 64, max_recv_wr: 0, max_send_sge: 2, max_inline_data: 64 };
        let client = QueuePair::create(&domain, &queue, &queue, caps).expect("queue pair");
        let server = QueuePair::create(&domain, &server_queue, &server_queue, caps).expect("queue pair");
        assert!(client.caps().max_send_wr >= 64 && client.caps().max_inline_data >= 64);

        for (own, peer) in [(&client, &server), (&server, &client)] {
            bring_up(own, peer, device);
            let seen = own.query().expect("answers");
            assert_eq!(seen.state, QpState::RTS);
            assert_eq!(seen.remote_queue_pair, peer.number());
            assert_eq!((seen.max_rd_atomic, seen.max_dest_rd_atomic), (4, 4));
        }
        let local = Memory::new(&domain, Access::LOCAL_WRITE);
        let remote = Memory::new(&domain, Access::FULL);
        // Context and domain are dropped here: the queue pairs must keep them alive.
        Pair { client, server, queue, channel, local, remote }
    }

    /// Posts from the client's side.
    fn post(&self, list: &mut [SendWr]) {
        // SAFETY: scatter entries are locals of the callers, who keep them through this call; the memory is
        // `self.local`, which lives as long as the queue pair and is only seen as atomics.
        unsafe { self.client.post_send(list) }.expect("posted");
    }

    /// The next completion, in time.
    fn completion(&self) -> Wc {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut completions = [Wc::default(); 1];
        while self.queue.poll(&mut completions).expect("polls") == 0 {
            assert!(Instant::now() < deadline, "no completion");
            std::thread::yield_now();
        }
        completions[0]
    }

    fn success(&self, id: u64) {
        let wc = self.completion();
        assert!(wc.status().is_success(), "{wc:?}");
        assert_eq!((wc.id(), wc.queue_pair()), (id, self.client.number()));
    }

    fn no_more_completions(&self) {
        let mut completions = [Wc::default(); 8];
        assert_eq!(self.queue.poll(&mut completions).expect("polls"), 0, "{completions:?}");
    }

    fn write(&self, id: u64, piece: &mut Sge, to: usize, flags: WrFlags) -> SendWr {
        SendWr::write(id, piece, 1, self.remote.address(to), self.remote.region.rkey(), flags)
    }

    fn read(&self, id: u64, piece: &mut Sge, from: usize, flags: WrFlags) -> SendWr {
        SendWr::read(id, piece, 1, self.remote.address(from), self.remote.region.rkey(), flags)
    }
}

fn bring_up(own: &QueuePair, peer: &QueuePair, device: &Candidate) {
    let capability = device.capability.as_ref().expect("a chosen device answers");
    own.to_init(&InitAttr { port: device.port, pkey_index: 0, access: Access::FULL }).expect("init");
    own.to_ready_to_receive(&RtrAttr {
        path_mtu: capability.active_mtu,
        remote_queue_pair: peer.number(),
        receive_psn: 0x1234,
        max_dest_rd_atomic: 4,
        min_rnr_timer: 12,
        address: PathAddress {
            gid: device.gid.0,
            source_gid_index: device.gid_index,
            hop_limit: 64,
            traffic_class: 0,
            lid: capability.lid,
            service_level: 0,
            global: true,
            port: device.port,
        },
    })
    .expect("ready to receive");
    own.to_ready_to_send(&RtsAttr {
        timeout: 14,
        retry_count: 7,
        rnr_retry: 7,
        send_psn: 0x1234,
        max_rd_atomic: 4,
    })
    .expect("ready to send");
}

#[test]
fn write_and_inline_write_land_and_read_brings_them_back() {
    let Some(device) = device() else { return };
    let pair = Pair::connect(&device);
    for at in 0..100 {
        pair.local.set(at, 1_000 + at as u64);
    }

    let mut source = pair.local.piece(0, 100);
    pair.post(&mut [pair.write(1, &mut source, 10, WrFlags::SIGNALED)]);
    pair.success(1);
    assert!((0..100).all(|at| pair.remote.word(10 + at) == 1_000 + at as u64));
    assert_eq!((pair.remote.word(9), pair.remote.word(110)), (0, 0), "nothing beside it");

    // Inline data need not be registered: the key is wrong on purpose.
    let mut inline = Sge { lkey: 0, ..pair.local.piece(0, 8) };
    pair.post(&mut [pair.write(2, &mut inline, 200, WrFlags::SIGNALED | WrFlags::INLINE)]);
    for at in 0..8 {
        pair.local.set(at, 0);
    }
    pair.success(2);
    assert!((0..8).all(|at| pair.remote.word(200 + at) == 1_000 + at as u64), "copied when posted");

    let mut target = pair.local.piece(500, 100);
    pair.post(&mut [pair.read(3, &mut target, 10, WrFlags::SIGNALED)]);
    pair.success(3);
    assert!((0..100).all(|at| pair.local.word(500 + at) == 1_000 + at as u64));
    pair.no_more_completions();
}

#[test]
fn a_read_scatters_into_two_pieces() {
    let Some(device) = device() else { return };
    let pair = Pair::connect(&device);
    for at in 0..4 {
        pair.remote.set(at, 7 + at as u64);
    }
    let mut pieces = [pair.local.piece(0, 1), pair.local.piece(10, 3)];
    let (from, rkey) = (pair.remote.address(0), pair.remote.region.rkey());
    pair.post(&mut [SendWr::read(4, pieces.as_mut_ptr(), 2, from, rkey, WrFlags::SIGNALED)]);
    pair.success(4);
    let got = [0, 10, 11, 12].map(|at| pair.local.word(at));
    assert_eq!(got, [7, 8, 9, 10]);
}

#[test]
fn compare_swap_and_fetch_add_return_the_word_seen() {
    let Some(device) = device() else { return };
    let pair = Pair::connect(&device);
    let (word, rkey) = (pair.remote.address(3), pair.remote.region.rkey());
    pair.remote.set(3, 41);
    let mut seen = pair.local.piece(0, 1);

    pair.post(&mut [SendWr::compare_swap(1, &mut seen, word, rkey, 41, 42, WrFlags::SIGNALED)]);
    pair.success(1);
    assert_eq!((pair.local.word(0), pair.remote.word(3)), (41, 42));

    pair.post(&mut [SendWr::compare_swap(2, &mut seen, word, rkey, 41, 99, WrFlags::SIGNALED)]);
    pair.success(2);
    assert_eq!((pair.local.word(0), pair.remote.word(3)), (42, 42), "a wrong expectation changes nothing");

    pair.post(&mut [SendWr::fetch_add(3, &mut seen, word, rkey, u64::MAX, WrFlags::SIGNALED)]);
    pair.success(3);
    assert_eq!((pair.local.word(0), pair.remote.word(3)), (42, 41), "addition wraps");
}

#[test]
fn a_chain_takes_effect_in_order_and_only_its_signalled_end_completes() {
    let Some(device) = device() else { return };
    let pair = Pair::connect(&device);
    let rkey = pair.remote.region.rkey();
    for round in 1..=20_u64 {
        pair.local.set(0, round);
        let mut record = pair.local.piece(0, 1);
        let mut seen = pair.local.piece(1, 1);
        let mut back = pair.local.piece(2, 2);
        pair.post(&mut [
            pair.write(10, &mut record, 0, WrFlags::INLINE),
            SendWr::compare_swap(
                11,
                &mut seen,
                pair.remote.address(1),
                rkey,
                round - 1,
                round,
                WrFlags::NONE,
            ),
            pair.read(12, &mut back, 0, WrFlags::SIGNALED | WrFlags::FENCE),
        ]);
        pair.success(12);
        pair.no_more_completions();
        assert_eq!(pair.local.word(1), round - 1, "the word seen by the unsignalled swap has arrived");
        assert_eq!((pair.local.word(2), pair.local.word(3)), (round, round));
    }
}

#[test]
fn a_bad_key_inside_a_chain_breaks_the_queue_pair_at_that_place() {
    let Some(device) = device() else { return };
    let pair = Pair::connect(&device);
    pair.local.set(0, 5);
    let mut source = pair.local.piece(0, 1);
    let bad_rkey = pair.remote.region.rkey() ^ 0x5500;
    pair.post(&mut [
        pair.write(1, &mut source, 0, WrFlags::NONE),
        SendWr::write(2, &mut source, 1, pair.remote.address(1), bad_rkey, WrFlags::NONE),
        pair.write(3, &mut source, 2, WrFlags::NONE),
    ]);
    // Failures complete whether asked to or not; the success before them does not.
    let (failed, flushed) = (pair.completion(), pair.completion());
    assert_eq!((failed.id(), failed.status()), (2, Status::REMOTE_ACCESS));
    assert_eq!((flushed.id(), flushed.status()), (3, Status::FLUSHED));
    assert_eq!([0, 1, 2].map(|at| pair.remote.word(at)), [5, 0, 0]);
    assert_eq!(pair.client.query().expect("answers").state, QpState::ERROR);
}

#[test]
fn a_region_without_the_right_refuses_the_verb() {
    let Some(device) = device() else { return };
    let pair = Pair::connect(&device);
    let readable = Memory::new(pair.client.domain(), Access::REMOTE_READ);
    readable.set(0, 77);
    let (at, rkey) = (readable.address(0), readable.region.rkey());

    let mut piece = pair.local.piece(0, 1);
    pair.post(&mut [SendWr::read(1, &mut piece, 1, at, rkey, WrFlags::SIGNALED)]);
    pair.success(1);
    assert_eq!(pair.local.word(0), 77);

    pair.post(&mut [SendWr::write(2, &mut piece, 1, at, rkey, WrFlags::SIGNALED)]);
    assert_eq!(pair.completion().status(), Status::REMOTE_ACCESS);
}

#[test]
fn a_full_queue_tells_how_much_of_the_list_was_posted() {
    let Some(device) = device() else { return };
    let pair = Pair::connect(&device);
    // The queue may be deeper than it says, but not by this much.
    let granted = pair.client.caps().max_send_wr as usize;
    let mut piece = pair.local.piece(0, 1);
    let mut list: Vec<SendWr> =
        (0..8 * granted).map(|id| pair.read(id as u64, &mut piece, 0, WrFlags::SIGNALED)).collect();
    // SAFETY: as in `Pair::post`.
    let error = unsafe { pair.client.post_send(&mut list) }.expect_err("too many");
    assert!((granted..list.len()).contains(&error.refused), "{error}");
    for id in 0..error.refused {
        pair.success(id as u64);
    }
    pair.no_more_completions();
    assert_eq!(pair.client.query().expect("answers").state, QpState::RTS, "and it works on");
}

#[test]
fn an_armed_queue_wakes_its_channel_once() {
    let Some(device) = device() else { return };
    let pair = Pair::connect(&device);
    let readable = |timeout_ms: i64| {
        let mut fds = [rustix::event::PollFd::new(&pair.channel, rustix::event::PollFlags::IN)];
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: timeout_ms * 1_000_000 };
        rustix::event::poll(&mut fds, Some(&timeout)).expect("polls") == 1
    };
    assert_eq!(pair.channel.take_event().expect("no event"), None);
    let mut piece = pair.local.piece(0, 1);
    for id in 0..3 {
        pair.queue.request_notification().expect("armed");
        pair.post(&mut [pair.read(id, &mut piece, 0, WrFlags::SIGNALED)]);
        assert!(readable(900), "woken");
        assert_eq!(pair.channel.take_event().expect("event"), Some(CHANNEL_TAG));
        pair.success(id);
    }
    pair.post(&mut [pair.read(9, &mut piece, 0, WrFlags::SIGNALED)]);
    pair.success(9);
    assert!(!readable(50), "not armed, not woken");
}

#[test]
fn a_queue_pair_put_into_error_answers_no_more() {
    let Some(device) = device() else { return };
    let pair = Pair::connect(&device);
    pair.client.to_error().expect("broken on purpose");
    pair.server.to_error().expect("broken on purpose");
    assert_eq!(pair.server.query().expect("answers").state, QpState::ERROR);
    let mut piece = pair.local.piece(0, 1);
    pair.local.set(0, 1);
    // Devices either refuse the post or flush it.
    // SAFETY: as in `Pair::post`.
    match unsafe { pair.client.post_send(&mut [pair.write(1, &mut piece, 0, WrFlags::SIGNALED)]) } {
        Ok(()) => assert_eq!(pair.completion().status(), Status::FLUSHED),
        Err(error) => assert_eq!(error.refused, 0),
    }
    assert_eq!(pair.remote.word(0), 0);
}

#[test]
fn sysfs_and_the_library_agree_on_gids() {
    let Some(device) = device() else { return };
    let context = Context::open(&device.device).expect("opens");
    assert_eq!(context.gid(device.port, device.gid_index).expect("a GID"), device.gid.0);
    let port = context.port(device.port).expect("a port");
    assert!(port.active && u32::from(device.gid_index) < port.gid_count);
    let limits = context.limits().expect("limits");
    assert!(limits.max_mr_size > 0 && limits.max_qp_rd_atomic > 0 && limits.max_sge > 0, "{limits:?}");
}

#[test]
fn an_unknown_device_is_refused_with_the_known_ones() {
    let Some(device) = device() else { return };
    let said = Context::open("no-such-device").expect_err("unknown").to_string();
    assert!(said.contains(&device.device) && said.contains("no-such-device"), "{said}");
}

#[test]
fn a_port_that_loses_its_network_is_an_asynchronous_event() {
    if device().is_none() {
        return;
    }
    let Ok(expendable) = std::env::var("FARROW_EXPENDABLE") else {
        eprintln!("\n*** SKIP: this test takes a network device down; name one in FARROW_EXPENDABLE\n");
        return;
    };
    let (device, netdev) = expendable.split_once(':').expect("FARROW_EXPENDABLE is <device>:<netdev>");
    let context = Context::open(device).expect("opens");
    let link = |state| {
        let ended = Command::new("ip").args(["link", "set", netdev, state]).status();
        assert!(ended.expect("ip runs").success());
    };
    while context.take_async_event().expect("answers").is_some() {}
    link("down");
    let deadline = Instant::now() + Duration::from_secs(10);
    let is_port_error = |event: &AsyncEvent| event.kind == 10 && event.subject == Subject::Port { port: 1 };
    let found = loop {
        match context.take_async_event().expect("answers") {
            Some(event) if is_port_error(&event) => break Some(event),
            Some(_) => {}
            None if Instant::now() > deadline => break None,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    link("up");
    assert!(found.is_some_and(|event| !event.what.is_empty()), "no event for the lost port");
}
