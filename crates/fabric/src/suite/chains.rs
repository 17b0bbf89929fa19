//! F10, F11 and F13: full chains, many chains, large chains.

use super::seat::{addr, agent};
use super::{Seat, World};
use crate::{Answers, Chain, Fabric, Link, MAX_CHAIN, Slices, VerbError};
use std::pin::Pin;
use std::task::{Context, Poll};

/// F10.
pub(super) fn mixed<W: World>(world: &W) {
    world.run(vec![agent(|seat: Seat<W::Fabric>| async move {
        full_chain(&seat).await;
        for (at, len) in lengths() {
            scattered_and_gathered(&seat, at, len).await;
        }
    })]);
}

async fn full_chain<F: Fabric>(seat: &Seat<F>) {
    let (out, back) = (seat.filled(b"seventeen bytes.."), seat.buffer(17));
    let chain = Chain::new()
        .write_word(addr(64), 5)
        .fetch_add(addr(64), u64::MAX)
        .compare_swap(addr(64), 4, 40)
        .compare_swap(addr(64), 4, 41)
        .write(addr(75), out.whole())
        .read_word_pair(addr(64))
        .read(addr(75), back.whole())
        .read_word(addr(64));
    assert_eq!(chain.verbs().len(), MAX_CHAIN);
    let answers = seat.ok(chain).await;
    let second = u64::from_le_bytes(*b"\0\0\0seven");
    assert_eq!(answers.as_slice(), [5, 4, 40, 40, second, 40], "answers come in the order of the verbs");
    assert_eq!(back.to_vec(), b"seventeen bytes..");

    let pairs = (0..MAX_CHAIN).fold(Chain::new(), |chain, _| chain.read_word_pair(addr(64)));
    let answers = seat.ok(pairs).await;
    assert_eq!(answers.as_slice(), [40, second].repeat(MAX_CHAIN), "the most answers that a chain has");
}

fn lengths() -> Vec<(u64, usize)> {
    let lengths = [0, 1, 7, 8, 9, 63, 64, 65, 255, 256, 257, 4095, 4096, 4097];
    (0..9).flat_map(|offset| lengths.map(|len| (8192 + offset, len))).collect()
}

/// WRITEs `len` bytes at `at` out of three segments and READs them into three others.
async fn scattered_and_gathered<F: Fabric>(seat: &Seat<F>, at: u64, len: usize) {
    let bytes: Vec<u8> = (0..len).map(|i| (i as u64 * 31 + at + len as u64) as u8).collect();
    let source = seat.filled(&[&[0xee; 3], &bytes[..], &[0xee; 3]].concat());
    let cuts = [(0, len / 3), (len / 2, len / 2), (len, len)];
    for (first, second) in cuts {
        let from = [(0, first), (first, second - first), (second, len - second)];
        let from: Slices = from.into_iter().map(|(start, n)| source.slice(3 + start, n)).collect();
        // What lies beside is filled first, so that a WRITE that is a byte too long is seen.
        seat.write(at - 8, &vec![0x77; len + 16]).await;
        let target = seat.pattern(0x33, len + 6);
        // Other cuts than the WRITE's.
        let (a, b) = (len - second, len - first);
        let into = [(0, a), (a, b - a), (b, len - b)];
        let into: Slices = into.into_iter().map(|(start, n)| target.slice(3 + start, n)).collect();
        seat.ok(Chain::new().write_gathered(addr(at), from).read_scattered(addr(at), into)).await;
        let expected = [&[0x33; 3], &bytes[..], &[0x33; 3]].concat();
        assert_eq!(target.to_vec(), expected, "{len} bytes at {at}, cut at {first} and {second}");
        let around = seat.read(at - 8, len + 16).await;
        assert_eq!(around, [&[0x77; 8], &bytes[..], &[0x77; 8]].concat(), "{len} bytes at {at} and beside");
    }
}

/// F11.
pub(super) fn many_in_flight<W: World>(world: &W) {
    const CHAINS: u64 = 1_000;
    world.run(vec![agent(|seat: Seat<W::Fabric>| async move {
        let post = |i: u64| {
            let (out, back) = (seat.filled(&i.to_le_bytes().repeat(8)), seat.buffer(64));
            let chain = Chain::new()
                .write(addr(4096), out.whole())
                .fetch_add(addr(64), 1)
                .read(addr(4096), back.whole());
            (seat.link.post(chain), back)
        };
        let (completions, buffers): (Vec<_>, Vec<_>) = (0..CHAINS).map(post).unzip();
        let answers = InOrder::new(completions).await;
        for (i, (answer, buffer)) in (0..).zip(answers.into_iter().zip(buffers)) {
            let answer = answer.unwrap_or_else(|error| panic!("chain {i} of {CHAINS} failed: {error}"));
            assert_eq!(answer.as_slice(), [i]);
            assert_eq!(buffer.to_vec(), i.to_le_bytes().repeat(8), "chain {i} reads what it wrote");
        }
    })]);
}

/// Waits for all, and asserts that none completes before one posted earlier.
struct InOrder<C> {
    completions: Vec<C>,
    answers: Vec<Result<Answers, VerbError>>,
}

impl<C> InOrder<C> {
    fn new(completions: Vec<C>) -> InOrder<C> {
        InOrder { completions, answers: Vec::new() }
    }
}

impl<C: Future<Output = Result<Answers, VerbError>> + Unpin> Future for InOrder<C> {
    type Output = Vec<Result<Answers, VerbError>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let InOrder { completions, answers } = &mut *self;
        while let Some(next) = completions.get_mut(answers.len()) {
            match Pin::new(next).poll(cx) {
                Poll::Ready(answer) => answers.push(answer),
                Poll::Pending => break,
            }
        }
        // Nothing completes between two polls in one go, so whatever is ready behind a pending one came too early.
        for later in completions.iter_mut().skip(answers.len() + 1) {
            assert!(Pin::new(later).poll(cx).is_pending(), "a chain completed before one posted earlier");
        }
        if answers.len() < completions.len() {
            return Poll::Pending;
        }
        Poll::Ready(std::mem::take(answers))
    }
}

/// F13.
pub(super) fn large<W: World>(world: &W) {
    const LEN: usize = 1 << 20;
    const AT: u64 = (1 << 20) + 24;
    world.run(vec![agent(|seat: Seat<W::Fabric>| async move {
        let bytes: Vec<u8> = (0..LEN).map(|i| (i * 7 + i / 251) as u8).collect();
        let (out, back) = (seat.filled(&bytes), seat.pattern(0, LEN));
        let thirds = |b: &crate::Buffer| -> Slices {
            let third = LEN / 3;
            [(0, third), (third, third), (2 * third, LEN - 2 * third)]
                .map(|(s, n)| b.slice(s, n))
                .into_iter()
                .collect()
        };
        seat.ok(Chain::new().write(addr(AT), out.whole())).await;
        seat.ok(Chain::new().read_scattered(addr(AT), thirds(&back))).await;
        assert!(back.to_vec() == bytes, "1 MiB comes back as it went out");

        out.with_mut(|b| b.reverse());
        let chain = Chain::new()
            .write_gathered(addr(AT), thirds(&out))
            .read(addr(AT), back.whole())
            .fetch_add(addr(64), 1);
        seat.ok(chain).await;
        assert!(back.with(|b| bytes.iter().rev().eq(b)), "1 MiB out and back in one chain");
    })]);
}
