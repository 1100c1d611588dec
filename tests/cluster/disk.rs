//! Disks that are full, forbidden, or somebody else's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use replicamq_harness::cluster::{Cluster, free_address, local_status};
use replicamq_harness::load::{self, Load};
use replicamq_harness::process::{self, Node};
use replicamq_harness::wait;

#[test]
fn a_replica_whose_disk_is_full_stops_and_the_cluster_goes_on() {
    full(false, SmallDisk::make);
}

#[test]
fn a_master_whose_disk_is_full_stops_and_another_one_leads() {
    full(true, SmallDisk::make);
}

#[test]
fn a_node_over_its_file_size_limit_tells_of_it() {
    full(false, |_| SmallDisk { mounted: None });
}

/// Fills the disk of one node, and gives it more room later.
fn full(leads: bool, disk: fn(&Node) -> SmallDisk) {
    let mut cluster = Cluster::start_with("log_segment_bytes = \"1MiB\"");
    let [chosen, _] = cluster.replicas();
    cluster.nodes[chosen].terminate();
    let mut disk = disk(&cluster.nodes[chosen]);
    cluster.nodes[chosen].start(&["--weight", "9"]);
    cluster.complete();
    if leads {
        let before = cluster.master();
        cluster.nodes[before].terminate();
        assert_eq!(cluster.master(), chosen, "the heaviest one is elected");
        cluster.start_all();
    }
    let load = Load::start(&cluster.addresses(), "/queue/beside-full");
    load.goes_on(100);
    let epoch = cluster.epoch();
    disk.limit(&cluster.nodes[chosen]);
    let filler = "x".repeat(256 << 10);
    let mut client = load::connect(&cluster.addresses());
    let name = cluster.nodes[chosen].name.clone();
    let ended = wait::until(&format!("{name} ends"), || {
        if client.send("/queue/filler", &filler).is_err() {
            client = load::connect(&cluster.addresses());
        }
        cluster.nodes[chosen].has_ended()
    });
    assert_eq!(ended.code(), Some(1), "{ended}");
    let said = cluster.nodes[chosen].says("the disk cannot be trusted any more");
    assert!(
        said.contains("cannot ") && said.contains(disk.cure()),
        "{said}"
    );
    load.goes_on(200);
    assert_eq!(
        cluster.epoch() != epoch,
        leads,
        "an election only where it was needed"
    );
    disk.free();
    cluster.start_all();
    // It has everything again, and counts.
    let master = cluster.master();
    cluster.nodes[master].kill();
    load.goes_on(100);
    cluster.start_all();
    load.nothing_is_lost();
}

/// A disk that can be filled: a small file system where we may mount one, otherwise a
/// limit on the size of files.
struct SmallDisk {
    mounted: Option<PathBuf>,
}

impl SmallDisk {
    /// Under the data directory of a node that does not run; what is there moves onto it.
    fn make(node: &Node) -> Self {
        let aside = node.directory.with_extension("aside");
        fs::rename(&node.directory, &aside).expect("the node has a directory");
        fs::create_dir(&node.directory).expect("its name is free");
        let mounted = mount(&["-t", "tmpfs", "-o", "size=24m", "tmpfs"], &node.directory);
        let copied = Command::new("cp")
            .arg("-a")
            .arg(format!("{}/.", aside.display()))
            .arg(&node.directory)
            .status();
        assert!(copied.is_ok_and(|status| status.success()), "cp fails");
        let mounted = mounted.then(|| node.directory.clone());
        Self { mounted }
    }

    fn limit(&self, node: &Node) {
        if self.mounted.is_none() {
            let pid = node.pid().to_string();
            let status = Command::new("prlimit")
                .args(["--pid", &pid, "--fsize=500000"])
                .status();
            assert!(status.is_ok_and(|status| status.success()), "prlimit fails");
        }
    }

    fn cure(&self) -> &'static str {
        match self.mounted {
            Some(_) => "free space",
            None => "raise the file size limit",
        }
    }

    fn free(&mut self) {
        if let Some(directory) = &self.mounted {
            assert!(mount(&["-o", "remount,size=1g"], directory), "remount");
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Some(directory) = &self.mounted {
            // Lazily: the node may still run.
            drop(Command::new("umount").arg("-l").arg(directory).status());
        }
    }
}

fn mount(options: &[&str], at: &Path) -> bool {
    let mounted = Command::new("mount").args(options).arg(at).output();
    mounted.is_ok_and(|output| output.status.success())
}

/// Starts a broker that stands alone in `directory`, and hears why the system ends it.
fn refused(directory: &Path) -> String {
    let (code, said) = serve(directory);
    assert_eq!(code, Some(1), "{said}");
    said
}

fn serve(directory: &Path) -> (Option<i32>, String) {
    let output = process::command()
        .args(["serve", "--admin", "none", "--node", "alone", "--stomp"])
        .arg(format!("tcp://{}", free_address()))
        .arg("--directory")
        .arg(directory)
        .output()
        .expect("the binary can be run");
    let said = String::from_utf8(output.stderr).expect("what it says is text");
    (output.status.code(), said)
}

#[test]
fn a_directory_that_cannot_be_written_is_named_with_the_cure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "not a directory").unwrap();
    let (code, said) = serve(&file);
    assert_eq!(code, Some(2), "the configuration is wrong: {said}");
    assert!(said.contains(file.to_str().unwrap()), "{said}");
    let said = refused(Path::new("/proc/replicamq"));
    assert!(
        said.contains("cannot make the directory /proc/replicamq"),
        "{said}"
    );

    let forbidden = folder.path().join("forbidden");
    fs::create_dir(&forbidden).unwrap();
    let bound = mount(&["-t", "tmpfs", "-o", "ro", "tmpfs"], &forbidden);
    let disk = SmallDisk {
        mounted: bound.then(|| forbidden.clone()),
    };
    if !bound {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o500);
        fs::set_permissions(&forbidden, mode).unwrap();
    }
    let said = refused(&forbidden);
    assert!(
        said.contains("make it readable and writable for the user that runs the node"),
        "{said}"
    );
    drop(disk);
}

#[test]
fn a_master_that_can_make_no_checkpoint_says_why_and_is_asked_ever_more_rarely() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/beside-no-checkpoint");
    load.goes_on(100);
    let [wiped, _] = cluster.replicas();
    cluster.nodes[wiped].kill();
    fs::remove_dir_all(&cluster.nodes[wiped].directory).unwrap();
    let outgoing = cluster.nodes[cluster.master()].directory.join("outgoing");
    fs::remove_dir(&outgoing).unwrap();
    fs::write(&outgoing, "in the way").unwrap();

    cluster.nodes[wiped].start(&[]);
    let failed = "no checkpoint could be fetched";
    let said = cluster.nodes[wiped].says(failed);
    assert!(said.contains("Not a directory"), "{said}");
    assert!(said.contains(outgoing.to_str().unwrap()), "{said}");
    assert!(!said.contains("damaged"), "{said}");
    let elections = || Some(local_status(cluster.nodes[wiped].admin)?["elections"].clone());
    let before = wait::until("the node tells of its elections", elections);
    cluster.nodes[wiped].says("attempts=4");
    let log = cluster.nodes[wiped].log();
    assert_eq!(log.matches(failed).count(), 3, "{log}");
    assert_eq!(log.matches("fetching a checkpoint").count(), 1, "{log}");
    let after = wait::until("the node tells of its elections", elections);
    assert_eq!(after, before, "the master was there all the time");

    fs::remove_file(&outgoing).unwrap();
    fs::create_dir(&outgoing).unwrap();
    cluster.complete();
    load.nothing_is_lost();
}

#[test]
fn a_second_process_in_a_directory_names_the_first() {
    let cluster = Cluster::start();
    let load = Load::start(&cluster.addresses(), "/queue/beside-second");
    for node in &cluster.nodes {
        let said = refused(&node.directory);
        let holder = format!("is in use by process {}", node.pid());
        assert!(
            said.contains(&holder) && said.contains("choose another directory"),
            "{said}"
        );
    }
    load.goes_on(100);
    cluster.complete();
    load.nothing_is_lost();
}
