//! What the committed log did to stored messages: each was stored once and because somebody
//! sent it, all of a transaction by one entry, and each was deleted because somebody
//! acknowledged it, or it expired, or it became a dead letter by the same entry.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use replicamq_proto::store::v1::op::Kind;
use replicamq_proto::store::v1::{Message, Op};
use replicamq_quorum::Sequence;

use super::ledger::{Ends, Ledger, NAME, Place, is_in_queue, is_letter, is_message, number};
use super::{Verdict, violation};

/// Where each message lies.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// By key: which message, and which of its copies.
    kept: BTreeMap<Bytes, (usize, usize)>,
    /// Units and acknowledgements that the entry at hand touched.
    units: Vec<usize>,
    settles: Vec<usize>,
}

impl Ledger {
    /// Whether no queue has a message. Those of topics are deleted together, some time later.
    pub fn is_empty(&self) -> bool {
        let first = self.contents.kept.keys().next();
        first.is_none_or(|key| !is_in_queue(key))
    }

    /// An entry is committed, for the first time anywhere.
    pub(super) fn committed(&mut self, sequence: Sequence, ops: &[Op]) -> Verdict {
        for op in ops {
            match &op.kind {
                Some(Kind::Put(put)) if is_message(&put.key) => {
                    let message = Message::decode(put.value.clone()).expect("a stored message");
                    self.stored(sequence, &put.key, &message)?;
                }
                Some(Kind::Delete(key)) if is_message(key) => self.deleted(sequence, key)?,
                Some(Kind::DeleteRange(range)) if is_message(&range.from) => {
                    let inside = self
                        .contents
                        .kept
                        .range(range.from.clone()..range.to.clone());
                    let keys: Vec<Bytes> = inside.map(|(key, _)| key.clone()).collect();
                    for key in keys {
                        self.deleted(sequence, &key)?;
                    }
                }
                Some(Kind::Put(_) | Kind::Delete(_) | Kind::DeleteRange(_)) => {}
                None => return violation(NAME, format!("{sequence} has an op without a kind")),
            }
        }
        self.is_whole(sequence)
    }

    fn stored(&mut self, sequence: Sequence, key: &Bytes, message: &Message) -> Verdict {
        let slot = usize::from(is_letter(message));
        let message = number(message);
        let sent = &mut self.sent[message];
        let unit = &self.units[sent.unit];
        if !unit.is_asked {
            return violation(
                NAME,
                format!("{sequence} stores m{message}, whose commit nobody asked for: {sent:?}"),
            );
        }
        if slot == 1 && !sent.copies[0].is_rejected {
            return violation(
                NAME,
                format!("{sequence} makes m{message} a dead letter, which nobody gave back"),
            );
        }
        if let Some(earlier) = sent.stored[slot].replace(sequence) {
            return violation(
                NAME,
                format!("{sequence} stores m{message} again, after {earlier}: {sent:?}"),
            );
        }
        if slot == 0 && unit.ends == Ends::Commit {
            self.contents.units.push(sent.unit);
        }
        self.contents.kept.insert(key.clone(), (message, slot));
        Ok(())
    }

    fn deleted(&mut self, sequence: Sequence, key: &Bytes) -> Verdict {
        let Some((message, slot)) = self.contents.kept.remove(key) else {
            return violation(
                NAME,
                format!("{sequence} deletes {key:?}, which is not there"),
            );
        };
        let durables = self.durables();
        let sent = &mut self.sent[message];
        sent.gone[slot] = Some(sequence);
        let is_letter = slot == 0 && sent.stored[1] == Some(sequence);
        let is_settled = match sent.place {
            Place::Queue(_) => !sent.copies[slot].settles.is_empty(),
            Place::Topic => {
                let copies = &sent.copies[..durables];
                copies.iter().all(|copy| !copy.settles.is_empty())
            }
        };
        if !(is_settled || is_letter || sent.is_mortal) {
            return violation(
                NAME,
                format!("{sequence} deletes m{message}, which nobody acknowledged: {sent:?}"),
            );
        }
        if let Place::Queue(_) = sent.place
            && !sent.is_mortal
            && let [settle] = sent.copies[slot].settles[..]
            && self.settles[settle].is_whole
        {
            self.contents.settles.push(settle);
        }
        Ok(())
    }

    /// What belongs together is there together, or gone together.
    fn is_whole(&mut self, sequence: Sequence) -> Verdict {
        for unit in std::mem::take(&mut self.contents.units) {
            let mut messages = self.units[unit].messages.clone();
            let missing = messages.find(|&message| self.sent[message].stored[0].is_none());
            if let Some(message) = missing {
                return violation(
                    NAME,
                    format!("{sequence} stores a transaction without its m{message}"),
                );
            }
        }
        for settle in std::mem::take(&mut self.contents.settles) {
            let mut copies = self.settles[settle].copies.iter();
            let kept = copies.find(|&&(message, slot)| self.sent[message].gone[slot].is_none());
            if let Some((message, _)) = kept {
                return violation(
                    NAME,
                    format!("{sequence} acknowledges a transaction without its m{message}"),
                );
            }
        }
        Ok(())
    }
}
