//! Power that goes: of what a node wrote, only what it had synced is still there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use replicamq_harness::cluster::{Cluster, not_tested, shared_zookeeper};
use replicamq_harness::load::Load;

/// A file with a file system in it, mounted where a node has its directory. What the
/// operating system has yet to write to it is missing from a copy of the file.
struct Disk {
    image: PathBuf,
    mounted_at: PathBuf,
    cuts: u32,
}

impl Disk {
    /// `None` where we may not mount.
    fn make(directory: &Path) -> Option<Self> {
        let image = directory.with_extension("image");
        fs::File::create(&image)
            .and_then(|file| file.set_len(256 << 20))
            .expect("there is room for a disk");
        run("mkfs.ext4", &["-q", path(&image)])?;
        let disk = Self {
            image,
            mounted_at: directory.to_owned(),
            cuts: 0,
        };
        fs::create_dir_all(directory).expect("the node has no directory yet");
        disk.mount()?;
        Some(disk)
    }

    fn mount(&self) -> Option<()> {
        // Nothing is written back by age or at ease while the test runs.
        let options = ["-o", "loop,commit=300"];
        run(
            "mount",
            &[&options[..], &[path(&self.image), path(&self.mounted_at)]].concat(),
        )
    }

    /// Goes on with what had reached the disk.
    fn lose_power(&mut self) {
        let left = self.image.with_extension(format!("{}.image", self.cuts));
        self.cuts += 1;
        run("cp", &["--sparse=always", path(&self.image), path(&left)]).expect("cp fails");
        run("umount", &["-l", path(&self.mounted_at)]).expect("it was mounted");
        self.image = left;
        self.mount().expect("what is left is a file system");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: the node may still run.
        run("umount", &["-l", path(&self.mounted_at)]);
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("our own names are text")
}

fn run(program: &str, arguments: &[&str]) -> Option<()> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then_some(())
}

#[test]
fn what_was_acknowledged_had_been_synced() {
    let mut cluster = Cluster::prepare(&shared_zookeeper(), "");
    let disks: Option<Vec<Disk>> = cluster
        .nodes
        .iter()
        .map(|node| Disk::make(&node.directory))
        .collect();
    let Some(mut disks) = disks else {
        return not_tested(
            "a power cut needs file systems on loop devices, which may not be mounted here",
        );
    };
    cluster.start_all();
    let load = Load::start(&cluster.addresses(), "/queue/unsynced");
    for _ in 0..3 {
        load.goes_on(300);
        for node in &mut cluster.nodes {
            node.kill();
        }
        for disk in &mut disks {
            disk.lose_power();
        }
        cluster.start_all();
    }
    load.goes_on(100);
    load.nothing_is_lost();
}
