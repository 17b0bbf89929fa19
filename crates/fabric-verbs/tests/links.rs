//! What links, engines and hosts do beyond the contract. As for all tests of this crate: SKIP without a device,
//! unless `FARROW_REQUIRE_RDMA=1`.

mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use common::{Devices, NODE, connect, connect_with, devices};
use farrow_fabric::{Chain, Cork, Effect, Fabric, Link, Mapping, Slices, VerbError, Why, block_on, join_all};
use farrow_fabric_verbs::device::Gid;
use farrow_fabric_verbs::{
    AcceptError, ConnectError, EngineError, EngineOptions, LinkOptions, NotLater, Port, VerbsFabric,
    VerbsHost, VerbsLink,
};
use farrow_layout::RemoteAddr;

const LEN: u64 = 1 << 20;

/// A node, and a fabric with one link to it.
struct Setting {
    devices: Devices,
    link: VerbsLink,
    fabric: VerbsFabric,
    port: Arc<Port>,
    host: VerbsHost,
    memory: Arc<Mapping>,
}

impl Setting {
    fn new() -> Option<Setting> {
        Setting::with(|options| options)
    }

    fn with(change: impl FnOnce(EngineOptions) -> EngineOptions) -> Option<Setting> {
        let devices = devices()?;
        let memory = common::mapping(LEN);
        let host = common::host(&devices, &memory, LEN);
        let port = common::port(&devices);
        let options = change(common::options(&devices));
        let fabric = VerbsFabric::new(&port, options, 64 << 20).expect("a fabric");
        let link = connect(&fabric, &host);
        Some(Setting { devices, link, fabric, port, host, memory })
    }

    fn end(&self, chain: Chain) -> Result<Vec<u64>, VerbError> {
        block_on(&self.fabric, self.link.post(chain)).map(|answers| answers.to_vec())
    }

    fn word(&self, at: u64) -> u64 {
        self.memory.word(at as usize).load(Ordering::SeqCst)
    }
}

fn at(at: u64) -> RemoteAddr {
    RemoteAddr(at)
}

fn add(to: u64) -> Chain {
    Chain::new().fetch_add(at(to), 1)
}

fn ends(answers: Vec<Result<farrow_fabric::Answers, VerbError>>) -> Vec<(Effect, Why)> {
    answers.into_iter().map(|answer| answer.expect_err("failed")).map(|e| (e.effect, e.why)).collect()
}

#[test]
fn a_refused_key_tells_exactly_what_did_not_execute() {
    let Some(setting) = Setting::new() else { return };
    let fabric = &setting.fabric;
    // The first half of the memory can be reached, the second cannot.
    let host = common::host(&setting.devices, &setting.memory, LEN / 2);
    let spoiled = || connect_with(fabric, &host, |chunks| chunks[1].key ^= 0x5500);
    let bad = LEN / 2;

    let link = spoiled();
    let cork = Cork::new(fabric);
    let posted = [
        add(0),
        Chain::new().write_word(at(8), 1).write_word(at(bad), 1).write_word(at(16), 1),
        add(24),
        add(32),
    ]
    .map(|chain| link.post(chain));
    drop(cork);
    let mut answers = block_on(fabric, join_all(posted));
    let first = answers.remove(0).expect("before the failure");
    assert_eq!(first.as_slice(), [0]);
    let none = (Effect::None, Why::LinkDown);
    assert_eq!(ends(answers), [(Effect::Maybe, Why::WrongKey), none, none]);
    assert_eq!([0, 8, 16, 24, 32].map(|at| setting.word(at)), [1, 1, 0, 0, 0]);

    let link = spoiled();
    let first_refused = Chain::new().write_word(at(bad), 1).write_word(at(16), 1);
    let error = block_on(fabric, link.post(first_refused)).expect_err("refused");
    assert_eq!((error.effect, error.why), (Effect::None, Why::WrongKey));

    let link = spoiled();
    let long = fabric.buffers().take(100_000).expect("a buffer");
    let error = block_on(fabric, link.post(Chain::new().write(at(bad), long.whole()))).expect_err("refused");
    assert_eq!((error.effect, error.why), (Effect::Maybe, Why::WrongKey), "more than one packet");
    assert!(!long.is_pinned());
    assert_eq!(fabric.totals().links_lost, 3);
    assert_eq!(setting.end(add(0)), Ok(vec![1]), "other links of the thread go on");
}

#[test]
fn dropping_a_link_ends_its_chains_and_frees_its_buffers() {
    let Some(setting) = Setting::new() else { return };
    let Setting { fabric, host, .. } = &setting;
    let link = connect(fabric, host);
    let buffer = fabric.buffers().take(60_000).expect("a buffer");
    let posted: Vec<_> = (0..300).map(|_| link.post(Chain::new().read(at(0), buffer.whole()))).collect();
    assert!(buffer.is_pinned() && link.in_flight() > 0);
    let (lost, links) = (fabric.totals().links_lost, fabric.engine().links());
    drop(link);
    assert!(!buffer.is_pinned());
    let mut waiting = 0;
    for answer in block_on(fabric, join_all(posted)).into_iter().filter_map(Result::err) {
        assert_eq!(answer.why, Why::LinkDown);
        waiting += usize::from(answer.effect == Effect::None);
    }
    assert_eq!(waiting, 300 - 256, "what the send queue had no room for was never posted");
    assert_eq!(fabric.totals().links_lost, lost, "closing is not losing");
    assert_eq!(fabric.engine().links(), links - 1);
    assert_eq!(setting.end(add(0)), Ok(vec![0]));
}

#[test]
fn a_small_queue_carries_many_chains_of_many_links() {
    let small = |options: EngineOptions| EngineOptions {
        max_links: 4,
        link: LinkOptions { depth: 32, ..options.link },
        ..options
    };
    let Some(setting) = Setting::with(small) else { return };
    let Setting { fabric, host, link, .. } = &setting;
    let links = [link.clone(), connect(fabric, host), connect(fabric, host), connect(fabric, host)];
    match fabric.connect() {
        Err(ConnectError::TooManyLinks { max: 4 }) => {}
        other => panic!("a fifth link: {other:?}"),
    }
    let posted: Vec<_> = (0..1000)
        .flat_map(|i| {
            let cork = Cork::new(fabric);
            let chain = || (0..i % 8).fold(add(64), |chain, _| chain.fetch_add(at(72), 1));
            let posted = links.each_ref().map(|link| link.post(chain()));
            drop(cork);
            posted
        })
        .collect();
    assert!(links.iter().all(|link| link.in_flight() <= 32));
    let answers = block_on(fabric, join_all(posted));
    assert!(answers.iter().all(Result::is_ok));
    let mut olds: Vec<u64> = answers.into_iter().map(|answer| answer.expect("done")[0]).collect();
    olds.sort_unstable();
    assert!(olds.into_iter().eq(0..4000));
    assert_eq!((setting.word(64), setting.word(72)), (4000, 4 * 1000 / 8 * (1 + 2 + 3 + 4 + 5 + 6 + 7)));
    drop(links);
    drop(fabric.connect().expect("there is room again"));
}

#[test]
fn a_foreign_executor_needs_no_driver() {
    let Some(setting) = Setting::new() else { return };
    let mut completions: Vec<_> = (0..20).map(|_| setting.link.post(add(0))).collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut cx = Context::from_waker(Waker::noop());
    for (expected, completion) in (0..).zip(&mut completions) {
        loop {
            match Pin::new(&mut *completion).poll(&mut cx) {
                Poll::Ready(answer) => break assert_eq!(answer.expect("done").as_slice(), [expected]),
                Poll::Pending => assert!(Instant::now() < deadline, "no answer"),
            }
        }
    }
}

#[test]
fn a_sleeper_is_woken_by_completions_and_by_threads() {
    let Some(setting) = Setting::new() else { return };
    let Setting { fabric, link, .. } = &setting;
    let long = Duration::from_secs(30);
    let start = Instant::now();
    for round in 0..20 {
        let mut completion = link.post(add(0));
        // Nobody polls in between, so it is the device that ends the sleep.
        while link.in_flight() > 0 {
            fabric.idle(long);
            fabric.progress();
        }
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(answer) = Pin::new(&mut completion).poll(&mut cx) else {
            panic!("retired, so ready")
        };
        assert_eq!(answer.expect("done").as_slice(), [round]);
    }
    let called = Arc::new(AtomicBool::new(false));
    let caller = std::thread::spawn({
        let (waker, called) = (fabric.waker(), called.clone());
        move || {
            std::thread::sleep(Duration::from_millis(100));
            called.store(true, Ordering::SeqCst);
            waker.wake();
        }
    });
    while !called.load(Ordering::SeqCst) {
        fabric.idle(long);
    }
    caller.join().expect("called");
    assert!(start.elapsed() < long, "a sleep was not ended: {:?}", start.elapsed());
    let nap = Instant::now();
    fabric.idle(Duration::from_millis(50));
    fabric.idle(Duration::from_millis(50));
    assert!(nap.elapsed() >= Duration::from_millis(49), "with nothing to do it sleeps");
}

#[test]
fn aligned_transfers_tear_between_words_only() {
    let Some(setting) = Setting::new() else { return };
    const AT: u64 = 4096;
    const BYTES: usize = 4096;
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let fabric = VerbsFabric::new(&setting.port, common::options(&setting.devices), 1 << 22)
                .expect("a fabric");
            let link = connect(&fabric, &setting.host);
            let buffer = fabric.buffers().take(BYTES).expect("a buffer");
            for round in 0..400u32 {
                buffer.with_mut(|bytes| bytes.fill(round as u8));
                let write = link.post(Chain::new().write(at(AT), buffer.whole()));
                block_on(&fabric, write).expect("written");
            }
            end.store(true, Ordering::SeqCst);
        });
        let buffer = setting.fabric.buffers().take(BYTES).expect("a buffer");
        while !end.load(Ordering::SeqCst) {
            setting.end(Chain::new().read(at(AT), buffer.whole())).expect("read");
            buffer.with(|bytes| {
                for word in bytes.chunks_exact(8) {
                    assert!(word.iter().all(|byte| *byte == word[0]), "a word is torn: {word:x?}");
                }
            });
        }
    });
}

#[test]
fn a_chain_does_not_see_what_later_chains_write() {
    let Some(setting) = Setting::new() else { return };
    let Setting { fabric, link, .. } = &setting;
    let rounds = 500u64;
    let posted: Vec<_> = (0..rounds)
        .map(|i| {
            let (out, back) = (fabric.buffers().take(256), fabric.buffers().take(256));
            let (out, back) = (out.expect("a buffer"), back.expect("a buffer"));
            out.with_mut(|bytes| bytes.fill(i as u8));
            let halves = Slices::from_iter([back.slice(0, 100), back.slice(100, 156)]);
            drop(link.post(Chain::new().write(at(4096), out.whole()).write_word(at(64), i)));
            let read = Chain::new().read_scattered(at(4096), halves).read_word(at(64));
            (link.post(read), back)
        })
        .collect();
    let (completions, buffers): (Vec<_>, Vec<_>) = posted.into_iter().unzip();
    let answers = block_on(fabric, join_all(completions));
    for (i, (answer, buffer)) in (0..).zip(answers.into_iter().zip(buffers)) {
        assert_eq!(answer.expect("done").as_slice(), [i]);
        assert_eq!(buffer.to_vec(), [i as u8; 256], "chain {i}");
    }
}

#[test]
fn giving_a_link_up_ends_it_at_once() {
    let Some(setting) = Setting::new() else { return };
    let Setting { fabric, host, link, .. } = &setting;
    assert_eq!(host.fence(1), Err(NotLater { asked: 1, present: 1 }));
    assert_eq!(host.fence(7), Ok(1));
    let start = Instant::now();
    let posted = link.post(add(0));
    link.give_up(Why::Fenced);
    let error = block_on(fabric, posted).expect_err("given up");
    assert_eq!((error.effect, error.why), (Effect::Maybe, Why::Fenced));
    assert_eq!(setting.end(add(0)), Err(VerbError::refused(NODE, Why::LinkDown)));
    assert!(start.elapsed() < Duration::from_secs(1), "without waiting for retries");
    link.give_up(Why::PeerLost);
    assert_eq!(fabric.totals().links_lost, 1);
    assert_eq!((host.epoch(), host.links(), setting.word(0)), (7, 0, 0));
}

#[test]
fn a_link_closed_by_the_node_is_lost_within_its_retries() {
    let Some(setting) = Setting::new() else { return };
    let Setting { fabric, host, .. } = &setting;
    let connecting = fabric.connect().expect("a queue pair");
    let accepted = host.accept(&connecting.end(), Some(setting.devices.node.gid)).expect("accepted");
    assert_eq!(accepted.epoch, 1);
    let link = connecting.finish(NODE, &accepted.end, accepted.memory).expect("connected");
    block_on(fabric, link.post(add(8))).expect("works");
    assert!(host.close(accepted.link));
    assert!(!host.close(accepted.link), "once");
    let start = Instant::now();
    let answers = block_on(fabric, join_all([add(8), add(16)].map(|chain| link.post(chain))));
    let lost = (Effect::Maybe, Why::PeerLost);
    assert_eq!(ends(answers), [lost, lost]);
    assert!(start.elapsed() < Duration::from_secs(15));
    assert_eq!((setting.word(8), setting.word(16)), (1, 0));
    assert_eq!(setting.end(add(0)), Ok(vec![0]), "the other link is not concerned");
}

#[test]
fn nonsense_in_the_handshake_is_refused() {
    let Some(setting) = Setting::new() else { return };
    let Setting { fabric, host, .. } = &setting;
    let connecting = || fabric.connect().expect("a queue pair");
    let client = connecting();
    let unknown = Gid([7; 16]);
    assert!(
        matches!(host.accept(&client.end(), Some(unknown)), Err(AcceptError::NoSuchPort(gid)) if gid == unknown)
    );
    let mut odd = client.end();
    odd.mtu = 1500;
    assert!(matches!(host.accept(&odd, None), Err(AcceptError::End { .. })));
    let accepted = host.accept(&client.end(), None).expect("accepted");
    let mut odd = accepted.end;
    odd.responder_reads = 0;
    let refused = client.finish(NODE, &odd, accepted.memory.clone()).expect_err("no READs");
    assert!(refused.to_string().contains("answers no READs"), "{refused}");
    let gap = accepted.memory[..0].to_vec();
    assert!(matches!(connecting().finish(NODE, &accepted.end, gap), Err(ConnectError::Memory(_))));
    let ports = host.ports();
    assert_eq!((ports.len(), ports[0].gid), (1, setting.devices.node.gid.0));
}

#[test]
fn an_engine_that_is_too_deep_says_what_to_do() {
    let Some(setting) = Setting::new() else { return };
    let link = LinkOptions { depth: 1 << 15, ..LinkOptions::default() };
    let options = EngineOptions { max_links: 60_000, link, spin: None };
    match VerbsFabric::new(&setting.port, options, 0) {
        Err(error @ EngineError::TooDeep { .. }) => {
            assert!(error.to_string().contains("fewer links per thread"), "{error}");
        }
        other => panic!("two thousand million completions: {other:?}"),
    }
}
