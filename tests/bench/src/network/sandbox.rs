//! What the sandbox costs: the same guest of `hv` with it and without it, in turn.

use std::{fs::File, io::Write, time::Instant};

use anyhow::{Context, Result};
use hv_boot_tests::Host;

use super::{Network, Running, STEP, Scene, cell};
use crate::Figures;

/// Size of the disk that is read and written as a whole.
const DISK_MIB: usize = 512;

const MEASURES: [&str; 5] = [
    "exec to a guest that is ready, s",
    "a disk read by the guest past its cache, MiB/s",
    "a disk written by the guest and flushed, MiB/s",
    "iperf3, guest to host, MiB/s",
    "iperf3, host to guest, MiB/s",
];

/// What is measured is better the higher it is, but for the first.
const TIME: usize = 0;

pub(crate) fn measure(runs: usize, host: Host) -> Result<()> {
    let scene = Scene::new(host)?;
    let disk = scene.folder.path().join("disk");
    let mut file = File::create(&disk)?;
    let piece = vec![0x5a; 1 << 20];
    (0..DISK_MIB).try_for_each(|_| file.write_all(&piece))?;
    let disk = disk.to_str().context("a path of the temporary folder is not UTF-8")?;
    let mut figures: [[Figures; MEASURES.len()]; 2] = Default::default();
    for _ in 0..runs {
        for (mode, figures) in ["off", "on"].into_iter().zip(&mut figures) {
            figures.iter_mut().zip(scene.sandboxed(mode, disk)?).for_each(|(all, one)| all.push(one));
        }
    }
    let [off, on] = &figures;
    println!("| {} | `--sandbox off` | `--sandbox on` | cost |", scene.words());
    println!("| --- | --- | --- | --- |");
    for (row, measure) in MEASURES.into_iter().enumerate() {
        let ratio = on[row].median() / off[row].median();
        let cost = if row == TIME { ratio - 1.0 } else { 1.0 / ratio - 1.0 };
        println!("| {measure} | {} | {} | {:+.1} % |", cell(&off[row]), cell(&on[row]), 100.0 * cost);
    }
    Ok(())
}

impl Scene {
    fn sandboxed(&self, mode: &str, disk: &str) -> Result<[f64; MEASURES.len()]> {
        let start = Instant::now();
        let console = self.boot(self.hv(Network::User, &["--sandbox", mode, "--disk", disk])?)?;
        let boot = start.elapsed().as_secs_f64();
        let mut running = Running { console, beside: None };
        let mut timed = |words: &str| -> Result<f64> {
            let start = Instant::now();
            running.console.run(words, STEP)?;
            Ok(DISK_MIB as f64 / start.elapsed().as_secs_f64())
        };
        let read = timed("busybox dd if=/dev/vda of=/dev/null bs=1M iflag=direct")?;
        let written =
            timed(&format!("busybox dd if=/dev/zero of=/dev/vda bs=1M count={DISK_MIB} conv=fsync"))?;
        let (out, back) = (self.iperf3(&mut running, "")?, self.iperf3(&mut running, "-R")?);
        Ok([boot, read, written, out.speed, back.speed])
    }
}
