//! What the channel's bytes look like, without sockets or keys.
//!
//! ```text
//! preamble    "FARROWC1" | major u16 | minor u16 | features u32       16 bytes each way, in clear
//! frame       length u16 | length bytes                               everything after the preambles
//! handshake   one frame each way of HANDSHAKE_LEN bytes; length 0 is a refusal: the secrets differ
//! message     length u32 | that many bytes, cut into frames of at most MAX_PAYLOAD bytes each and encrypted
//! ```
//!
//! All integers are little endian.

/// Bytes of a [`Preamble`] on the wire.
pub const PREAMBLE_LEN: usize = 16;

/// The most plaintext one frame carries: a Noise message of 65535 bytes less its authentication tag.
pub const MAX_PAYLOAD: usize = 65_535 - TAG_LEN;

/// Bytes of a frame's own length field.
pub(crate) const FRAME_HEADER_LEN: usize = 2;

/// Bytes of a message's length field, the first bytes of its first frame's plaintext.
pub(crate) const MESSAGE_HEADER_LEN: usize = 4;

/// Bytes that encryption adds to a frame.
pub(crate) const TAG_LEN: usize = 16;

/// Both handshake messages of `NNpsk0` without payload: an ephemeral key and a tag.
pub(crate) const HANDSHAKE_LEN: usize = 32 + TAG_LEN;

const MAGIC: &[u8; 8] = b"FARROWC1";

/// What each end says first, in clear: that it speaks Farrow, and which version.
///
/// The handshake binds both preambles, so one that was altered on the way ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// Ends with different majors do not understand each other and part.
    pub major: u16,
    /// Ends with different minors both speak the lower one.
    pub minor: u16,
    /// Optional abilities, one bit each; what both ends have may be used.
    pub features: u32,
}

impl Preamble {
    /// What this build says.
    pub const OURS: Preamble = Preamble { major: 1, minor: 0, features: 0 };

    /// The preamble's bytes.
    pub fn to_bytes(self) -> [u8; PREAMBLE_LEN] {
        let mut bytes = [0; PREAMBLE_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&self.major.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.minor.to_le_bytes());
        bytes[12..].copy_from_slice(&self.features.to_le_bytes());
        bytes
    }

    /// Reads a preamble; `None` if the bytes are not one.
    pub fn from_bytes(bytes: [u8; PREAMBLE_LEN]) -> Option<Preamble> {
        let [m0, m1, m2, m3, m4, m5, m6, m7, a0, a1, i0, i1, f0, f1, f2, f3] = bytes;
        ([m0, m1, m2, m3, m4, m5, m6, m7] == *MAGIC).then_some(Preamble {
            major: u16::from_le_bytes([a0, a1]),
            minor: u16::from_le_bytes([i0, i1]),
            features: u32::from_le_bytes([f0, f1, f2, f3]),
        })
    }

    /// Whether more bytes could still make these a preamble, so that a stranger is recognised by its first byte
    /// and not by our deadline.
    pub(crate) fn may_begin_with(bytes: &[u8]) -> bool {
        bytes.iter().zip(MAGIC).all(|(byte, magic)| byte == magic)
    }
}

/// Starts a message: room for its length, to which the payload is appended before [`seal_message`].
pub(crate) fn open_message() -> Vec<u8> {
    vec![0; MESSAGE_HEADER_LEN]
}

/// Writes the length of a message begun with [`open_message`]; its chunks of [`MAX_PAYLOAD`] are the frames.
///
/// # Errors
/// [`FrameError::TooLarge`] when the payload exceeds `max_message`.
pub(crate) fn seal_message(message: &mut [u8], max_message: usize) -> Result<(), FrameError> {
    let len = message.len() - MESSAGE_HEADER_LEN;
    let Some(header) = u32::try_from(len).ok().filter(|_| len <= max_message) else {
        return Err(FrameError::TooLarge { len: len as u64, max: max_message });
    };
    message[..MESSAGE_HEADER_LEN].copy_from_slice(&header.to_le_bytes());
    Ok(())
}

/// Puts one message together from the plaintexts of its frames.
///
/// The length comes first and is checked before anything is allocated; the buffer then grows with the bytes that
/// really arrive, never ahead of them.
#[derive(Debug)]
pub(crate) struct Assembler {
    max_message: usize,
    expected: Option<usize>,
    bytes: Vec<u8>,
}

impl Assembler {
    pub(crate) fn new(max_message: usize) -> Assembler {
        Assembler { max_message, expected: None, bytes: Vec::new() }
    }

    /// Takes the next frame's plaintext; says whether the message is complete.
    ///
    /// # Errors
    /// The message is longer than allowed, or its frames do not add up. The assembler is of no use afterwards.
    pub(crate) fn push(&mut self, plaintext: &[u8]) -> Result<bool, FrameError> {
        let (expected, body) = match self.expected {
            Some(expected) => {
                if plaintext.is_empty() {
                    return Err(FrameError::Malformed("a message is continued by an empty frame"));
                }
                (expected, plaintext)
            }
            None => {
                let Some((header, body)) = plaintext.split_first_chunk::<MESSAGE_HEADER_LEN>() else {
                    return Err(FrameError::Malformed(
                        "a message begins with a frame too short for its length",
                    ));
                };
                let len = u32::from_le_bytes(*header);
                match usize::try_from(len) {
                    Ok(expected) if expected <= self.max_message => (expected, body),
                    _ => {
                        return Err(FrameError::TooLarge { len: len.into(), max: self.max_message });
                    }
                }
            }
        };
        self.expected = Some(expected);
        if body.len() > expected - self.bytes.len() {
            return Err(FrameError::Malformed("the frames of a message exceed its length"));
        }
        self.bytes.extend_from_slice(body);
        Ok(self.bytes.len() == expected)
    }

    /// The message that [`Assembler::push`] called complete.
    pub(crate) fn finish(self) -> Vec<u8> {
        assert_eq!(Some(self.bytes.len()), self.expected, "only a complete message is taken");
        self.bytes
    }
}

/// Why frames do not make a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    TooLarge { len: u64, max: usize },
    Malformed(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[test]
    fn preamble_bytes_are_frozen() {
        assert_eq!(&Preamble::OURS.to_bytes(), b"FARROWC1\x01\0\0\0\0\0\0\0");
        let odd = Preamble { major: 0x0102, minor: 0x0304, features: 0x0506_0708 };
        assert_eq!(&odd.to_bytes(), b"FARROWC1\x02\x01\x04\x03\x08\x07\x06\x05");
        assert_eq!(Preamble::from_bytes(odd.to_bytes()), Some(odd));
    }

    #[test]
    fn every_byte_of_the_magic_counts() {
        for at in 0..MAGIC.len() {
            let mut bytes = Preamble::OURS.to_bytes();
            bytes[at] ^= 0x20;
            assert_eq!(Preamble::from_bytes(bytes), None, "byte {at}");
            assert!(Preamble::may_begin_with(&bytes[..at]), "the bytes before {at} are right");
            assert!(!Preamble::may_begin_with(&bytes[..=at]), "byte {at} is wrong");
        }
    }

    #[test]
    fn longest_frame_fits_its_length_field() {
        assert_eq!(MAX_PAYLOAD + TAG_LEN, usize::from(u16::MAX));
        assert_eq!(MAX_PAYLOAD, 65_519);
    }

    #[test]
    fn oversize_message_is_refused_before_anything_is_allocated() {
        let mut assembler = Assembler::new(1000);
        let claim = u32::MAX.to_le_bytes();
        assert_eq!(assembler.push(&claim), Err(FrameError::TooLarge { len: u32::MAX.into(), max: 1000 }));
        assert_eq!(assembler.bytes.capacity(), 0);

        let mut assembler = Assembler::new(1000);
        assert_eq!(
            assembler.push(&1001_u32.to_le_bytes()),
            Err(FrameError::TooLarge { len: 1001, max: 1000 })
        );
        assert_eq!(Assembler::new(1000).push(&1000_u32.to_le_bytes()), Ok(false));
    }

    #[test]
    fn claimed_length_allocates_nothing_until_the_bytes_arrive() {
        let mut assembler = Assembler::new(16 << 20);
        assert_eq!(assembler.push(&(16_u32 << 20).to_le_bytes()), Ok(false));
        assert_eq!(assembler.bytes.capacity(), 0);
    }

    #[test]
    fn frames_that_do_not_add_up_are_malformed() {
        assert!(matches!(Assembler::new(9).push(&[0, 0, 0]), Err(FrameError::Malformed(_))), "short header");
        assert!(
            matches!(Assembler::new(9).push(&[1, 0, 0, 0, 7, 7]), Err(FrameError::Malformed(_))),
            "too much"
        );
        let mut assembler = Assembler::new(9);
        assert_eq!(assembler.push(&[2, 0, 0, 0, 7]), Ok(false));
        assert!(
            matches!(assembler.push(&[]), Err(FrameError::Malformed(_))),
            "an empty frame could go on forever"
        );
    }

    #[test]
    fn own_oversize_message_is_refused() {
        let mut message = open_message();
        message.extend([0; 11]);
        assert_eq!(seal_message(&mut message, 10), Err(FrameError::TooLarge { len: 11, max: 10 }));
        assert_eq!(seal_message(&mut message, 11), Ok(()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_message_survives_any_cut(payload in vec(any::<u8>(), 0..2000), cut in 4_usize..300) {
            let mut message = open_message();
            message.extend(&payload);
            seal_message(&mut message, payload.len()).unwrap();
            let mut assembler = Assembler::new(payload.len());
            let frames: Vec<_> = message.chunks(cut).collect();
            for (index, frame) in frames.iter().enumerate() {
                prop_assert_eq!(assembler.push(frame), Ok(index + 1 == frames.len()));
            }
            prop_assert_eq!(assembler.finish(), payload);
        }

        #[test]
        fn hostile_frames_neither_panic_nor_exceed_the_limit(
            max in 0_usize..500,
            first in any::<Option<u16>>(),
            frames in vec(vec(any::<u8>(), 0..200), 1..20),
        ) {
            let mut assembler = Assembler::new(max);
            let mut frames = frames;
            if let Some(len) = first {
                // A plausible length, so that the frames behind it are reached.
                frames[0] = [&u32::from(len % 600).to_le_bytes()[..], &frames[0]].concat();
            }
            for frame in &frames {
                let pushed = assembler.push(frame);
                prop_assert!(assembler.bytes.len() <= max);
                match pushed {
                    Ok(false) => {}
                    Ok(true) => {
                        prop_assert_eq!(Some(assembler.bytes.len()), assembler.expected);
                        break;
                    }
                    Err(FrameError::TooLarge { len, .. }) => {
                        prop_assert!(len > max as u64);
                        break;
                    }
                    Err(FrameError::Malformed(_)) => break,
                }
            }
        }

        #[test]
        fn preambles_round_trip_and_garbage_is_none(bytes in any::<[u8; PREAMBLE_LEN]>()) {
            let mut bytes = bytes;
            prop_assert_eq!(Preamble::from_bytes(bytes).is_some(), bytes.starts_with(MAGIC));
            bytes[..8].copy_from_slice(MAGIC);
            prop_assert_eq!(Preamble::from_bytes(bytes).unwrap().to_bytes(), bytes);
        }
    }
}
