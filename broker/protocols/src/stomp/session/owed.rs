//! The answers that a session owes: which receipt of the core stands for what.

use std::collections::VecDeque;

use replicamq_core::Receipt;

/// So many strings are kept for the next receipts.
const SPARE_MAX: usize = 64;

/// What is due once the core has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// CONNECTED.
    Connected,
    /// RECEIPT with this `receipt-id`.
    Receipt(String),
    /// RECEIPT with this `receipt-id`, and the end of the session.
    Disconnected(String),
}

/// Answers mostly come in the order in which they were asked for, so a queue
/// with gaps is all that is needed, and it costs no allocation.
#[derive(Debug, Default)]
pub(super) struct Owed {
    /// The number of the first in `answers`.
    first: u64,
    /// Invariant: the first one is still owed, unless there is none.
    answers: VecDeque<Option<Answer>>,
    spare: Vec<String>,
}

impl Owed {
    /// Remembers an answer under a new number.
    pub(super) fn push(&mut self, answer: Answer) -> Receipt {
        self.answers.push_back(Some(answer));
        Receipt(self.first + self.answers.len() as u64 - 1)
    }

    /// Remembers a RECEIPT, if the frame asked for one.
    pub(super) fn receipt(&mut self, id: Option<&str>) -> Option<Receipt> {
        let id = id?;
        let mut text = self.spare.pop().unwrap_or_default();
        text.push_str(id);
        Some(self.push(Answer::Receipt(text)))
    }

    /// The answer that has fallen due; `None` if that number is not owed.
    pub(super) fn take(&mut self, receipt: Receipt) -> Option<Answer> {
        let at = usize::try_from(receipt.0.checked_sub(self.first)?).ok()?;
        let answer = self.answers.get_mut(at)?.take();
        while let Some(None) = self.answers.front() {
            self.answers.pop_front();
            self.first += 1;
        }
        answer
    }

    /// Gives the memory of an answer back.
    pub(super) fn recycle(&mut self, mut text: String) {
        if self.spare.len() < SPARE_MAX {
            text.clear();
            self.spare.push(text);
        }
    }

    /// How many numbers are in use, gaps included.
    pub(super) fn len(&self) -> usize {
        self.answers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_fall_due_in_any_order_and_once() {
        let mut owed = Owed::default();
        let numbers: Vec<_> = ["a", "b", "c"]
            .map(|id| owed.receipt(Some(id)).unwrap())
            .to_vec();
        assert_eq!(owed.receipt(None), None);
        assert_eq!(owed.len(), 3);
        for (at, id, left) in [(1, "b", 3), (0, "a", 1), (2, "c", 0)] {
            let number = *numbers.get(at).unwrap();
            let answer = owed.take(number);
            assert_eq!(answer, Some(Answer::Receipt(id.to_owned())));
            assert_eq!(owed.take(number), None, "owed twice");
            assert_eq!(owed.len(), left, "gaps go with what is before them");
        }
        assert_eq!(owed.take(Receipt(99)), None);
        let next = owed.push(Answer::Connected);
        assert!(!numbers.contains(&next), "numbers are never used twice");
    }
}
