//! A stored state as bytes: a line that says what it is, then JSON.

use crate::State;

/// What a stored state begins with.
const MAGIC: &str = "farrow-coordinator-state";
/// The version of what follows. Another one is refused.
const VERSION: u32 = 1;

/// A state as bytes.
pub(crate) fn encode(state: &State) -> Vec<u8> {
    let body = serde_json::to_vec(state).expect("maps of the state have keys that JSON can write");
    let mut bytes = format!("{MAGIC} {VERSION} {} {:08x}\n", body.len(), checksum(&body)).into_bytes();
    bytes.extend(body);
    bytes
}

/// The state that bytes hold, or in words what is wrong with them.
pub(crate) fn decode(bytes: &[u8]) -> Result<State, String> {
    let foreign = || "it is not the state of a Farrow coordinator".to_owned();
    let end = bytes.iter().take(128).position(|&b| b == b'\n').ok_or_else(foreign)?;
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| foreign())?;
    let (line, body) = (line.split(' ').collect::<Vec<_>>(), &bytes[end + 1..]);
    let [MAGIC, version, len, sum] = line[..] else { return Err(foreign()) };
    if version != VERSION.to_string() {
        return Err(format!(
            "it has format {version}, this program reads {VERSION}: use the program that wrote it"
        ));
    }
    if len != body.len().to_string() {
        return Err(format!("it is cut off or has grown: {} bytes instead of {len}", body.len()));
    }
    let found = format!("{:08x}", checksum(body));
    if sum != found {
        return Err(format!("it is corrupt: its checksum is {found} instead of {sum}"));
    }
    let state: State = serde_json::from_slice(body).map_err(|e| format!("it makes no sense: {e}"))?;
    match defect(&state) {
        None => Ok(state),
        Some(why) => Err(format!("it contradicts itself: {why}")),
    }
}

/// What other code relies on.
fn defect(state: &State) -> Option<String> {
    if state.memory_len.len() != state.map.nodes.len() {
        return Some("not every node has memory".into());
    }
    if state.is_formed() {
        return state.map.defect();
    }
    let is_misplaced = state.map.nodes.iter().enumerate().any(|(i, n)| usize::from(n.id.0) != i);
    is_misplaced.then(|| "its nodes are out of order".into())
}

fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::formed_state;

    #[test]
    fn it_is_read_as_it_was_written() {
        let state = formed_state();
        assert_eq!(decode(&encode(&state)), Ok(state));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let good = encode(&formed_state());
        for i in 0..good.len() {
            let mut bad = good.clone();
            bad[i] ^= 1 << (i % 8);
            assert!(decode(&bad).is_err(), "byte {i}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good = encode(&formed_state());
        for (bytes, expected) in [
            (Vec::new(), "not the state"),
            (b"[cluster]\nname = \"x\"\n".to_vec(), "not the state"),
            (good[..good.len() - 1].to_vec(), "cut off"),
            (String::from_utf8(good).unwrap().replacen("state 1 ", "state 9 ", 1).into_bytes(), "format 9"),
        ] {
            let why = decode(&bytes).unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }
}
