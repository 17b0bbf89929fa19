//! F7 and F8: what happens to chains and buffers that nobody waits for.

use super::seat::{addr, agent};
use super::{Seat, World};
use crate::{Chain, Fabric, Link};

/// F7.
pub(super) fn dropping_is_not_cancelling<W: World>(world: &W) {
    const COUNT: u64 = 64;
    const DATA: u64 = 4096;
    let rounds = world.rounds(1_000);
    world.run(vec![agent(move |seat: Seat<W::Fabric>| async move {
        for i in 0..rounds {
            let data = seat.pattern(i as u8, 500);
            drop(seat.link.post(Chain::new().write(addr(DATA), data.whole()).fetch_add(addr(COUNT), 1)));
            if i % 8 == 7 {
                // The chains of one link take effect in the order posted, so this one sees all before it.
                assert_eq!(seat.word(COUNT).await, i + 1, "abandoned chains have their effect, once");
                assert_eq!(seat.read(DATA, 500).await, [i as u8; 500]);
            }
        }
        assert_eq!(seat.word(COUNT).await, rounds);
    })]);
}

/// F8.
pub(super) fn pinned_until_reaped<W: World>(world: &W) {
    const AT: u64 = 8192;
    const LEN: usize = 1000;
    let rounds = world.rounds(1_000);
    world.run(vec![agent(move |seat: Seat<W::Fabric>| async move {
        for i in 0..rounds {
            let (old, new) = (i as u8, (i + 1) as u8);
            // Out: completion and buffer are gone at once, and the next buffer is scribbled on.
            let out = seat.pattern(new, LEN);
            drop(seat.link.post(Chain::new().write(addr(AT), out.whole())));
            drop(out);
            let scribble = seat.pattern(0xaa ^ old, LEN);
            assert_eq!(
                seat.read(AT, LEN).await,
                [new; LEN],
                "the bytes that were posted are the bytes that arrive"
            );
            drop(scribble);

            // In: the READ's buffer is gone at once; its bytes must not arrive in anybody else's.
            let into = seat.pattern(0x11, LEN);
            drop(seat.link.post(Chain::new().read(addr(AT), into.whole())));
            drop(into);
            let others: Vec<_> = (0..4).map(|_| seat.pattern(0x55, LEN)).collect();
            seat.word(0).await;
            assert!(
                others.iter().all(|b| b.with(|bytes| bytes == [0x55; LEN])),
                "an abandoned READ arrived in memory that was handed out again"
            );

            // Kept: once a later chain has completed, the buffer is ours again and holds the bytes.
            let kept = seat.buffer(LEN);
            drop(seat.link.post(Chain::new().read(addr(AT), kept.whole())));
            seat.word(0).await;
            assert!(!kept.is_pinned(), "reaped verbs let go of their buffers");
            assert_eq!(kept.to_vec(), [new; LEN]);
        }
        let mapped = seat.fabric.buffers().mapped();
        assert!(mapped <= 4 << 20, "buffers of {LEN} bytes are used again, not mapped anew: {mapped} bytes");
    })]);
}
