//! Reading an entry, and what is done with its bytes.

use crate::index::entry_room;
use crate::mutant::{self, Mutant};
use crate::{Context, Failure, ProtocolError};
use farrow_fabric::{Buffer, Chain, Fabric, Slice, Slices};
use farrow_layout::{EntryError, EntryHeader, SegmentPlan, Word, entry_len};

/// Where a value is to go.
#[derive(Clone, Debug)]
pub enum Target {
    /// Into registered memory of the fabric's pool.
    Pool,
    /// Into registered memory of the application, without a copy where that is possible. What lies behind the value is
    /// unspecified afterwards.
    Into(Slice),
}

/// An entry that is being read: local memory for it.
#[derive(Clone, Debug)]
pub(crate) struct EntryRead {
    word: Word,
    /// Remote bytes of the entry's class; the header must say less.
    room: usize,
    head: Buffer,
    /// Where the value's bytes go, when not behind the header.
    value: Option<Slice>,
    tail: Option<Slice>,
}

impl EntryRead {
    /// All of it, into pooled memory.
    pub(crate) fn pooled<F: Fabric>(cx: &Context<'_, F>, word: Word) -> Result<EntryRead, Failure> {
        let room = entry_room(cx, word)?;
        Ok(EntryRead { word, room, head: cx.fabric.buffers().take(room)?, value: None, tail: None })
    }

    /// Header and key, as much as the context's key needs.
    pub(crate) fn key_only<F: Fabric>(cx: &Context<'_, F>, word: Word) -> Result<EntryRead, Failure> {
        let room = entry_room(cx, word)?;
        let len = room.min(EntryHeader::LEN + cx.key.len());
        Ok(EntryRead { word, room, head: cx.fabric.buffers().take(len)?, value: None, tail: None })
    }

    /// All of it, the value straight into `target` as far as that reaches.
    pub(crate) fn scattered<F: Fabric>(
        cx: &Context<'_, F>,
        word: Word,
        target: &Target,
    ) -> Result<EntryRead, Failure> {
        let Target::Into(slice) = target else { return EntryRead::pooled(cx, word) };
        let room = entry_room(cx, word)?;
        let head_len = room.min(EntryHeader::LEN + cx.key.len());
        let direct = slice.len().min(room - head_len);
        let tail_len = room - head_len - direct;
        // One buffer for what surrounds the value.
        let head = cx.fabric.buffers().take(head_len + tail_len)?;
        let tail = (tail_len > 0).then(|| head.slice(head_len, tail_len));
        Ok(EntryRead { word, room, head, value: Some(slice.part(0, direct)), tail })
    }

    /// Adds the READ at the member whose segment this is.
    pub(crate) fn post(&self, chain: Chain, segment: &SegmentPlan) -> Chain {
        let mut into = Slices::new();
        match &self.value {
            None => into.push(self.head.whole()),
            Some(value) => {
                let tail_len = self.tail.as_ref().map_or(0, Slice::len);
                into.push(self.head.slice(0, self.head.len() - tail_len));
                into.push(value.clone());
                into.extend(self.tail.clone());
            }
        }
        chain.read_scattered(segment.entry(self.word.pointer()), into)
    }

    /// Whether the entry is of `key`. The bytes behind a published word are complete, so the key can be trusted.
    pub(crate) fn names(&self, key: &[u8]) -> bool {
        self.head.with(|bytes| {
            EntryHeader::parse(bytes, self.room).is_ok_and(|h| {
                usize::from(h.key_len) == key.len()
                    && bytes.get(EntryHeader::LEN..EntryHeader::LEN + key.len()) == Some(key)
            })
        })
    }

    /// Adds the WRITE of a whole entry that was read with [`EntryRead::pooled`] to another member's chain: exactly its own
    /// bytes, since what lies behind it may be somebody else's.
    pub(crate) fn write_to(&self, chain: Chain, segment: &SegmentPlan, word: Word) -> Result<Chain, Failure> {
        let len = self.head.with(|bytes| {
            EntryHeader::open(bytes).map(|(h, key, value)| {
                debug_assert_eq!(usize::from(h.key_len), key.len());
                entry_len(key.len(), value.len())
            })
        });
        let len = len.map_err(|why| Failure::harmless(ProtocolError::Corrupt { word, why }))?;
        let len = if mutant::is(Mutant::RepairTooLong) { self.room } else { len };
        Ok(chain.write(segment.entry(word.pointer()), self.head.slice(0, len.min(self.head.len()))))
    }

    /// The value, checked. `target` is where the caller wants it.
    pub(crate) fn open(self, key: &[u8], target: &Target) -> Result<Value, Opened> {
        let header = self.head.with(|bytes| EntryHeader::parse(bytes, self.room)).map_err(Opened::Wrong)?;
        if !self.names(key) {
            // A word never names another key's entry; so these are not the bytes that it named.
            return Err(Opened::Wrong(EntryError::Checksum {
                found: header.checksum,
                computed: !header.checksum,
            }));
        }
        let (at, len) = (EntryHeader::LEN + key.len(), header.value_len as usize);
        if let Target::Into(slice) = target
            && len > slice.len()
        {
            return Err(Opened::TooSmall { needed: len, room: slice.len() });
        }
        let verify = |value: &[u8]| match mutant::is(Mutant::ChecksumUnchecked) {
            true => Ok(()),
            false => header.verify(key, value),
        };
        let value = match &self.value {
            Some(direct) => {
                direct.with(|bytes| verify(&bytes[..len])).map_err(Opened::Wrong)?;
                direct.part(0, len)
            }
            None => {
                self.head.with(|bytes| verify(&bytes[at..at + len])).map_err(Opened::Wrong)?;
                match target {
                    Target::Pool => self.head.slice(at, len),
                    Target::Into(slice) => {
                        let out = slice.part(0, len);
                        self.head.with(|bytes| out.with_mut(|out| out.copy_from_slice(&bytes[at..at + len])));
                        out
                    }
                }
            }
        };
        Ok(Value { bytes: value, flags: header.flags, expiry_ms: header.expiry_ms, word: self.word })
    }
}

/// Why an entry that was read gives no value.
pub(crate) enum Opened {
    /// Its bytes are wrong.
    Wrong(EntryError),
    /// The application's memory is too short.
    TooSmall {
        /// Length of the value.
        needed: usize,
        /// Length of the memory.
        room: usize,
    },
}

/// A value as it was read: registered memory, not copied yet.
#[derive(Clone, Debug)]
pub struct Value {
    bytes: Slice,
    flags: u16,
    expiry_ms: u64,
    word: Word,
}

impl Value {
    /// Its length.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Looks at the bytes.
    pub fn with<T>(&self, look: impl FnOnce(&[u8]) -> T) -> T {
        self.bytes.with(look)
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        self.with(<[u8]>::to_vec)
    }

    /// The application's flags, as they were put.
    pub fn flags(&self) -> u16 {
        self.flags
    }

    /// When it expires, in milliseconds since 1970; 0 is never.
    pub fn expiry_ms(&self) -> u64 {
        self.expiry_ms
    }

    /// The slot's word: stands for this very version of the value.
    pub fn word(&self) -> Word {
        self.word
    }
}
