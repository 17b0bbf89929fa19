//! The operations: what GET, PUT and DELETE do with a key's slot, over any commit protocol.

mod delete;
mod entry_read;
mod get;
mod put;

pub use delete::{DeleteOutcome, delete};
pub(crate) use entry_read::EntryRead;
pub use entry_read::{Target, Value};
pub use get::{GetOutcome, exists, get};
pub(crate) use put::may_have_been_just_before;
pub use put::{Condition, PutOutcome, Rejection, put};

use crate::Context;
use farrow_fabric::Fabric;
use std::time::Duration;

/// Attempts after which an operation says that it is contended.
const MAX_ATTEMPTS: u32 = 512;
/// Attempts that follow each other at once; later ones wait a random while, so that crowds thin out.
const PROMPT_ATTEMPTS: u32 = 4;

/// What an operation may take for granted about its key before it has looked.
pub type Known = Option<crate::Found>;

/// Waits before attempt number `attempt`, if others seem to be in the way.
async fn back_off<F: Fabric>(cx: &Context<'_, F>, attempt: u32) {
    if attempt >= PROMPT_ATTEMPTS {
        let most = 1_000u64 << (attempt - PROMPT_ATTEMPTS).min(8);
        let pause = Duration::from_nanos(cx.fabric.random() % most);
        cx.fabric.sleep_until(cx.fabric.now() + pause).await;
    }
}
