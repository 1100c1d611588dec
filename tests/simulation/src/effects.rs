//! Carrying out what a state machine wants done.

use replicamq_quorum::{Effect, Event, Message, NodeId, Role};

use crate::disk::{Checkpoint, End, LogOperation};
use crate::ground::Trouble;
use crate::node::ApplyJob;
use crate::plan::Fault;
use crate::world::{Happening, World};

/// What waits for a disk that hangs looks again so often: it may be healed.
const HANGS_LOOK_US: u64 = 20_000;

/// Groups that are not synced by themselves in a memory mode, in a million.
const LAZY_PPM: u32 = 700_000;

impl World {
    /// One effect of a living process.
    pub fn effect(&mut self, node: usize, effect: Effect) {
        let life = self.life(node).expect("the caller saw it alive");
        match effect {
            Effect::Append(entries) => {
                self.checkers.appends(node, &self.nodes[node], &entries);
                let given = &mut self.nodes[node].process_mut().given;
                for entry in &entries {
                    given.append(entry.clone());
                }
                self.write(node, LogOperation::Append(entries));
            }
            Effect::Truncate { keep } => {
                self.checkers.truncates(node, keep);
                self.nodes[node].process_mut().given.truncate(keep);
                self.write(node, LogOperation::Truncate(keep));
            }
            Effect::StorePromise { epoch } => self.write(node, LogOperation::Promise(epoch)),
            Effect::Apply(entries) => self.apply(node, ApplyJob::Entries(entries)),
            Effect::Replay { to } => self.apply(node, ApplyJob::Replay(to)),
            Effect::Send { to, message } => {
                let to = self.index(&to);
                self.send(node, to, message);
            }
            Effect::Follow { master, hello } => {
                let master = self.index(&master);
                self.checkers.follows(node, &self.nodes[node], &hello);
                self.nodes[node].process_mut().install = 0;
                self.open_stream(node, master, hello);
            }
            Effect::Unfollow => {
                self.nodes[node].process_mut().install = 0;
                self.close_upstream(node);
            }
            Effect::Unlink { node: replica } => {
                let replica = self.index(&replica);
                self.close_downstream(node, replica);
            }
            Effect::ReadLog {
                to,
                after,
                bytes_max,
            } => {
                let read = self.nodes[node].disk.read(after, bytes_max);
                let Some(entries) = self.done(node, read) else {
                    return;
                };
                let event = Event::LogRead { to, after, entries };
                let at = self.plan.write.draw(&mut self.random) + 20;
                self.after(at, Happening::Report { node, life, event });
            }
            Effect::Install { master, epoch: _ } => self.install(node, &master),
            Effect::Filled => {
                let at = self.plan.keeper.draw(&mut self.random);
                let fillings = self.nodes[node].disk.fillings;
                self.after(at, Happening::StoreFilled { node, fillings });
            }
            Effect::Claim { epoch, version } => self.claim(node, epoch, version),
            Effect::Role(role) => self.role(node, &role),
            Effect::Committed { sequence } => self.committed(node, sequence),
            Effect::Diverged(found) => self.checkers.fail("matching", &found),
            Effect::Lease { .. } | Effect::Note(_) => {}
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        self.checkers.sends(from, to, &self.nodes[from], &message);
        match message {
            Message::Ask
            | Message::AskAnswer(_)
            | Message::Promise { .. }
            | Message::PromiseAnswer(_) => {
                self.send_unary(from, to, message);
            }
            Message::Hello(_) | Message::Appended(_) => self.send_up(from, to, message),
            Message::Entries(_)
            | Message::Truncate { .. }
            | Message::TakeSnapshot { .. }
            | Message::Lead { .. }
            | Message::Refused { .. } => self.send_down(from, to, message),
        }
    }

    fn role(&mut self, node: usize, role: &Role) {
        if matches!(role, Role::Master { .. }) {
            self.figures.masters += 1;
        }
        self.checkers.role(&self.nodes, node, role);
        if matches!(role, Role::Rising { .. }) {
            self.isolate(node);
        }
    }

    /// A disk that is slow takes longer for everything.
    fn disk_delay(&mut self, node: usize, us: u64) -> u64 {
        if self.nodes[node].slow_disk_until_us > self.now_us {
            (us * 60).min(400_000)
        } else {
            us
        }
    }

    fn write(&mut self, node: usize, operation: LogOperation) {
        self.nodes[node]
            .process_mut()
            .writer
            .queue
            .push_back(operation);
        self.write_group(node);
    }

    /// Entries that wait go into one group; a cut and a promise come by themselves.
    fn write_group(&mut self, node: usize) {
        let process = self.nodes[node].process_mut();
        let life = process.life;
        let writer = &mut process.writer;
        if writer.busy || writer.queue.is_empty() {
            return;
        }
        writer.busy = true;
        let is_append = |operation: &LogOperation| matches!(operation, LogOperation::Append(_));
        let appends = writer.queue.iter().take_while(|one| is_append(one)).count();
        writer.group = writer.queue.drain(..appends.max(1)).collect();
        let at = self.plan.write.draw(&mut self.random);
        let at = self.disk_delay(node, at);
        self.after(at, Happening::Written { node, life });
    }

    /// Whether a disk hangs; if so, it is looked at again later.
    fn hangs(&mut self, node: usize, again: Happening) -> bool {
        let left_us = self.nodes[node]
            .hung_disk_until_us
            .saturating_sub(self.now_us);
        if left_us > 0 {
            self.after(left_us.min(HANGS_LOOK_US), again);
        }
        left_us > 0
    }

    /// The operating system has it.
    pub fn written(&mut self, node: usize, life: u64) {
        if self.life(node) != Some(life) || self.hangs(node, Happening::Written { node, life }) {
            return;
        }
        let machine = &mut self.nodes[node];
        if machine.full_disk_until_us > self.now_us {
            machine.disk.set_free_space(Some(0));
        }
        let group = std::mem::take(&mut machine.process_mut().writer.group);
        let written = machine.disk.write(&group);
        machine.disk.set_free_space(None);
        if self.done(node, written).is_none() {
            return;
        }
        let machine = &mut self.nodes[node];
        let cut = group
            .iter()
            .any(|operation| matches!(operation, LogOperation::Truncate(_)));
        let event = Event::Logged {
            appended: machine.disk.written.log.last(),
            durable: machine.disk.durable.log.last(),
        };
        let at = self.plan.sync_delay.draw(&mut self.random);
        let at = self.disk_delay(node, at);
        self.after(at, Happening::Synced { node, life });
        if !cut && self.random.chance(500_000) {
            self.deliver(node, event);
        }
    }

    /// The platter has it.
    pub fn synced(&mut self, node: usize, life: u64) {
        if self.life(node) != Some(life) || self.hangs(node, Happening::Synced { node, life }) {
            return;
        }
        let mut reports = Vec::new();
        let in_memory = self.plan.setup().in_memory;
        if in_memory && self.nodes[node].disk.may_wait() && self.random.chance(LAZY_PPM) {
            let event = self.nodes[node].disk.logged();
            self.nodes[node].process_mut().writer.busy = false;
            self.write_group(node);
            self.deliver(node, event);
            return;
        }
        let bearable = !in_memory || self.bears_loss_of(node);
        let machine = &mut self.nodes[node];
        let fails = std::mem::take(&mut machine.sync_fails) && bearable;
        if fails {
            machine.disk.fail_sync();
            self.count(Fault::SyncError);
        }
        let machine = &mut self.nodes[node];
        if machine.full_disk_until_us > self.now_us {
            machine.disk.set_free_space(Some(0));
        }
        let logged_after_cut = self.plan.logged_after_cut;
        let synced = machine.disk.sync(logged_after_cut, &mut reports);
        machine.disk.set_free_space(None);
        if self.done(node, synced).is_none() {
            if fails && in_memory {
                // As the writer notes it on its way out.
                let noted = self.nodes[node].disk.damage_store();
                self.done(node, noted);
            }
            return;
        }
        self.nodes[node].process_mut().writer.busy = false;
        self.write_group(node);
        for event in reports {
            if self.life(node) != Some(life) {
                return;
            }
            self.deliver(node, event);
        }
    }

    pub(crate) fn apply(&mut self, node: usize, job: ApplyJob) {
        self.nodes[node].process_mut().applier.queue.push_back(job);
        self.apply_next(node);
    }

    /// What came of something done with a disk, if the process may go on.
    pub(crate) fn done<T>(&mut self, node: usize, done: Result<T, Trouble>) -> Option<T> {
        match done {
            Ok(done) => return Some(done),
            Err(Trouble::Dies(what)) => {
                if self.nodes[node].full_disk_until_us > self.now_us {
                    self.count(Fault::DiskFull);
                }
                self.fatal(node, &what);
            }
            Err(Trouble::Damaged(what)) => self.meets_damage(node, &what),
            Err(Trouble::Broken(what)) => self.checkers.fail("disk", &what),
        }
        None
    }

    /// The disk cannot be trusted any more: the process stops, and is started again. What was
    /// not synced may be there or not.
    fn fatal(&mut self, node: usize, what: &str) {
        let name = &self.nodes[node].name;
        self.trace.line(self.now_us, || format!("{name}: {what}"));
        self.orphan(node);
        self.silent = false;
        let unsynced_is_lost = self.plan.survives_power() && self.random.chance(500_000);
        // A log that does not wait for its syncs loses by a failed one what the store may have.
        let may_damage = self.plan.setup().in_memory && what.starts_with("cannot sync ");
        let end = End {
            power: unsynced_is_lost,
            gasps: false,
            may_damage,
        };
        self.end_process_with(node, false, end);
        let at = self.random.between((20_000, 3_000_000));
        self.after(at, Happening::Start { node });
    }

    fn apply_next(&mut self, node: usize) {
        let process = self.nodes[node].process_mut();
        let life = process.life;
        if process.applier.busy || process.applier.queue.is_empty() {
            return;
        }
        process.applier.busy = true;
        let at = self.plan.apply.draw(&mut self.random);
        self.after(at, Happening::Applied { node, life });
    }

    /// The store has the next job's entries.
    pub fn applied(&mut self, node: usize, life: u64) {
        if self.life(node) != Some(life) || self.hangs(node, Happening::Applied { node, life }) {
            return;
        }
        if self.nodes[node].paused() {
            self.after(5_000, Happening::Applied { node, life });
            return;
        }
        let process = self.nodes[node].process_mut();
        process.applier.busy = false;
        let Some(job) = process.applier.queue.pop_front() else {
            return;
        };
        let machine = &mut self.nodes[node];
        let entries = match job {
            ApplyJob::Load(request) => {
                self.apply_next(node);
                self.load(node, &request);
                return;
            }
            ApplyJob::Entries(mut entries) => {
                // Whatever else waits to be applied goes into the same write.
                let queue = &mut machine.process_mut().applier.queue;
                while let Some(ApplyJob::Entries(_)) = queue.front() {
                    if let Some(ApplyJob::Entries(more)) = queue.pop_front() {
                        entries.extend(more);
                    }
                }
                entries
            }
            ApplyJob::Replay(to) => {
                let after = machine.disk.store.applied();
                let read = machine.disk.read(after, usize::MAX);
                let Some(mut entries) = self.done(node, read) else {
                    self.applier_ends(node);
                    return;
                };
                let machine = &self.nodes[node];
                entries.retain(|entry| entry.position.sequence <= to);
                if entries
                    .last()
                    .is_none_or(|last| last.position.sequence != to)
                {
                    let text = format!("{} cannot replay up to {to}", machine.name);
                    self.checkers.fail("replay", &text);
                    return;
                }
                entries
            }
        };
        self.checkers.applies(node, &mut self.nodes[node], &entries);
        let sequence = self.nodes[node].disk.store.applied();
        self.apply_next(node);
        self.deliver(node, Event::Applied { sequence });
    }

    /// RocksDB flushes; the log behind it may go.
    pub fn flush(&mut self, node: usize, life: u64) {
        if self.life(node) != Some(life) {
            return;
        }
        let at = self.random.between(self.plan.flush_every_us);
        self.after(at, Happening::Flush { node, life });
        let machine = &mut self.nodes[node];
        if machine.paused() || machine.hung_disk_until_us > self.now_us {
            return;
        }
        self.sync_what_waits(node);
        if self.life(node) != Some(life) {
            return;
        }
        let machine = &mut self.nodes[node];
        let before = machine.disk.durable.log.first();
        let flushed = machine.disk.flush();
        let Some(first) = self.done(node, flushed) else {
            return;
        };
        if first > before {
            self.nodes[node].process_mut().given.trim(first);
            self.deliver(node, Event::LogTrimmed { first });
        }
    }

    /// In a memory mode the log is synced every so often.
    fn sync_what_waits(&mut self, node: usize) {
        let machine = &mut self.nodes[node];
        if machine.process_mut().writer.busy || !machine.disk.is_unsynced() {
            return;
        }
        let mut reports = Vec::new();
        let synced = machine.disk.sync(true, &mut reports);
        if self.done(node, synced).is_some() {
            for event in reports {
                self.deliver(node, event);
            }
        }
    }

    fn install(&mut self, node: usize, master: &NodeId) {
        let master = self.index(master);
        let install = self.name();
        let process = self.nodes[node].process_mut();
        process.install = install;
        let life = process.life;
        let at = self.random.between((500, 20_000));
        self.after(
            at,
            Happening::InstallStarts {
                node,
                life,
                install,
                master,
            },
        );
    }

    /// The first chunk is asked for: the master makes a checkpoint of what it has applied.
    pub fn install_starts(&mut self, node: usize, life: u64, install: u64, master: usize) {
        if self.life(node) != Some(life) || self.nodes[node].process_mut().install != install {
            return;
        }
        let open = self.network.passes(node, master) && self.network.passes(master, node);
        let source = &self.nodes[master];
        let serves = source.process.as_ref().is_some_and(|process| {
            open && process.inbox.is_none()
                && matches!(
                    process.quorum().role(),
                    Role::Master { .. } | Role::Rising { .. }
                )
        });
        if !serves {
            self.install_failed(node, master);
            return;
        }
        // Its blocks are taken to be read here. The server links its files unread, and what is
        // rotten in them would be met by the scrub of either node, each in its time.
        let read = source.disk.store.scrub().map_err(Trouble::Damaged);
        if self.done(master, read).is_none() {
            self.install_failed(node, master);
            return;
        }
        let source = &self.nodes[master];
        let Some(serves) = &source.process else {
            return;
        };
        let state = source.disk.store.state();
        let mut history = serves.given.history().clone();
        history.truncate(state.applied);
        let checkpoint = Checkpoint {
            state,
            pairs: source.disk.store.pairs().clone(),
            last: serves.given.position(state.applied).unwrap_or_default(),
            history,
        };
        let from = (master, serves.life);
        let at = self.plan.install.draw(&mut self.random);
        let checkpoint = Box::new(checkpoint);
        self.after(
            at,
            Happening::InstallEnds {
                node,
                life,
                install,
                from,
                checkpoint,
            },
        );
    }

    /// The last chunk is here: it takes the place of the store, and the process starts again.
    pub fn install_ends(
        &mut self,
        (node, life, install): (usize, u64, u64),
        from: (usize, u64),
        checkpoint: &Checkpoint,
    ) {
        if self.life(node) != Some(life) || self.nodes[node].process_mut().install != install {
            return;
        }
        let (master, master_life) = from;
        let open = self.network.passes(node, master) && self.network.passes(master, node);
        if !open || self.life(master) != Some(master_life) || self.nodes[node].paused() {
            self.install_failed(node, master);
            return;
        }
        self.figures.installs += 1;
        self.silent = false;
        let name = &self.nodes[node].name;
        self.trace.line(self.now_us, || {
            format!("{name} installs {:?}", checkpoint.state)
        });
        let whole = self.nodes[node].process_mut().quorum().is_filled();
        self.end_process(node, false);
        let machine = &mut self.nodes[node];
        let installed = machine.disk.install(checkpoint, whole);
        if self.done(node, installed).is_none() {
            return;
        }
        self.checkers.installed(&self.nodes[node]);
        self.spring(node, from);
        let at = self.random.between((1_000, 200_000));
        self.after(at, Happening::Start { node });
    }

    /// The transfer broke off, and with it the stream.
    fn install_failed(&mut self, node: usize, master: usize) {
        self.silent = false;
        self.nodes[node].process_mut().install = 0;
        let upstream = self.nodes[node].process_mut().upstream;
        if upstream.is_some_and(|(_, to)| to == master) {
            self.close_upstream(node);
            let master = self.nodes[master].name.clone();
            self.deliver(node, Event::Unlinked { node: master });
        }
    }
}
