//! One file: its bytes as the operating system has them, and as they are on the platter.

use crate::random::Random;

const PAGE: usize = super::PAGE_BYTES;
/// What the platter takes whole or not at all.
const SECTOR: usize = 512;

/// Where a page of the operating system stands to the platter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    /// The same.
    Clean,
    /// To be written by the next sync, or before it.
    Dirty,
    /// A sync of it failed: the system takes it for clean, and it is not on the platter.
    Stale,
}

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Content {
    written: Vec<u8>,
    /// As long as `written`.
    durable: Vec<u8>,
    pages: Vec<Page>,
    /// The size on the platter; `durable` has zeros behind it.
    durable_len: usize,
    /// It was emptied since the last sync: what the platter had.
    before: Option<Vec<u8>>,
}

/// How a loss of power treats one file.
#[derive(Debug, Clone, Copy)]
enum Tear {
    Nothing,
    Everything,
    Sectors,
    Pages,
    /// The first so many sectors are there.
    First(usize),
}

impl Content {
    /// What a process reads.
    pub(super) fn written(&self) -> &[u8] {
        &self.written
    }

    /// Emptied by its opener.
    pub(super) fn empty(&mut self) {
        if self.before.is_none() {
            self.durable.truncate(self.durable_len);
            self.before = Some(std::mem::take(&mut self.durable));
        }
        self.written.clear();
        self.durable.clear();
        self.pages.clear();
        self.durable_len = 0;
    }

    /// Zeros up to this size.
    pub(super) fn grow(&mut self, bytes: usize) {
        if bytes > self.written.len() {
            self.written.resize(bytes, 0);
            self.durable.resize(bytes, 0);
            self.pages.resize(bytes.div_ceil(PAGE), Page::Clean);
        }
    }

    /// Writes. A page that waits to be written may get to the platter as it was before.
    pub(super) fn write(&mut self, bytes: &[u8], from: usize, random: &mut Random) {
        if bytes.is_empty() {
            return;
        }
        let to = from + bytes.len();
        self.grow(to);
        for page in from / PAGE..=(to - 1) / PAGE {
            if self.pages[page] == Page::Dirty && random.chance(100_000) {
                self.settle(page);
            }
            self.pages[page] = Page::Dirty;
        }
        self.written[from..to].copy_from_slice(bytes);
    }

    fn range(&self, page: usize) -> std::ops::Range<usize> {
        page * PAGE..((page + 1) * PAGE).min(self.written.len())
    }

    /// A page gets to the platter.
    fn settle(&mut self, page: usize) {
        let range = self.range(page);
        self.durable[range.clone()].copy_from_slice(&self.written[range]);
        self.pages[page] = Page::Clean;
    }

    /// A page is as on the platter.
    fn revert(&mut self, page: usize) {
        let range = self.range(page);
        self.written[range.clone()].copy_from_slice(&self.durable[range]);
        self.pages[page] = Page::Clean;
    }

    /// Everything is on the platter, but for what an earlier sync failed to write.
    pub(super) fn sync(&mut self) {
        for page in 0..self.pages.len() {
            if self.pages[page] == Page::Dirty {
                self.settle(page);
            }
        }
        self.durable_len = self.written.len();
        self.before = None;
    }

    /// A sync fails: each page is written, or is not and passes for clean, or is dropped.
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        for page in 0..self.pages.len() {
            if self.pages[page] == Page::Dirty {
                match random.below(3) {
                    0 => self.settle(page),
                    1 => self.pages[page] = Page::Stale,
                    _ => self.revert(page),
                }
            }
        }
    }

    /// What is left of it. Whether anything was lost.
    pub(super) fn lose_power(&mut self, random: &mut Random) -> bool {
        if let Some(before) = self.before.take()
            && random.chance(500_000)
        {
            self.durable_len = before.len();
            self.pages.clear();
            self.pages.resize(before.len().div_ceil(PAGE), Page::Clean);
            self.written.clone_from(&before);
            self.durable = before;
            return true;
        }
        let mut lost = false;
        if self.pages.iter().any(|page| *page != Page::Clean) {
            let tear = self.tear(random);
            for page in 0..self.pages.len() {
                lost |= self.lose_page(page, tear, random);
            }
        }
        if self.durable_len < self.written.len() && random.chance(500_000) {
            lost = true;
            self.cut(self.durable_len);
        }
        self.durable_len = self.written.len();
        lost
    }

    fn tear(&self, random: &mut Random) -> Tear {
        match random.below(6) {
            0 => Tear::Everything,
            1 => Tear::Nothing,
            2 => Tear::Pages,
            3 => Tear::First(random.index(self.written.len() / SECTOR + 1)),
            _ => Tear::Sectors,
        }
    }

    fn lose_page(&mut self, page: usize, tear: Tear, random: &mut Random) -> bool {
        match (self.pages[page], tear) {
            (Page::Clean, _) => return false,
            (Page::Dirty, Tear::Nothing) => self.settle(page),
            (Page::Stale, _) | (Page::Dirty, Tear::Everything) => self.revert(page),
            (Page::Dirty, Tear::Pages) => {
                if random.chance(500_000) {
                    self.settle(page);
                    return false;
                }
                self.revert(page);
            }
            (Page::Dirty, Tear::Sectors | Tear::First(_)) => {
                let range = self.range(page);
                for start in range.clone().step_by(SECTOR) {
                    let sector = start..(start + SECTOR).min(range.end);
                    let kept = match tear {
                        Tear::First(sectors) => start / SECTOR < sectors,
                        _ => random.chance(500_000),
                    };
                    if kept {
                        self.durable[sector.clone()].copy_from_slice(&self.written[sector]);
                    }
                }
                self.revert(page);
            }
        }
        !matches!(tear, Tear::Nothing)
    }

    fn cut(&mut self, bytes: usize) {
        self.written.truncate(bytes);
        self.durable.truncate(bytes);
        self.pages.truncate(bytes.div_ceil(PAGE));
    }

    /// Damage: it ends here.
    pub(super) fn truncate(&mut self, bytes: usize) {
        self.cut(bytes);
        self.durable_len = self.durable_len.min(bytes);
    }

    /// Damage: one bit.
    pub(super) fn flip(&mut self, offset: usize, bit: usize) {
        if offset < self.written.len() {
            self.written[offset] ^= 1 << bit;
            self.durable[offset] ^= 1 << bit;
        }
    }
}
