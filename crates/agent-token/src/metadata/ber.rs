//! Whether a message in BER (X.690) is complete
//!
//! AWS writes indefinite lengths, so the end of a message can only be found by reading its
//! elements. What they contain is left to the control plane.

/// Returns whether `bytes` begins with a SEQUENCE, all of which is there
pub(super) fn begins_with_sequence(bytes: &[u8]) -> bool {
    bytes.first() == Some(&SEQUENCE) && element(bytes, DEEPEST).is_some()
}

/// Returns the size of the element at the beginning of `bytes`, if all of it is there
///
/// An element with an indefinite length (8.1.3.6) consists of elements and ends with two zeros.
fn element(bytes: &[u8], depth: u32) -> Option<usize> {
    // The tags of PKCS#7 have one byte.
    let (length, header) = match *bytes.get(1)? {
        0x80 => return elements(bytes, depth.checked_sub(1)?),
        short @ 0..0x80 => (usize::from(short), 2),
        long => {
            let size = usize::from(long & 0x7f);
            let digits = bytes.get(2..2 + size).filter(|digits| digits.len() <= 4)?;
            let length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
            (length, 2 + size)
        }
    };
    let end = header.checked_add(length)?;
    (end <= bytes.len()).then_some(end)
}

fn elements(bytes: &[u8], depth: u32) -> Option<usize> {
    let mut at = 2;
    loop {
        match bytes.get(at..)? {
            [0, 0, ..] => return Some(at + 2),
            rest => at += element(rest, depth)?,
        }
    }
}

const SEQUENCE: u8 = 0x30;

/// Messages of AWS are eight levels deep
const DEEPEST: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_complete_or_not() {
        let long = [&[0x30, 0x82, 1, 0][..], &[7; 256]].concat();
        let nested = [vec![0x30, 0x80, 0x24, 0x80, 4, 2, 0, 0, 0, 0], vec![0; 2]].concat();
        for whole in [&[0x30, 0][..], &[0x30, 0x80, 0, 0], &[0x30, 3, 2, 1, 7], &long, &nested] {
            assert!(begins_with_sequence(whole), "{whole:?}");
            // A line break after the message does no harm.
            assert!(begins_with_sequence(&[whole, b"\n"].concat()), "{whole:?}");
            for end in 0..whole.len() {
                assert!(!begins_with_sequence(&whole[..end]), "{whole:?} up to {end}");
            }
        }
        let deep = [[0x30, 0x80].repeat(99), vec![0; 198]].concat();
        for other in [&[0x31, 0][..], &[0x30, 0x85, 0, 0, 0, 0, 0], b"0x", &deep] {
            assert!(!begins_with_sequence(other), "{other:?}");
        }
    }
}
