//! Deliveries that were printed and are not known to be acknowledged.
//!
//! Pure: told what was acknowledged under which receipt, and which receipts came.

use std::collections::BTreeMap;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed {
    /// Every delivery by its message's id, with the receipt that will say that it is
    /// acknowledged; none while nobody has asked for one.
    receipts: BTreeMap<String, Option<u64>>,
    /// What each receipt will say, those of earlier connections aside.
    ids: BTreeMap<u64, Vec<String>>,
    /// Acknowledged in a transaction whose COMMIT was not sent yet.
    open: Vec<String>,
}

impl Unconfirmed {
    pub(super) fn len(&self) -> usize {
        self.receipts.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.receipts.is_empty()
    }

    /// Printed before: if it comes again it is acknowledged again, and not printed.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.receipts.contains_key(id)
    }

    /// Its acknowledgement was sent, and this receipt will confirm it.
    pub(super) fn expect(&mut self, id: &str, receipt: u64) {
        self.receipts.insert(id.to_owned(), Some(receipt));
        self.ids.entry(receipt).or_default().push(id.to_owned());
    }

    /// Its acknowledgement was sent, and counts once its transaction is committed.
    pub(super) fn hold(&mut self, id: &str) {
        self.receipts.insert(id.to_owned(), None);
        self.open.push(id.to_owned());
    }

    /// The transaction's COMMIT was sent, and this receipt will confirm all that it holds.
    pub(super) fn commit(&mut self, receipt: u64) {
        for id in std::mem::take(&mut self.open) {
            self.expect(&id, receipt);
        }
    }

    pub(super) fn confirm(&mut self, receipt: u64) {
        for id in self.ids.remove(&receipt).unwrap_or_default() {
            // One that came again meanwhile waits for a later receipt.
            if self.receipts.get(&id) == Some(&Some(receipt)) {
                self.receipts.remove(&id);
            }
        }
    }

    /// The connection is gone, and with it every receipt that has not come. What was
    /// acknowledged stays unconfirmed until it comes again.
    pub(super) fn disconnected(&mut self) {
        self.ids.clear();
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_confirms_what_it_was_asked_for() {
        let mut unconfirmed = Unconfirmed::default();
        unconfirmed.expect("a", 1);
        unconfirmed.expect("b", 2);
        unconfirmed.confirm(1);
        unconfirmed.confirm(7);
        assert!(!unconfirmed.contains("a") && unconfirmed.contains("b"));
    }

    #[test]
    fn a_commit_confirms_its_transaction() {
        let mut unconfirmed = Unconfirmed::default();
        unconfirmed.hold("a");
        unconfirmed.hold("b");
        unconfirmed.commit(5);
        unconfirmed.hold("c");
        unconfirmed.confirm(5);
        assert_eq!((unconfirmed.len(), unconfirmed.contains("c")), (1, true));
        unconfirmed.commit(6);
        unconfirmed.confirm(6);
        assert!(unconfirmed.is_empty());
    }

    #[test]
    fn what_comes_again_waits_for_the_receipt_of_its_last_acknowledgement() {
        let mut unconfirmed = Unconfirmed::default();
        unconfirmed.expect("a", 1);
        unconfirmed.hold("b");
        unconfirmed.disconnected();
        assert!(unconfirmed.contains("a") && unconfirmed.contains("b"));
        unconfirmed.commit(2);
        unconfirmed.confirm(2);
        unconfirmed.expect("a", 3);
        unconfirmed.expect("a", 4);
        unconfirmed.confirm(3);
        assert_eq!(
            unconfirmed.len(),
            2,
            "b was in no transaction that was committed"
        );
        unconfirmed.confirm(4);
        unconfirmed.expect("b", 5);
        unconfirmed.confirm(5);
        assert!(unconfirmed.is_empty());
    }
}
