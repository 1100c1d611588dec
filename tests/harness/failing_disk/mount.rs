//! What the kernel asks of the file system, passed on to the files behind it. Nothing is
//! cached by the kernel: it sees at once what a loss of power took.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

use super::files::Files;
use super::locked;

/// The kernel asks again each time.
const NEVER: Duration = Duration::ZERO;
const BLOCK_BYTES: u32 = 4096;

/// The kernel's end.
pub(super) struct Mounted(Arc<Mutex<Files>>);

impl Mounted {
    pub(super) fn new(files: &Arc<Mutex<Files>>) -> Self {
        Self(Arc::clone(files))
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> io::Result<PathBuf> {
        Ok(locked(&self.0).path(parent.0)?.join(name))
    }

    fn entry(&self, path: io::Result<PathBuf>) -> io::Result<FileAttr> {
        let mut files = locked(&self.0);
        let found = files.look_up(path?)?;
        Ok(attributes(&files, &found))
    }

    fn open_file(&self, number: u64, flags: OpenFlags) -> io::Result<u64> {
        let mut files = locked(&self.0);
        let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
        let file = File::options()
            .read(true)
            .write(writes)
            .open(files.path(number)?)?;
        Ok(files.opened(number, file))
    }

    fn create_file(&self, path: PathBuf, mode: u32) -> io::Result<(FileAttr, u64)> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        let mut files = locked(&self.0);
        let found = files.look_up(path)?;
        let number = files.number(&found);
        files.created(number);
        let handle = files.opened(number, file);
        Ok((attributes(&files, &found), handle))
    }
}

fn attributes(files: &Files, found: &Metadata) -> FileAttr {
    let epoch = |time: io::Result<SystemTime>| time.unwrap_or(SystemTime::UNIX_EPOCH);
    FileAttr {
        ino: INodeNo(files.number(found)),
        size: found.len(),
        blocks: found.blocks(),
        atime: epoch(found.accessed()),
        mtime: epoch(found.modified()),
        ctime: epoch(found.modified()),
        crtime: epoch(found.created()),
        kind: FileType::from_std(found.file_type()).unwrap_or(FileType::RegularFile),
        perm: u16::try_from(found.mode() & 0o7777).expect("twelve bits"),
        nlink: u32::try_from(found.nlink()).unwrap_or(u32::MAX),
        uid: found.uid(),
        gid: found.gid(),
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

fn answer_entry(found: io::Result<FileAttr>, reply: ReplyEntry) {
    match found {
        Ok(attributes) => reply.entry(&NEVER, &attributes, Generation(0)),
        Err(error) => reply.error(error.into()),
    }
}

fn answer_empty(done: io::Result<()>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.into()),
    }
}

impl Filesystem for Mounted {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(self.entry(self.child(parent, name)), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let files = locked(&self.0);
        match files.describe(ino.0, fh.map(|handle| handle.0)) {
            Ok(found) => reply.attr(&NEVER, &attributes(&files, &found)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        fh: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut files = locked(&self.0);
        let done = (|| {
            if let Some(bytes) = size {
                files.resize(ino.0, bytes)?;
            }
            if let Some(mode) = mode {
                fs::set_permissions(files.path(ino.0)?, fs::Permissions::from_mode(mode))?;
            }
            files.describe(ino.0, fh.map(|handle| handle.0))
        })();
        match done {
            Ok(found) => reply.attr(&NEVER, &attributes(&files, &found)),
            Err(error) => reply.error(error.into()),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let made = self.child(parent, name).and_then(|path| {
            fs::DirBuilder::new().mode(mode).create(&path)?;
            Ok(path)
        });
        answer_entry(self.entry(made), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let path = self.child(parent, name);
        answer_empty(path.and_then(|path| locked(&self.0).remove(&path)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer_empty(self.child(parent, name).and_then(fs::remove_dir), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let paths = self.child(parent, name).and_then(|from| {
            let to = self.child(newparent, newname)?;
            locked(&self.0).rename(&from, &to)
        });
        answer_empty(paths, reply);
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let linked = self.child(newparent, newname).and_then(|to| {
            fs::hard_link(locked(&self.0).path(ino.0)?, &to)?;
            Ok(to)
        });
        answer_entry(self.entry(linked), reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.open_file(ino.0, flags) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error.into()),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let path = self.child(parent, name);
        match path.and_then(|path| self.create_file(path, mode)) {
            Ok((attributes, handle)) => {
                let (handle, flags) = (FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO);
                reply.created(&NEVER, &attributes, Generation(0), handle, flags);
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = locked(&self.0).file(fh.0).and_then(|(_, file)| {
            let mut bytes = vec![0; usize::try_from(size).expect("a usize has 32 bits")];
            let read = file.read_at(&mut bytes, offset)?;
            bytes.truncate(read);
            Ok(bytes)
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match locked(&self.0).write(fh.0, offset, data) {
            Ok(()) => {
                reply.written(u32::try_from(data.len()).expect("the kernel's pieces are small"));
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        locked(&self.0).released(fh.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, fh: FileHandle, _: bool, reply: ReplyEmpty) {
        locked(&self.0).sync(fh.0, reply);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let files = locked(&self.0);
        let listed = files.path(ino.0).and_then(fs::read_dir);
        let entries: io::Result<Vec<_>> = listed.and_then(Iterator::collect);
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => return reply.error(error.into()),
        };
        let skipped = usize::try_from(offset).expect("a directory is small");
        for (index, entry) in entries.iter().enumerate().skip(skipped) {
            // Gone in the meantime: nobody misses it.
            let Ok(found) = entry.metadata() else {
                continue;
            };
            let kind = FileType::from_std(found.file_type()).unwrap_or(FileType::RegularFile);
            let number = INodeNo(files.number(&found));
            if reply.add(number, index as u64 + 1, kind, entry.file_name()) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match rustix::fs::statvfs(locked(&self.0).root()) {
            Ok(found) => reply.statfs(
                found.f_blocks,
                found.f_bfree,
                found.f_bavail,
                found.f_files,
                found.f_ffree,
                BLOCK_BYTES,
                255,
                BLOCK_BYTES,
            ),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        answer_empty(locked(&self.0).reserve(fh.0, offset, length), reply);
    }
}
