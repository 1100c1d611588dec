//! In which format everything else is stored, if not in the first: a later build notes it,
//! so that this one refuses what it would misread.

use bytes::Bytes;

use super::Damage;

pub(crate) const KIND: u8 = b'V';

/// The newest that this build reads. A store gets its format by what is in it, so that an older
/// build reads it as long as it can.
pub(crate) const FORMAT: u32 = SELECTORS;

/// Not noted.
pub(crate) const FIRST: u32 = 1;

/// Durable subscriptions with a selector, who want fewer messages than an older build would send.
pub(crate) const SELECTORS: u32 = 2;

/// The number that is noted.
pub(crate) fn parse(key: &[u8], value: &Bytes) -> Result<u32, Damage> {
    if key.len() != 1 {
        return Err(Damage::Key);
    }
    let number = value.as_ref().try_into().map_err(|_| Damage::Value)?;
    Ok(u32::from_be_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_four_bytes_are_a_format() {
        let value = Bytes::from_static(&[0, 0, 0, 2]);
        assert_eq!(parse(&[KIND], &value), Ok(2));
        assert_eq!(parse(&[KIND], &value.slice(1..)), Err(Damage::Value));
        assert_eq!(parse(&[KIND, 0], &value), Err(Damage::Key));
    }
}
