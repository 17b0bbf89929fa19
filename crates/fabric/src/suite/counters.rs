//! F12: what is counted.

use super::seat::{addr, agent, must};
use super::{Seat, World};
use crate::{Chain, Cork, Fabric, Link, Totals, corked, join_all};

/// F12.
pub(super) fn exact<W: World>(world: &W) {
    world.run(vec![agent(|seat: Seat<W::Fabric>| async move {
        verbs_and_bytes(&seat).await;
        doorbells(&seat).await;
    })]);
}

async fn verbs_and_bytes<F: Fabric>(seat: &Seat<F>) {
    let buffer = seat.pattern(1, 100);
    let before = seat.fabric.totals();
    let chain = Chain::new()
        .read(addr(0), buffer.slice(0, 60))
        .read_word_pair(addr(64))
        .write(addr(0), buffer.whole())
        .write_word(addr(128), 1)
        .compare_swap(addr(64), 0, 1)
        .compare_swap(addr(64), 9, 1)
        .fetch_add(addr(64), 1)
        .read_word(addr(64));
    seat.ok(chain).await;
    let counted = seat.fabric.totals().since(&before);
    let expected = Totals {
        doorbells: 1,
        chains: 1,
        reads: 3,
        writes: 2,
        cas: 2,
        faa: 1,
        bytes_out: 100 + 8 + 2 * 16 + 8,
        bytes_in: 60 + 16 + 2 * 8 + 8 + 8,
        links_lost: 0,
    };
    assert_eq!(counted, expected);
    assert_eq!(counted.verbs(), 8);
}

async fn doorbells<F: Fabric>(seat: &Seat<F>) {
    let other = seat.controls.link().await;
    let post = |link: &F::Link| link.post(Chain::new().fetch_add(addr(256), 1));
    let rung = |before: &Totals| seat.fabric.totals().since(before).doorbells;

    let before = seat.fabric.totals();
    let uncorked: Vec<_> = (0..10).map(|_| post(&seat.link)).collect();
    assert_eq!(rung(&before), 10, "one doorbell a chain without a cork");
    assert!(join_all(uncorked).await.iter().all(Result::is_ok));

    let before = seat.fabric.totals();
    let cork = Cork::new(&seat.fabric);
    let mut held: Vec<_> = (0..5).map(|_| post(&seat.link)).collect();
    let inner = Cork::new(&seat.fabric);
    held.extend((0..5).flat_map(|_| [post(&seat.link), post(&other)]));
    drop(inner);
    assert_eq!(rung(&before), 0, "corks nest");
    drop(cork);
    assert_eq!(rung(&before), 2, "one doorbell for each link that posted");
    assert_eq!(seat.fabric.totals().since(&before).chains, 15);
    assert!(join_all(held).await.iter().all(Result::is_ok));

    let before = seat.fabric.totals();
    drop(Cork::new(&seat.fabric));
    assert_eq!(rung(&before), 0, "an empty cork rings for nobody");

    let two_steps = |link: F::Link| {
        Box::pin(async move {
            must(&link, Chain::new().fetch_add(addr(256), 1)).await;
            must(&link, Chain::new().fetch_add(addr(264), 1)).await;
        })
    };
    let operations = join_all((0..4).map(|_| two_steps(seat.link.clone())));
    let before = seat.fabric.totals();
    corked(seat.fabric.clone(), operations).await;
    let bells = rung(&before);
    assert!((1..=8).contains(&bells), "a corked batch rings at most once a chain: {bells}");
    assert_eq!(seat.word(256).await, 10 + 15 + 4);
}
