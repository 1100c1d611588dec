//! Reads decisions from the front of a fuzzer's bytes.
//!
//! Once they are used up, every answer is the least one: any bytes are an input, and a shorter
//! input is a simpler one. A text and what follows it stand as they are, so that a file of a
//! corpus can be read and written by hand.

/// Where numbers go wrong.
const EDGES: [u64; 8] = [
    u64::MAX,
    u64::MAX - 1,
    1 << 63,
    (1 << 63) - 1,
    1 << 32,
    (1 << 32) - 1,
    1 << 31,
    (1 << 31) - 1,
];

/// What is left of a fuzzer's bytes.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// Nothing more is to be decided.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.rest.split_first() else {
            return 0;
        };
        self.rest = rest;
        byte
    }

    pub fn bool(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Less than `end`, which is at most 256 and not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// One of these, which are at most 256 and not none.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Mostly small, else on the edge of a type, else anything.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            byte @ 0..=239 => u64::from(byte),
            byte @ 240..=247 => EDGES[usize::from(byte - 240)],
            _ => {
                let mut bytes = [0; 8];
                bytes.fill_with(|| self.byte());
                u64::from_be_bytes(bytes)
            }
        }
    }

    /// As [`Input::number`], cut to 32 bits.
    pub fn number_u32(&mut self) -> u32 {
        u32::try_from(self.number() & u64::from(u32::MAX)).expect("the rest was cut off")
    }

    /// At most 255 bytes.
    pub fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte());
        self.take(length)
    }

    /// At most 65,535 bytes.
    pub fn many_bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()) << 8 | usize::from(self.byte());
        self.take(length)
    }

    /// At most 255 bytes, made a text.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_that_has_ended_gives_the_least() {
        let mut input = Input::new(&[3, b'a', b'b', 250, 1]);
        assert_eq!(input.text(), "ab\u{fffd}");
        assert_eq!(input.number(), 1);
        assert!(input.is_empty());
        assert_eq!(
            (input.number(), input.bool(), input.below(7)),
            (0, false, 0)
        );
        assert_eq!((input.bytes(), input.rest()), (&[][..], &[][..]));
    }

    #[test]
    fn numbers_are_small_edges_or_anything() {
        let mut input = Input::new(&[239, 240, 247, 255, 0, 0, 0, 0, 0, 0, 1, 0]);
        let edge = (1 << 31) - 1;
        assert_eq!([(); 4].map(|()| input.number()), [239, u64::MAX, edge, 256]);
    }
}
