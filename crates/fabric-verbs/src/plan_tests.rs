use super::*;
use farrow_fabric::{Buffers, Registrar, Registration};
use farrow_layout::RemoteAddr;
use std::rc::Rc;

struct Key;

impl Registration for Key {
    fn local_key(&self) -> u32 {
        77
    }
}

struct FakeDevice;

#[allow(unsafe_code, reason = "the trait's method is unsafe to call; this one touches nothing")]
impl Registrar for FakeDevice {
    unsafe fn register(&self, _: *mut u8, _: usize) -> Result<Box<dyn Registration>, String> {
        Ok(Box::new(Key))
    }
}

const LIMITS: Limits = Limits { entries: 3, inline: 64, message: 1 << 30, requests: 64 };

/// Two chunks of 4 KiB, far apart.
fn window() -> Window {
    let chunk = |offset: u64, key| RdmaChunk { offset, len: 4096, address: (offset + 4096) << 8, key };
    Window::new(vec![chunk(0, 1), chunk(4096, 2)]).expect("sensible")
}

fn buffers() -> Buffers {
    Buffers::new(Some(Rc::new(FakeDevice)), 1 << 20)
}

fn at(at: u64) -> RemoteAddr {
    RemoteAddr(at)
}

fn plan(chain: Chain, limits: &Limits) -> Plan {
    let mut plan = Plan::default();
    plan.fill(chain, &window(), limits).expect("a good chain");
    plan
}

fn fences(chain: Chain) -> Vec<bool> {
    plan(chain, &LIMITS).requests.iter().map(|request| request.fence).collect()
}

#[test]
fn fences_stand_where_the_specification_asks_for_them_and_nowhere_else() {
    let new = Chain::new;
    let buffer = buffers().take(8).expect("small");
    let read = |chain: Chain| chain.read(at(0), buffer.whole());
    let write = |chain: Chain| chain.write(at(0), buffer.whole());
    assert_eq!(fences(write(new()).compare_swap(at(8), 0, 1)), [false, false]);
    assert_eq!(fences(write(write(new())).write_word(at(0), 1)), [false; 3]);
    assert_eq!(fences(read(read(new())).read_word(at(0))), [false; 3]);
    assert_eq!(fences(read(new().compare_swap(at(0), 0, 1))), [false, false]);
    assert_eq!(fences(write(read(new()))), [false, true]);
    assert_eq!(fences(new().read_word(at(0)).write_word(at(0), 1)), [false, true]);
    assert_eq!(fences(read(new()).compare_swap(at(0), 0, 1)), [false, true]);
    assert_eq!(fences(new().fetch_add(at(0), 1).fetch_add(at(0), 1)), [false, true]);
    assert_eq!(fences(write(new().compare_swap(at(0), 0, 1))), [false, true]);
    // One fence covers all that stands before it; what it starts may need the next one.
    assert_eq!(fences(write(write(read(new())))), [false, true, false]);
    let mixed = write(read(new()).fetch_add(at(0), 1)).read_word(at(0)).read_word(at(0)).write_word(at(0), 1);
    assert_eq!(fences(mixed), [false, true, true, false, false, true]);
}

#[test]
fn a_change_waits_for_the_reads_of_earlier_chains_that_it_meets() {
    let buffer = buffers().take(64).expect("small");
    let mut reads = Reads::default();
    let mut first = 0;
    let mut fences = |chain: Chain| -> Vec<bool> {
        let mut plan = plan(chain, &LIMITS);
        plan.order_behind(first, &mut reads);
        first += plan.requests.len() as u32;
        plan.requests.iter().map(|request| request.fence).collect()
    };
    assert_eq!(fences(Chain::new().read(at(0), buffer.whole()).read_word(at(128))), [false, false]);
    assert_eq!(fences(Chain::new().write_word(at(64), 1).fetch_add(at(120), 1)), [false, false]);
    assert_eq!(fences(Chain::new().write_word(at(64), 1).compare_swap(at(128), 0, 1)), [false, true]);
    assert_eq!(fences(Chain::new().write(at(0), buffer.whole())), [false], "the fence was for all READs");
}

#[test]
fn transfers_are_cut_where_chunks_end() {
    let buffer = buffers().take(300).expect("small");
    let slices = Slices::from_iter([buffer.slice(0, 50), buffer.slice(50, 0), buffer.slice(100, 200)]);
    let plan = plan(Chain::new().write_gathered(at(4000), slices), &LIMITS);
    let kinds: Vec<_> = plan.requests.iter().map(|r| (r.kind, r.address, r.key)).collect();
    assert_eq!(
        kinds,
        [
            (Kind::Write { first: 0, count: 2, inline: false, len: 96 }, (4096 << 8) + 4000, 1),
            (Kind::Write { first: 2, count: 1, inline: false, len: 154 }, 8192 << 8, 2),
        ]
    );
    let base = buffer.whole().pin().address().addr() as u64;
    let entries: Vec<_> = plan.entries.iter().map(|e| (e.addr - base, e.length, e.lkey)).collect();
    assert_eq!(entries, [(0, 50, 77), (100, 46, 77), (146, 154, 77)]);
}

#[test]
fn transfers_are_cut_to_the_devices_limits() {
    let buffer = buffers().take(30).expect("small");
    let slices = || Slices::from_iter([buffer.slice(0, 10), buffer.slice(10, 10), buffer.slice(20, 10)]);
    let few = plan(Chain::new().read_scattered(at(0), slices()), &Limits { entries: 2, ..LIMITS });
    assert_eq!(few.requests.len(), 2);
    assert_eq!(few.requests[1].address, (4096 << 8) + 20);
    let short = plan(Chain::new().read_scattered(at(0), slices()), &Limits { message: 16, ..LIMITS });
    let lengths: Vec<u32> = short.entries.iter().map(|e| e.length).collect();
    assert_eq!((short.requests.len(), lengths), (2, vec![10, 6, 4, 10]));
}

#[test]
fn small_writes_are_inline_unless_a_read_brings_the_bytes() {
    let pool = buffers();
    let (small, large) = (pool.take(64).expect("small"), pool.take(65).expect("small"));
    let inline = |chain: Chain| -> Vec<bool> {
        let inline = |r: &Request| matches!(r.kind, Kind::Write { inline: true, .. });
        plan(chain, &LIMITS).requests.iter().map(inline).collect()
    };
    assert_eq!(inline(Chain::new().write(at(0), small.whole()).write(at(0), large.whole())), [true, false]);
    let forwarded = Chain::new().read(at(0), small.whole()).write(at(64), small.whole());
    assert_eq!(inline(forwarded), [false, false]);
    let beside_a_word = Chain::new().read_word(at(0)).write(at(64), small.whole());
    assert_eq!(inline(beside_a_word), [false, true]);
}

#[test]
fn a_pair_of_words_is_cut_between_them() {
    let plan = plan(Chain::new().read_word_pair(at(4088)).fetch_add(at(0), 1), &LIMITS);
    let kinds: Vec<_> = plan.requests.iter().map(|r| r.kind).collect();
    let one = Kind::ReadWords { count: 1 };
    assert_eq!(kinds, [one, one, Kind::FetchAdd { add: 1 }]);
    let answers = plan.answers(|request, which| (10 * request + which) as u64);
    assert_eq!(answers.as_slice(), [0, 10, 20]);
}

#[test]
fn buffers_are_pinned_until_the_plan_is_cleared() {
    let pool = buffers();
    let (buffer, other) = (pool.take(100).expect("small"), pool.take(8).expect("small"));
    let mut plan = plan(Chain::new().read(at(0), buffer.whole()), &LIMITS);
    assert!(buffer.is_pinned());
    plan.clear();
    assert!(!buffer.is_pinned());
    // Nor does a chain that is refused keep anything.
    let refused = Chain::new().read(at(0), buffer.whole()).read(at(8190), other.whole());
    assert_eq!(plan.fill(refused, &window(), &LIMITS), Err(Why::OutOfBounds));
    assert!(!buffer.is_pinned() && !other.is_pinned());
}

#[test]
fn buffers_of_another_fabric_are_refused_where_the_device_would_need_them() {
    let foreign = Buffers::new(None, 1 << 20).take(100).expect("small");
    let mut plan = Plan::default();
    let mut outcome = |chain| plan.fill(chain, &window(), &LIMITS);
    assert_eq!(outcome(Chain::new().read(at(0), foreign.whole())), Err(Why::Malformed));
    assert_eq!(outcome(Chain::new().write(at(0), foreign.whole())), Err(Why::Malformed));
    assert_eq!(outcome(Chain::new().write(at(0), foreign.slice(0, 64))), Ok(()));
}

#[test]
fn empty_transfers_need_no_request_and_endless_ones_are_refused() {
    let buffer = buffers().take(4000).expect("small");
    assert_eq!(plan(Chain::new().read(at(0), buffer.slice(0, 0)), &LIMITS).requests, []);
    let mut plan = Plan::default();
    let tight = Limits { message: 10, requests: 100, ..LIMITS };
    assert_eq!(plan.fill(Chain::new().read(at(0), buffer.whole()), &window(), &tight), Err(Why::Malformed));
}

#[test]
fn a_memory_is_cut_into_chunks_without_a_rest() {
    let cut: Vec<_> = chunks(0x1000, 100, 64).map(|c| (c.offset, c.len, c.address)).collect();
    assert_eq!(cut, [(0, 64, 0x1000), (64, 36, 0x1040)]);
    assert_eq!(chunks(0, 128, 64).count(), 2);
}
